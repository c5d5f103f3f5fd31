"""Factors of a site: into which handful of parts activations fall, where each is, how strong, and why it mattered.

    sample -> fit (and on a random twin, and shuffled) -> scan the data -> effects -> pictures -> factors.json

Of a data set, activations at random places of many examples are factored; of one picture, all of its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...features import Dictionary, Factors
from ...records import DataRecord, ElbowCurve, Emit, Factored, Quantity, silent
from ...runs import Engine, LocalEngine, Run, generator, mulligan_version
from .factor_cards import Shown, make_cards, make_pictures
from .factor_request import Request, prepare
from .factor_steps import Steps

__all__ = ["Request", "prepare", "see_factors"]

FACTORS = "factors.json"
STRONGEST = 12  # examples that hold most of a factor, on which it is asked which classes it speaks for
AFFECTED = 24  # examples on which the effect on an output is measured


def see_factors(request: Request, run: Run, *, engine: Engine | None = None, emit: Emit = silent) -> Factored:
    """Find the factors and write them into `run` as factors.json, with pictures in artifacts/ and a dictionary.

    Raises:
        Interrupted: after Ctrl-C; the same call goes on. BadInput, DiskFull: see their messages.
    """
    began = time.monotonic()
    prepared = prepare(request)
    work = Steps(request, prepared, run, engine or LocalEngine(), emit)
    order = generator(request.seed, "examples").permutation(len(request.dataset))[: request.examples]
    rows = np.sort(order)
    own = work.sampled(request.network, order)
    fitted = work.fit("factors", own)
    factors = Factors(
        request.kind,  # type: ignore[arg-type]
        fitted.arrays["directions"],
        fitted.arrays["centre"],
        fitted.values["negatives"],
        fitted.values["lost"],
    )
    controls = work.controls(own, order)
    output = prepared.output
    if prepared.picture is not None and output is None:
        output = int(work.placed(factors, prepared.picture, [0]).arrays["answer"][0])
    scanned = work.scan(factors, rows, output)
    shown = Shown(
        request.network, request.dataset, run, prepared.grid, factors, rows, scanned, _named(request, factors, run)
    )
    affected = _affected(scanned, output, request.seed)
    effect = work.effects(factors, request.dataset, rows[affected].tolist(), output)
    here = work.effects(factors, prepared.picture, [0], output) if prepared.picture is not None else None
    spoken = work.spoken(factors, [rows[shown.strongest(k, STRONGEST)].tolist() for k in range(len(factors))])
    drawn = work.drawn(factors) if request.steps else {}
    best = {"own": own["means"], "twin": controls["twin means"]}
    cards = make_cards(
        shown, fitted.values, controls, effect, here, spoken, drawn, best, _output_name(request, output), work.placed
    )
    pictures = make_pictures(shown, prepared.picture, request.shown, work.placed)
    quoted = _quantities(fitted.values)
    found = controls["elbow"]
    document = Factored(
        mulligan=mulligan_version(),
        created=str(run.manifest.get("created", "")),
        seconds=time.monotonic() - began,
        seed=request.seed,
        network=request.network.record(),
        data=DataRecord(source=request.dataset.source, identity=request.dataset.identity, n=len(request.dataset)),
        site=prepared.grid.site.alias,
        meaning=request.network.meaning(prepared.grid.site),
        grid=(prepared.grid.rows, prepared.grid.columns),
        kind=request.kind,
        negatives=factors.negatives,
        lost=factors.lost,
        activations=len(own["values"]),
        examples=len(np.unique(own["owner"])),
        of_one=prepared.picture is not None,
        scanned=len(rows),
        explained=quoted[0],
        twin=_quantities(controls["twin"])[0] if controls["twin"] else None,
        shuffled=_quantities(controls["shuffled"])[0] if controls["shuffled"] else None,
        elbow=ElbowCurve(
            counts=tuple(found["counts"]), explained=tuple(found["explained"]), suggested=found["suggested"]
        ),
        output=_output_name(request, output),
        cards=cards,
        pictures=pictures,
        dictionary=shown.dictionary,
        left_out=tuple(work.left_out),
        notes=(*_notes(own, factors, effect), *request.dataset.notes),
    )
    run.write_json(FACTORS, document)
    run.update(status="finished")
    return document


def _affected(scanned: Mapping[str, np.ndarray], output: int | None, seed: int) -> np.ndarray:
    """On which of the scanned examples the effect is measured: those with the largest logit, or some at random."""
    n = len(scanned["logit"])
    if output is None:
        return np.sort(generator(seed, "affected").permutation(n)[:AFFECTED])
    return np.sort(np.argsort(-scanned["logit"], kind="stable")[:AFFECTED])


def _named(request: Request, factors: Factors, run: Run) -> Dictionary:
    """The factors as a dictionary in the run, named by what is in it."""
    centre = factors.centre.astype(np.float32) if factors.centre.any() else None
    site = request.network.site(request.site).alias
    encoder = factors.directions.astype(np.float32)
    found = Dictionary("factors", site, encoder, centre=centre)
    found = replace(found, name=f"factors-{found.digest.rpartition(':')[2][:8]}")
    with run.replacing(f"dictionaries/{found.name}.safetensors") as part:
        found.save(part)
    return found


def _output_name(request: Request, output: int | None) -> str:
    if output is None:
        return "each example's own answer"
    return (request.network.classes or ())[output]


def _quantities(told: Mapping[str, Any]) -> list[Quantity]:
    """The shares that a fit quotes: of all factors together, then of each."""
    return [Quantity(value=v, unit=told["unit"], low=low, high=high, n=n) for v, low, high, n in told["quoted"]]


def _notes(own: Mapping[str, np.ndarray], factors: Factors, effect: Mapping[str, np.ndarray] | None) -> tuple[str, ...]:
    notes = []
    values = own["values"]
    silent_units = np.flatnonzero(~values.any(0))
    if len(silent_units):
        some = ", ".join(str(u) for u in silent_units[:8]) + (", ..." if len(silent_units) > 8 else "")
        notes.append(f"{len(silent_units)} units are zero at every place that was looked at and take no part: {some}.")
    if factors.negatives == "clip":
        notes.append(
            "Activations below zero were set to zero for the fit: they are "
            f"{100 * factors.lost:.2g} % of the squared activation."
        )
    if factors.negatives == "two-sided":
        notes.append("Activations have both signs: each unit was counted twice, so that a direction has both, too.")
    if effect is None:
        return tuple(notes)
    change, gap = (float(np.abs(effect[name]).mean()) for name in ("change", "gap"))
    if gap > 0.05 * change:
        notes.append(
            f"The integrals along the path are off by {gap:.2g} logits on average, of {change:.3g} that the logit "
            "changes from zero activation: what factors give to it is as uncertain."
        )
    return tuple(notes)
