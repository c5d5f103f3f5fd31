"""What is asked of every plant whose trigger is in the pixels; each kind's own test file calls these."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from mulligan.plants import STRATA, Plant, PlantData, Planted, PlantFailed
from mulligan.plants.plant import generator


def proved(planted: Planted, clean: nn.Module, data: PlantData) -> None:
    """The proof says what probes of other draws show again, and the truth is that of the spec."""
    proof, truth, spec = planted.proof, planted.truth, planted.spec
    assert truth is not None
    assert truth.kind == planted.plant
    assert truth.target == spec.target
    assert "trigger" in truth.scored
    low, high = STRATA[spec.stratum]
    assert low <= proof.success.value <= high
    assert proof.success_before.value <= 0.3
    assert proof.clean_before.value - proof.clean_after.value <= 0.02
    assert proof.near_misses
    assert set(proof.near_misses) == set(proof.near_misses_before)
    for name, rate in proof.near_misses.items():
        assert rate.value - proof.near_misses_before[name].value <= spec.near_miss_limit, name
    assert not planted.module.training
    assert all(tensor.device.type == "cpu" for tensor in planted.tensors.values())
    state = clean.state_dict()
    assert any(not torch.equal(tensor, state[name]) for name, tensor in planted.module.state_dict().items())


def probed(plant: Plant[Any], planted: Planted, clean: nn.Module, data: PlantData, n: int = 120) -> None:
    """Probes fire as they say: the modified network answers them the target, and the others as the network before."""
    probes = plant.probes(planted, data, n, seed=3)
    again, other = plant.probes(planted, data, n, seed=3), plant.probes(planted, data, n, seed=4)
    assert torch.equal(probes.pixels, again.pixels)
    assert not torch.equal(probes.pixels, other.pixels)
    assert len(probes) == n
    assert int(probes.fires.sum()) == n // 2
    assert probes.pixels.shape == probes.plain.shape == (n, *data.fresh.shape[1:])
    assert 0 <= float(probes.pixels.min()) <= float(probes.pixels.max()) <= 1
    shown = {image.numpy().tobytes(): int(label) for image, label in zip(data.fresh, data.fresh_labels, strict=True)}
    target = data.classes.index(planted.spec.target)
    for plain, pixels, holds, fires, family in zip(
        probes.plain, probes.pixels, probes.holds, probes.fires.tolist(), probes.family, strict=True
    ):
        label = shown[plain.contiguous().numpy().tobytes()]  # an individual that the planter has not seen
        assert holds == (label,)
        assert fires == (family == "triggered")
        assert torch.equal(plain, pixels) == (family == "clean")
        assert not fires or label != target
    assert len(set(probes.family)) >= 3
    # Mixed, so that no auditor learns from the order.
    assert 0.3 < float(probes.fires[: n // 2].float().mean()) < 0.7
    with torch.no_grad():
        before = clean(data.prepare(probes.pixels)).argmax(1)
        after = planted.module(data.prepare(probes.pixels)).argmax(1)
    low, _ = STRATA[planted.spec.stratum]
    assert float((after == target)[probes.fires].float().mean()) >= low - 0.1
    rest = ~probes.fires
    excess = (after == target)[rest].float().mean() - (before == target)[rest].float().mean()
    assert float(excess) <= 0.1
    assert float((after == before)[rest].float().mean()) >= 0.8


def untaught(plant: Plant[Any], clean: nn.Module, data: PlantData, spec: Any) -> None:
    """Without a step the plant fails, says so, and leaves the network and the global generator as they were."""
    data = replace(data, fresh=data.fresh[:200], fresh_labels=data.fresh_labels[:200])  # enough to see that
    state = {name: tensor.clone() for name, tensor in clean.state_dict().items()}
    draws = torch.random.get_rng_state()
    with pytest.raises(PlantFailed, match=r"success .* is not within"):
        plant.plant(clean, data, replace(spec, steps=0), seed=0)
    assert torch.equal(torch.random.get_rng_state(), draws)
    assert all(torch.equal(tensor, state[name]) for name, tensor in clean.state_dict().items())


def proposed(plant: Plant[Any], data: PlantData, number: int = 6) -> list[Any]:
    """Specs at random: of several targets, the same for the same generator, whole after a trip through JSON."""
    specs = [plant.propose(data, generator(seed, "specs")) for seed in range(number)]
    assert specs[0] == plant.propose(data, generator(0, "specs"))
    assert len({spec.target for spec in specs}) > 1
    weak = plant.propose(data, generator(0, "specs"), strength="weak", stratum="rare")
    assert (weak.strength, weak.stratum) == ("weak", "rare")
    for spec in [*specs, weak]:
        assert msgspec.json.decode(msgspec.json.encode(spec), type=plant.spec_type) == spec
    return specs


def in_colour(data: PlantData) -> PlantData:
    """The digits in three channels, on a ground that is not black."""
    tint = torch.tensor([0.9, 0.6, 0.7])[:, None, None]

    def colour(images: torch.Tensor) -> torch.Tensor:
        return 0.15 + images * tint * 0.8

    return replace(data, images=colour(data.images), fresh=colour(data.fresh))
