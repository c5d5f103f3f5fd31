"""Names for units: proposed on one half of the examples, scored on the other, beside shuffled names and random twins.

units -> one pass over the data -> overseer proposes (search half) -> overseer judges (held-out half)
      -> scores, shuffled labels, random-weight twins -> cards with labels in seen.json
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from ...activations import Plan, Pool, Recording, record
from ...datasets import Dataset, require_kind
from ...evidence import split_sources
from ...features.labels import Endpoint, PersonLabel
from ...networks import Network
from ...records import BadInput, DataRecord, Emit, LeftOut, Noted, Seen, Site, silent
from ...runs import Engine, Run, generator, mulligan_version
from ...visualization.examples import count_units
from .labels_cards import Drawing, cards_of, figures_of, write_table
from .labels_naming import Material, name_units, settle_on
from .labels_overseers import Overseers, build_overseers, search_fit
from .labels_twins import twins_of

SEEN = "seen.json"
OVERSEERS = ("vocabulary", "llm", "person")
#: Fewer examples than this cannot be halved into anything that scores a label.
FEWEST_EXAMPLES = 40
#: Units of the site on which the pooling is chosen, at most.
_TUNING = 256
#: Units of twins that labels are held against, and how many twins that takes at least and at most. With 20 of them one
#: unit alone can beat all.
_TWIN_UNITS, _TWINS = 1000, (5, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        site, units: whose units are named. left_out: units that do not exist.
        overseer: who proposes, of `OVERSEERS`. concepts: a folder of folders of images, or a text file of topics.
        people: labels that people gave. endpoint: of a language model.
        pool: how an example's activation is made one number, "mean" or "max"; None: chosen on units that are not
            reported on.
        twins: random-weight twins; None: as many as give 1,000 units to hold labels against, from 5 to 20.
        rate: the share of false labels among those shown, at most, on average; a network that learned nothing is given
            any label so often.
        examples: at most so many of the data are used, drawn at random.
    """

    network: Network
    dataset: Dataset
    site: Site
    units: tuple[int, ...]
    left_out: tuple[LeftOut, ...] = ()
    overseer: str = "vocabulary"
    concepts: Path | None = None
    people: tuple[PersonLabel, ...] = ()
    endpoint: Endpoint | None = None
    pool: str | None = None
    twins: int | None = None
    rate: float = 0.05
    examples: int = 2000
    seed: int = 0
    batch: int | None = None


def find_units(network: Network, feature: str) -> tuple[Site, tuple[int, ...], tuple[LeftOut, ...]]:
    """The units that a person names: SITE (all of them), or SITE:UNIT,UNIT...; and those that are not there.

    Raises:
        BadInput: if there is no such site, or none of the units; says how many there are.
    """
    head, colon, tail = feature.rpartition(":")
    listed = colon and all(part.strip().isdecimal() for part in tail.split(","))
    site = network.site(head if listed else feature)
    units = count_units(site)
    if not listed:
        return site, tuple(range(units)), ()
    asked = tuple(dict.fromkeys(int(part) for part in tail.split(",")))
    there = tuple(unit for unit in asked if unit < units)
    why = f"there is no such unit: {site.alias} has {units}, numbered from 0 to {units - 1}"
    if not there:
        raise BadInput(why, where=feature, fix="choose one of these")
    return site, there, tuple(LeftOut(what=f"{site.alias}:{unit}", why=why) for unit in asked if unit >= units)


def prepare(request: Request) -> None:
    """Everything that can be wrong with the input, before a folder is made.

    Raises:
        BadInput: if the overseer is unknown or lacks what it needs, there are too few examples, the network does not
            take them, or the twins cannot show what the rate asks for.
    """
    network, dataset = request.network, request.dataset
    if request.overseer not in OVERSEERS:
        raise BadInput("there is no such overseer", where=request.overseer, fix=f"choose {', '.join(OVERSEERS)}")
    if request.overseer == "llm" and request.endpoint is None:
        raise BadInput("no language model is configured", where="llm", fix="give --llm-url and --llm-model")
    if request.overseer == "person" and not request.people:
        raise BadInput("there are no people's labels", where="person", fix="give them with --labels labels.toml")
    if network.input is None:
        fix = "pass --input size=...,channels=...,mean=...,std=..."
        raise BadInput("this network does not say what it takes", where=network.name, fix=fix)
    require_kind(dataset, network.input)
    if request.pool is not None and Pool(request.pool).kind not in ("mean", "max"):
        raise BadInput("labels are scored on a mean or a maximum", where=request.pool, fix="give mean or max")
    for name, number in (("rate", request.rate), ("examples", request.examples)):
        if number <= 0 or (name == "rate" and number >= 1):
            raise BadInput(f"a {name} of {number:g} cannot be", where=name, fix="give a larger or smaller one")
    if min(len(dataset), request.examples) < FEWEST_EXAMPLES:
        what = f"{min(len(dataset), request.examples)} examples are too few to propose labels on one half and score "
        raise BadInput(what + "them on the other", where=dataset.source, fix=f"give {FEWEST_EXAMPLES} or more")
    if request.twins is not None and request.twins < 0:
        raise BadInput(f"{request.twins} twins cannot be", where="twins", fix="give 0 or more")


def see_labels(request: Request, run: Run, *, engine: Engine | None = None, emit: Emit = silent) -> Seen:
    """Name units into `run`: seen.json with a card for each, tables/labels.parquet with what was measured.

    Raises:
        Interrupted: after Ctrl-C; the same call goes on. BadInput, DiskFull: see their messages.
    """
    began = time.monotonic()
    prepare(request)
    network, site = request.network, request.site
    dataset, notes = _examples(request)
    split = split_sources(dataset.ids, _groups(dataset), request.seed)
    pools = _pools(request)
    recording = record(
        network, dataset, Plan((site.alias,), pools, answers=False, batch=request.batch, seed=request.seed), run,
        engine=engine, emit=emit, job="recording", index="tables/labels-recording.parquet",
    )  # fmt: skip
    peaks = recording.array(f"{site.alias}|argmax") if "argmax" in pools else None
    material = Material(
        network=network, dataset=dataset, site=site, units=np.array(request.units), search=split.search,
        test=split.test, seed=request.seed, run=run, engine=engine, emit=emit, batch=request.batch,
    )  # fmt: skip
    overseers = build_overseers(material, request, peaks)
    pool, tuned = _pool(request, recording, overseers, material)
    values = recording.array(f"{site.alias}|{pool}").astype(np.float64)
    naming = name_units(material, values[:, material.units], overseers.proposer, overseers.judge, request.people)
    count = request.twins if request.twins is not None else _enough_twins(count_units(site))
    twins = twins_of(material, naming, overseers, pool, count) if count else None
    naming = settle_on(naming, twins, request.rate)
    drawing = Drawing(network, dataset, run)
    reported = np.setdiff1d(material.units, tuned)
    seen = Seen(
        mulligan=mulligan_version(),
        created=str(run.manifest.get("created", "")),
        seconds=time.monotonic() - began,
        seed=request.seed,
        network=network.record(),
        data=DataRecord(source=dataset.source, identity=dataset.identity, n=len(dataset)),
        cards=cards_of(material, naming, values, peaks, drawing, twins),
        left_out=(*request.left_out, *overseers.left_out, *naming.left_out),
        notes=(*dataset.notes, *notes, *overseers.notes, _how(request, material, pool, tuned)),
        figures=figures_of(material, naming, twins, reported, request.seed),
    )
    write_table(run, material, naming)
    run.write_json(SEEN, seen)
    run.update(
        status="finished",
        labels={"overseer": overseers.name, "pool": pool, "rate": request.rate, "twins": count,
                "sent": overseers.sent()},
    )  # fmt: skip
    return seen


def _enough_twins(units: int) -> int:
    """How many twins give units enough."""
    return int(np.clip(-(-_TWIN_UNITS // units), *_TWINS))


def _examples(request: Request) -> tuple[Dataset, list[str]]:
    """The examples that are used: those with a label where classes are the vocabulary, as many as asked for."""
    dataset, notes = request.dataset, []
    rows = np.arange(len(dataset))
    if dataset.labels is not None and dataset.kind != "texts" and request.concepts is None:
        known = np.flatnonzero(dataset.labels >= 0)
        if len(known) < len(rows) and len(known) >= FEWEST_EXAMPLES and request.overseer == "vocabulary":
            notes.append(f"{len(rows) - len(known)} examples of no known class were left out.")
            rows = known
    if len(rows) > request.examples:
        notes.append(f"{request.examples} of {len(rows)} examples were drawn at random.")
        rows = np.sort(generator(request.seed, "label examples").permutation(rows)[: request.examples])
    return (dataset if len(rows) == len(dataset) else dataset.subset(rows)), notes


def _groups(dataset: Dataset) -> Int[np.ndarray, " n"]:
    return dataset.labels if dataset.labels is not None else np.full(len(dataset), -1, dtype=np.int64)


def _pools(request: Request) -> tuple[str, ...]:
    if request.dataset.kind == "texts":
        return tuple(dict.fromkeys((request.pool or "max", "max", "argmax")))
    return (request.pool,) if request.pool else ("mean", "max")


def _pool(
    request: Request, recording: Recording, overseers: Overseers, material: Material
) -> tuple[str, Int[np.ndarray, " k"]]:
    """How activations are pooled, and the units on which that was chosen: no figure is reported on those."""
    none = np.zeros(0, np.int64)
    if request.pool is not None:
        return request.pool, none
    if request.dataset.kind == "texts":
        return "max", none
    if overseers.vocabulary is None:
        return "mean", none
    every = np.arange(count_units(material.site))
    others = np.setdiff1d(every, material.units)
    rng = generator(request.seed, "tuning units")
    if len(others) >= min(8, len(every) // 2):
        tuned = rng.permutation(others)[:_TUNING]
    else:
        tuned = rng.permutation(every)[: min(len(every) // 2, _TUNING)]
    if not len(tuned):
        return "mean", none
    found: dict[str, float] = {}
    for pool in ("mean", "max"):
        values: Float[np.ndarray, "n units"] = recording.array(f"{material.site.alias}|{pool}")[:, tuned]
        found[pool] = search_fit(overseers.vocabulary, values, material)
    best = max(found, key=lambda pool: found[pool])
    material.emit(
        Noted(text=f"activations are pooled by {best}, chosen on {len(tuned)} units that no figure is reported on")
    )
    return best, np.sort(tuned)


def _how(request: Request, material: Material, pool: str, tuned: Sequence[int] | np.ndarray) -> str:
    """One sentence on what the figures rest on."""
    said = f"Labels were proposed on {len(material.search)} examples and scored on {len(material.test)} others"
    said += f"; an example's activation is its {'mean' if pool == 'mean' else 'maximum'} over places"
    if len(tuned):
        said += f", which was chosen on {len(tuned)} units; figures of all units together are of the others"
    return said + "."
