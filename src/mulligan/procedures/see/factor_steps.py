"""The steps of `see_factors`: each hands its pieces to the engine and joins what they give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np

from ...activations.planning import plan_pass
from ...activations.rebuilding import network_and_data
from ...datasets import Dataset, batches
from ...evidence import random_twin
from ...features import Factors
from ...features.factors import MOST
from ...networks import Network
from ...records import DiskFull, Emit, Interrupted, LeftOut, MulliganError, Noted
from ...runs import Context, Engine, Piece, Result, Run, digest, finished_pieces
from .factor_request import Prepared, Request
from .factor_work import wanted_of

SAMPLED = 512  # examples whose activations are factored, of a data set
ACTIVATIONS = 16_384  # at random places of these
_SHARD = 64  # examples in a piece
_SETTLED = 32  # examples on which a random twin's batch norms settle
_HERE = "mulligan.procedures.see.factor_work"


class Steps:
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
