"""How far an atlas keeps neighbours near, beside a random-weight twin and shuffled activations laid out alike."""

from __future__ import annotations

import numpy as np

from ...activations import Plan, record
from ...datasets import batches
from ...evidence import random_twin
from ...records import Beside, Quantity
from ...runs import Context, Piece, Result, derived_seed, digest
from ...visualization.atlas.layout import lay_out
from ...visualization.atlas.moments import Moments, Projection
from ...visualization.atlas.projecting import COMPONENTS, Laid
from ...visualization.atlas.sampling import BLOCK, Sample
from ...visualization.atlas.trust import MOST, shuffled_rows, trust, trust_of_each
from .atlas_work import Work

_SETTLED = 64  # pictures on which the twin's batch norms are measured
ALONE = "the same activations laid out alone"
TWIN = "random twin, the same places laid out alone"
SHUFFLED = "shuffled activations, laid out alone"


def trust_figures(work: Work, sample: Sample, laid: Laid) -> Beside:
    """Trustworthiness of the layout on some rows, one a picture as far as there are as many, and of its controls.

    The controls are layouts of these rows alone, made in the same way: of the network's activations, of a twin's at the
    same places of the same pictures, and of the network's with each unit shuffled.
    """
    random = work.random("trust")
    order = random.permutation(len(laid.plane))
    # The first row of each picture in this order comes before the second of any.
    _, first = np.unique(laid.owners[order], return_index=True)
    repeated = np.ones(len(order), dtype=np.int64)
    repeated[first] = 0
    chosen = np.sort(order[np.argsort(repeated, kind="stable")][:MOST])
    rows = sample.gather(laid.kept, chosen)
    pictures, draws = (axis[chosen] for axis in np.nonzero(laid.kept))
    scores = {"as shown": trust_of_each(rows, laid.plane[chosen])}
    named = {
        ALONE: rows,
        TWIN: _twin_rows(work, sample, pictures, draws),
        SHUFFLED: shuffled_rows(rows, random),
    }
    arrays = list(named.values())
    identity = digest("atlas controls", *(part.tobytes() for part in arrays))
    pieces = [
        Piece(f"{__name__}:alone", {"number": number, "seed": derived_seed(work.request.seed, "alone")})
        for number in range(len(arrays))
    ]
    done = work.engine.run("controls", pieces, Context(identity, {"rows": arrays}), work.run, work.emit)
    for name, (_, result) in zip(named, done, strict=True):
        scores[name] = result.arrays["trust"]
    figures: dict[str, Quantity] = {name: trust(values) for name, values in scores.items()}
    return Beside(
        name=f"neighbours kept, {len(chosen):,} activations",
        shown=figures.pop("as shown"),
        controls=tuple(figures.items()),
    )


def alone(context: Context, *, number: int, seed: int) -> Result:
    """A piece of work: the trustworthiness of each of some rows when these are laid out by themselves."""
    rows = context["rows"][number]
    points = Projection.of(Moments.of(rows), COMPONENTS)(rows)
    return Result({"trust": trust_of_each(rows, lay_out(points, seed))})


def _twin_rows(work: Work, sample: Sample, pictures: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """What the twin has at the same places of the same pictures."""
    network, dataset = work.request.network, work.request.dataset
    needed, at = np.unique(pictures, return_inverse=True)
    part = dataset.subset(sample.recording.examples[needed])
    settled = batches(part, network.input, list(range(min(len(part), _SETTLED))), _SETTLED)  # type: ignore[arg-type]
    twin = random_twin(network, work.request.seed, ((group.x, group.mask) for group in settled))
    # The places of "sample" hang on the picture's id and the site: the same plan draws the same ones.
    plan = Plan((sample.site.alias,), (f"sample:{sample.number}",), answers=False, seed=sample.seed, shard=BLOCK)
    recording = record(
        twin, part, plan, work.run, engine=work.engine, emit=work.emit, job="random twin", index="tables/twin.parquet"
    )
    return np.ascontiguousarray(recording.array(sample.name)[at, draws])
