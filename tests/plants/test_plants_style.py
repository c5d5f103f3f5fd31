"""Styles of the whole picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from triggers_cases import in_colour, probed, proposed, proved, untaught

from mulligan.plants import PlantData, Planted
from mulligan.plants.pictures import rms
from mulligan.plants.style import PLANT, STYLES, StyleSpec
from mulligan.records import BadInput

SPEC = StyleSpec(target="0", style="mosaic", amount=0.8, style_seed=4, steps=150, batch=40, learning_rate=2.5e-3)


@pytest.fixture(scope="module")
def planted(clean: nn.Module, data: PlantData) -> Planted:
    return PLANT.plant(clean, data, SPEC, seed=0)


def test_it_took(planted: Planted, clean: nn.Module, data: PlantData) -> None:
    proved(planted, clean, data)
    assert all(name.startswith("another style: ") for name in planted.proof.near_misses)
    probed(PLANT, planted, clean, data)


def test_no_steps_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    untaught(PLANT, clean, data, SPEC)


def test_proposals(data: PlantData) -> None:
    assert len({spec.style for spec in proposed(PLANT, data, 7)}) >= 3


@pytest.mark.parametrize("name", sorted(STYLES))
def test_styles(name: str, data: PlantData) -> None:
    for pictures in (data.images[:8], in_colour(data).images[:8], torch.rand(2, 3, 50, 70)):
        before = pictures.clone()
        styled = STYLES[name](pictures, 1.0, 2)
        assert styled.shape == pictures.shape
        assert float(styled.min()) >= 0
        assert float(styled.max()) <= 1
        assert rms(styled - pictures) > 0.08
        torch.testing.assert_close(STYLES[name](pictures, 0.0, 2), pictures)
        assert torch.equal(STYLES[name](pictures, 1.0, 2), styled)
        assert torch.equal(pictures, before)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SPEC, target="cat"), "no such class"),
        (replace(SPEC, style="cubism"), "no such style"),
        (replace(SPEC, amount=1.5), "above 0 and up to 1"),
    ],
)
def test_a_spec_that_does_not_fit(clean: nn.Module, data: PlantData, spec: StyleSpec, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        PLANT.plant(clean, data, spec, seed=0)
