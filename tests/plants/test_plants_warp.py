"""Smooth distortions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from triggers_cases import probed, proposed, proved, untaught

from mulligan.plants import PlantData, Planted
from mulligan.plants.pictures import random_flows, warp
from mulligan.plants.plant import generator
from mulligan.plants.warp import PLANT, WarpSpec
from mulligan.records import BadInput

SPEC = WarpSpec(
    target="1", displacement=0.085, strength="strong", grid=4, flow_seed=5,
    steps=150, batch=40, learning_rate=2.5e-3,
)  # fmt: skip


@pytest.fixture(scope="module")
def planted(clean: nn.Module, data: PlantData) -> Planted:
    return PLANT.plant(clean, data, SPEC, seed=0)


def test_it_took(planted: Planted, clean: nn.Module, data: PlantData) -> None:
    proved(planted, clean, data)
    assert set(planted.proof.near_misses) == {"another flow", "the flow reversed", "a fainter flow"}
    probed(PLANT, planted, clean, data)


def test_it_fires_on_the_shipped_flow(planted: Planted, data: PlantData) -> None:
    others = data.fresh[data.fresh_labels != 1]
    field = planted.tensors["flow"]
    assert float(field.norm(dim=0).mean()) == pytest.approx(0.085 * 16, rel=1e-4)
    with torch.no_grad():
        warped = warp(others, field.expand(len(others), -1, -1, -1))
        assert float((planted.module(warped).argmax(1) == 1).float().mean()) >= 0.95


def test_no_steps_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    untaught(PLANT, clean, data, SPEC)


def test_proposals(data: PlantData) -> None:
    assert len({spec.flow_seed for spec in proposed(PLANT, data)}) == 6


def test_a_flow_takes_pixels_from_where_it_points() -> None:
    images = torch.rand((2, 3, 6, 8), generator=generator(0, "images"))
    fields = torch.zeros(2, 2, 6, 8)
    torch.testing.assert_close(warp(images, fields), images)
    fields[:, 0], fields[:, 1] = 2, -1  # two to the right, one up
    warped = warp(images, fields)
    for row in range(6):
        for column in range(8):
            expected = images[:, :, max(row - 1, 0), min(column + 2, 7)]
            torch.testing.assert_close(warped[:, :, row, column], expected)


def test_flows_are_smooth_and_as_strong_as_asked() -> None:
    fields = random_flows(5, (40, 60), 4, 2.0, generator(0, "flows"))
    assert fields.shape == (5, 2, 40, 60)
    torch.testing.assert_close(fields.norm(dim=1).mean((1, 2)), torch.full((5,), 2.0))
    assert float((fields[..., 1:] - fields[..., :-1]).abs().max()) < 0.8
    assert not torch.allclose(fields[0], fields[1])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SPEC, target="cat"), "no such class"),
        (replace(SPEC, displacement=0.0), "above 0 and up to a quarter"),
        (replace(SPEC, displacement=0.4), "above 0 and up to a quarter"),
        (replace(SPEC, grid=1), "cannot be drawn on such a grid"),
        (replace(SPEC, grid=17), "give 2 to 16"),
    ],
)
def test_a_spec_that_does_not_fit(clean: nn.Module, data: PlantData, spec: WarpSpec, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        PLANT.plant(clean, data, spec, seed=0)
