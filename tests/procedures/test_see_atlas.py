"""The whole atlas on a network whose activations form known clusters, and on one that lost them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "visualization"))

from atlas_networks import CLASSES, SIDE, painted, paintings

from mulligan.networks import ArrayInput
from mulligan.procedures.see import atlas as procedure
from mulligan.procedures.see import atlas_controls
from mulligan.procedures.see.atlas import make_atlas, prepare_atlas
from mulligan.procedures.see.atlas_work import Request
from mulligan.records import Atlas, AtlasCell, BadInput, Interrupted
from mulligan.runs import Run
from mulligan.visualization.atlas import drawing, projecting


@pytest.fixture(autouse=True)
def _plain_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layouts by the first two components: UMAP itself is tested elsewhere, and takes long to compile."""

    def plain(points: np.ndarray, seed: int, **_: object) -> np.ndarray:
        plane = np.zeros((len(points), 2), np.float32)
        plane[:, : min(2, points.shape[1])] = points[:, :2]
        return plane + np.random.default_rng(seed).normal(scale=0.01, size=plane.shape).astype(np.float32)

    monkeypatch.setattr(projecting, "lay_out", plain)
    monkeypatch.setattr(atlas_controls, "lay_out", plain)


def small(tmp_path: Path, told: bool = True, **more: object) -> Request:
    given = {"wanted": 400, "zooms": (4, 8), "draw": 6, "steps": 2, "seed": 1, "fewest": 4, **more}
    return Request(network=painted(told), dataset=paintings(tmp_path / "data"), site="act", **given)  # type: ignore[arg-type]


def cells_of(run: Run, level: int, atlas: Atlas) -> list[AtlasCell]:
    return run.read_json(atlas.levels[level].cells, list[AtlasCell])


def test_an_atlas_has_the_clusters_that_the_activations_form(tmp_path: Path) -> None:
    run = Run.create("see", [], {}, out=tmp_path / "run")
    atlas = make_atlas(small(tmp_path), run)
    assert atlas == run.read_json("atlas.json", Atlas)
    for number, level in enumerate(atlas.levels):
        cells = cells_of(run, number, atlas)
        assert level.kept == len(cells) > 0
        # Each cell is of one colour, and pushes to that colour's class.
        assert all(len(cell.labels) == 1 for cell in cells)
        assert all(cell.effects[0][0] == cell.labels[0][0] for cell in cells)
        assert {cell.labels[0][0] for cell in cells} == set(CLASSES)
        ((figure),) = level.figures
        assert figure.shown.value == 1
        assert figure.controls[0][1].high < 0.7
        held = sum(cell.n for cell in cells)
        assert held + level.thin_activations == atlas.activations
        assert all(run.has(tile.image) for tile in level.tiles)
    assert atlas.levels[0].drawn == atlas.levels[0].kept
    assert sum(level.drawn for level in atlas.levels) == 6
    assert any("Of " in note for note in atlas.notes)
    assert [name for name, _ in atlas.figures[0].controls] == [
        atlas_controls.ALONE, atlas_controls.TWIN, atlas_controls.SHUFFLED,
    ]  # fmt: skip


def test_a_network_that_lost_the_clusters_has_cells_of_all_colours(tmp_path: Path) -> None:
    run = Run.create("see", [], {}, out=tmp_path / "run")
    request = small(tmp_path, told=False, draw=0)
    with pytest.raises(BadInput, match="do not differ"):
        make_atlas(request, run)
    # One that looks at noise alone, the difference between pixels: there is something to lay out, and it is no colour.
    noisy = painted()
    weight = noisy.module.look.weight.data
    weight.zero_()
    weight[:, :, 0, 0], weight[:, :, 1, 1] = 1.0, -1.0
    weight[3:] *= -1
    run = Run.create("see", [], {}, out=tmp_path / "noisy")
    atlas = make_atlas(Request(**{**_fields(request), "network": noisy}), run)
    figure = atlas.levels[0].figures[0]
    assert figure.shown.value < 0.6
    assert abs(figure.shown.value - figure.controls[0][1].value) < 0.15


def _fields(request: Request) -> dict[str, object]:
    return {name: getattr(request, name) for name in Request.__dataclass_fields__}


def test_a_killed_atlas_is_usable_and_goes_on_to_the_same_pyramid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "BATCH", 2)
    request = small(tmp_path)
    whole = Run.create("see", [], {}, out=tmp_path / "whole")
    expected = make_atlas(request, whole)

    real, calls = drawing.visualize, 0

    def killed(*args: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Interrupted("killed")
        return real(*args, **more)  # type: ignore[arg-type]

    broken = Run.create("see", [], {}, out=tmp_path / "broken")
    monkeypatch.setattr(drawing, "visualize", killed)
    with pytest.raises(Interrupted):
        make_atlas(request, broken)
    partial = broken.read_json("atlas.json", Atlas)
    assert sum(level.drawn for level in partial.levels) == 4
    assert all(broken.has(tile.image) for level in partial.levels for tile in level.tiles)

    monkeypatch.setattr(drawing, "visualize", real)
    resumed = make_atlas(request, broken)
    assert resumed.levels == expected.levels
    for level in expected.levels:
        for tile in level.tiles:
            assert broken.read_bytes(tile.image) == whole.read_bytes(tile.image)
        assert broken.read_bytes(level.cells) == whole.read_bytes(level.cells)


def test_a_layout_that_is_fitted_on_some_places_the_rest_near_their_like(tmp_path: Path) -> None:
    run = Run.create("see", [], {}, out=tmp_path / "run")
    atlas = make_atlas(small(tmp_path, fitted=80, draw=0), run)
    assert atlas.fitted == 80 < atlas.activations
    assert atlas.levels[0].figures[0].shown.value > 0.99


def test_a_class_atlas_holds_what_pushes_to_the_class(tmp_path: Path) -> None:
    run = Run.create("see", [], {}, out=tmp_path / "run")
    atlas = make_atlas(small(tmp_path, target="green", share=0.2, draw=0), run)
    assert atlas.target == "green"
    assert atlas.activations < 0.25 * 640
    assert {label for cell in cells_of(run, 0, atlas) for label, _ in cell.labels} == {"green"}


def test_a_network_beside_itself_lies_where_it_lay(tmp_path: Path) -> None:
    run = Run.create("see", [], {}, out=tmp_path / "run")
    atlas = make_atlas(small(tmp_path, against=painted(), draw=4), run)
    assert atlas.against is not None
    assert atlas.against.map == "as they are"
    assert atlas.against.explained.shown.value == pytest.approx(1)
    assert atlas.against.explained.controls[0][1].value < 0.5
    assert atlas.against.figures[0].shown.value == 0
    assert all(level.figures[0].shown.value == 1 for level in atlas.against.levels)
    assert sum(level.drawn for level in atlas.against.levels) == 2
    assert all(run.has(tile.image) for level in atlas.against.levels for tile in level.tiles)


def test_without_labels_an_atlas_says_so(tmp_path: Path) -> None:
    run = Run.create("see", [], {}, out=tmp_path / "run")
    request = Request(
        network=painted(), dataset=paintings(tmp_path, labelled=False), site="act", wanted=200, zooms=(4,), draw=0
    )
    atlas = make_atlas(request, run)
    assert atlas.levels[0].figures == ()
    assert any("no labels" in note for note in atlas.notes)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"site": "nosuch"}, "nosuch"),
        ({"target": "purple"}, "no class of this name"),
        ({"zooms": (0,)}, "cells a side"),
        ({"share": 0.0}, "share"),
        ({"draw": -1}, "too few"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, more: dict[str, object], sentence: str) -> None:
    request = Request(**{**_fields(small(tmp_path)), **more})
    with pytest.raises(BadInput, match=sentence):
        prepare_atlas(request)


def test_too_few_activations_are_one_sentence(tmp_path: Path) -> None:
    request = Request(network=painted(), dataset=paintings(tmp_path, 3), site="act")
    with pytest.raises(BadInput, match="an atlas over 48 activations would show nothing: 64 are the fewest"):
        make_atlas(request, Run.create("see", [], {}, out=tmp_path / "run"))


def test_a_network_that_takes_no_pictures_is_sent_to_the_maps(tmp_path: Path) -> None:
    network = painted().with_input(ArrayInput(shape=(3, SIDE, SIDE)))
    with pytest.raises(BadInput, match="takes pictures"):
        prepare_atlas(Request(network=network, dataset=paintings(tmp_path), site="act"))


def test_a_cell_that_cannot_be_drawn_is_left_out_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = drawing.visualize

    def failing(*args: object, **more: object) -> object:
        if more["size"] is None and failing.calls == 0:  # type: ignore[attr-defined]
            failing.calls = 1  # type: ignore[attr-defined]
            raise BadInput("it is too small", where="here", fix="give more")
        return real(*args, **more)  # type: ignore[arg-type]

    failing.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(drawing, "BATCH", 2)
    monkeypatch.setattr(drawing, "visualize", failing)
    atlas = make_atlas(small(tmp_path), Run.create("see", [], {}, out=tmp_path / "run"))
    assert sum(level.drawn for level in atlas.levels) == 4
    assert len(atlas.left_out) == 2
    assert "too small" in atlas.left_out[0].why
    assert procedure.INDEX == "atlas.json"
