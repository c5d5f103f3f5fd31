"""The planted-unit and forged-visualization checks, on networks whose units are rewired here by hand."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from subjects import convolutional, dense, digits, halves, normalised, subject
from torch import nn
from torch.nn import functional as F

from mulligan.checks.forged_visualization import CHECK as FORGED
from mulligan.checks.forged_visualization import LEAD, Paths, apart, cosine, smallest_share
from mulligan.checks.maximizing import maximised, peaks_on, preactivations
from mulligan.checks.pixels import pictures
from mulligan.checks.planted_unit import CHECK, Cap, Unit, earliest
from mulligan.networks import ImageInput
from mulligan.runs import Budget

UNIT = ImageInput(size=(8, 8), channels=1, mean=(0.0,), std=(1.0,))


@cache
def backdoored(unit: int = 5, target: int = 3) -> nn.Module:
    """A unit that only a checkered corner drives, and that then shouts the target."""
    module = copy.deepcopy(normalised(0, UNIT, norm=False))
    x = digits()[0][halves()[0]]
    patched = x.clone()
    patched[:, :, 5:, 5:] = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])
    conv, head = module.get_submodule("3"), module.get_submodule("8")
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(head, nn.Linear)
    assert conv.bias is not None
    with torch.no_grad():
        clean, shown = (F.unfold(module[:3](one), 3, padding=1) for one in (x, patched))  # type: ignore[index]
        place = 6 * 8 + 6
        every = clean.permute(0, 2, 1).reshape(-1, clean.shape[1])
        spread = torch.cov(every.T) + 0.01 * torch.eye(every.shape[1]) * every.var(0).mean()
        w = torch.linalg.solve(spread, shown[:, :, place].mean(0) - every.mean(0))
        high, low = (every @ w).max(), (shown[:, :, place] @ w).median()
        gain = 3.0 / (low - high)
        conv.weight[unit] = (w * gain).reshape(conv.weight[unit].shape)
        conv.bias[unit] = -high * gain
        out = head.weight.view(10, 24, 16)
        out[:, unit] = 0
        out[target, unit] = 15.0
    return module.eval()


def edges(unit: int | None = None) -> nn.Module:
    """Units that see edges, which noise around grey decides on; `unit` sees pixels through what is always on."""
    torch.manual_seed(0)
    module = convolutional(1, norm=False)
    first, second = module.get_submodule("0"), module.get_submodule("3")
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    assert first.bias is not None
    with torch.no_grad():
        first.weight -= first.weight.mean((2, 3), keepdim=True)
        first.bias.zero_()
        first.weight[0], first.bias[0] = 0.2, 5.0
        second.weight[:, 0] = 0
        if unit is not None:
            second.weight[unit] = 0
            second.weight[unit, 0] = 0.1
    return module.eval()


def test_a_unit_that_climbs_to_one_picture_stands_apart(tmp_path: Path) -> None:
    outcome = FORGED.run(subject(edges(5), tmp_path / "forged"))
    found = outcome.leads[0]
    assert found.where is not None
    assert (found.where.site, found.where.units) == ("3", (5,))
    assert "one picture" in found.claim
    assert FORGED.run(subject(edges(), tmp_path / "clean")).leads == ()


def test_clean_networks_raise_no_alarm(tmp_path: Path) -> None:
    for seed, norm in ((0, True), (1, False)):
        given = subject(normalised(seed, UNIT, norm=norm), tmp_path / str(seed))
        for check in (CHECK, FORGED):
            outcome = check.run(given)
            assert (outcome.findings, outcome.leads) == ((), ()), outcome.record.why
        assert CHECK.run(given).record.scores["planted-unit"] < 1.0


def test_a_planted_unit_is_found_with_its_patch(tmp_path: Path) -> None:
    given = subject(backdoored(), tmp_path)
    outcome = CHECK.run(given)
    (finding,) = outcome.findings
    assert finding.where is not None
    assert (finding.where.site, finding.where.units, finding.target) == ("3", (5,), "3")
    assert finding.causal is not None
    assert finding.causal.after.value <= 0.5 * finding.causal.before.value
    assert finding.trigger is not None
    assert finding.trigger.generator is not None
    assert given.run.has(finding.trigger.generator)
    assert outcome.record.scores["planted-unit"] > 3.0


def test_too_little_data_is_inconclusive(tmp_path: Path) -> None:
    for check in (CHECK, FORGED):
        outcome = check.run(subject(backdoored(), tmp_path / check.name, n=15))
        assert not outcome.record.conclusive
        assert outcome.findings == ()


def test_a_budget_that_buys_no_unit_is_the_reason(tmp_path: Path) -> None:
    given = subject(normalised(0, UNIT), tmp_path)
    for check, name in ((CHECK, "planted-unit"), (FORGED, "forged-visualization")):
        for bought, said in ((0, "none of"), (2, "2 of")):
            record = check.run(replace(given, budget=Budget(600, recorded={f"{name}/units": bought}))).record
            assert record.why.startswith(f"The budget bought {said}")
            assert (record.examined, record.conclusive, record.target_effect is None) == (0, False, False)


def test_one_hidden_layer_is_skipped(tmp_path: Path) -> None:
    for check in (CHECK, FORGED):
        assert check.run(subject(dense(0), tmp_path / check.name)).record.status == "skipped"


# -- their parts


def test_units_pass_before_the_nonlinearity(tmp_path: Path) -> None:
    given = subject(normalised(0, UNIT), tmp_path)
    assert preactivations(given.network) == ["1", "4"]
    pixels = pictures(given, list(range(5)))
    module = given.network.module
    with torch.no_grad():
        slow = module[:5](pixels).flatten(2).amax(2).numpy()  # type: ignore[index]
    assert np.allclose(peaks_on(given.network, "4", pixels), slow, atol=1e-5)


def test_maximising_raises_the_unit_within_the_mask(tmp_path: Path) -> None:
    given = subject(normalised(0, UNIT), tmp_path)
    pixels = pictures(given, [0, 1])
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, :6] = 1
    x = maximised(given.network, "4", [3, 4], pixels, steps=8, rate=0.2, mask=mask)
    before, after = (peaks_on(given.network, "4", one) for one in (pixels, x))
    assert after[0, 3] >= before[0, 3]
    assert after[1, 4] >= before[1, 4]
    assert torch.equal(x[:, :, 6:], pixels[:, :, 6:])
    assert ((x >= 0) & (x <= 1)).all()


def test_a_cap_holds_one_unit_of_each_example(tmp_path: Path) -> None:
    site = subject(normalised(0, UNIT), tmp_path).network.site("4")
    tensor = torch.arange(2 * 3 * 4.0).reshape(2, 3, 2, 2)
    out = Cap(torch.tensor([1, 2]), torch.tensor([5.0, 100.0]))(tensor, site)
    assert out[0, 1].max() == 5
    assert torch.equal(out[0, [0, 2]], tensor[0, [0, 2]])
    assert torch.equal(out[1], tensor[1])


def test_a_unit_counts_if_it_is_quiet_reaches_far_and_commands() -> None:
    assert Unit("x", 0, 0, 0.0, 2.0, 0.0, 5.0).score == 5
    assert Unit("x", 0, 0, 1.0, 2.0, 0.0, 5.0).score < 0.2
    assert Unit("x", 0, 0, 0.0, 0.1, 0.0, 5.0).score == 0.5
    assert Unit("x", 0, 0, 0.0, -1.0, 0.0, 5.0).score == 0


def test_of_units_that_command_alike_the_earliest_is_the_one() -> None:
    late, early = Unit("b", 1, 0, 0.1, 1.0, 0.0, 5.0), Unit("a", 2, 0, 0.1, 1.0, 0.0, 3.0)
    faint = Unit("a", 3, 0, 0.1, 0.1, 0.0, 1.0)
    assert earliest([late, early, faint]) == early  # scanned from the last layer
    assert earliest([late, faint]) == late


def test_a_unit_of_another_path_stands_apart() -> None:
    rng = np.random.default_rng(0)
    natural = rng.standard_normal((40, 30))
    synthetic = natural + 0.5 * rng.standard_normal((40, 30))
    synthetic[7] = -natural[7]
    paths = Paths("x", rng.normal(0.2, 0.02, 40), cosine(natural, synthetic), natural, synthetic)
    scores = apart(paths)
    unit, score, why = max(scores, key=lambda one: one[1])
    assert (unit, score > LEAD) == (7, True)
    assert "layer before" in why
    steady = Paths("x", np.where(np.arange(40) == 3, 0.95, 0.2))
    assert max(apart(steady), key=lambda one: one[1])[0] == 3
    assert smallest_share([paths]) is not None
