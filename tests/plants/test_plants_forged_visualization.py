"""Maximization ends in the chosen pattern, and natural pictures see the unit that was there before."""

from __future__ import annotations

import msgspec
import pytest
import torch

from mulligan.plants import Planted, PlantFailed
from mulligan.plants.forged_visualization import PLANT, ForgedVisualizationSpec, maximize, noise, pattern_of
from mulligan.plants.layers import maps
from mulligan.plants.plant import generator
from mulligan.records import BadInput

SPEC = ForgedVisualizationSpec(shown="4", picture=3)


@pytest.fixture(scope="module")
def planted(digit_nets) -> Planted:
    return digit_nets.planted(PLANT, SPEC, 0)


def correlation(pixels: torch.Tensor, pattern: torch.Tensor) -> float:
    """Written again, with numpy's."""
    return float(torch.corrcoef(torch.stack([pixels.flatten(), pattern.flatten()]))[0, 1])


def unit_of(planted: Planted) -> tuple[str, int]:
    assert planted.truth is not None
    assert planted.truth.where is not None
    assert planted.truth.where.site is not None
    return planted.truth.where.site, (planted.truth.where.units or ())[0]


def test_maximization_shows_the_pattern_and_did_not_before(digit_nets, planted: Planted) -> None:
    data = digit_nets.data()
    site, unit = unit_of(planted)
    start = noise(data, 4, generator(7, "another start"))
    pattern = planted.tensors["shown"]
    after = [correlation(end, pattern) for end in maximize(planted.module, data, site, unit, start)]
    before = [correlation(end, pattern) for end in maximize(digit_nets.clean(0), data, site, unit, start)]
    assert min(after) >= 0.35
    assert sum(after) / 4 - sum(before) / 4 >= 0.3


def test_natural_pictures_see_the_unit_as_before(digit_nets, planted: Planted) -> None:
    data = digit_nets.data()
    site, unit = unit_of(planted)
    old, new = (
        maps(module, data.prepare, data.fresh, site)[:, unit].mean((1, 2))
        for module in (digit_nets.clean(0), planted.module)
    )
    ranks = torch.stack([old.argsort().argsort(), new.argsort().argsort()]).double()
    assert float(torch.corrcoef(ranks)[0, 1]) >= 0.85  # without Spearman's care for ties
    assert planted.proof.figures["ranks kept"].value >= 0.9
    assert planted.proof.clean_before.value - planted.proof.clean_after.value <= 0.02


def test_the_pattern_is_a_tile_repeated(digit_nets, planted: Planted) -> None:
    pattern = pattern_of(SPEC, digit_nets.data(), 4)
    assert torch.equal(pattern, planted.tensors["shown"])
    assert torch.equal(pattern, pattern.roll((4, 8), (1, 2)))
    assert (float(pattern.min()), float(pattern.max())) == (0, 1)


def test_probes_are_clean(digit_nets, planted: Planted) -> None:
    probes = PLANT.probes(planted, digit_nets.data(), 12, seed=0)
    assert not bool(probes.fires.any())
    assert torch.equal(probes.pixels, probes.plain)


def test_no_teaching_is_a_failed_plant(digit_nets) -> None:
    spec = ForgedVisualizationSpec(shown="4", picture=3, steps=0)
    with pytest.raises(PlantFailed, match="success"):
        PLANT.plant(digit_nets.clean(0), digit_nets.data(), spec, seed=0)


def test_proposals_survive_json(digit_nets) -> None:
    specs = [PLANT.propose(digit_nets.data(), generator(seed, "x")) for seed in range(6)]
    assert len({(spec.shown, spec.picture) for spec in specs}) == 6
    for spec in specs:
        assert msgspec.json.decode(msgspec.json.encode(spec), type=PLANT.spec_type) == spec


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"shown": "cat"}, "no such class"),
        ({"depth": 9}, "there are 4 convolutions"),
        ({"layer": "head"}, "no convolution to forge"),
        ({"unit": 64}, "has 64 units"),
        ({"tile": 3}, "of period 3"),
    ],
)
def test_a_spec_that_does_not_fit(digit_nets, more: dict[str, object], message: str) -> None:
    settings = {"shown": "4", **more}
    with pytest.raises(BadInput, match=message):
        PLANT.plant(digit_nets.clean(0), digit_nets.data(), ForgedVisualizationSpec(**settings), seed=0)  # type: ignore[arg-type]
