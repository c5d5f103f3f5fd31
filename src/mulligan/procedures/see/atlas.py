"""Make an activation atlas (Carter et al. 2019, doi 10.23915/distill.00015) of one site.

    activations -> moments -> layout -> levels -> controls -> effects -> pyramid -> cells drawn, the fullest first

The pyramid is whole before the first cell is drawn; whatever is drawn when the work is broken off is in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from ...datasets import require_kind
from ...records import (
    Atlas,
    AtlasAgainst,
    BadInput,
    DataRecord,
    Emit,
    LeftOut,
    Site,
    silent,
)
from ...runs import Engine, LocalEngine, Piece, Run, mulligan_version
from ...visualization.atlas.charting import Chart, chart_levels
from ...visualization.atlas.effects import pushing
from ...visualization.atlas.gridding import Frame, check_zooms
from ...visualization.atlas.projecting import measure_moments, row_context
from ...visualization.atlas.sampling import FEWEST, Sample, atlas_site, sample_activations
from ...visualization.atlas.told import told_apart
from .atlas_against import put_beside
from .atlas_controls import trust_figures
from .atlas_effects import measure_effects
from .atlas_pictures import Painting, draw
from .atlas_work import Request, Work, class_number, lay_rows

INDEX = "atlas.json"


def prepare_atlas(request: Request) -> Site:
    """Everything that can be wrong with the input, before a folder is made: returns the site.

    Raises:
        BadInput: if the site, the class or the second network cannot be used, or a number is out of range.
    """
    site = atlas_site(request.network, request.site)
    assert request.network.input is not None, "it takes pictures"
    require_kind(request.dataset, request.network.input)
    check_zooms(request.zooms)
    for name, number, least in (
        ("activations", request.wanted, 1), ("fitted", request.fitted, 3), ("draw", request.draw, 0),
        ("steps", request.steps, 1), ("fewest", 1 if request.fewest is None else request.fewest, 1),
    ):  # fmt: skip
        if number < least:
            raise BadInput(f"{number} is too few", where=name, fix=f"give {least} or more")
    if not 0 < request.share <= 1:
        raise BadInput("a share lies between 0 and 1", where="share", fix="give 0.1")
    if request.target is not None:
        class_number(request.network, request.target)
    if request.against is not None:
        atlas_site(request.against, request.against_site or request.site)
    return site


def make_atlas(
    request: Request,
    run: Run,
    *,
    engine: Engine | None = None,
    emit: Emit = silent,
    saved: Callable[[], object] = lambda: None,
) -> Atlas:
    """Make the atlas in `run`; returns what atlas.json says. `saved` is called whenever atlas.json is written.

    Raises:
        BadInput: if there are too few activations. Interrupted: after Ctrl-C; the same call goes on.
    """
    began = time.monotonic()
    site = prepare_atlas(request)
    network, dataset = request.network, request.dataset
    work = Work(request, run, engine or LocalEngine(), emit, told_apart(network, dataset))
    sample = sample_activations(
        network, dataset, site, run, wanted=request.wanted, seed=request.seed, engine=work.engine, emit=emit
    )
    kept = sample.distinct if request.target is None else _of_class(work, sample)
    laid = lay_rows(work, network, sample, kept, "layout")
    frame = Frame.around(laid.plane)
    zooms = check_zooms(request.zooms)
    fewest = request.fewest or fewest_for(len(laid.plane))
    charts = chart_levels(
        sample, laid, frame, zooms, work.told.labels, fewest=fewest, folder="atlas", random=work.random("purity")
    )
    figures = (trust_figures(work, sample, laid),)
    sure, left_out = measure_effects(work, network, sample, laid, charts, frame, "effects")
    against, others = (None, None) if request.against is None else put_beside(work, sample, laid, frame, zooms, fewest)

    def record(charts: Sequence[Chart], other: AtlasAgainst | None, failed: Sequence[LeftOut]) -> Atlas:
        atlas = Atlas(
            mulligan=mulligan_version(), created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=time.monotonic() - began, seed=request.seed, network=network.record(),
            data=DataRecord(source=dataset.source, identity=dataset.identity, n=len(dataset)), site=site.alias,
            meaning=network.meaning(site), units=site.units, target=request.target,
            share=None if request.target is None else request.share, pictures=sample.pictures, draws=sample.number,
            repeated=int((~sample.distinct).sum()), activations=len(laid.plane), fitted=laid.fitted,
            components=len(laid.projection.components), explained=float(laid.projection.explained.sum()),
            outside=frame.outside(laid.plane), fewest=fewest, shrinkage=laid.moments.shrinkage,
            levels=tuple(chart.write_cells(run, work.told.names) for chart in charts), against=other,
            figures=(*figures, *sure), left_out=(*left_out, *failed), notes=_notes(work, charts),
        )  # fmt: skip
        run.write_json(INDEX, atlas)
        saved()
        return atlas

    paintings = [Painting(network, site.alias, charts)]
    if others is not None and request.against is not None and against is not None:
        paintings.append(Painting(request.against, against.site, others))

    def save(failed: Sequence[LeftOut]) -> Atlas:
        other = None
        if against is not None and others is not None and request.against is not None:
            other = replace(against, levels=tuple(chart.write_cells(run, work.told.names) for chart in others))
        return record(charts, other, failed)

    for painting in paintings:
        for chart in painting.charts:
            chart.write_tiles(run, chart.tiles)
    return draw(work, paintings, save)


def _of_class(work: Work, sample: Sample) -> np.ndarray:
    """Which activations push the network to the class that was asked for."""
    request = work.request
    assert request.target is not None
    output = class_number(request.network, request.target)
    context = row_context(request.network, request.dataset, sample, sample.distinct)
    moments = measure_moments(context, work.run, engine=work.engine, emit=work.emit, job="mean of all activations")
    context = replace(context, objects={**context.objects, "moments": moments})
    pieces = [
        Piece("mulligan.visualization.atlas.effects:push_of", {"start": a, "stop": b, "output": output}, cost=b - a)
        for a, b in sample.spans()
    ]
    done = work.engine.run("what pushes to the class", pieces, context, work.run, work.emit)
    pushes = np.concatenate([result.arrays["push"] for _, result in done])
    kept = pushing(pushes, request.share, sample.distinct)
    if int(kept.sum()) < FEWEST:
        raise BadInput(
            f"{int(kept.sum())} activations push to this class, and an atlas needs {FEWEST}",
            where=request.target,
            fix="ask for more activations (--activations), or for a larger --share",
        )
    return kept


def fewest_for(activations: int) -> int:
    """How many activations a cell must hold: 3 in a small atlas, up to 50 in one of 250,000 or more."""
    return int(np.clip(activations // 5000, 3, 50))


def _notes(work: Work, charts: Sequence[Chart]) -> tuple[str, ...]:
    notes = list(work.request.dataset.notes)
    if work.told.labels is None:
        notes.append("The data have no labels: cells have no histogram of labels, and their purity is not measured.")
    if work.told.groups is not None:
        notes.append(
            f"Most classes have few pictures: labels, and what cells push, are of {len(work.told.groups)} groups of "
            "classes whose rows in the head are alike. A group is called by the two classes nearest to its centre, and "
            "what is pushed is its mean logit beside that of all classes."
        )
    wanted = sum(len(chart.kept) for chart in charts)
    if wanted > work.request.draw:
        notes.append(
            f"Of {wanted:,} cells, {work.request.draw:,} were to be drawn, coarse zooms first and the fullest first in "
            "each; a higher --draw with --resume draws the rest."
        )
    return tuple(notes)
