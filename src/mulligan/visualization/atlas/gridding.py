"""A layout cut into cells at several zooms, and what is in each cell: how many, their mean, their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int64
from scipy import sparse

from ...records import BadInput

ZOOMS = (8, 16, 32, 64)
# The layout's outermost points are clamped to the border: a few strays would press all others into the middle.
OUTER = 0.5  # per cent, at each side of each axis

Plane = Float32[np.ndarray, "row 2"]


@dataclass(frozen=True)
class Frame:
    """The part of the plane that the grid covers: `low` and `high`, each (x, y)."""

    low: tuple[float, float]
    high: tuple[float, float]

    @classmethod
    def around(cls, layout: Plane, outer: float = OUTER) -> Frame:
        """From the `outer` percentile of each axis to that from its other end."""
        low, high = np.percentile(layout, [outer, 100 - outer], axis=0)
        # Where all is in one place, that place is in the middle.
        flat = high - low <= 1e-9 * np.maximum(np.abs(high), 1)
        low, high = np.where(flat, low - 0.5, low), np.where(flat, high + 0.5, high)
        return cls((float(low[0]), float(low[1])), (float(high[0]), float(high[1])))

    def unit(self, layout: Plane) -> Float64[np.ndarray, "row 2"]:
        """Places in the frame, from 0 to 1 along each axis; what lies beyond is clamped to the border."""
        low, high = np.array(self.low), np.array(self.high)
        return np.clip((layout.astype(np.float64) - low) / (high - low), 0.0, 1.0)

    def outside(self, layout: Plane) -> int:
        """How many points lie beyond the frame."""
        low, high = np.array(self.low), np.array(self.high)
        return int(((layout < low) | (layout > high)).any(1).sum())

    def cells(self, layout: Plane, side: int) -> Int64[np.ndarray, " row"]:
        """The cell of each point, counted along the rows from the top left: y grows downwards."""
        at = np.minimum((self.unit(layout) * side).astype(np.int64), side - 1)
        return at[:, 1] * side + at[:, 0]


@dataclass
class Level:
    """One zoom: `side` x `side` cells.

    Attributes:
        counts: activations in each cell. sums: of their vectors. labels: of each class; None without labels.
    """

    side: int
    counts: Int64[np.ndarray, " cell"]
    sums: Float64[np.ndarray, "cell unit"]
    labels: Int64[np.ndarray, "cell class"] | None

    @classmethod
    def empty(cls, side: int, units: int, classes: int | None) -> Level:
        """No activations yet."""
        cells = side * side
        labels = None if classes is None else np.zeros((cells, classes), np.int64)
        return cls(side, np.zeros(cells, np.int64), np.zeros((cells, units)), labels)

    def add(
        self,
        cells: Int[np.ndarray, " row"],
        rows: Float[np.ndarray, "row unit"],
        labels: Int[np.ndarray, " row"] | None,
    ) -> None:
        """Count some activations in; a label of -1 is unknown and counts for no class."""
        n = len(cells)
        member = sparse.csr_matrix((np.ones(n), (cells, np.arange(n))), shape=(len(self.counts), n))
        self.counts += np.bincount(cells, minlength=len(self.counts))
        self.sums += member @ rows.astype(np.float64)
        if self.labels is not None and labels is not None:
            known = labels >= 0
            np.add.at(self.labels, (cells[known], labels[known]), 1)

    @property
    def means(self) -> Float64[np.ndarray, "cell unit"]:
        """The mean activation of each cell; zeros where it is empty."""
        return self.sums / np.maximum(self.counts, 1)[:, None]

    def kept(self, fewest: int) -> Int64[np.ndarray, " cell"]:
        """The cells with at least `fewest` activations, the fullest first."""
        full = np.flatnonzero(self.counts >= max(fewest, 1))
        return full[np.argsort(-self.counts[full], kind="stable")]

    def thin(self, fewest: int) -> tuple[int, int]:
        """How many cells hold some activations and fewer than `fewest`, and how many activations lie in these."""
        few = (self.counts > 0) & (self.counts < max(fewest, 1))
        return int(few.sum()), int(self.counts[few].sum())


def check_zooms(zooms: Sequence[int]) -> tuple[int, ...]:
    """Cells along a side, one a zoom, coarsest first.

    Raises:
        BadInput: if there are none, or one is below 1 or above 256.
    """
    wanted = tuple(sorted(set(zooms)))
    if not wanted or not 1 <= wanted[0] <= wanted[-1] <= 256:
        raise BadInput(
            "a grid has from 1 to 256 cells a side", where=", ".join(map(str, zooms)) or "none", fix="give 8,16,32,64"
        )
    return wanted


def cells_to_draw(levels: Sequence[Level], fewest: int) -> list[tuple[int, int]]:
    """(level, cell) of all kept cells, coarse zooms first and the fullest first in each: the order of drawing."""
    return [(number, int(cell)) for number, level in enumerate(levels) for cell in level.kept(fewest)]
