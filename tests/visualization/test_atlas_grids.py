"""The grid and its tiles: every cell is somewhere exactly once, and says what is in it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mulligan.records import BadInput
from mulligan.visualization.atlas.charting import Chart
from mulligan.visualization.atlas.gridding import Frame, Level, cells_to_draw, check_zooms
from mulligan.visualization.atlas.tiles import PAPER, TILE, Canvas, cell_pixels, label_hues, tile_grid


@given(side=st.integers(1, 256))
@settings(max_examples=50, deadline=None)
def test_tiles_cover_the_plane_exactly_once_at_every_zoom(side: int) -> None:
    pixels = cell_pixels(side)
    tiles = tile_grid(side, pixels, "atlas")
    covered = np.zeros((side, side), np.int64)
    for tile in tiles:
        covered[tile.row : tile.row + tile.rows, tile.column : tile.column + tile.columns] += 1
        assert tile.rows * pixels <= TILE
        assert tile.columns * pixels <= TILE
    assert (covered == 1).all()
    assert len({tile.image for tile in tiles}) == len(tiles)


@given(side=st.integers(1, 100), cell=st.integers(0, 9999))
@settings(max_examples=50, deadline=None)
def test_a_cell_is_in_the_tile_that_is_said_to_hold_it(side: int, cell: int) -> None:
    cell %= side * side
    pixels = cell_pixels(side)
    level = Level.empty(side, 2, None)
    canvas = Canvas(side, pixels, level.counts, np.zeros(0, np.int64), label_hues(None, side * side))
    chart = Chart(level, np.zeros(0, np.int64), np.zeros((0, 2)), canvas, tile_grid(side, pixels, "a"), "a", 1)
    tile = chart.tile_of(cell)
    row, column = divmod(cell, side)
    assert tile.row <= row < tile.row + tile.rows
    assert tile.column <= column < tile.column + tile.columns


@given(seed=st.integers(0, 1000), side=st.integers(1, 40), n=st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_every_activation_is_in_one_cell_and_the_sums_are_theirs(seed: int, side: int, n: int) -> None:
    random = np.random.default_rng(seed)
    plane = random.normal(size=(n, 2)).astype(np.float32)
    rows = random.normal(size=(n, 3)).astype(np.float32)
    labels = random.integers(-1, 4, n)
    frame = Frame.around(plane)
    cells = frame.cells(plane, side)
    level = Level.empty(side, 3, 4)
    for part in np.array_split(np.arange(n), 3):  # as blocks of pictures come
        level.add(cells[part], rows[part], labels[part])
    assert level.counts.sum() == n
    for cell in np.unique(cells):
        mine = cells == cell
        np.testing.assert_allclose(level.means[cell], rows[mine].astype(np.float64).mean(0), atol=1e-6)
        assert level.labels is not None
        assert level.labels[cell].tolist() == [int((labels[mine] == c).sum()) for c in range(4)]
    # Where a cell lies: the slow way, point by point.
    low, high = np.array(frame.low), np.array(frame.high)
    for number in range(min(n, 20)):
        x, y = (np.clip((plane[number] - low) / (high - low), 0, 1) * side).astype(int).clip(max=side - 1)
        assert cells[number] == y * side + x


def test_strays_are_clamped_to_the_border_and_counted() -> None:
    plane = np.random.default_rng(0).uniform(0, 1, (2000, 2)).astype(np.float32)
    plane[:3] = [[500, 0.5], [-300, 0.5], [0.5, 900]]
    frame = Frame.around(plane)
    assert frame.high[0] < 1.1
    assert frame.low[0] > -0.1
    assert frame.outside(plane) >= 3
    unit = frame.unit(plane)
    assert unit[:3].tolist() == [[1.0, unit[0, 1]], [0.0, unit[1, 1]], [unit[2, 0], 1.0]]


def test_points_in_one_place_lie_in_the_middle() -> None:
    plane = np.full((20, 2), 3.0, np.float32)
    assert set(Frame.around(plane).cells(plane, 3).tolist()) == {4}


def test_thin_cells_are_left_out_and_counted_and_the_fullest_come_first() -> None:
    level = Level.empty(2, 1, None)
    level.add(np.array([0, 0, 0, 1, 3, 3, 3, 3]), np.ones((8, 1), np.float32), None)
    assert level.kept(3).tolist() == [3, 0]
    assert level.thin(3) == (1, 1)
    assert cells_to_draw([level, level], 3) == [(0, 3), (0, 0), (1, 3), (1, 0)]


@pytest.mark.parametrize("zooms", [(), (0,), (8, 257), (-1, 8)])
def test_a_grid_that_cannot_be_is_refused(zooms: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match="cells a side"):
        check_zooms(zooms)


def test_drawn_cells_stand_in_their_place_and_the_rest_are_squares_of_their_size() -> None:
    side, pixels = 3, 16
    counts = np.array([9, 0, 1, 0, 9, 0, 0, 0, 4])
    hues = np.where(counts > 0, 0.3, np.nan)
    canvas = Canvas(side, pixels, counts, np.array([0, 4, 8]), hues)
    (tile,) = tile_grid(side, pixels, "a")
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    with Image.open(io.BytesIO(canvas.paint(tile, {4: red}))) as opened:
        picture = np.asarray(opened).astype(int)
    assert picture.shape == (48, 48, 3)
    assert np.abs(picture[20:28, 20:28] - [200, 0, 0]).max() < 12  # JPEG rounds
    paper = np.array(PAPER)
    assert np.abs(picture[4:12, 20:28] - paper).max() < 12  # an empty cell
    assert np.abs(picture[4:12, 36:44] - paper).max() < 12  # a thin one
    wide = [(np.abs(picture[8 + 16 * k, 16 * k : 16 * k + 16] - paper).max(1) > 40).sum() for k in (0, 2)]
    assert wide[0] > wide[1] > 0
