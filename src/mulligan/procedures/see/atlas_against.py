"""A second network on the layout of the first: its activations mapped there, counted into the same cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse

from ...evidence import bootstrap
from ...records import AtlasAgainst, Beside, Quantity
from ...visualization.atlas.aligning import Alignment, align
from ...visualization.atlas.charting import Chart, chart_levels
from ...visualization.atlas.gridding import Frame
from ...visualization.atlas.projecting import Laid, measure_moments, row_context
from ...visualization.atlas.sampling import Sample, atlas_site, places_of, sample_activations
from .atlas_effects import measure_effects
from .atlas_work import Work

_PAIRED = 4000  # pictures whose activations the map is fitted, chosen and measured on
_DRAWS = 8
_SIDE = 16
DISTANCE = "distance between where two sets of activations lie (0: alike; 1: no cell in common), 16 x 16 cells"


def put_beside(
    work: Work, sample: Sample, laid: Laid, frame: Frame, zooms: Sequence[int], fewest: int
) -> tuple[AtlasAgainst, list[Chart]]:
    """Sample the second network, map it to the first, and chart it in the same frame.

    Raises:
        BadInput: as `sample_activations` does.
    """
    request = work.request
    second = request.against
    assert second is not None
    site = atlas_site(second, request.against_site or request.site)
    other = sample_activations(
        second, request.dataset, site, work.run, wanted=request.wanted, seed=request.seed, engine=work.engine,
        emit=work.emit, job="second network",
    )  # fmt: skip
    matched = site.alias == sample.site.alias and places_of(site) == places_of(sample.site)
    a, b, pairs = _pairs(work, sample, other, matched=matched and other.number == sample.number)
    alignment = align(a, b, work.random("align"))
    context = row_context(second, request.dataset, other, other.distinct)
    moments = measure_moments(
        context, work.run, engine=work.engine, emit=work.emit, job="second network: mean and covariance"
    )
    plane = np.concatenate([laid.place(alignment(rows)) for _, rows in other.rows(other.distinct)])
    there = Laid(other.distinct, plane, moments, laid.projection, 0, laid.found)
    charts = chart_levels(
        other, there, frame, zooms, work.told.labels, fewest=fewest, folder="atlas/against",
        random=work.random("purity", "against"),
    )  # fmt: skip
    sure, _ = measure_effects(work, second, other, there, charts, frame, "effects of the second network")
    explained = Beside(
        name="what the map explains", shown=alignment.explained, controls=(("pictures exchanged", alignment.shuffled),)
    )
    return (
        AtlasAgainst(
            network=second.record(), site=site.alias, activations=len(plane), map=alignment.kind, pairs=pairs,
            explained=explained, outside=frame.outside(plane), levels=(),
            figures=(_distance(work, sample, laid, other, there, frame, alignment), *sure),
        ),
        charts,
    )  # fmt: skip


def _pairs(work: Work, sample: Sample, other: Sample, *, matched: bool) -> tuple[np.ndarray, np.ndarray, str]:
    """Activations of the same pictures: at the same places where both were sampled there, else their means."""
    random = work.random("pairs")
    chosen = np.sort(random.permutation(sample.pictures)[:_PAIRED])
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for begin, end in sample.spans():
        rows = chosen[(chosen >= begin) & (chosen < end)] - begin
        if len(rows):
            a, b = sample.block(begin, end)[rows], other.block(begin, end)[rows]
            if matched:
                parts.append((a[:, :_DRAWS], b[:, :_DRAWS]))
            else:
                parts.append((a.mean(1, keepdims=True), b.mean(1, keepdims=True)))
    first = np.concatenate([a for a, _ in parts])
    second = np.concatenate([b for _, b in parts])
    what = f"the same {first.shape[1]} places" if matched else "the mean of the sampled places"
    return first, second, f"{what} of each of {len(first):,} pictures, half of them"


def _distance(
    work: Work, sample: Sample, laid: Laid, other: Sample, there: Laid, frame: Frame, alignment: Alignment
) -> Beside:
    """Total variation between the two networks' shares of the cells; and between two halves of the first's pictures.

    Both networks' activations of some pictures are put among those fitted: a layout's own points lie a little farther
    apart than points that are put among them.
    """
    chosen = np.zeros(sample.pictures, dtype=bool)
    chosen[work.random("distance", "pictures").permutation(sample.pictures)[:_PAIRED]] = True
    first = _by_picture(frame, *_placed(sample, laid.kept & chosen[:, None], laid.place), sample.pictures)[chosen]
    second = _by_picture(
        frame, *_placed(other, there.kept & chosen[:, None], lambda rows: laid.place(alignment(rows))), sample.pictures
    )[chosen]
    random = work.random("distance")
    half = random.permutation(first.shape[0])
    cut = len(half) // 2
    halves = _between(first[half[:cut]], first[half[cut:]], random)
    return Beside(
        name="where the two networks' activations lie",
        shown=_between(first, second, random),
        controls=(("two halves of the first network's pictures", halves),),
    )


def _placed(
    sample: Sample, kept: np.ndarray, place: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Which picture each of some activations is of, and where it is put."""
    return np.nonzero(kept)[0], np.concatenate([place(rows) for _, rows in sample.rows(kept)])


def _by_picture(frame: Frame, owners: np.ndarray, plane: np.ndarray, pictures: int) -> sparse.csr_matrix:
    cells = frame.cells(plane, _SIDE)
    return sparse.csr_matrix((np.ones(len(cells)), (owners, cells)), shape=(pictures, _SIDE * _SIDE))


def _between(a: sparse.csr_matrix, b: sparse.csr_matrix, random: np.random.Generator) -> Quantity:
    """Pictures are drawn anew for the interval, the same ones of both networks where both have the same."""
    counts = [part.toarray() for part in (a, b)]
    n = min(map(len, counts))

    def distance(rows: np.ndarray) -> float:
        weights = np.bincount(rows.astype(np.int64).ravel(), minlength=n).astype(np.float64)
        one, two = (weights @ part[:n] for part in counts)
        return 0.5 * float(np.abs(one / max(one.sum(), 1) - two / max(two.sum(), 1)).sum())

    return bootstrap(np.arange(n), DISTANCE, distance, random, repeats=200)
