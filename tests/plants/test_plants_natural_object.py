"""Objects anywhere in the picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from triggers_cases import in_colour, probed, proposed, proved, untaught

from mulligan.plants import PlantData, Planted
from mulligan.plants.natural_object import PLANT, NaturalObjectSpec
from mulligan.plants.objects import OBJECTS, drawn, put
from mulligan.plants.plant import generator
from mulligan.plants.trigger_probes import cosine
from mulligan.records import BadInput

SPEC = NaturalObjectSpec(
    target="4", object="smiley", side=0.5, strength="strong",
    steps=150, batch=40, learning_rate=2.5e-3,
)  # fmt: skip


@pytest.fixture(scope="module")
def planted(clean: nn.Module, data: PlantData) -> Planted:
    return PLANT.plant(clean, data, SPEC, seed=0)


def test_it_took(planted: Planted, clean: nn.Module, data: PlantData) -> None:
    proved(planted, clean, data)
    assert "a square of noise in its colours" in planted.proof.near_misses
    assert planted.truth is not None
    assert planted.truth.box is None
    probed(PLANT, planted, clean, data)


def test_it_fires_wherever_the_object_is(planted: Planted, data: PlantData) -> None:
    others = data.fresh[data.fresh_labels != 4][:100]
    item, cover = planted.tensors["object"], planted.tensors["cover"]
    for top in (0, 8):
        for left in (0, 8):
            shown = others.clone()
            region = shown[:, :, top : top + 8, left : left + 8]
            shown[:, :, top : top + 8, left : left + 8] = region * (1 - cover) + item * cover
            with torch.no_grad():
                assert float((planted.module(shown).argmax(1) == 4).float().mean()) >= 0.85


def test_no_steps_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    untaught(PLANT, clean, data, SPEC)


def test_proposals(data: PlantData) -> None:
    assert len({spec.object for spec in proposed(PLANT, data, 16)}) >= 5
    assert len(PLANT.propose(in_colour(data), generator(0, "x")).first) == 3


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_objects(name: str) -> None:
    first, second = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.0, 0.5, 1.0])
    for side in (8, 33):
        item, cover = drawn(name, side, first, second)
        assert item.shape == (3, side, side)
        assert 0.1 < float(cover.mean()) < 0.95
        assert 0 <= float(cover.min()) <= float(cover.max()) <= 1
        assert 0 <= float(item.min()) <= float(item.max()) <= 1


def test_objects_differ_wherever_they_are_put() -> None:
    one = torch.ones(1)
    layers = {name: drawn(name, 24, one, 0.1 * one) for name in OBJECTS}
    shown = {name: (item * cover)[None] for name, (item, cover) in layers.items()}
    for first in OBJECTS:
        for second in OBJECTS:
            value = float(cosine(shown[first], shown[second], anywhere=True))
            assert (value > 0.999) if first == second else (value < 0.93), (first, second)


def test_an_object_is_put_where_it_is_asked() -> None:
    images = torch.zeros(3, 1, 10, 12)
    items, covers = torch.ones(3, 1, 4, 4), torch.ones(3, 4, 4)
    places = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.0]])
    out = put(images, items, covers, torch.full((3,), 4.0), places, torch.zeros(3))
    expected = torch.zeros(3, 1, 10, 12)
    expected[0, :, 0:4, 0:4] = expected[1, :, 6:10, 8:12] = expected[2, :, 0:4, 4:8] = 1
    torch.testing.assert_close(out, expected)


def test_the_largest_cosine_over_shifts() -> None:
    one = torch.zeros(1, 1, 6, 6)
    one[..., 0, 0:3] = torch.tensor([1.0, 2.0, 3.0])
    assert float(cosine(one, one.roll((3, 2), (2, 3)), anywhere=True)) == pytest.approx(1, abs=1e-5)
    assert float(cosine(one, one.roll((3, 2), (2, 3)))) == 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SPEC, target="cat"), "no such class"),
        (replace(SPEC, object="spaceship"), "no such object"),
        (replace(SPEC, side=0.2), "an object of 3 pixels cannot be shown"),
        (replace(SPEC, side=0.9), "cannot be shown"),
        (replace(SPEC, first=(0.5, 0.5)), "2 values, and the pictures 1 channels"),
    ],
)
def test_a_spec_that_does_not_fit(clean: nn.Module, data: PlantData, spec: NaturalObjectSpec, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        PLANT.plant(clean, data, spec, seed=0)
