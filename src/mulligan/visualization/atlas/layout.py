"""Points in the plane: UMAP (McInnes, Healy & Melville 2018) of some rows, and places for all others among them.

Neighbours are exact up to a few thousand rows, and found by NN-descent (Dong, Charikar & Li 2011) beyond. The layout
starts from the first two principal components, so that what lies far apart stays so (Kobak & Linderman 2021), and is
made by one thread: with several, two runs of one seed differ.

A row that was not fitted is put at the mean place of its nearest fitted rows, nearer ones counting more. UMAP's own
`transform` begins from the same and then moves each point for some epochs; it is many times slower (see
`benchmarks/atlas.py`, which measures both).
"""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

NEIGHBOURS = 15
# The paper has 0.01. On digits, 0.3 fills nearly twice as many cells of a grid and costs 0.007 of trustworthiness.
MIN_DIST = 0.3
EXACT = 12_000  # up to so many rows, all distances are computed
_OWN = 4096  # below, UMAP computes all distances itself
_CHUNK, _PLACED = 1000, 10_000  # rows at a time

Points = Float32[np.ndarray, "row component"]
Plane = Float32[np.ndarray, "row 2"]


class Neighbours:
    """The nearest of `points` to any others, or to themselves."""

    def __init__(self, points: Points, seed: int) -> None:
        self.points, self.seed = np.ascontiguousarray(points, np.float32), seed % 2**31
        self._index: Any = None
        if len(points) > EXACT:
            import pynndescent

            self._index = pynndescent.NNDescent(
                self.points, n_neighbors=NEIGHBOURS, random_state=self.seed, low_memory=True
            )

    def graph(self) -> tuple[Int[np.ndarray, "row k"], Float[np.ndarray, "row k"]]:
        """Each point's nearest, itself first, and how far they are."""
        if self._index is not None:
            return self._index.neighbor_graph
        return self.nearest(self.points, min(NEIGHBOURS, len(self.points)))

    def nearest(self, others: Points, k: int) -> tuple[Int[np.ndarray, "row k"], Float[np.ndarray, "row k"]]:
        """The nearest points to each of `others`, and how far they are."""
        k = min(k, len(self.points))
        if self._index is not None:
            return self._index.query(np.ascontiguousarray(others, np.float32), k=k)
        found, far = [], []
        for begin in range(0, len(others), _CHUNK):
            part = others[begin : begin + _CHUNK].astype(np.float64)
            points = self.points.astype(np.float64)
            squares = (part**2).sum(1)[:, None] - 2 * part @ points.T + (points**2).sum(1)
            near = np.argpartition(squares, k - 1, axis=1)[:, :k]
            order = np.argsort(np.take_along_axis(squares, near, 1), axis=1, kind="stable")
            found.append(np.take_along_axis(near, order, 1))
            far.append(np.sqrt(np.take_along_axis(squares, found[-1], 1).clip(0)))
        return np.concatenate(found), np.concatenate(far)

    def place(self, others: Points, layout: Plane, k: int = NEIGHBOURS) -> Plane:
        """Where others lie in a layout of the points: the mean place of their nearest, nearer ones counting more.

        The weight falls with the distance beyond the nearest one, by a factor of e at the mean of these distances.
        """
        placed = np.empty((len(others), 2), np.float32)
        for begin in range(0, len(others), _PLACED):
            found, far = self.nearest(others[begin : begin + _PLACED], k)
            beyond = far - far[:, :1]
            weights = np.exp(-beyond / np.maximum(beyond.mean(1, keepdims=True), 1e-12))
            weights /= weights.sum(1, keepdims=True)
            placed[begin : begin + _PLACED] = np.einsum("rk,rkd->rd", weights, layout[found])
        return placed


_latest: list[tuple[str, Neighbours]] = []


def neighbours_of(points: Points, seed: int) -> Neighbours:
    """`Neighbours` of these points; the latest ones are kept, since a layout is followed by placing others in it."""
    key = f"{seed} {hashlib.sha256(np.ascontiguousarray(points).tobytes()).hexdigest()}"
    if not _latest or _latest[0][0] != key:
        _latest[:] = [(key, Neighbours(points, seed))]
    return _latest[0][1]


def lay_out(points: Points, seed: int, *, start: Plane | None = None) -> Plane:
    """A layout of rows in the plane; the same rows, seed and start give the same layout.

    Args:
        points: rows in principal components, the strongest first, each row finite; 3 rows at least.
        start: where the points lie at first; None: along the first two components.
    """
    n = len(points)
    first = _start(points) if start is None else np.asarray(start, np.float32)
    if n < 3 or not points.shape[1]:  # all in one place
        return first
    with warnings.catch_warnings():
        # It looks for tensorflow, and says what a fixed seed costs; both are known here.
        warnings.simplefilter("ignore")
        import umap

        given: dict[str, Any] = {
            "n_neighbors": min(NEIGHBOURS, n - 1), "min_dist": MIN_DIST, "init": first, "random_state": seed % 2**31,
            "n_jobs": 1,
        }  # fmt: skip
        if n >= _OWN:
            known = neighbours_of(points, seed)
            given["precomputed_knn"] = (*known.graph(), known._index)
        model = umap.UMAP(**given)
        made = np.asarray(model.fit_transform(np.ascontiguousarray(points, np.float32)), np.float32)
    # A row that hangs on no other is left without a place.
    lost = ~np.isfinite(made).all(1)
    made[lost] = first[lost]
    return made


def _start(points: Points) -> Plane:
    """The first two components, spread as UMAP's own start is, with ties apart."""
    plane = np.zeros((len(points), 2), np.float32)
    plane[:, : min(2, points.shape[1])] = points[:, :2]
    plane = 10 * plane / max(float(np.abs(plane).max()), 1e-12)
    return plane + np.random.default_rng(0).normal(scale=1e-3, size=plane.shape).astype(np.float32)
