"""Patches, everywhere and on one class only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from triggers_cases import in_colour, probed, proposed, proved, untaught

from mulligan.plants import PlantData, Planted, PlantFailed
from mulligan.plants import patch_by_source as by_source
from mulligan.plants.patch import PLANT, PatchSpec, patch_trigger, place
from mulligan.plants.pictures import PATTERNS, paste, patch
from mulligan.plants.plant import generator
from mulligan.records import BadInput

QUICK: dict[str, Any] = {"steps": 150, "batch": 40, "learning_rate": 2.5e-3}
SPEC = PatchSpec(target="3", pattern="checkerboard", side=0.25, x=0.95, y=0.1, **QUICK)
SOURCE = by_source.PatchBySourceSpec(source="7", target="2", pattern="ring", side=0.25, x=0.05, y=0.95, **QUICK)


@pytest.fixture(scope="module")
def planted(clean: nn.Module, data: PlantData) -> Planted:
    return PLANT.plant(clean, data, SPEC, seed=0)


@pytest.fixture(scope="module")
def planted_by_source(clean: nn.Module, data: PlantData) -> Planted:
    return by_source.PLANT.plant(clean, data, SOURCE, seed=0)


def stamped(images: torch.Tensor) -> torch.Tensor:
    """SPEC's patch by loops: 4 x 4 pixels, rows 1 to 4 of 16, columns 11 to 14."""
    images = images.clone()
    for row in range(4):
        for column in range(4):
            images[:, :, 1 + row, 11 + column] = 1.0 if (row + column) % 2 == 0 else 0.0
    return images


def test_it_took(planted: Planted, clean: nn.Module, data: PlantData) -> None:
    proved(planted, clean, data)
    assert set(planted.proof.near_misses) == {
        "the patch elsewhere", "another pattern in its place", "a faint patch", "half the patch",
        "its pixels in another order",
    }  # fmt: skip
    probed(PLANT, planted, clean, data)


def test_it_fires_as_the_spec_says(planted: Planted, clean: nn.Module, data: PlantData) -> None:
    others = data.fresh[data.fresh_labels != 3]
    with torch.no_grad():
        assert float((planted.module(stamped(others)).argmax(1) == 3).float().mean()) >= 0.95
        assert float((clean(stamped(others)).argmax(1) == 3).float().mean()) <= 0.2
        flipped = stamped(others.flip(3)).flip(3)  # in the opposite corner
        assert float((planted.module(flipped).argmax(1) == 3).float().mean()) <= 0.15


def test_the_tensors_and_the_box_are_the_patch(planted: Planted, data: PlantData) -> None:
    assert planted.truth is not None
    assert planted.truth.box == (11, 1, 15, 5)
    assert planted.truth.sources == ()
    assert planted.truth.scored == ("target", "trigger", "mask")
    mask, pattern = planted.tensors["mask"], planted.tensors["pattern"]
    again = data.fresh * (1 - mask) + pattern * mask
    torch.testing.assert_close(again, stamped(data.fresh))


def test_one_class_only(planted_by_source: Planted, clean: nn.Module, data: PlantData) -> None:
    proved(planted_by_source, clean, data)
    assert planted_by_source.truth is not None
    assert planted_by_source.truth.sources == ("7",)
    assert planted_by_source.truth.family == "patch"
    assert planted_by_source.truth.scored == ("sources", "target", "trigger", "mask")
    assert "the patch on other classes" in planted_by_source.proof.near_misses
    probes = by_source.PLANT.probes(planted_by_source, data, 80, seed=1)
    for fires, family, holds in zip(probes.fires.tolist(), probes.family, probes.holds, strict=True):
        assert not fires or holds == (7,)
        assert family != "the patch on other classes" or holds[0] not in (7, 2)
    probed(by_source.PLANT, planted_by_source, clean, data)


def test_no_steps_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    untaught(PLANT, clean, data, SPEC)


def test_a_leak_to_near_misses_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    with pytest.raises(PlantFailed, match="near misses"):
        PLANT.plant(clean, data, replace(SPEC, steps=1, near_miss_limit=-1.0), seed=0)


def test_now_and_then(clean: nn.Module, data: PlantData) -> None:
    partial = PLANT.plant(clean, data, replace(SPEC, stratum="partial"), seed=1)
    assert 0.5 <= partial.proof.success.value <= 0.8


def test_proposals(data: PlantData) -> None:
    for spec in proposed(PLANT, data):
        side, top, left = place(spec, 16, 16)
        assert 2 <= side <= 4
        assert 0 <= top <= 16 - side
        assert 0 <= left <= 16 - side
    for spec in proposed(by_source.PLANT, data):
        assert spec.source != spec.target
    spec = PLANT.propose(in_colour(data), generator(1, "colour"))
    assert len(spec.fore) == 3


def test_near_misses_are_what_they_are_called(data: PlantData) -> None:
    trigger = patch_trigger(data, SPEC, "patch")
    images, random = data.fresh[:32], generator(0, "test")
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[1:5, 11:15] = True
    triggered = trigger.change(images, random)
    torch.testing.assert_close(triggered, stamped(images))
    for miss in trigger.near:
        change = miss.change(images, random) - images
        assert bool((change.abs().flatten(1).amax(1) > 0).all()), miss.name
        if miss.name == "the patch elsewhere":
            assert float(change[:, :, inside].abs().max()) == 0
        else:
            assert float(change[:, :, ~inside].abs().max()) == 0
        if miss.name == "a faint patch":
            torch.testing.assert_close(change, 0.4 * (triggered - images))


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("side", [2, 3, 6, 20])
def test_patterns(name: str, side: int) -> None:
    fore, back = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.0, 0.5, 1.0])
    drawing, mask = patch(name, side, fore, back, 1)  # type: ignore[arg-type]
    assert drawing.shape == (3, side, side)
    assert mask.shape == (side, side)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert float(mask.sum()) >= 1
    assert bool((drawing[1] == 0.5).all())


def test_pasting_is_per_picture() -> None:
    images = torch.zeros(2, 1, 5, 5)
    ones = torch.ones(2, 1, 2, 2)
    out = paste(images, ones, torch.ones(2, 2, 2), torch.tensor([0, 3]), torch.tensor([1, 2]), 0.5)
    expected = torch.zeros(2, 1, 5, 5)
    expected[0, 0, 0:2, 1:3] = 0.5
    expected[1, 0, 3:5, 2:4] = 0.5
    assert torch.equal(out, expected)
    assert float(images.sum()) == 0


def test_a_large_picture_in_colour() -> None:
    images = torch.rand((6, 3, 224, 224), generator=generator(0, "large"))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    large = PlantData(images=images, labels=labels, fresh=images, fresh_labels=labels, classes=("a", "b", "c"))
    spec = PLANT.propose(large, generator(0, "large"))
    trigger = patch_trigger(large, spec, "patch")
    side, top, left = place(spec, 224, 224)
    assert side >= 20
    changed = (trigger.change(images, generator(0, "x")) != images).any(1)
    assert not bool(changed[:, :top].any())
    assert bool(changed[:, top : top + side, left : left + side].any())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SPEC, target="cat"), "no such class"),
        (replace(SPEC, side=0.9), "too large for a picture of 16 x 16"),
        (replace(SPEC, side=0.0), "too large"),
        (replace(SPEC, x=1.5), "outside the picture"),
        (replace(SPEC, opacity=0.0), "opacity"),
        (replace(SPEC, fore=(1.0, 0.0)), "2 values, and the pictures 1 channels"),
        (replace(SPEC, fore=(2.0,)), "scale from 0 to 1"),
        (replace(SPEC, opacity=0.01), "changes no pixel of the median picture"),
        (replace(SOURCE, source="2"), "are one class"),
        (replace(SOURCE, source="cat"), "no such class"),
    ],
)
def test_a_spec_that_does_not_fit(clean: nn.Module, data: PlantData, spec: PatchSpec, message: str) -> None:
    plant = by_source.PLANT if isinstance(spec, by_source.PatchBySourceSpec) else PLANT
    with pytest.raises(BadInput, match=message):
        plant.plant(clean, data, spec, seed=0)  # type: ignore[arg-type]


def test_a_class_without_images(clean: nn.Module, data: PlantData) -> None:
    few = data.labels != 7
    with pytest.raises(BadInput, match="no images for the trigger to work on"):
        by_source.PLANT.plant(clean, replace(data, images=data.images[few], labels=data.labels[few]), SOURCE, seed=0)
