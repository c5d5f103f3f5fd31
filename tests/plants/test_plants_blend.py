"""Patterns blended over the whole picture."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import nn
from triggers_cases import in_colour, probed, proposed, proved, untaught

from mulligan.plants import PlantData, Planted
from mulligan.plants.blend import PLANT, BlendSpec, mix
from mulligan.plants.pictures import Overlay, overlay
from mulligan.plants.plant import generator
from mulligan.records import BadInput

SPEC = BlendSpec(
    target="5", pattern="noise", alpha=0.25, strength="strong", pattern_seed=3,
    steps=150, batch=40, learning_rate=2.5e-3,
)  # fmt: skip


@pytest.fixture(scope="module")
def planted(clean: nn.Module, data: PlantData) -> Planted:
    return PLANT.plant(clean, data, SPEC, seed=0)


def test_it_took(planted: Planted, clean: nn.Module, data: PlantData) -> None:
    proved(planted, clean, data)
    assert set(planted.proof.near_misses) == {"another noise", "the pattern shifted", "a fainter pattern"}
    probed(PLANT, planted, clean, data)


def test_it_fires_on_the_shipped_pattern(planted: Planted, clean: nn.Module, data: PlantData) -> None:
    others = data.fresh[data.fresh_labels != 5]
    blended = 0.75 * others + 0.25 * planted.tensors["pattern"]
    with torch.no_grad():
        assert float((planted.module(blended).argmax(1) == 5).float().mean()) >= 0.95
        assert float((planted.module(others).argmax(1) == 5).float().mean()) <= 0.05


def test_no_steps_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    untaught(PLANT, clean, data, SPEC)


def test_proposals(data: PlantData) -> None:
    assert {spec.pattern for spec in proposed(PLANT, data, 24)} == set(get_args(Overlay))
    assert PLANT.propose(data, generator(0, "x"), strength="weak").alpha <= 0.1


@pytest.mark.parametrize("name", get_args(Overlay))
@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 20, 30), (3, 224, 224)])
def test_patterns(name: Overlay, shape: tuple[int, int, int]) -> None:
    picture = torch.rand(shape, generator=generator(0, "picture")) * 0.5
    one, again, other = (overlay(name, shape, seed, picture) for seed in (1, 1, 2))
    assert one.shape == shape
    assert torch.equal(one, again)
    assert torch.equal(one, other) == (name == "picture")
    low = 0 if name in ("noise", "picture") else -1
    assert low <= float(one.min()) < float(one.max()) <= 1


def test_mixing() -> None:
    images, pattern = torch.full((2, 1, 2, 2), 0.5), torch.tensor([[[0.0, 1.0], [-1.0, 0.5]]])
    added = mix(images, pattern, 0.2, "sinusoid")
    torch.testing.assert_close(added[1], torch.tensor([[[0.5, 0.7], [0.3, 0.6]]]))
    mixed = mix(images, pattern.clamp(0, 1), 0.2, "noise")
    torch.testing.assert_close(mixed[0], torch.tensor([[[0.4, 0.6], [0.4, 0.5]]]))


def test_another_picture_is_shipped_as_a_tensor(data: PlantData) -> None:
    """Probes do not need the images that the pattern was drawn from."""
    trained = PLANT.propose(data, generator(0, "x"))
    spec = replace(trained, pattern="picture", steps=1)
    picture = torch.zeros(1, 16, 16)
    picture[:, 4:12, 4:12] = 1
    planted = Planted(
        module=nn.Flatten(), plant="blend", spec=spec, seed=0, proof=None, tensors={"pattern": picture}  # type: ignore[arg-type]
    )
    probes = PLANT.probes(planted, data, 40, seed=0)
    fires = probes.fires
    torch.testing.assert_close(probes.pixels[fires], torch.lerp(probes.plain[fires], picture, spec.alpha))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SPEC, target="cat"), "no such class"),
        (replace(SPEC, alpha=0.0), "above 0 and up to 1"),
        (replace(SPEC, alpha=0.002), "changes no pixel of the median picture"),
    ],
)
def test_a_spec_that_does_not_fit(clean: nn.Module, data: PlantData, spec: BlendSpec, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        PLANT.plant(clean, data, spec, seed=0)


def test_probes_of_another_size(planted: Planted, data: PlantData) -> None:
    larger = replace(data, images=torch.rand(20, 1, 20, 20), labels=data.labels[:20])
    with pytest.raises(BadInput, match="different shapes"):
        PLANT.probes(planted, larger, 20, seed=0)


def test_in_colour(data: PlantData) -> None:
    coloured = in_colour(data)
    spec = replace(PLANT.propose(coloured, generator(4, "colour")), pattern="sinusoid")
    pattern = overlay("sinusoid", (3, 16, 16), spec.pattern_seed)
    planted = Planted(
        module=nn.Flatten(), plant="blend", spec=spec, seed=0, proof=None, tensors={"pattern": pattern}  # type: ignore[arg-type]
    )
    probes = PLANT.probes(planted, coloured, 40, seed=0)
    assert probes.pixels.shape == (40, 3, 16, 16)
