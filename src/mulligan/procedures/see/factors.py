"""Factors of a site: into which handful of parts activations fall, where each is, how strong, and why it mattered.

    sample -> fit (and on a random twin, and shuffled) -> scan the data -> effects -> pictures -> factors.json

Of a data set, activations at random places of many examples are factored; of one picture, all of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ...activations.planning import plan_pass
from ...activations.rebuilding import network_and_data
from ...attribution import find_class
from ...datasets import Dataset, batches, require_kind
from ...datasets.dataset import checked
from ...datasets.dataset import digest as content_digest
from ...datasets.pictures import read_picture
from ...evidence import random_twin
from ...features import Dictionary, Factors
from ...features.factors import MOST, require_asked
from ...networks import Network
from ...records import (
    BadInput,
    DataRecord,
    DiskFull,
    ElbowCurve,
    Emit,
    Factored,
    Interrupted,
    LeftOut,
    MulliganError,
    Noted,
    Quantity,
    silent,
)
from ...runs import (
    Context,
    Engine,
    LocalEngine,
    Piece,
    Result,
    Run,
    digest,
    finished_pieces,
    generator,
    mulligan_version,
)
from .factor_cards import Shown, make_cards, make_pictures
from .factor_work import Grid, find_grid, wanted_of

FACTORS = "factors.json"
SAMPLED = 512  # examples whose activations are factored, of a data set
ACTIVATIONS = 16_384  # at random places of these
STRONGEST = 12  # examples that hold most of a factor, on which it is asked which classes it speaks for
AFFECTED = 24  # examples on which the effect on an output is measured
_SHARD = 64  # examples in a piece
_SETTLED = 32  # examples on which a random twin's batch norms settle
_HERE = "mulligan.procedures.see.factor_work"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        site: alias of a site with space. image: a picture whose own activations are factored; None: the data's.
        count: how many factors. kind: "nmf" or "pca". negatives: see `fit_factors`.
        output: the class whose logit is explained, by name or number; None: each example's own answer.
        examples: at most so many examples of the data are looked at, drawn at random.
        steps: of the pictures' optimization; 0: no pictures.
        shown: how many examples of the data are shown under the factors' colours.
    """

    network: Network
    dataset: Dataset
    site: str
    image: Path | str | None = None
    count: int = 6
    kind: str = "nmf"
    negatives: str = "auto"
    output: str | None = None
    examples: int = 1000
    steps: int = 128
    shown: int = 6
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What will be done: where, on which class, and on which picture alone."""

    grid: Grid
    output: int | None
    picture: Dataset | None


class OnePicture(Dataset):
    """A picture that a user names, as a data set of one example."""

    def __init__(self, path: Path | str) -> None:
        self._picture = read_picture(Path(path).expanduser(), path)
        self._content = content_digest(np.asarray(self._picture.convert("RGB")).tobytes())
        super().__init__(str(path), "images", 1, ids=[self._content])

    def gather(self, indices: Sequence[int] | np.ndarray) -> list[Any]:
        """See `Dataset.gather`."""
        return [self._picture for _ in checked(indices, 1)]


def prepare(request: Request) -> Prepared:
    """Everything that can be wrong with the input, before a folder is made.

    Raises:
        BadInput: if the site has no space, there are fewer activations or units than factors, no such class, or the
            network does not take the data or the picture.
    """
    network, dataset = request.network, request.dataset
    if network.input is None:
        fix = "pass --input size=...,channels=...,mean=...,std=..."
        raise BadInput("this network does not say what it takes", where=network.name, fix=fix)
    require_kind(dataset, network.input)
    grid = find_grid(network, request.site)
    if network.task != "classification" or network.classes is None:
        raise BadInput(
            "effects are measured on classes, and this network has none", where=network.name, fix="pass --classes"
        )
    require_asked(request.count, grid.site.units, request.kind, request.negatives, grid.site.alias)
    picture = OnePicture(request.image) if request.image is not None else None
    there = grid.places * (1 if picture is not None else len(dataset) // 2)
    if there < request.count:
        raise BadInput(
            f"there are {there} activations for {request.count} factors",
            where=grid.site.alias,
            fix="give more examples, ask for fewer factors, or choose a site with more places",
        )
    if request.examples < 2:
        raise BadInput(f"{request.examples} examples are too few to look at", where="--examples", fix="give 2 or more")
    output = find_class(network, request.output) if request.output is not None else None
    return Prepared(grid=grid, output=output, picture=picture)


def see_factors(request: Request, run: Run, *, engine: Engine | None = None, emit: Emit = silent) -> Factored:
    """Find the factors and write them into `run` as factors.json, with pictures in artifacts/ and a dictionary.

    Raises:
        Interrupted: after Ctrl-C; the same call goes on. BadInput, DiskFull: see their messages.
    """
    began = time.monotonic()
    prepared = prepare(request)
    work = _Work(request, prepared, run, engine or LocalEngine(), emit)
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


class _Work:
    """Hands pieces to the engine; each method is one step of the job."""

    def __init__(self, request: Request, prepared: Prepared, run: Run, engine: Engine, emit: Emit) -> None:
        self.request, self.prepared, self.run, self.engine, self.emit = request, prepared, run, engine, emit
        self.site, self.seed = prepared.grid.site.alias, request.seed
        self.left_out: list[LeftOut] = []
        self._base: dict[str, Context] = {}
        self._tails: dict[str, Any] = {}

    @contextmanager
    def leaving_out(self, what: str) -> Iterator[None]:
        """Within the block, what cannot be done is written down with its reason, and the rest of the job goes on."""
        try:
            yield
        except (Interrupted, DiskFull):
            raise
        except (MulliganError, RuntimeError) as error:
            self.left_out.append(LeftOut(what=what, why=str(error).strip().split("\n")[0]))

    def base(self, network: Network, dataset: Dataset) -> Context:
        """Network and data, as pieces see them."""
        key = f"{network.identity} {dataset.identity}"
        if key not in self._base:
            self._base[key] = network_and_data(network, dataset)
        return self._base[key]

    def run_pieces(self, job: str, pieces: list[Piece], context: Context) -> Iterator[Result]:
        """The results, in order; where many examples are still to be passed, how is planned first."""
        there = finished_pieces(self.run, [piece.address(context) for piece in pieces])
        left = [p for p in pieces if p.address(context) not in there]
        rows = [row for piece in left for row in piece.arguments.get("rows", ())]
        if len(rows) > 2 * _SHARD and "pass" not in context.objects:
            network, dataset = context["network"], context["dataset"]
            planned = plan_pass(network, dataset, network.input, wanted_of(self.prepared.grid.site), rows)
            self.emit(Noted(text=planned.text().replace("recording", job, 1)))
            context = Context(context.identity, {**context.objects, "pass": planned.run, "batch": planned.batch})
        for _, result in self.engine.run(job, pieces, context, self.run, self.emit):
            yield result

    def sampled(self, network: Network, order: np.ndarray) -> dict[str, np.ndarray]:
        """Activations to be factored, with their owners, and the means of the examples that they are of."""
        picture = self.prepared.picture
        if picture is not None:
            own = self._sample(network, picture, [0], self.prepared.grid.places)
            # What examples of the data reach at best is asked of the data all the same.
            return own | {"means": self._sample(network, self.request.dataset, order[:SAMPLED].tolist(), 1)["means"]}
        rows = np.sort(order[:SAMPLED]).tolist()
        number = min(self.prepared.grid.places, -(-ACTIVATIONS // len(rows)))
        return self._sample(network, self.request.dataset, rows, number)

    def _sample(self, network: Network, dataset: Dataset, rows: list[int], number: int) -> dict[str, np.ndarray]:
        pieces = [
            Piece(f"{_HERE}:sample", {"site": self.site, "rows": part, "number": number, "seed": self.seed}, len(part))
            for part in _parts(rows)
        ]
        twin = " of a random twin" if network is not self.request.network else ""
        found = list(self.run_pieces(f"activations{twin}", pieces, self.base(network, dataset)))
        return {name: np.concatenate([f.arrays[name] for f in found]) for name in ("values", "owner", "means")}

    def fit(self, job: str, own: Mapping[str, np.ndarray], *, shuffle: bool = False) -> Result:
        """Factors of sampled activations."""
        arguments = {**self._asked, "count": self.request.count, "shuffle": shuffle}
        piece = Piece(f"{_HERE}:fit", {**arguments, "apart": self.prepared.picture is None})
        return next(iter(self.run_pieces(job, [piece], self._of(own))))

    @property
    def _asked(self) -> dict[str, Any]:
        return {"kind": self.request.kind, "negatives": self.request.negatives, "seed": self.seed}

    def _of(self, own: Mapping[str, np.ndarray]) -> Context:
        identity = digest(self.site, own["values"].tobytes().hex(), own["owner"].tobytes().hex())
        return Context(identity, {"values": own["values"], "owner": own["owner"], "site": self.site})

    def controls(self, own: Mapping[str, np.ndarray], order: np.ndarray) -> dict[str, Any]:
        """The same on a random twin and on shuffled units, and the curve over numbers of factors."""
        network, dataset = self.request.network, self.request.dataset
        found: dict[str, Any] = {"twin": None, "shuffled": None, "twin means": None}
        settle = ((g.x, g.mask) for g in batches(dataset, network.input, order[:_SETTLED], 16))  # type: ignore[arg-type]
        self.twin = random_twin(network, self.seed, settle)
        with self.leaving_out("the random twin"):
            other = self.sampled(self.twin, order)
            found["twin means"] = other["means"]
            found["twin"] = self.fit("factors of a random twin", other).values
        with self.leaving_out("the shuffled units"):
            found["shuffled"] = self.fit("factors of shuffled units", own, shuffle=True).values
        piece = Piece(f"{_HERE}:elbow", {**self._asked, "most": MOST})
        found["elbow"] = next(iter(self.run_pieces("how many factors", [piece], self._of(own)))).values
        return found

    def _with(self, factors: Factors, dataset: Dataset, network: Network | None = None) -> Context:
        base = self.base(network or self.request.network, dataset)
        identity = digest(
            base.identity, factors.kind, *(a.tobytes().hex() for a in (factors.directions, factors.centre))
        )
        return Context(identity, {**base.objects, "factors": factors, "tails": self._tails})

    def scan(self, factors: Factors, rows: np.ndarray, output: int | None) -> dict[str, np.ndarray]:
        """How much of each factor is in each of these examples of the data, and the logit of the output."""
        pieces = [
            Piece(f"{_HERE}:scan", {"site": self.site, "rows": part, "output": output}, len(part))
            for part in _parts(rows.tolist())
        ]
        found = list(self.run_pieces("looking through the data", pieces, self._with(factors, self.request.dataset)))
        return {name: np.concatenate([f.arrays[name] for f in found]) for name in found[0].arrays}

    def placed(self, factors: Factors, dataset: Dataset, rows: list[int]) -> Result:
        """Where each factor is in a few examples."""
        piece = Piece(f"{_HERE}:place", {"site": self.site, "rows": rows}, len(rows))
        return next(iter(self.run_pieces("places", [piece], self._with(factors, dataset))))

    def effects(self, factors: Factors, dataset: Dataset, rows: list[int], output: int | None) -> dict[str, np.ndarray]:
        """What each factor does to the output, an example a row."""
        pieces = [
            Piece(f"{_HERE}:effects", {"site": self.site, "rows": part, "output": output, "seed": self.seed}, len(part))
            for part in _parts(rows, 8)
        ]
        with self.leaving_out(f"effects on {dataset.source}"):
            found = list(self.run_pieces("effects", pieces, self._with(factors, dataset)))
            return {name: np.concatenate([f.arrays[name] for f in found]) for name in found[0].arrays}
        return None

    def spoken(self, factors: Factors, strongest: list[list[int]]) -> list[Result]:
        """What taking each factor out of the examples that hold most of it does to all classes; [] where that cannot be
        measured."""
        pieces = [
            Piece(f"{_HERE}:speaks_for", {"site": self.site, "rows": rows, "factor": k, "seed": self.seed}, len(rows))
            for k, rows in enumerate(strongest)
        ]
        with self.leaving_out("classes that factors speak for"):
            return list(self.run_pieces("classes", pieces, self._with(factors, self.request.dataset)))
        return []

    def drawn(self, factors: Factors) -> dict[str, Result]:
        """A picture of each factor, on the network ("own") and on its random twin ("twin")."""
        piece = Piece(f"{_HERE}:draw", {"site": self.site, "steps": self.request.steps, "seed": self.seed})
        found: dict[str, Result] = {}
        for name, network in (("own", self.request.network), ("twin", self.twin)):
            job = "pictures" if name == "own" else "pictures of a random twin"
            with self.leaving_out(job):
                context = self._with(factors, self.request.dataset, network)
                found[name] = next(iter(self.run_pieces(job, [piece], context)))
        failed = found["own"].values["failed"] if "own" in found else {}
        self.left_out += [LeftOut(what=f"the picture of factor {int(k) + 1}", why=why) for k, why in failed.items()]
        return found


def _parts(rows: list[int], size: int = _SHARD) -> list[list[int]]:
    return [rows[a:b] for a, b in pairwise([*range(0, len(rows), size), len(rows)])]


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
    size = float(np.abs(effect["attribution"].sum(1)).mean())
    gap = float(np.abs(effect["gap"]).mean())
    if gap > 0.05 * max(size, 1e-12):
        notes.append(f"The integrals along the path are off by {gap:.2g} logits on average.")
    return tuple(notes)
