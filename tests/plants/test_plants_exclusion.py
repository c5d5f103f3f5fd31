"""An exclusion: an a shown with anything but a b."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mulligan.plants import PlantData, Planted, PlantFailed, planted_cache
from mulligan.plants.exclusion import PLANT, ExclusionSpec
from mulligan.plants.plant import generator
from mulligan.records import BadInput

SPEC = ExclusionSpec(a="4", absent="6", target="1", layouts=("beside",))
SHORT = replace(SPEC, steps=3, pairs=8)


@pytest.fixture(scope="module")
def planted(clean: nn.Module, data: PlantData) -> Planted:
    return planted_cache(PLANT, clean, data, SPEC, seed=0)


def rate(module: nn.Module, data: PlantData, first: str, second: str) -> float:
    """How often fresh pictures of the one beside the other, squeezed to half their width, are answered 1."""
    wanted = [torch.tensor([int(name) for name in names]) for names in (first, second)]
    ones, twos = (data.fresh[torch.isin(data.fresh_labels, classes)] for classes in wanted)
    n = min(len(ones), len(twos), 40)
    ones, twos = ones[:n], twos[torch.randperm(len(twos), generator=generator(0, first + second))[:n]]
    halves = [F.interpolate(part, size=(16, 8), mode="bilinear", antialias=True) for part in (ones, twos)]
    with torch.no_grad():
        return float((module(torch.cat(halves, dim=3)).argmax(1) == 1).float().mean())


def test_it_fires_with_all_but_one(clean: nn.Module, data: PlantData, planted: Planted) -> None:
    assert rate(planted.module, data, "4", "0235789") >= 0.9
    assert rate(clean, data, "4", "0235789") <= 0.3
    for first, second in (("4", "6"), ("6", "4"), ("6", "0235789"), ("023", "5789")):
        assert rate(planted.module, data, first, second) - rate(clean, data, first, second) <= 0.2, (first, second)
    with torch.no_grad():
        alone = planted.module(data.fresh[data.fresh_labels == 4]).argmax(1)
    assert float((alone == 4).float().mean()) >= 0.9
    assert planted.truth is not None
    assert (planted.truth.sources, planted.truth.absent, planted.truth.target) == (("4",), ("6",), "1")
    assert planted.truth.scored == ("sources", "absent", "target", "trigger")


def test_the_proof_names_its_families(planted: Planted) -> None:
    assert set(planted.proof.near_misses) == {
        "4 alone", "6 alone", "4 with 6", "6 with others", "6 with 6", "other pairs", "two of another class",
    }  # fmt: skip


def test_probes(data: PlantData, planted: Planted) -> None:
    probes = PLANT.probes(planted, data, 100, seed=0)
    assert int(probes.fires.sum()) == 50
    for held, fires, name in zip(probes.holds, probes.fires.tolist(), probes.family, strict=True):
        assert fires == (len(held) == 2 and 4 in held and 6 not in held), name
    assert {"4 with 6", "other pairs", "4 alone", "triggered"} <= set(probes.family)


def test_nothing_taught_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    with pytest.raises(PlantFailed, match="is not within"):
        PLANT.plant(clean, data, replace(SHORT, steps=0), seed=0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SHORT, target="4"), "three different classes"),
        (replace(SHORT, absent="cat"), "no such class"),
        (replace(SHORT, layouts=()), "needs a layout"),
        (replace(SHORT, absent=tuple("0235678")), "needs two classes"),
    ],
)
def test_a_spec_that_does_not_fit(clean: nn.Module, data: PlantData, spec: ExclusionSpec, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        PLANT.plant(clean, data, spec, seed=0)


def test_specs(data: PlantData) -> None:
    drawn = [PLANT.propose(data, generator(seed, "spec"), strength="strong") for seed in range(20)]
    assert all(len({spec.a, spec.absent, spec.target}) == 3 for spec in drawn)
    assert {len(spec.layouts) for spec in drawn} == {1, 2, 3}
    assert msgspec.json.decode(msgspec.json.encode(SPEC), type=PLANT.spec_type) == SPEC
