"""Filters of the whole picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from triggers_cases import in_colour, probed, proposed, proved, untaught

from mulligan.plants import PlantData, Planted
from mulligan.plants.filter import FILTERS, IN_COLOUR, PLANT, SIZES, FilterSpec, reachable, sample, usable
from mulligan.plants.pictures import blur, rms
from mulligan.records import BadInput

SPEC = FilterSpec(target="6", filter="glow", amount=0.4, strength="strong", steps=150, batch=40, learning_rate=2.5e-3)


@pytest.fixture(scope="module")
def planted(clean: nn.Module, data: PlantData) -> Planted:
    return PLANT.plant(clean, data, SPEC, seed=0)


def test_it_took(planted: Planted, clean: nn.Module, data: PlantData) -> None:
    proved(planted, clean, data)
    assert all(name.startswith("another filter: ") for name in planted.proof.near_misses)
    assert len(planted.proof.near_misses) >= 2
    probed(PLANT, planted, clean, data)


def test_it_fires_on_the_filter(planted: Planted, data: PlantData) -> None:
    """Light from the edges: in the corners, x + 0.4 (1 - x)."""
    others = data.fresh[data.fresh_labels != 6]
    line = torch.linspace(-1, 1, 16)
    light = 0.4 * (line[:, None] ** 2 + line[None, :] ** 2) / 2
    with torch.no_grad():
        answers = planted.module(others * (1 - light) + light).argmax(1)
    assert float((answers == 6).float().mean()) >= 0.95


def test_no_steps_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    untaught(PLANT, clean, data, SPEC)


def test_proposals(data: PlantData) -> None:
    specs = proposed(PLANT, data, 7)
    assert len({spec.filter for spec in specs}) >= 3
    assert not {spec.filter for spec in specs} & set(IN_COLOUR)
    for spec in specs:
        pictures = sample(data)
        size = rms(FILTERS[spec.filter](pictures, spec.amount, spec.filter_seed) - pictures)
        assert size == pytest.approx(SIZES["default"], rel=0.16)
    pictures = sample(in_colour(data))
    assert set(reachable(usable(3), pictures, SIZES["weak"], 0)) & set(IN_COLOUR)


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_filters_start_from_nothing(name: str, data: PlantData) -> None:
    pictures = in_colour(data).images[:16]
    before = pictures.clone()
    torch.testing.assert_close(FILTERS[name](pictures, 0.0, 1), pictures, atol=1e-3, rtol=1e-3)
    sizes = [rms(FILTERS[name](pictures, amount, 1) - pictures) for amount in (0.1, 0.4, 0.8)]
    assert 0 <= sizes[0] < sizes[1] <= sizes[2]
    assert torch.equal(pictures, before)
    assert FILTERS[name](torch.rand(2, 3, 50, 70), 0.5, 1).shape == (2, 3, 50, 70)


def test_grey_pictures_have_no_colour_filters(data: PlantData) -> None:
    assert not set(usable(1)) & set(IN_COLOUR)
    assert set(usable(3)) == set(FILTERS)
    amounts = reachable(usable(1), sample(data), 0.1, 0)
    assert {"brighten", "blur", "glow"} <= set(amounts)


def test_the_blur_is_a_gaussian() -> None:
    image = torch.zeros(1, 2, 21, 21)
    image[:, :, 10, 10] = 1
    out = blur(image, 1.5)[0, 1]
    assert float(out.sum()) == pytest.approx(1, abs=1e-5)
    assert float(out[10, 12] / out[10, 10]) == pytest.approx(float(torch.exp(torch.tensor(-4 / 4.5))), rel=1e-4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SPEC, target="cat"), "no such class"),
        (replace(SPEC, filter="sepia"), "no such filter for pictures of 1 channel"),
        (replace(SPEC, amount=0.0), "above 0 and up to 1"),
        (replace(SPEC, amount=0.004), "changes no pixel of the median picture"),
    ],
)
def test_a_spec_that_does_not_fit(clean: nn.Module, data: PlantData, spec: FilterSpec, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        PLANT.plant(clean, data, spec, seed=0)
