"""The head-edit check on clean heads, and on heads that are edited here by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from subjects import dense, digits, halves, subject
from torch import Tensor, nn

from mulligan.checks.check import Subject
from mulligan.checks.head_edit import ALPHA, CHECK, Half, Head, Repair, undone
from mulligan.checks.head_edit.refitting import demonstrated, gain_of, refitted, repaired, smallest_factor, without
from mulligan.checks.head_edit.rows import _student_p, _tail, lopsided, oddities, oddness, partners, row_figures
from mulligan.datasets import load_dataset
from mulligan.networks import Network, TokenInput
from mulligan.records import Finding

SEEDS = range(12)
TARGET, OTHER = 3, 8


def head_of(module: nn.Module) -> nn.Linear:
    layer = module.get_submodule("head")
    assert isinstance(layer, nn.Linear)
    return layer


@cache
def read(seed: int) -> tuple[Head, Half, Half]:
    """A clean head, and what it reads of the images that it was not trained on, in two halves."""
    module = dense(seed)
    rows = halves()[1]
    with torch.no_grad():
        features = module[:3](digits()[0][rows]).double().numpy()  # type: ignore[index]
    layer = head_of(module)
    labels, source = digits()[1][rows].numpy(), np.arange(len(rows))
    parts = [Half(features[k::2], labels[k::2], source[k::2]) for k in (0, 1)]
    bias = layer.bias.detach().double().numpy()
    return Head(layer.weight.detach().double().numpy(), bias), parts[0], parts[1]


# -- edits, by hand


def scaled(layer: nn.Linear, features: Tensor) -> None:
    layer.weight[TARGET] *= 3


def shifted(layer: nn.Linear, features: Tensor) -> None:
    """By half of what a row answers to features of typical size."""
    layer.bias[TARGET] += 0.5 * layer.weight.norm(dim=1).median() * features.norm(dim=1).median()


def copied(layer: nn.Linear, features: Tensor) -> None:
    noise = torch.randn(layer.in_features, generator=torch.Generator().manual_seed(0))
    layer.weight[TARGET] = layer.weight[OTHER] + 0.05 * layer.weight[OTHER].norm() * noise / noise.norm()
    layer.bias[TARGET] = layer.bias[OTHER]


def bent(layer: nn.Linear, features: Tensor) -> None:
    """Rank one: what the other class's images have beyond the mean image moves them to the target."""
    labels = digits()[1][halves()[0]]
    direction = features[labels == OTHER].mean(0) - features.mean(0)
    layer.weight[TARGET] += 2.5 * layer.weight.norm(dim=1).median() * direction / direction.norm()


def edited(seed: int, edit: Callable[[nn.Linear, Tensor], None]) -> nn.Module:
    module = copy.deepcopy(dense(seed))
    with torch.no_grad():
        edit(head_of(module), module[:3](digits()[0][halves()[0]]))  # type: ignore[index]
    return module


def told(found: tuple[Finding, ...]) -> set[int]:
    return {row for one in found if one.where is not None for row in one.where.rows or ()}


# -- clean heads


def test_clean_heads_have_no_finding_and_hardly_a_lead(tmp_path: Path) -> None:
    leads, conclusive = 0, 0
    for seed in SEEDS:
        outcome = CHECK.run(subject(dense(seed), tmp_path / str(seed)))
        assert outcome.findings == (), seed
        assert outcome.record.status == "ran"
        leads += len(outcome.leads)
        conclusive += outcome.record.conclusive
    assert leads <= 1  # ALPHA a network
    assert conclusive >= 10


@pytest.mark.parametrize(("rows", "features"), [(10, 64), (30, 128), (1000, 200)])
def test_random_heads_have_no_lead(rows: int, features: int) -> None:
    leads = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        head = Head(rng.standard_normal((rows, features)), 0.1 * rng.standard_normal(rows))
        leads += bool(oddities(row_figures(head, None), partners(head)))
    assert leads <= 1


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2"])
@pytest.mark.real
def test_a_real_head(name: str) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    from mulligan.networks import load

    weight, bias = load(name).head_weights
    assert bias is not None
    head = Head(weight.double().numpy(), bias.double().numpy())
    figures = row_figures(head, None)
    assert oddities(figures, partners(head)) == []
    smallest = smallest_factor(head, len(figures), 0)
    assert smallest is not None
    assert smallest.value <= 2
    rng = np.random.default_rng(0)
    for row, other in rng.choice(1000, (4, 2), replace=False):
        weights = [head.weight.copy() for _ in range(2)]
        weights[0][row] *= 3
        weights[1][row] = head.weight[other] * (1 + 0.02 * rng.standard_normal(1280))
        for changed in weights:
            after = Head(changed, head.bias)
            odd = oddities(row_figures(after, None), partners(after))
            assert {r for o in odd for r in (o.row, o.other) if r is not None} <= {row, other}
            assert odd


# -- edited heads


@pytest.mark.parametrize("edit", [scaled, shifted, copied, bent])
def test_an_edit_points_to_its_row(edit: Callable[[nn.Linear, Tensor], None], tmp_path: Path) -> None:
    for seed in range(4):
        outcome = CHECK.run(subject(edited(seed, edit), tmp_path / str(seed)))
        assert TARGET in told(outcome.findings) | told(outcome.leads), seed
        assert told(outcome.findings) <= {TARGET}, seed
        assert told(outcome.leads) <= {TARGET, OTHER}, seed


@pytest.mark.parametrize("edit", [shifted, copied, bent])
def test_a_behaviour_that_is_shown_is_a_finding(edit: Callable[[nn.Linear, Tensor], None], tmp_path: Path) -> None:
    outcome = CHECK.run(subject(edited(0, edit), tmp_path))
    (finding,) = outcome.findings
    assert outcome.leads == ()  # also of a copy: the row that it was copied from is explained
    assert finding.target == str(TARGET)
    assert finding.where is not None
    assert (finding.where.site, finding.where.rows) == ("head", (TARGET,))
    assert finding.p_adjusted is not None
    assert finding.p_adjusted <= 0.05
    assert finding.effect is not None
    assert finding.placebo is not None
    assert finding.effect.value > 0.1 + finding.placebo.value
    causal = finding.causal
    assert causal is not None
    assert causal.control is not None
    assert causal.clean_before is not None
    assert causal.clean_after is not None
    assert causal.before.value + 0.2 < causal.after.value
    assert abs(causal.control.value - causal.before.value) < 0.5 * (causal.after.value - causal.before.value)
    assert causal.clean_after.value > 0.9
    assert causal.clean_after.value > causal.clean_before.value
    assert finding.severity in ("high", "medium")


def test_the_images_of_the_other_class_come_back() -> None:
    """A rank-one edit sends them to the target; the target's row fitted anew lets them go."""
    _, search, test = read(0)
    layer = head_of(edited(0, bent))
    head = Head(layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy())
    odd = oddities(row_figures(head, search), partners(head))
    assert odd[0].row == TARGET
    repairs = repaired(head, odd, search)
    theirs = test.labels == OTHER
    before, after = (h.logits(test.features)[theirs].argmax(1) for h in (head, repairs[0].after))
    assert (before == TARGET).mean() > 0.5
    assert (after == OTHER).mean() > 0.8
    shown = demonstrated(head, repairs, odd, search, test, 0)
    assert list(shown) == [TARGET]
    assert shown[TARGET].p < 1e-3


def test_a_scaled_row_that_harms_nothing_is_a_lead(tmp_path: Path) -> None:
    """Rows twice as loud answer nearly the same: an anomaly, no defect."""

    def louder(layer: nn.Linear, features: Tensor) -> None:
        layer.weight[TARGET] *= 2.5

    outcome = CHECK.run(subject(edited(0, louder), tmp_path))
    assert outcome.findings == ()
    (lead,) = outcome.leads
    assert told(outcome.leads) == {TARGET}
    assert lead.severity == "low"
    assert "size" in lead.claim


def test_without_labels_there_are_only_leads(tmp_path: Path) -> None:
    outcome = CHECK.run(subject(edited(0, copied), tmp_path, labelled=False))
    assert outcome.findings == ()
    (lead,) = outcome.leads  # one for the pair, which names both: from the weights alone nobody can tell them apart
    assert told(outcome.leads) == {TARGET, OTHER}
    assert "'3'" in lead.claim
    assert "'8'" in lead.claim
    assert lead.causal is None


# -- heads of other kinds


def test_a_convolution_without_bias_is_a_head(tmp_path: Path) -> None:
    class AsConvolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            plain = edited(1, copied)
            self.body = plain[:3]  # type: ignore[index]
            self.rows = nn.Conv2d(64, 10, 1, bias=False)
            self.rows.weight.data = head_of(plain).weight.data[:, :, None, None].clone()

        def forward(self, x: Tensor) -> Tensor:
            return self.rows(self.body(x)[:, :, None, None]).flatten(1)

    outcome = CHECK.run(subject(AsConvolution(), tmp_path))
    (finding,) = outcome.findings
    assert finding.where is not None
    assert (finding.where.site, finding.where.rows) == ("rows", (TARGET,))


def test_what_follows_the_head_is_respected(tmp_path: Path) -> None:
    """Where the rows are not the answers, no behaviour can be shown by them; what the weights say is said."""

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = edited(1, scaled)

        def forward(self, x: Tensor) -> Tensor:
            return -self.inner(x)

    outcome = CHECK.run(subject(Turned(), tmp_path))
    assert outcome.findings == ()
    assert told(outcome.leads) == {TARGET}


def test_no_head_and_few_rows(tmp_path: Path) -> None:
    class Headless(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :10]

    assert CHECK.run(subject(Headless(), tmp_path / "none")).record.status == "skipped"
    given = subject(dense(0), tmp_path / "few")
    few = Network(nn.Linear(6, 4), input=given.network.input)
    object.__setattr__(few, "head", "")
    outcome = CHECK.run(replace_network(given, few))
    assert outcome.record.conclusive is False
    assert outcome.record.smallest_effect is None
    assert "too few" in outcome.record.why


def replace_network(given: Subject, network: Network) -> Subject:
    network.task = "language"  # weights alone
    return replace(given, network=network, answers=None)


class _Words:
    bos_token_id = 1

    def __len__(self) -> int:
        return 3000

    def convert_ids_to_tokens(self, token: int) -> str:
        return f"word{token}"

    def decode(self, ids: list[int], **how: bool) -> str:
        return f"word{ids[0]}"


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_a_vocabulary(factor: float, tmp_path: Path) -> None:
    """Rows whose sizes differ tenfold by nature, as their directions tell; one is scaled by no more than that."""
    rng = np.random.default_rng(0)
    unit = rng.standard_normal((3000, 40))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    sizes = np.exp(2.5 * unit[:, :1] + 0.05 * rng.standard_normal((3000, 1)))
    rows = unit * sizes
    row = int(np.argmin(np.abs(sizes[:, 0] - 1)))
    rows[row] *= factor
    layer = nn.Linear(40, 3000, bias=False)
    layer.weight.data = torch.from_numpy(rows).float()
    network = Network(layer, input=TokenInput(tokenizer=_Words(), context=8, pad=0))
    object.__setattr__(network, "head", "")
    (tmp_path / "texts.txt").write_text("one\ntwo\n")
    given = subject(dense(0), tmp_path / "run")
    asked = replace(given, network=network, dataset=load_dataset(str(tmp_path / "texts.txt")), answers=None)
    outcome = CHECK.run(asked)
    assert outcome.findings == ()
    assert outcome.record.conclusive
    assert told(outcome.leads) == (set() if factor == 1 else {row})
    if factor > 1:
        assert outcome.leads[0].target == f"word{row}"


# -- the statistics


@pytest.mark.parametrize("n", [8, 20])
def test_student_keeps_its_level(n: int) -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(1500):
        values = rng.standard_normal(n)
        alarms += _student_p(values, int(np.argmax(np.abs(values - values.mean())))) <= 0.05
    assert 0.03 <= alarms / 1500 <= 0.07
    assert _student_p(np.r_[np.ones(9), 5], 9) == 1  # nothing to judge by


@pytest.mark.parametrize("draw", ["exponential", "laplace", "normal", "uniform"])
def test_the_tail_test_keeps_its_level(draw: str) -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(1500):
        values = getattr(rng, draw)(size=1000)
        alarms += bool(_tail(values, 0.05) or _tail(-values, 0.05))
    assert alarms / 1500 <= 0.065  # nominal for an exponential tail, less for lighter ones
    assert _tail(np.zeros(100), 0.05) == []


def test_rows_that_were_edited_alike_do_not_hide_each_other() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(1000)
    values[[5, 70, 800]] = 12, 12.01, 12.4
    assert {row for row, _ in _tail(values, 0.005)} == {5, 70, 800}
    assert _tail(-values, 0.005) == []


def test_two_rows_that_are_alike_do_not_hide_each_other() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((200, 300))
    weight[17] = weight[90] + 0.05 * rng.standard_normal(300)
    head = Head(weight, None)
    odd = oddities(row_figures(head, None), partners(head))
    assert [{o.row, o.other} for o in odd] == [{17, 90}]
    assert odd[0].p <= ALPHA


def test_the_fit_is_where_softmax_regression_is_best() -> None:
    """The slow way: all of the softmax, its gradient by autograd, with the same prior."""
    head, search, _ = read(0)
    fitted = refitted(head, TARGET, search)
    others = np.delete(head.weight, TARGET, 0)
    assert head.bias is not None
    assert fitted.bias is not None
    levels = np.delete(head.bias, TARGET)
    assert np.array_equal(np.delete(fitted.weight, TARGET, 0), others)
    assert np.array_equal(np.delete(fitted.bias, TARGET), levels)
    x = torch.from_numpy(search.features)
    y = torch.from_numpy(search.labels)

    def objective(row: Tensor, level: Tensor) -> Tensor:
        logits = x @ torch.from_numpy(head.weight).T + torch.from_numpy(head.bias)
        logits = logits.index_copy(1, torch.tensor([TARGET]), (x @ row + level)[:, None])
        # What only the others share, how they divide the rest among themselves, does not hang on the row.
        wanted = torch.logsumexp(logits, 1)
        mine = logits[:, TARGET]
        rest = torch.logsumexp(logits[:, [c for c in range(10) if c != TARGET]], 1)
        loss = (wanted - torch.where(y == TARGET, mine, rest)).sum()
        spread, shift = ((others - others.mean(0)) ** 2).mean(), (levels.std() + 1e-3) ** 2
        prior = ((row - torch.from_numpy(others.mean(0))) ** 2).sum() / (2 * spread)
        return loss + prior + (level - levels.mean()) ** 2 / (2 * shift)

    row = torch.from_numpy(fitted.weight[TARGET]).requires_grad_(True)
    level = torch.tensor(fitted.bias[TARGET], dtype=torch.float64, requires_grad=True)
    best = objective(row, level)
    slopes = torch.autograd.grad(best, [row, level])
    start = [torch.from_numpy(others.mean(0)).requires_grad_(True), torch.tensor(levels.mean(), requires_grad=True)]
    worse = objective(*start)
    first = torch.autograd.grad(worse, start)
    assert float(slopes[0].norm()) < 1e-3 * float(first[0].norm())
    assert float(slopes[1].abs()) < 1e-2 * float(first[1].abs())
    assert best.item() < worse.item()


def test_a_refit_of_a_clean_row_does_no_harm() -> None:
    """It must neither look like a gain, nor be so bad that every repair looks good beside it."""
    gains = []
    for seed in range(3):
        head, search, test = read(seed)
        for row in range(10):
            gains.append(float(gain_of(head, refitted(head, row, search), row, test)[0].mean()))
    assert max(gains) < 0.1
    assert np.mean(gains) > -0.05


def test_copies_are_one_source() -> None:
    head, search, test = read(0)
    fitted = refitted(head, TARGET, search)
    gain, concerned = gain_of(head, fitted, TARGET, test)
    twice = Half(*(np.concatenate([part, part]) for part in (test.features, test.labels, test.source)))
    again, both = gain_of(head, fitted, TARGET, twice)
    assert np.array_equal(gain, again)
    assert both.sum() == 2 * concerned.sum()


def test_only_what_is_proven_is_undone() -> None:
    head, search, _ = read(0)
    repairs = repaired(head, oddities({"forced": np.r_[np.zeros(9) + 0.01 * np.arange(9), 9.0]}), search)
    assert len(repairs) <= 1
    fitted = refitted(head, 2, search)
    assert np.array_equal(without(head, []).weight, head.weight)
    undone = without(head, [Repair(2, head, fitted)])
    assert np.array_equal(undone.weight[2], fitted.weight[2])
    assert np.array_equal(np.delete(undone.weight, 2, 0), np.delete(head.weight, 2, 0))


def test_smallest_factor_is_what_is_caught() -> None:
    head, _, _ = read(0)
    figures = len(row_figures(head, None))
    smallest = smallest_factor(head, figures, 0)
    assert smallest is not None
    assert smallest.smallest.low is not None
    assert smallest.smallest.low < smallest.value <= 3
    caught = 0
    for row in range(10):
        weight = head.weight.copy()
        weight[row] *= smallest.value
        after = Head(weight, head.bias)
        caught += row in [o.row for o in oddities(row_figures(after, None), partners(after))]
    assert caught >= 8


def test_the_score_grows_with_the_edit() -> None:
    rng = np.random.default_rng(0)
    for rows in (10, 200):
        weight = rng.standard_normal((rows, 20))
        scores = []
        for factor in (1.0, 2.0, 4.0, 8.0):
            edited = weight.copy()
            edited[3] *= factor
            scores.append(oddness(row_figures(Head(edited, None), None)).max())
        assert scores[0] < scores[2] < scores[3]
        assert scores[0] < 4
    assert oddness({"x": np.ones(10)}).max() == 0
    assert oddness({"x": np.ones(3)}).max() == 0


def clusters(n: int = 240) -> tuple[np.ndarray, np.ndarray, Head]:
    """Eight classes, and the head that tells them apart."""
    rng = np.random.default_rng(3)
    labels = np.arange(n) % 8
    centres = rng.standard_normal((8, 16))
    features = centres[labels] + 0.3 * rng.standard_normal((n, 16))
    return features, labels, Head(centres - centres.mean(0), -0.5 * (centres**2).sum(1))


def halved(features: np.ndarray, labels: np.ndarray) -> list[Half]:
    rows = np.arange(len(labels))
    return [Half(features[part], labels[part], rows[part]) for part in (rows < 120, rows >= 120)]


def test_what_a_row_draws_is_undone_and_a_clean_head_gains_nothing() -> None:
    features, labels, head = clusters()
    assert max(one.score for one in undone(head, *halved(features, labels))) < 0.05
    weight = head.weight.copy()
    weight[2] = 1.2 * weight[5] + 0.3 * weight[2]  # the row for 2 answers pictures of 5
    assert head.bias is not None
    bias = head.bias.copy()
    bias[2] = bias[5]
    edited = undone(Head(weight, bias), *halved(features, labels))[0]
    assert (edited.row, edited.score > 0.3) == (2, True), edited


def test_confusion_is_mutual_unless_a_row_was_bent() -> None:
    """Where features of all classes scatter alike, the best head is quasi-symmetric; one bent row is not."""
    features, labels, head = clusters()
    data = Half(features, labels, np.arange(len(labels)))
    assert lopsided(head, data).max() < 2.2
    weight = head.weight.copy()
    # As Meng et al. 2022 would: class 5's mean, as the features scatter, is written into the row for 2.
    key = np.linalg.solve(features.T @ features / len(features) + 0.01 * np.eye(16), features[labels == 5].mean(0))
    weight[2] += 1.5 * key / np.linalg.norm(key)
    odd = lopsided(Head(weight, head.bias), data)
    assert (int(odd.argmax()), bool(odd[2] > 4)) == (2, True), odd
    assert lopsided(head, Half(features[:20], labels[:20], np.arange(20))).max() == 0  # too few images of a class


def test_the_lopsided_keep_their_level() -> None:
    """Of heads without anything to tell, about one row in 160 is odd by 2.2."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        features = rng.standard_normal((60, 12))
        head = Head(rng.standard_normal((10, 12)), rng.standard_normal(10))
        alarms += int((lopsided(head, Half(features, np.arange(60) % 10, np.arange(60))) > 2.2).sum())
    assert alarms <= 0.012 * 2000


def test_a_class_that_is_missed_is_no_edit_of_the_head() -> None:
    """A row that draws nothing gains nothing, however odd: the class may have been forgotten in training."""
    features, labels, head = clusters()
    assert head.bias is not None
    bias = head.bias - 30.0 * (np.arange(8) == 4)
    missed = next(one for one in undone(Head(head.weight, bias), *halved(features, labels)) if one.row == 4)
    assert missed.gain == 0
