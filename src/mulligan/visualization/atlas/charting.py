"""Levels of an atlas: rows counted into cells, and the pyramid that is whole before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from jaxtyping import Int64

from ...records import AtlasCell, AtlasLevel, AtlasTile, Beside, Quantity
from ...runs import Run
from .gridding import Frame, Level
from .moments import Moments
from .projecting import Laid
from .sampling import Sample
from .tiles import Canvas, Pixels, cell_pixels, label_hues, tile_grid
from .trust import purity, shuffled_labels


@dataclass
class Chart:
    """One zoom of a pyramid on its way: what is in its cells, and what of it is drawn.

    Attributes:
        level: counts, sums and labels. kept: the cells that are shown, fullest first.
        directions: of the kept cells, [kept, unit]. effects: by cell, classes pushed. drawn, reached: by cell.
    """

    level: Level
    kept: Int64[np.ndarray, " cell"]
    directions: np.ndarray
    canvas: Canvas
    tiles: tuple[AtlasTile, ...]
    folder: str
    fewest: int
    figures: tuple[Beside, ...] = ()
    effects: dict[int, tuple[tuple[str, Quantity], ...]] = field(default_factory=dict)
    drawn: dict[int, Pixels] = field(default_factory=dict)
    reached: dict[int, float] = field(default_factory=dict)

    @property
    def side(self) -> int:
        """Cells along each side."""
        return self.level.side

    def tile_of(self, cell: int) -> AtlasTile:
        """The one tile that shows a cell."""
        row, column = divmod(cell, self.side)
        per, along = self.tiles[0].rows, -(-self.side // self.tiles[0].columns)
        return self.tiles[(row // per) * along + column // self.tiles[0].columns]

    def write_tiles(self, run: Run, tiles: Sequence[AtlasTile]) -> None:
        """Paint some tiles into the run."""
        for tile in tiles:
            run.write_bytes(tile.image, self.canvas.paint(tile, self.drawn))

    def write_cells(self, run: Run, names: Sequence[str] | None) -> AtlasLevel:
        """Write this zoom's cells; returns what the index says of it."""
        path = f"{self.folder}/{self.side}.json"
        run.write_bytes(path, msgspec.json.encode([self._cell(int(cell), names) for cell in self.kept]))
        thin, lost = self.level.thin(self.fewest)
        return AtlasLevel(
            side=self.side, pixels=self.canvas.pixels, tiles=self.tiles, cells=path, kept=len(self.kept),
            drawn=len(self.drawn), thin=thin, thin_activations=lost, figures=self.figures,
        )  # fmt: skip

    def _cell(self, cell: int, names: Sequence[str] | None) -> AtlasCell:
        row, column = divmod(cell, self.side)
        counts = self.level.labels[cell] if self.level.labels is not None else np.zeros(0, np.int64)
        order = [int(c) for c in np.argsort(-counts, kind="stable")[:4] if counts[c] > 0]
        return AtlasCell(
            row=row, column=column, n=int(self.level.counts[cell]),
            labels=tuple((named(names, c), int(counts[c])) for c in order), effects=self.effects.get(cell, ()),
            drawn=cell in self.drawn, reached=self.reached.get(cell),
        )  # fmt: skip


def named(names: Sequence[str] | None, number: int) -> str:
    """What a class is called."""
    return names[number] if names is not None and 0 <= number < len(names) else f"class {number}"


def chart_levels(
    sample: Sample,
    laid: Laid,
    frame: Frame,
    zooms: Sequence[int],
    labels: Int64[np.ndarray, " picture"] | None,
    *,
    fewest: int,
    folder: str,
    random: np.random.Generator,
) -> list[Chart]:
    """Count all rows into the cells of every zoom, in one walk over them.

    Args:
        labels: one a picture of the sample; None where none is known.
        fewest: activations that a cell must hold to be shown.
    """
    owner = laid.owners
    places = [frame.cells(laid.plane, side) for side in zooms]
    classes = None if labels is None else int(labels.max(initial=0)) + 1
    levels = [Level.empty(side, sample.site.units, classes) for side in zooms]
    of_rows = None if labels is None else labels[owner]
    for first, rows in sample.rows(laid.kept):
        span = slice(first, first + len(rows))
        for level, cells in zip(levels, places, strict=True):
            level.add(cells[span], rows, None if of_rows is None else of_rows[span])
    return [
        _chart(level, cells, laid.moments, labels, owner, fewest, folder, random)
        for level, cells in zip(levels, places, strict=True)
    ]


def _chart(
    level: Level,
    cells: np.ndarray,
    moments: Moments,
    labels: np.ndarray | None,
    owner: np.ndarray,
    fewest: int,
    folder: str,
    random: np.random.Generator,
) -> Chart:
    kept = level.kept(fewest)
    pixels = cell_pixels(level.side)
    figures: tuple[Beside, ...] = ()
    if labels is not None:
        shown = purity(cells, labels[owner], random, fewest)
        alone = purity(cells, shuffled_labels(labels, random)[owner], random, fewest)
        if shown is not None and alone is not None:
            name = f"cells of one label, {level.side} x {level.side}"
            figures = (Beside(name=name, shown=shown, controls=(("labels shuffled among pictures", alone),)),)
    canvas = Canvas(level.side, pixels, level.counts, kept, label_hues(level.labels, len(level.counts)))
    tiles = tile_grid(level.side, pixels, folder)
    directions = moments.whitened(level.means[kept]) if len(kept) else np.zeros((0, len(moments.mean)))
    return Chart(level, kept, directions, canvas, tiles, folder, fewest, figures)
