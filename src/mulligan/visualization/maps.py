"""Representations as maps: the same examples laid out at one layer after another, so that an eye can follow each one.

After Olah 2015, "Visualizing Representations". Each layer's layout starts from the one before it, which holds still
whatever need not move, and is then turned, mirrored and scaled onto it (orthogonal Procrustes, Schönemann 1966); what
still moves, moved in the network.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Float64

from ..runs import Context, Result
from .atlas.gridding import Frame
from .atlas.layout import lay_out
from .atlas.moments import Moments, Projection
from .atlas.projecting import COMPONENTS
from .atlas.trust import trust_of_each

FEWEST = 10  # examples that a map is made of

Plane = Float32[np.ndarray, "example 2"]


def layer_map(rows: Float[np.ndarray, "example unit"], seed: int, before: Plane | None = None) -> Plane:
    """One layer's map of examples, aligned to the map before it if there is one."""
    points = Projection.of(Moments.of(rows), COMPONENTS)(rows)
    if before is None:
        return lay_out(points, seed)
    # UMAP expects a start within about 10 of the middle.
    start = before - before.mean(0)
    made = lay_out(points, seed, start=10 * start / max(float(np.abs(start).max()), 1e-12))
    return onto(made, before)


def onto(plane: Plane, before: Plane) -> Plane:
    """A map turned, mirrored, scaled and moved so that its points lie as near as can be to where they were."""
    middle, target = plane.mean(0, dtype=np.float64), before.mean(0, dtype=np.float64)
    a, b = plane - middle, before - target
    left, sizes, right = np.linalg.svd(a.T @ b)
    scale = sizes.sum() / max(float((a**2).sum()), 1e-300)
    return (scale * a @ (left @ right) + target).astype(np.float32)


def moved(plane: Plane, before: Plane) -> Float64[np.ndarray, " example"]:
    """How far each example lies from where it was, in shares of the earlier map's own spread."""
    spread = np.sqrt(((before - before.mean(0)) ** 2).sum(1).mean())
    return np.sqrt(((plane - before) ** 2).sum(1)) / max(float(spread), 1e-12)


def shown_at(plane: Plane) -> Float64[np.ndarray, "example 2"]:
    """Where points are drawn: from 0 to 1 along each axis, one scale for both; strays are clamped to the border."""
    frame = Frame.around(plane, outer=1.0)
    low, high = np.array(frame.low), np.array(frame.high)
    side = float((high - low).max())
    middle = (low + high) / 2
    return np.clip((plane.astype(np.float64) - middle) / side + 0.5, 0.0, 1.0)


def map_of(context: Context, *, site: str, seed: int) -> Result:
    """A piece of work: one layer's map, and how far each example's neighbours there are neighbours in the network.

    The context holds `rows`, each site's activations by its alias, and `before`, the map to start from, or None.
    """
    rows = context["rows"][site]
    plane = layer_map(rows, seed, context["before"])
    return Result({"plane": plane, "trust": trust_of_each(rows, plane)})
