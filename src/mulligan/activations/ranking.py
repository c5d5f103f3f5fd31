"""Which examples to show for a unit: the strongest, and some of every level, since the strongest alone mislead."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def top(values: Float[np.ndarray, " n"], k: int) -> Int[np.ndarray, " k"]:
    """Indices of the k largest, largest first; ties by index."""
    k = min(k, len(values))
    return np.lexsort((np.arange(len(values)), -values))[:k]


def stratified(values: Float[np.ndarray, " n"], k: int, rng: np.random.Generator) -> Int[np.ndarray, " k"]:
    """k indices, one drawn at random from each of k equal-width levels between least and largest, highest level first.

    An empty level takes the example nearest to its middle, so that the whole range is seen; never one twice.
    """
    k = min(k, len(values))
    if k == 0:
        return np.zeros(0, np.int64)
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.arange(k)
    edges = np.linspace(low, high, k + 1)
    chosen: list[int] = []
    for level in reversed(range(k)):
        inside = np.flatnonzero((values >= edges[level]) & (values <= edges[level + 1]))
        free = [int(i) for i in inside if int(i) not in chosen]
        if free:
            chosen.append(int(rng.choice(free)))
            continue
        middle = (edges[level] + edges[level + 1]) / 2
        for index in np.argsort(np.abs(values - middle), kind="stable"):
            if int(index) not in chosen:
                chosen.append(int(index))
                break
    return np.asarray(chosen)
