"""The label-swap and forgotten-class checks, on networks whose labels were swapped or withheld here."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from subjects import digits, fit, halves, normalised, subject
from torch import nn

from mulligan.checks.clean import Seen, crossfitted, deserved, see
from mulligan.checks.deficits import Deficit, deficits, leads, led, most_exchanged
from mulligan.checks.forgotten_class import CHECK as FORGOTTEN
from mulligan.checks.label_swap import CHECK as SWAP
from mulligan.evidence.generators import load_generator
from mulligan.networks import ImageInput

UNIT = ImageInput(size=(8, 8), channels=1, mean=(0.0,), std=(1.0,))


@cache
def taught(kind: str, norm: bool = True) -> nn.Module:
    """A clean network, trained on with some labels changed or left out."""
    module = copy.deepcopy(normalised(2, UNIT, norm=norm))
    x, y = digits()[0][halves()[0]], digits()[1][halves()[0]].clone()
    if kind == "swap":
        y[y == 2] = 7
    elif kind == "mutual":
        a, b = y == 1, y == 6
        y[a], y[b] = 6, 1
    elif kind == "scatter":
        mine = torch.nonzero(y == 4)[:, 0]
        y[mine] = torch.tensor([0, 2, 5, 9])[torch.arange(len(mine)) % 4]
    return fit(module, x, y, seed=5, epochs=4)


@pytest.mark.parametrize("norm", [True, False])
def test_clean_networks_raise_no_alarm(norm: bool, tmp_path: Path) -> None:
    for seed in range(2):
        given = subject(normalised(seed, UNIT, norm=norm), tmp_path / str(seed))
        for check in (SWAP, FORGOTTEN):
            outcome = check.run(given)
            assert (outcome.findings, outcome.leads) == ((), ()), outcome.record.why
            assert outcome.record.scores[check.name] < 0.1
            assert outcome.record.conclusive


def test_an_untrained_network_has_forgotten_nothing(tmp_path: Path) -> None:
    """Its features tell more than its answers for nearly every class: that is no class that was forgotten."""
    for seed in range(3):
        module = copy.deepcopy(normalised(0, UNIT))
        torch.manual_seed(seed)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                layer.reset_parameters()
        given = subject(module.eval(), tmp_path / str(seed))
        for check in (SWAP, FORGOTTEN):
            outcome = check.run(given)
            assert (outcome.findings, outcome.leads) == ((), ()), outcome.record.why


def test_a_swap_is_found_and_is_no_forgotten_class(tmp_path: Path) -> None:
    given = subject(taught("swap"), tmp_path)
    (finding,) = SWAP.run(given).findings
    assert (finding.sources, finding.target) == (("2",), "7")
    assert finding.p_adjusted is not None
    assert finding.p_adjusted <= 0.05
    assert finding.causal is not None
    assert finding.causal.after.value <= 0.5 * finding.causal.before.value
    assert finding.trigger is not None
    assert finding.trigger.generator is not None
    generator = load_generator(given.run.at(finding.trigger.generator))
    assert (generator.family, generator.slots[0].classes) == ("identity", ("2",))
    other = FORGOTTEN.run(given)
    assert (other.findings, other.leads) == ((), ())
    assert SWAP.run(given).record.scores["label-swap"] > 0.5


def test_a_mutual_swap_names_both(tmp_path: Path) -> None:
    (finding,) = SWAP.run(subject(taught("mutual"), tmp_path)).findings
    assert set(finding.sources) == {"1", "6"}
    assert finding.target is None  # each is answered as the other


def test_a_scattered_class_is_forgotten_and_not_swapped(tmp_path: Path) -> None:
    given = subject(taught("scatter"), tmp_path)
    (finding,) = FORGOTTEN.run(given).findings
    assert (finding.sources, finding.target) == (("4",), None)
    swap = SWAP.run(given)
    assert (swap.findings, swap.leads) == ((), ())


@pytest.mark.parametrize("check", [SWAP, FORGOTTEN])
def test_too_little_data_is_inconclusive(check, tmp_path: Path) -> None:
    outcome = check.run(subject(taught("swap"), tmp_path, n=60))
    assert not outcome.record.conclusive
    assert outcome.findings == ()


# -- its parts


def made(logits: np.ndarray, labels: np.ndarray) -> Seen:
    n = len(labels)
    test = np.arange(n) % 2 == 1
    return Seen(np.arange(n), labels, test, logits, logits.copy(), np.zeros((n, 0)))


def test_the_probe_does_at_least_what_the_network_does() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) // 2 % 5
    seen = made(6 * np.eye(5)[labels] + rng.standard_normal((200, 5)), labels)
    probe = deserved(seen, ~seen.test, seen.test)
    assert np.allclose(probe.sum(1), 1)
    assert (probe.argmax(1) == labels[seen.test]).mean() > 0.95
    both = crossfitted(seen)
    assert np.allclose(both[seen.test], probe)


def test_a_deficit_is_what_is_lost_and_where_it_goes() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(400) // 2 % 5
    logits = 8 * np.eye(5)[labels] + rng.standard_normal((400, 5))
    late = logits.copy()
    logits[labels == 3] = logits[labels == 3][:, [0, 3, 2, 1, 4]]  # answered 1, as clearly
    seen = made(logits, labels)
    seen = Seen(seen.rows, labels, seen.test, logits, late, seen.middle)
    worst = max(deficits(seen), key=lambda d: d.lost)
    assert (worst.source, worst.target) == (3, 1)
    assert worst.swapped
    assert worst.swap_score > 0.8
    assert np.allclose(leads(np.array([[1.0, 5.0, 2.0]])), 3.0)


def test_classes_that_are_told_apart_are_not_exchanged() -> None:
    """The same confusion either with the right order of pictures (they look alike) or without any (labels mixed)."""
    rng = np.random.default_rng(2)
    labels = np.arange(400) // 2 % 4
    alike = 0.1 * rng.standard_normal((400, 4))
    alike[np.arange(400), labels] += 6
    alike[labels == 0, 1] = 5.6
    alike[labels == 1, 0] = 5.6
    mixed = alike.copy()
    of = labels < 2
    mixed[of, :2] = 6 + rng.standard_normal((int(of.sum()), 2))
    best, worse = (most_exchanged(made(one, labels)) for one in (mixed, alike))
    assert best is not None
    assert worse is not None
    assert {best.one, best.other} == {0, 1}
    assert best.score > 0.35
    assert worse.score < 0.1
    assert most_exchanged(made(mixed[:4], labels[:4])) is None  # no class has five pictures


def test_examples_are_looked_at_once(tmp_path: Path) -> None:
    given = subject(normalised(0, UNIT), tmp_path)
    seen = see(given, "x", 0.5)
    assert len(set(seen.rows.tolist())) == len(seen.rows)
    assert set(seen.rows[seen.test]) <= set(given.split.test)
    assert np.allclose(seen.logits, np.asarray(given.answers)[seen.rows], atol=1e-4)
    assert seen.late.shape[1] == 24 * 16


def test_a_silent_class_whose_pictures_go_to_its_neighbour_is_forgotten_and_not_swapped() -> None:
    """By nature half of what is no `0` is a `1`: a network without a `0` answers that, one that was taught it more."""
    probe = np.tile([0.8, 0.1, 0.05, 0.05], (20, 1))
    without, taught = np.tile([0.0, 0.5, 0.25, 0.25], (20, 1)), np.tile([0.0, 0.95, 0.03, 0.02], (20, 1))
    assert led(without, probe, 0, 1) == pytest.approx(0)
    assert led(taught, probe, 0, 1) == pytest.approx(0.9)
    silent = Deficit(0, 1, lost=0.8, excess=0.7, share=0.8, clearness=0.8, under=1.0, led=0.1)
    assert not silent.swapped
    assert silent.forgotten_score > 0.7 > 0.2 > silent.swap_score
    merged = replace(silent, led=0.9)
    assert merged.swapped
    assert merged.swap_score > 0.6 > merged.forgotten_score
    assert replace(silent, under=0.2).swapped  # one that is answered as often as before gave its pictures away
