"""From a million rows to the plane: moments, principal components, a layout of some, places for the rest.

Each step is cut into pieces of work by pictures, so that memory holds one block and a killed atlas goes on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int64

from ...datasets import Dataset
from ...networks import Network
from ...records import Emit, silent
from ...runs import Context, Engine, LocalEngine, Piece, Result, Run, derived_seed, digest
from ...runs import generator as numbers
from .layout import Neighbours, lay_out, neighbours_of
from .moments import Moments, Projection
from .sampling import Sample

FITTED = 100_000  # rows that the layout is made of, at most
COMPONENTS = 50
_ROWS = 60_000  # in one piece, about


@dataclass(frozen=True)
class Laid:
    """Rows in the plane.

    Attributes:
        kept: which of the sample's draws are rows. plane: where each lies, [row, 2], in their order.
        moments, projection: of the rows. fitted: how many the layout was made of.
        neighbours, layout: those, to put others among them.
    """

    kept: Bool[np.ndarray, "picture draw"]
    plane: Float32[np.ndarray, "row 2"]
    moments: Moments
    projection: Projection
    fitted: int
    found: _Fitted

    @cached_property
    def owners(self) -> Int64[np.ndarray, " row"]:
        """Which picture of the sample each row is of."""
        return np.nonzero(self.kept)[0]

    def place(self, rows: Float32[np.ndarray, "row unit"]) -> Float32[np.ndarray, "row 2"]:
        """Where other activations would lie."""
        return self.found.neighbours.place(self.projection(rows), self.found.layout)


class _Fitted:
    """The rows that the layout was made of, and the layout; their neighbours are looked up once they are needed."""

    def __init__(self, points: np.ndarray, layout: np.ndarray, rows: np.ndarray, seed: int) -> None:
        self.points, self.layout, self.rows, self.seed = points, layout, rows, seed

    @cached_property
    def neighbours(self) -> Neighbours:
        return neighbours_of(self.points, self.seed)


def row_context(network: Network, dataset: Dataset, sample: Sample, kept: Bool[np.ndarray, "picture draw"]) -> Context:
    """What pieces over some rows of a sample work on; its identity says which rows of which activations these are."""
    taken = network.input.steps() if network.input else ()
    where = f"{sample.site.alias}|{sample.number}|{sample.seed}|{len(kept)}"
    rows = hashlib.sha256(np.packbits(kept).tobytes()).hexdigest()
    identity = digest("atlas rows", network.identity, *taken, dataset.identity, where, rows)
    return Context(identity, {"network": network, "dataset": dataset, "sample": sample, "kept": kept})


def measure_moments(context: Context, run: Run, *, engine: Engine | None, emit: Emit, job: str) -> Moments:
    """Mean and covariance of the kept rows."""
    pieces = [Piece(f"{__name__}:moments_of", {"start": a, "stop": b}, cost=b - a) for a, b in _spans(context)]
    total: Moments | None = None
    for _, result in (engine or LocalEngine()).run(job, pieces, context, run, emit):
        part = Moments(result.values["n"], result.arrays["mean"], result.arrays["scatter"])
        total = part if total is None else total + part
    assert total is not None, "a sample holds pictures"
    return total


def moments_of(context: Context, *, start: int, stop: int) -> Result:
    """A piece of work: `Moments` of the rows of pictures `start` to `stop`."""
    sample: Sample = context["sample"]
    total: Moments | None = None
    for _, rows in sample.rows(context["kept"], start, stop):
        part = Moments.of(rows)
        total = part if total is None else total + part
    assert total is not None
    return Result({"mean": total.mean, "scatter": total.scatter}, {"n": total.n})


def project(
    context: Context,
    run: Run,
    moments: Moments,
    *,
    seed: int,
    fitted: int = FITTED,
    engine: Engine | None = None,
    emit: Emit = silent,
    job: str = "layout",
) -> Laid:
    """Lay the kept rows out: `fitted` of them by UMAP, the rest among them."""
    engine = engine or LocalEngine()
    kept: np.ndarray = context["kept"]
    total = int(kept.sum())
    projection = Projection.of(moments, COMPONENTS)
    found_by = Context(context.identity, {**context.objects, "projection": projection})
    fit = Piece(f"{__name__}:fit_of", {"rows": min(fitted, total), "seed": derived_seed(seed, "layout")})
    ((_, made),) = engine.run(job, [fit], found_by, run, emit)
    found = _Fitted(made.arrays["points"], made.arrays["layout"], made.arrays["rows"], fit.arguments["seed"])
    if len(found.rows) == total:
        return Laid(kept, found.layout, moments, projection, total, found)
    placing = Context(digest(context.identity, fit.address(found_by)), {**found_by.objects, "fitted": found})
    pieces = [Piece(f"{__name__}:place_of", {"start": a, "stop": b}, cost=b - a) for a, b in _spans(context)]
    parts = [result.arrays["plane"] for _, result in engine.run(f"{job}, the rest", pieces, placing, run, emit)]
    plane = np.concatenate(parts)
    plane[found.rows] = found.layout
    return Laid(kept, plane, moments, projection, len(found.rows), found)


def fit_of(context: Context, *, rows: int, seed: int) -> Result:
    """A piece of work: some rows drawn at random, in components, and their layout."""
    kept: np.ndarray = context["kept"]
    total = int(kept.sum())
    chosen = np.arange(total)
    if rows < total:
        chosen = np.sort(numbers(seed, "fitted").permutation(total)[:rows])
    points = context["projection"](context["sample"].gather(kept, chosen))
    return Result({"points": points, "layout": lay_out(points, seed), "rows": chosen})


def place_of(context: Context, *, start: int, stop: int) -> Result:
    """A piece of work: where the rows of pictures `start` to `stop` lie among those fitted, [row, 2]."""
    found: _Fitted = context["fitted"]
    parts = [
        found.neighbours.place(context["projection"](rows), found.layout)
        for _, rows in context["sample"].rows(context["kept"], start, stop)
    ]
    return Result({"plane": np.concatenate(parts)})


def _spans(context: Context) -> list[tuple[int, int]]:
    """Pictures cut so that a piece has about `_ROWS` rows."""
    sample: Sample = context["sample"]
    step = max(1, _ROWS // sample.number)
    return [(start, min(start + step, sample.pictures)) for start in range(0, sample.pictures, step)]
