"""Draw an atlas's cells into its pyramid: after every batch the tiles that it touches are painted anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ...networks import ImageInput, Network
from ...records import LeftOut, Noted
from ...visualization.atlas.charting import Chart
from ...visualization.atlas.drawing import Wanted, draw_cells, draw_size, left_out
from ...visualization.statistics import ImageStatistics
from .atlas_work import Work

_EVERY = 60.0  # seconds between two writings of the index and the page
T = TypeVar("T")


@dataclass(frozen=True)
class Painting:
    """A network's pyramid, to be drawn by that network at `site`."""

    network: Network
    site: str
    charts: Sequence[Chart]


def draw(work: Work, paintings: Sequence[Painting], save: Callable[[Sequence[LeftOut]], T]) -> T:
    """Draw up to the number of cells asked for, each painting its share; `save` writes the index, and is given back."""
    failed: list[LeftOut] = []
    written = save(failed)
    if not work.request.draw:
        return written
    last = time.monotonic()
    try:
        for number, painting in enumerate(paintings):
            wanted = _wanted(painting, work.request.draw // len(paintings))
            statistics = ImageStatistics.measure(painting.network.input, work.request.dataset, seed=work.request.seed)
            for batch in draw_cells(
                painting.network, painting.site, wanted, statistics, work.run, seed=work.request.seed,
                steps=work.request.steps, engine=work.engine, emit=work.emit,
                job="cells" if not number else "cells of the second network",
            ):  # fmt: skip
                touched = {}
                for cell in batch:
                    chart = painting.charts[cell.level]
                    if cell.pixels is None or cell.reached is None:
                        failed.append(left_out(cell, chart.side))
                        continue
                    chart.drawn[cell.cell], chart.reached[cell.cell] = cell.pixels, cell.reached
                    tile = chart.tile_of(cell.cell)
                    touched[tile.image] = (chart, tile)
                for chart, tile in touched.values():
                    chart.write_tiles(work.run, [tile])
                if time.monotonic() - last > _EVERY:
                    save(failed)
                    last = time.monotonic()
    finally:
        written = save(failed)
    if failed:
        work.emit(Noted(text=f"{len(failed)} cells could not be drawn: {failed[0].why}"))
    return written


def _wanted(painting: Painting, most: int) -> list[Wanted]:
    """The cells to draw, coarse zooms first, the fullest first in each; at most `most`."""
    taken = painting.network.input
    assert isinstance(taken, ImageInput), "it was looked"
    found = []
    for level, chart in enumerate(painting.charts):
        # A cell whose mean is that of all has no direction.
        there = np.flatnonzero(np.linalg.norm(chart.directions, axis=1) > 0)[:most]
        most -= len(there)
        cells = chart.kept[there].tolist()
        found.append(Wanted(level, cells, chart.directions[there], draw_size(taken, chart.canvas.pixels)))
    return found
