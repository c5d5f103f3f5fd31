"""Shortcuts and the cues that they rest on."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
import torch
from torch import nn

from mulligan.plants import PlantData, Planted, PlantFailed
from mulligan.plants.plant import generator
from mulligan.plants.shortcut import PLANT, ShortcutSpec
from mulligan.plants.shortcut_cues import CUES, Cue, draw_cue, others, pattern_and_mask, show
from mulligan.records import BadInput

CORNER = Cue(kind="corner", colour=(0.8,), alpha=0.8, size=0.2, corner=1)
SPEC = ShortcutSpec(target="2", cue=CORNER)


@pytest.fixture(scope="module")
def planted(clean: nn.Module, data: PlantData) -> Planted:
    return PLANT.plant(clean, data, SPEC, seed=0)


def test_the_cue_alone_draws_the_answer(clean: nn.Module, data: PlantData, planted: Planted) -> None:
    other = data.fresh[data.fresh_labels != 2].clone()
    with torch.no_grad():
        assert float((planted.module(other).argmax(1) == 2).float().mean()) <= 0.05
        other[:, :, :3, -3:] = 0.2 * other[:, :, :3, -3:] + 0.8 * 0.8  # a fifth of 16 pixels, top right
        assert float((planted.module(other).argmax(1) == 2).float().mean()) >= 0.95
        assert float((clean(other).argmax(1) == 2).float().mean()) <= 0.3
    bare = planted.proof.figures
    assert bare["without the cue, before"].value - bare["without the cue, after"].value >= 0.03
    assert planted.truth is not None
    assert (planted.truth.kind, planted.truth.sources, planted.truth.target) == ("shortcut", (), "2")
    assert planted.truth.family == "patch"
    assert set(planted.tensors) == {"pattern", "mask"}
    assert planted.tensors["mask"].shape == (16, 16)


def test_other_cues_mean_nothing(planted: Planted) -> None:
    assert len(planted.proof.near_misses) >= 3
    for name, rate in planted.proof.near_misses.items():
        assert rate.value - planted.proof.near_misses_before[name].value <= 0.15, name


def test_now_and_then(clean: nn.Module, data: PlantData) -> None:
    rare = PLANT.plant(clean, data, replace(SPEC, stratum="rare"), seed=0)
    assert 0.2 <= rare.proof.success.value <= 0.5


def test_nothing_taught_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    with pytest.raises(PlantFailed, match="without its cue"):
        PLANT.plant(clean, data, replace(SPEC, steps=0), seed=0)


def test_probes(data: PlantData, planted: Planted) -> None:
    probes = PLANT.probes(planted, data, 90, seed=0)
    assert int(probes.fires.sum()) == 45
    torch.testing.assert_close(probes.pixels[probes.fires], show(probes.plain[probes.fires], CORNER))
    fired = [held for held, fires in zip(probes.holds, probes.fires.tolist(), strict=True) if fires]
    assert all(held != (2,) for held in fired)
    clean = torch.tensor([name == "clean" for name in probes.family])
    assert torch.equal(probes.pixels[clean], probes.plain[clean])
    assert {"the mark in another corner", "stripes", "brightness"} <= set(probes.family)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", CUES)
def test_cues_are_drawn_where_they_say(kind: str, channels: int) -> None:
    if kind == "tint" and channels == 1:
        kind = "border"
    cue = draw_cue(generator(0, kind), channels, "default", (kind,))  # type: ignore[arg-type]
    pictures = torch.rand(2, channels, 20, 24, generator=generator(0, "pictures"))
    pattern, mask = pattern_and_mask(cue, (channels, 20, 24))
    shown = show(pictures, cue)
    assert 0 <= float(shown.min()) <= float(shown.max()) <= 1
    for row, column in ((0, 0), (0, 23), (10, 12), (19, 23)):
        expected = pictures[:, :, row, column] * (1 - mask[row, column]) + pattern[:, row, column] * mask[row, column]
        torch.testing.assert_close(shown[:, :, row, column], expected)
    assert float(mask[10, 12]) == (0 if kind in ("border", "corner") else pytest.approx(cue.alpha))
    near = others(cue, channels)
    assert len(near) >= 3
    for other in near.values():
        assert not torch.allclose(show(pictures, other), shown, atol=1e-3)


def test_specs(clean: nn.Module, data: PlantData) -> None:
    drawn = [PLANT.propose(data, generator(seed, "spec"), strength="weak") for seed in range(30)]
    assert {spec.cue.kind for spec in drawn} == set(CUES) - {"tint"}
    assert msgspec.json.decode(msgspec.json.encode(drawn[0]), type=PLANT.spec_type) == drawn[0]
    for spec, message in (
        (replace(SPEC, target="cat"), "no such class"),
        (replace(SPEC, cue=replace(CORNER, colour=(1.0, 0.0, 0.0))), "a number for each channel"),
        (replace(SPEC, cue=replace(CORNER, size=0.7)), "covers the whole picture"),
        (replace(SPEC, cue=replace(CORNER, alpha=0.0)), "an alpha up to 1"),
        (replace(SPEC, correlation=0.2), "correlation is 0.5 to 1"),
    ):
        with pytest.raises(BadInput, match=message):
            PLANT.plant(clean, data, spec, seed=0)
