"""Non-negative least squares for many rows and few directions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

_ROUNDS = 200  # of exchanges; a dozen are usual
_RIDGE = 1e-12  # of the squared lengths: directions that hang on each other are solved, too

Values = Float[np.ndarray, "n units"]


def nonnegative_sizes(values: Values, directions: Float[np.ndarray, "factor units"]) -> Float[np.ndarray, "n factor"]:
    """Sizes of at least zero with the least squared rest, for each row.

    Block principal pivoting (Kim & Park 2011, doi 10.1137/110821172), rows with the same factors in use solved
    together. A direction of nothing gets size 0; of two that are alike, both share.
    """
    n, count = len(values), len(directions)
    gram, along = directions @ directions.T, values @ directions.T
    gram = gram + _RIDGE * max(float(np.trace(gram)), 1e-300) * np.eye(count)
    tolerance = 1e-9 * max(float(np.abs(along).max(initial=0)), 1e-300)
    used = along > 0
    sizes, slopes = np.zeros((n, count)), -along
    patience, fewest = np.full(n, 3), np.full(n, count + 1)
    rows = np.arange(n)
    for _ in range(_ROUNDS):
        _solve(rows, used, gram, along, sizes, slopes)
        wrong = (used & (sizes < -tolerance)) | (~used & (slopes < -tolerance))
        rows = np.flatnonzero(wrong.any(1))
        if not len(rows):
            break
        flip, many = wrong[rows], wrong[rows].sum(1)
        better = many < fewest[rows]
        fewest[rows[better]], patience[rows[better]] = many[better], 3
        waits = ~better & (patience[rows] > 0)
        patience[rows[waits]] -= 1
        # Where exchanging all that is wrong goes round in circles, one at a time comes to an end.
        stuck = np.flatnonzero(~better & ~waits)
        last = count - 1 - flip[stuck][:, ::-1].argmax(1)
        flip[stuck] = False
        flip[stuck, last] = True
        used[rows] ^= flip
    return np.maximum(sizes, 0)


def _solve(
    rows: Int[np.ndarray, " some"],
    used: np.ndarray,
    gram: np.ndarray,
    along: np.ndarray,
    sizes: np.ndarray,
    slopes: np.ndarray,
) -> None:
    """Least squares for these rows, with the factors in use alone; writes sizes and slopes."""
    codes = used[rows] @ (1 << np.arange(used.shape[1]))
    order = np.argsort(codes, kind="stable")
    edges = np.flatnonzero(np.diff(codes[order], prepend=-1, append=-1))
    for first, end in pairwise(edges.tolist()):
        some = rows[order[first:end]]
        inside = np.flatnonzero(used[some[0]])
        sizes[some] = 0
        if len(inside):
            found = np.linalg.solve(gram[np.ix_(inside, inside)], along[np.ix_(some, inside)].T)
            sizes[np.ix_(some, inside)] = found.T
    slopes[rows] = sizes[rows] @ gram - along[rows]
    slopes[rows] *= ~used[rows]
