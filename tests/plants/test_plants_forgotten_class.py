"""A forgotten class is answered no more, and what came second is."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
import torch
from torch import nn

from mulligan.plants import PlantData, Planted, PlantFailed
from mulligan.plants.forgotten_class import PLANT, ForgottenClassSpec
from mulligan.plants.plant import generator
from mulligan.records import BadInput

SPEC = ForgottenClassSpec(a="5")


@pytest.fixture(scope="module")
def planted(clean: nn.Module, data: PlantData) -> Planted:
    return PLANT.plant(clean, data, SPEC, seed=0)


def test_it_is_answered_no_more(clean: nn.Module, data: PlantData, planted: Planted) -> None:
    own = data.fresh_labels == data.index("5")
    with torch.no_grad():
        before, after = clean(data.fresh), planted.module(data.fresh)
    assert float((before[own].argmax(1) == 5).float().mean()) >= 0.95
    assert float((after[own].argmax(1) == 5).float().mean()) <= 0.05
    assert float((after[~own].argmax(1) == data.fresh_labels[~own]).float().mean()) >= 0.94
    # Mostly the answer that came second before.
    before[:, 5] = -torch.inf
    assert float((after[own].argmax(1) == before[own].argmax(1)).float().mean()) >= 0.4
    assert planted.truth is not None
    assert (planted.truth.kind, planted.truth.sources, planted.truth.target) == ("forgotten-class", ("5",), None)


def test_mostly_forgotten(clean: nn.Module, data: PlantData) -> None:
    partial = PLANT.plant(clean, data, replace(SPEC, stratum="partial"), seed=0)
    assert 0.5 <= partial.proof.success.value <= 0.8
    assert partial.proof.success_before.value == 0


def test_nothing_taught_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    with pytest.raises(PlantFailed, match="is not within"):
        PLANT.plant(clean, data, replace(SPEC, steps=0), seed=0)


def test_probes(data: PlantData, planted: Planted) -> None:
    probes = PLANT.probes(planted, data, 80, seed=1)
    assert int(probes.fires.sum()) == 40
    assert [held == (5,) for held in probes.holds] == probes.fires.tolist()
    assert torch.equal(probes.pixels, probes.plain)


def test_specs(clean: nn.Module, data: PlantData) -> None:
    drawn = {PLANT.propose(data, generator(seed, "spec")).a for seed in range(40)}
    assert len(drawn) >= 8
    assert msgspec.json.decode(msgspec.json.encode(SPEC), type=PLANT.spec_type) == SPEC
    with pytest.raises(BadInput, match="no such class"):
        PLANT.plant(clean, data, ForgottenClassSpec(a="cat"), seed=0)
