"""The nouns, the registry, the cache, the measures, and the example that a newcomer runs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mulligan.plants import HeadEditSpec, PlantData, Planted, planted_cache, plants
from mulligan.plants import plant as nouns
from mulligan.plants.cache import cache_folder, key
from mulligan.plants.head_edit import PLANT
from mulligan.plants.measures import fraction, margins
from mulligan.records import BadInput

SPEC = HeadEditSpec(kind="bias", target="7")


def test_the_registry_knows_our_kinds() -> None:
    assert {"conjunction", "head-edit"} <= set(plants())
    for name, plant in plants().items():
        assert plant.name == name


def test_a_plugin_that_crashes_does_not_take_ours_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    points = [
        EntryPoint(name="broken", value="no_such_package:PLANT", group=nouns.GROUP),
        EntryPoint(name="head-edit", value="mulligan.plants.head_edit:PLANT", group=nouns.GROUP),
    ]
    monkeypatch.setattr(nouns, "entry_points", lambda group: points)
    assert list(plants()) == ["head-edit"]
    assert "broken" in caplog.text


def test_data_that_does_not_belong_together(data: PlantData) -> None:
    with pytest.raises(BadInput, match="do not belong together"):
        replace(data, labels=data.labels[:5])
    with pytest.raises(BadInput, match="there are no fresh images"):
        replace(data, fresh=data.fresh[:0], fresh_labels=data.fresh_labels[:0])
    with pytest.raises(BadInput, match="not indices of the classes"):
        replace(data, fresh_labels=data.fresh_labels + 1)


def test_seeds_derive_from_seed_and_key() -> None:
    def number(seed: int, purpose: str) -> float:
        return float(torch.rand((), generator=nouns.generator(seed, purpose)))

    assert number(0, "a") == number(0, "a")
    assert len({number(0, "a"), number(1, "a"), number(0, "b")}) == 3


class Counting:
    """The head edit, counting how often it is asked."""

    name = "head-edit"
    spec_type = HeadEditSpec

    def __init__(self) -> None:
        self.asked = 0

    def plant(self, module: nn.Module, data: PlantData, spec: HeadEditSpec, *, seed: int) -> Planted:
        self.asked += 1
        return PLANT.plant(module, data, spec, seed=seed)


def test_the_cache_gives_back_what_was_planted(clean: nn.Module, data: PlantData, tmp_path: Path) -> None:
    plant = Counting()
    first = planted_cache(plant, clean, data, SPEC, seed=0, folder=tmp_path)
    second = planted_cache(plant, clean, data, SPEC, seed=0, folder=tmp_path)
    assert plant.asked == 1
    assert second.proof == first.proof
    assert (second.plant, second.spec, second.seed) == ("head-edit", SPEC, 0)
    state = second.module.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in first.module.state_dict().items())
    assert second.module is not clean
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors", ".safetensors"]


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_damaged_entry_is_planted_anew(clean: nn.Module, data: PlantData, tmp_path: Path, suffix: str) -> None:
    plant = Counting()
    planted_cache(plant, clean, data, SPEC, seed=0, folder=tmp_path)
    damaged = next(tmp_path.glob(f"*{suffix}"))
    damaged.write_bytes(damaged.read_bytes()[:50])
    planted_cache(plant, clean, data, SPEC, seed=0, folder=tmp_path)
    assert plant.asked == 2
    planted_cache(plant, clean, data, SPEC, seed=0, folder=tmp_path)
    assert plant.asked == 2


def test_the_key_depends_on_all_that_the_result_does(clean: nn.Module, data: PlantData) -> None:
    other = PLANT.plant(clean, data, SPEC, seed=0).module
    keys = {
        key(PLANT, clean, data, SPEC, 0),
        key(PLANT, clean, data, SPEC, 1),
        key(PLANT, clean, data, replace(SPEC, strength="weak"), 0),
        key(PLANT, other, data, SPEC, 0),
        key(PLANT, clean, replace(data, images=data.images * 0.5), SPEC, 0),
        key(PLANT, clean, replace(data, prepare=lambda pixels: pixels * 2), SPEC, 0),
    }
    assert len(keys) == 6
    assert key(PLANT, clean, data, SPEC, 0) in keys


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MULLIGAN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "plants"
    monkeypatch.delenv("MULLIGAN_CACHE")
    assert cache_folder().parent.name == "mulligan"


@given(n=st.integers(1, 60), data=st.data())
def test_the_interval_is_that_of_clopper_and_pearson(n: int, data: st.DataObject) -> None:
    """Its ends are where a tail of the binomial distribution is just 2.5 %, summed here term by term."""
    hits = data.draw(st.integers(0, n))
    quantity = fraction(hits, n, "of trials")
    assert quantity.low is not None
    assert quantity.high is not None

    def tail(p: float, counts: range) -> float:
        return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in counts)

    assert quantity.low <= quantity.value <= quantity.high
    assert hits == 0 or tail(quantity.low, range(hits, n + 1)) == pytest.approx(0.025, rel=1e-6)
    assert hits == n or tail(quantity.high, range(hits + 1)) == pytest.approx(0.025, rel=1e-6)


def test_a_fraction_of_nothing() -> None:
    with pytest.raises(ValueError, match="of nothing"):
        fraction(0, 0, "of trials")


def test_margins() -> None:
    outputs = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
    assert margins(outputs, 0).tolist() == [1.0, -5.0]


def test_the_label_is_json(clean: nn.Module, data: PlantData) -> None:
    label = json.loads(PLANT.plant(clean, data, SPEC, seed=4).describe())
    assert label["plant"] == "head-edit"
    assert label["seed"] == 4
    assert label["spec"]["target"] == "7"
    assert label["proof"]["clean_before"]["n"] == len(data.fresh)


def test_the_example_is_a_network_that_an_auditor_can_load(digits: ModuleType, clean: nn.Module) -> None:
    module = digits.factory()
    assert [name for name, _ in module.named_children()] == ["blocks", "flat", "head"]
    assert 30_000 <= sum(parameter.numel() for parameter in module.parameters()) <= 60_000
    assert digits.INPUT == "size=16,channels=1,mean=0,std=1"
    images, labels = digits.load_digits()
    assert images.shape == (1797, 1, 16, 16)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    trained, held_out = digits.halves(labels)
    assert not set(trained.tolist()) & set(held_out.tolist())
    assert digits.accuracy(clean, images[held_out], labels[held_out]) >= 0.97


def test_the_example_writes_the_half_that_was_never_trained_on(
    digits: ModuleType, clean: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(digits, "train", lambda images, labels, seed: seen.append(images) or clean)
    digits.main(["--out", str(tmp_path), "--clean-only"])
    assert (tmp_path / "clean.safetensors").exists()
    with np.load(tmp_path / "data.npz") as written:
        pixels, labels = written["x"], written["y"]
    assert pixels.dtype == np.uint8
    assert pixels.shape[1:] == (16, 16)
    assert len(pixels) == len(labels)
    trained = {image.tobytes() for image in (seen[0][:, 0] * 255).round().to(torch.uint8).numpy()}
    assert not any(image.tobytes() in trained for image in pixels)
