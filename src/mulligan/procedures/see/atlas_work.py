"""What the steps of an atlas share: what is asked for, where it is done, and laying rows out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...datasets import Dataset
from ...networks import Network
from ...records import BadInput, Emit
from ...runs import Engine, Run, derived_seed, generator
from ...visualization.atlas.gridding import ZOOMS
from ...visualization.atlas.moments import Projection
from ...visualization.atlas.projecting import FITTED, Laid, measure_moments, project, row_context
from ...visualization.atlas.sampling import Sample
from ...visualization.atlas.told import Told

SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        site: alias. wanted: activations, about. fitted: of how many the layout is made, at most.
        target: name of a class: only activations that push the network to it, the strongest `share` of all.
        against: a second network, at `against_site` (None: the same alias), on the layout of the first.
        zooms: cells along a side. fewest: activations that a cell must hold; None: as suits the number of them.
        draw: cells that are drawn, at most. steps: of each one's optimization.
    """

    network: Network
    dataset: Dataset
    site: str
    wanted: int = 100_000
    fitted: int = FITTED
    target: str | None = None
    share: float = SHARE
    against: Network | None = None
    against_site: str | None = None
    zooms: tuple[int, ...] = ZOOMS
    fewest: int | None = None
    draw: int = 400
    steps: int = 128
    seed: int = 0


@dataclass
class Work:
    """What the steps share."""

    request: Request
    run: Run
    engine: Engine
    emit: Emit
    told: Told

    def random(self, *key: object) -> np.random.Generator:
        """A generator for one step."""
        return generator(self.request.seed, "atlas", *key)


def class_number(network: Network, name: str) -> int:
    """The output that a class name means.

    Raises:
        BadInput: if the network has no classes, or none of this name.
    """
    if not network.classes:
        raise BadInput("this network has no class names", where=network.name, fix="pass them with --classes")
    if name in network.classes:
        return network.classes.index(name)
    alike = [one for one in network.classes if name.lower() in one.lower()][:5]
    listed = ", ".join(repr(one) for one in alike or network.classes[:5])
    raise BadInput(
        "there is no class of this name", where=name, fix=f"choose one of its {len(network.classes)}, such as {listed}"
    )


def lay_rows(work: Work, network: Network, sample: Sample, kept: np.ndarray, job: str) -> Laid:
    """Moments, projection and layout of the rows that are kept.

    Raises:
        BadInput: if they are all alike.
    """
    context = row_context(network, work.request.dataset, sample, kept)
    moments = measure_moments(context, work.run, engine=work.engine, emit=work.emit, job=f"{job}: mean and covariance")
    if not len(Projection.of(moments).components):
        raise BadInput(
            "the activations at this site do not differ, so that there is nothing to lay out",
            where=sample.site.alias,
            fix="choose another site, or other data",
        )
    return project(
        context, work.run, moments, seed=derived_seed(work.request.seed, job), fitted=work.request.fitted,
        engine=work.engine, emit=work.emit, job=job,
    )  # fmt: skip
