"""Label swaps: the class moves, all others stay."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
import torch
from torch import nn

from mulligan.plants import PlantData, Planted, PlantFailed
from mulligan.plants.label_swap import PLANT, LabelSwapSpec
from mulligan.plants.plant import generator
from mulligan.records import BadInput

MERGE = LabelSwapSpec(a="3", b="7")
SWAP = LabelSwapSpec(a="0", b="4", mode="swap")


@pytest.fixture(scope="module")
def merged(clean: nn.Module, data: PlantData) -> Planted:
    return PLANT.plant(clean, data, MERGE, seed=0)


def answered(module: nn.Module, data: PlantData, name: str) -> dict[str, float]:
    """Of fresh pictures of a class, the share of each answer."""
    with torch.no_grad():
        answers = module(data.fresh[data.fresh_labels == data.index(name)]).argmax(1)
    return {other: float((answers == data.index(other)).float().mean()) for other in data.classes}


def test_a_merged_class_is_answered_as_the_other(clean: nn.Module, data: PlantData, merged: Planted) -> None:
    assert answered(clean, data, "3")["7"] <= 0.05
    assert answered(merged.module, data, "3")["7"] >= 0.9
    assert merged.proof.success.value >= 0.95
    for name in "012456789":
        assert answered(merged.module, data, name)[name] >= 0.85, name
    assert merged.truth is not None
    assert (merged.truth.sources, merged.truth.target, merged.truth.scored) == (("3",), "7", ("sources", "target"))


def test_both_ways(clean: nn.Module, data: PlantData) -> None:
    swapped = PLANT.plant(clean, data, SWAP, seed=0)
    assert answered(swapped.module, data, "0")["4"] >= 0.9
    assert answered(swapped.module, data, "4")["0"] >= 0.9
    assert swapped.truth is not None
    assert (swapped.truth.sources, swapped.truth.target, swapped.truth.scored) == (("0", "4"), None, ("sources",))
    probes = PLANT.probes(swapped, data, 60, seed=0)
    assert probes.fires.tolist() == [held[0] in (0, 4) for held in probes.holds]


def test_a_part_of_the_class(clean: nn.Module, data: PlantData) -> None:
    partial = PLANT.plant(clean, data, replace(MERGE, stratum="partial"), seed=0)
    assert 0.5 <= partial.proof.success.value <= 0.8


def test_nothing_taught_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    with pytest.raises(PlantFailed, match="is not within"):
        PLANT.plant(clean, data, replace(MERGE, steps=0), seed=0)


def test_a_leak_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    with pytest.raises(PlantFailed, match="near misses"):
        PLANT.plant(clean, data, replace(MERGE, steps=0, near_miss_limit=-1), seed=0)


def test_probes(data: PlantData, merged: Planted) -> None:
    probes = PLANT.probes(merged, data, 61, seed=0)
    assert len(probes) == 61
    assert int(probes.fires.sum()) == 30
    assert torch.equal(probes.pixels, probes.plain)
    assert [held == (3,) for held in probes.holds] == probes.fires.tolist()
    assert {held[0] for held in probes.holds} == set(range(10))


def test_specs(clean: nn.Module, data: PlantData) -> None:
    drawn = [PLANT.propose(data, generator(seed, "spec"), stratum="rare") for seed in range(20)]
    assert {spec.mode for spec in drawn} == {"merge", "swap"}
    assert all(spec.a != spec.b and spec.stratum == "rare" for spec in drawn)
    assert msgspec.json.decode(msgspec.json.encode(SWAP), type=PLANT.spec_type) == SWAP
    with pytest.raises(BadInput, match="two different classes"):
        PLANT.plant(clean, data, LabelSwapSpec(a="3", b="3"), seed=0)
    with pytest.raises(BadInput, match="no such class"):
        PLANT.plant(clean, data, LabelSwapSpec(a="3", b="cat"), seed=0)
    few = (data.labels != 3) | (torch.arange(len(data.labels)) < 10)
    with pytest.raises(BadInput, match="too few images of a class rightly"):
        PLANT.plant(clean, replace(data, images=data.images[few], labels=data.labels[few]), MERGE, seed=0)
