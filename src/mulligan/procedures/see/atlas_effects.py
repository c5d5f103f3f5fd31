"""Which classes the cells of an atlas push: measured on some activations of each cell, coarse zooms first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ...networks import Network
from ...records import Beside, LeftOut
from ...runs import Context, Piece, digest
from ...visualization.atlas.charting import Chart, named
from ...visualization.atlas.effects import agreement, choose_members, strongest, tail_of
from ...visualization.atlas.gridding import Frame
from ...visualization.atlas.projecting import Laid, row_context
from ...visualization.atlas.sampling import Sample
from .atlas_work import Work

MOST = 12_000  # activations whose effect is measured, over all zooms
_PIECE = 512


def measure_effects(
    work: Work, network: Network, sample: Sample, laid: Laid, charts: Sequence[Chart], frame: Frame, job: str
) -> tuple[tuple[Beside, ...], list[LeftOut]]:
    """Fill in the charts' effects; returns how far two halves of a cell agree, and what could not be measured."""
    if network.task != "classification":
        return (), [LeftOut(what="effects on classes", why="the network's answers are no classes")]
    tail = tail_of(network, sample.site)
    if tail is None:
        return (), [LeftOut(what="effects on classes", why="what comes after this site cannot be run alone")]
    chosen: list[dict[int, np.ndarray]] = []
    rows: set[int] = set()
    left_out: list[LeftOut] = []
    for chart in charts:
        cells = frame.cells(laid.plane, chart.side)
        members = choose_members(cells, np.sort(chart.kept).tolist(), work.random("members", chart.side))
        taken: dict[int, np.ndarray] = {}
        for cell in chart.kept.tolist():
            if len(rows) >= MOST:
                break
            taken[cell] = members[cell]
            rows |= set(members[cell].tolist())
        if len(taken) < len(chart.kept):
            what = f"effects of {len(chart.kept) - len(taken)} cells of the {chart.side} x {chart.side} grid"
            left_out.append(LeftOut(what=what, why=f"{MOST:,} activations were measured, those of fuller cells first"))
        chosen.append(taken)
    ordered = np.array(sorted(rows), dtype=np.int64)
    if not len(ordered):
        return (), left_out
    found = _effects(work, network, sample, laid, ordered, tail, job)
    names = network.classes
    if network.classes == work.request.network.classes:
        found, names = work.told.effects(found), work.told.names
    for chart, taken in zip(charts, chosen, strict=True):
        for cell, members in taken.items():
            best = strongest(found[np.searchsorted(ordered, members)])
            chart.effects[cell] = tuple((named(names, number), effect) for number, effect in best)
    finest = [found[np.searchsorted(ordered, members)] for members in chosen[_finest(chosen, charts)].values()]
    same, apart = agreement(finest, work.random("agreement"))
    side = charts[_finest(chosen, charts)].side
    figure = Beside(
        name=f"classes that cells push, {side} x {side}", shown=same, controls=(("halves of different cells", apart),)
    )
    return (figure,), left_out


def _finest(chosen: Sequence[dict[int, np.ndarray]], charts: Sequence[Chart]) -> int:
    """The finest zoom of which every cell was measured, or else the coarsest."""
    whole = [k for k, (taken, chart) in enumerate(zip(chosen, charts, strict=True)) if len(taken) == len(chart.kept)]
    return max((k for k in whole if chosen[k]), default=0)


def _effects(
    work: Work, network: Network, sample: Sample, laid: Laid, rows: np.ndarray, tail: object, job: str
) -> np.ndarray:
    pictures, draws = (axis[rows] for axis in np.nonzero(laid.kept))
    context = row_context(network, work.request.dataset, sample, laid.kept)
    there = {**context.objects, "moments": laid.moments, "tail": tail, "classes": _classes(network)}
    context = Context(digest("effects", context.identity), there)
    edges = [*range(0, len(rows), _PIECE), len(rows)]
    pieces = [
        Piece(
            "mulligan.visualization.atlas.effects:effects_of",
            {"pictures": pictures[a:b].tolist(), "draws": draws[a:b].tolist()},
            cost=b - a,
        )
        for a, b in pairwise(edges)
    ]
    done = work.engine.run(job, pieces, context, work.run, work.emit)
    return np.concatenate([result.arrays["effects"] for _, result in done])


def _classes(network: Network) -> int:
    return len(network.classes) if network.classes else network.head_weights[0].shape[0]
