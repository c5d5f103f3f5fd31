"""How far a layout keeps what lay near each other near, and how far its cells tell classes apart.

Both are described beside what the same way of laying out makes of a random-weight twin and of shuffled activations: a
layout of noise is smooth too.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int

from ...evidence import bootstrap, mean
from ...records import Quantity

NEAREST = 10
MOST = 1500  # rows that are compared with all others: memory and time grow with their square
TRUST = "trustworthiness (1: every neighbour in the plane is one in the network too; 0.5: by chance)"
PURITY = "share of a cell's activations that have its commonest label"


def trust_of_each(
    rows: Float[np.ndarray, "row unit"], layout: Float[np.ndarray, "row 2"], k: int = NEAREST
) -> Float64[np.ndarray, " row"]:
    """Trustworthiness (Venna & Kaski 2001, equation 2) as one number a row; their mean is that of the layout.

    A row loses by each of its k nearest in the plane that is none of its k nearest in `rows` (Euclidean), the more the
    farther off it lies there. A layout at random has a mean of about 0.5.
    """
    n = len(rows)
    k = min(k, (n - 1) // 2)
    if k < 1:
        return np.ones(n)
    order = np.argsort(_squares(rows), axis=1, kind="stable")
    rank = np.empty((n, n), np.int64)
    np.put_along_axis(rank, order, np.arange(n)[None, :].repeat(n, 0), 1)
    near = np.argsort(_squares(layout), axis=1, kind="stable")[:, 1 : k + 1]
    lost = np.maximum(np.take_along_axis(rank, near, 1) - k, 0).sum(1)
    return 1 - lost * (2 / (k * (2 * n - 3 * k - 1)))


def trust(scores: Float[np.ndarray, " row"]) -> Quantity:
    """The mean of `trust_of_each`, with Student's interval."""
    return mean(np.asarray(scores, dtype=np.float64), TRUST)


def shuffled_rows(
    rows: Float[np.ndarray, "row unit"], random: np.random.Generator
) -> Float[np.ndarray, "row unit"]:
    """Each unit's values among the rows anew: every unit is as it was, and what units do together is gone."""
    return random.permuted(rows, axis=0)


def purity(
    cells: Int[np.ndarray, " row"], labels: Int[np.ndarray, " row"], random: np.random.Generator, fewest: int = 2
) -> Quantity | None:
    """The share of activations that have their cell's commonest label; its interval is of cells drawn anew.

    Cells with fewer than `fewest` known labels are left out. None if no cell is left.
    """
    known = labels >= 0
    if not known.any():
        return None
    counts = np.zeros((int(cells.max()) + 1, int(labels.max()) + 1), np.int64)
    np.add.at(counts, (cells[known], labels[known]), 1)
    total = counts.sum(1)
    kept = total >= fewest
    if not kept.any():
        return None
    pairs = np.stack([counts.max(1)[kept], total[kept]], 1).astype(np.float64)
    return bootstrap(pairs, PURITY, lambda rows: float(rows[:, 0].sum() / rows[:, 1].sum()), random, repeats=500)


def shuffled_labels(
    labels: Int[np.ndarray, " picture"], random: np.random.Generator
) -> Int[np.ndarray, " picture"]:
    """Labels among the pictures anew: a picture's activations keep one label, which is another's."""
    return random.permutation(labels)


def _squares(rows: Float[np.ndarray, "row unit"]) -> Float64[np.ndarray, "row row"]:
    values = rows.astype(np.float64)
    sizes = (values**2).sum(1)
    squares = sizes[:, None] - 2 * values @ values.T + sizes
    np.fill_diagonal(squares, -np.inf)  # each is its own nearest, also among equals
    return squares
