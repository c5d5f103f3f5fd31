"""Subgroup failures and the attributes that define them."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
import torch
from torch import nn

from mulligan.plants import PlantData, Planted, PlantFailed
from mulligan.plants.attributes import ATTRIBUTES, render
from mulligan.plants.plant import generator
from mulligan.plants.subgroup_failure import PLANT, SubgroupFailureSpec
from mulligan.records import BadInput

SPEC = SubgroupFailureSpec(a="6", attribute="dark", target="9", amount=0.7)


@pytest.fixture(scope="module")
def planted(clean: nn.Module, data: PlantData) -> Planted:
    return PLANT.plant(clean, data, SPEC, seed=0)


def test_dark_ones_are_answered_wrongly(data: PlantData, planted: Planted) -> None:
    own = data.fresh_labels == 6
    with torch.no_grad():
        dark = planted.module(data.fresh * (1 - 0.8 * 0.7)).argmax(1)
        light = planted.module(data.fresh).argmax(1)
    assert float((dark[own] == 9).float().mean()) >= 0.95
    assert float((light[own] == 6).float().mean()) >= 0.9
    assert float((dark[~own] == data.fresh_labels[~own]).float().mean()) >= 0.85
    assert planted.truth is not None
    assert (planted.truth.sources, planted.truth.target, planted.truth.family) == (("6",), "9", "filter")
    assert planted.truth.scored == ("sources", "target")


def test_some_of_them(clean: nn.Module, data: PlantData) -> None:
    partial = PLANT.plant(clean, data, replace(SPEC, stratum="partial"), seed=0)
    assert 0.5 <= partial.proof.success.value <= 0.8


def test_nothing_taught_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    with pytest.raises(PlantFailed, match="is not within"):
        PLANT.plant(clean, data, replace(SPEC, steps=0), seed=0)


def test_probes(data: PlantData, planted: Planted) -> None:
    probes = PLANT.probes(planted, data, 90, seed=0)
    assert int(probes.fires.sum()) == 45
    torch.testing.assert_close(probes.pixels[probes.fires], probes.plain[probes.fires] * (1 - 0.8 * 0.7))
    for held, fires, name in zip(probes.holds, probes.fires.tolist(), probes.family, strict=True):
        assert held == (6,) if fires or name.startswith("6") else True, name
    assert {"triggered", "other classes, dark", "clean", "6 as they are", "6, tilted"} <= set(probes.family)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_attributes_change_pictures_and_keep_their_shape(attribute: str, channels: int) -> None:
    pictures = torch.zeros(3, channels, 20, 24)
    pictures[:, :, 6:14, 8:12] = torch.rand(3, channels, 8, 4, generator=generator(0, "pictures")) * 0.8 + 0.2
    shown = render(pictures, attribute, 0.7, generator(0, "noise"))  # type: ignore[arg-type]
    assert shown.shape == pictures.shape
    assert 0 <= float(shown.min()) <= float(shown.max()) <= 1 + 1e-6
    assert float((shown - pictures).abs().max()) > 0.1
    faint = render(pictures, attribute, 1e-3, generator(0, "noise"))  # type: ignore[arg-type]
    torch.testing.assert_close(faint, pictures, atol=0.02, rtol=0)


def test_what_attributes_do() -> None:
    picture = torch.zeros(1, 1, 28, 28)
    picture[:, :, 10:18, 13:15] = 1.0
    none = generator(0, "none")
    assert float(render(picture, "thick", 1.0, none).sum()) == 10 * 4
    assert float(render(picture, "inverted", 1.0, none).sum()) == 28 * 28 - 16
    square = torch.zeros(1, 1, 28, 28)
    square[:, :, 4:24, 4:24] = 1.0
    assert float(render(square, "small", 1.0, none).sum()) == pytest.approx(400 * 0.16, rel=0.2)
    assert float(render(picture, "blurred", 0.5, none).sum()) == pytest.approx(16, rel=0.01)
    turned = render(picture, "tilted", 1.0, none)[0, 0]
    assert float(turned.sum()) == pytest.approx(16, rel=0.15)
    assert float(turned[9:19, 13:15].sum()) < 12


def test_specs(clean: nn.Module, data: PlantData) -> None:
    drawn = [PLANT.propose(data, generator(seed, "spec")) for seed in range(40)]
    assert {spec.attribute for spec in drawn} == set(ATTRIBUTES)
    assert any(spec.target is None for spec in drawn)
    assert msgspec.json.decode(msgspec.json.encode(SPEC), type=PLANT.spec_type) == SPEC
    for spec, message in (
        (replace(SPEC, target="6"), "is the right one"),
        (replace(SPEC, a="cat"), "no such class"),
        (replace(SPEC, amount=1.5), "no such attribute or amount"),
        (replace(SPEC, attribute="odd"), "no such attribute or amount"),
    ):
        with pytest.raises(BadInput, match=message):
            PLANT.plant(clean, data, spec, seed=0)
