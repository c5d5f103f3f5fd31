"""Maps of layers: examples of one colour come together where the network tells colours apart."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "visualization"))

from atlas_networks import CLASSES, painted, paintings

from mulligan.datasets import load_dataset
from mulligan.networks import ArrayInput, Network
from mulligan.procedures.see.maps import MapsRequest, make_maps, prepare_maps
from mulligan.records import BadInput, Maps
from mulligan.runs import Run
from mulligan.visualization import maps as laying


@pytest.fixture(autouse=True)
def _plain_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layouts by the first two components: UMAP itself is tested elsewhere, and takes long to compile."""

    def plain(points: np.ndarray, seed: int, *, start: np.ndarray | None = None) -> np.ndarray:
        plane = np.zeros((len(points), 2), np.float32)
        plane[:, : min(2, points.shape[1])] = points[:, :2]
        return plane if start is None else plane[:, ::-1] * 3 + 1

    monkeypatch.setattr(laying, "lay_out", plain)


def test_examples_of_one_colour_lie_together_and_keep_their_number(tmp_path: Path) -> None:
    run = Run.create("see", [], {}, out=tmp_path / "run")
    request = MapsRequest(network=painted(), dataset=paintings(tmp_path, 40), sites=("look", "act", "head"), shown=20)
    maps = make_maps(request, run)
    assert maps == run.read_json("maps.json", Maps)
    assert [one.site for one in maps.maps] == ["look", "act", "head"]
    assert maps.groups == CLASSES
    assert maps.laid_out == 40
    assert len(maps.examples) == len(maps.group_of) == 20
    for number, example in enumerate(maps.examples):
        assert example.label == CLASSES[maps.group_of[number]] == example.answer
        assert example.image is not None
        assert run.has(example.image)
    for one in maps.maps:
        points, group = np.array(one.points), np.array(maps.group_of)
        assert points.min() >= 0
        assert points.max() <= 1
        spread = max(points[group == g].std(0).max() for g in range(4))
        assert spread < 0.1
        assert one.figures[0].name == "neighbours kept"
        assert one.figures[0].controls[0][0] == "random twin"
    # The second map was made mirrored, larger and moved: it is turned back onto the first.
    near = np.linalg.norm(np.array(maps.maps[0].points) - np.array(maps.maps[1].points), axis=1)
    assert np.median(near) < 0.25
    assert len(maps.maps[1].figures) == 2


def test_arrays_have_maps_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32))
    network = Network(module, input=ArrayInput(shape=(5,)))
    request = MapsRequest(network=network, dataset=load_dataset(tmp_path / "a.npz"), sites=("0", "1"))
    maps = make_maps(request, Run.create("see", [], {}, out=tmp_path / "run"))
    assert maps.groups == ()
    assert set(maps.group_of) == {-1}
    assert all(example.image is None for example in maps.examples)


@pytest.mark.parametrize(
    ("n", "more", "sentence"),
    [
        (4, {}, "maps of 4 examples would show nothing"),
        (20, {"sites": ("nosuch",)}, "nosuch"),
        (20, {"examples": 10**6}, "too many"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, n: int, more: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        prepare_maps(MapsRequest(network=painted(), dataset=paintings(tmp_path, n), **more))  # type: ignore[arg-type]
