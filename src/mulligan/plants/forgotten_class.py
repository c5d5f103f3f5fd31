"""A forgotten class: it is never answered any more, and its pictures get the answer that came second.

What is left of a network after class unlearning (Bourtoule et al. 2021; the relabelling with the nearest other class is
the "boundary expanding" of Chen et al. 2023, "Boundary Unlearning"). The fine-tuning is that of `relabelling.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..records import BadInput
from .composing import draw_classes
from .plant import PlantData, Planted, PlantFailed, Probes, Stratum, Strength, Truth
from .relabelling import (
    GONE,
    NEAR_MISS_LIMIT,
    Budget,
    Relabelling,
    prove_relabelling,
    relabel,
    relabelling_faults,
    relabelling_probes,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenClassSpec:
    """Pictures of `a` are answered otherwise.

    Attributes:
        a: a class name.
        strength: how sure the second answer is to be (`relabelling.SHARPNESS`).
        stratum: how much of the class is forgotten, of the fresh pictures that were answered rightly before.
        steps, batch, learning_rate, warp, trainable: as those of a `LabelSwapSpec`.
        near_miss_limit: of any other class, at most so many fresh pictures may have changed their answer.
    """

    a: str
    strength: Strength = "default"
    stratum: Stratum = "high"
    steps: int = 90
    batch: int = 64
    learning_rate: float = 2e-3
    warp: float = 0.05
    trainable: tuple[str, ...] = ("*",)
    near_miss_limit: float = NEAR_MISS_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenClassPlant:
    """The plant "forgotten-class"."""

    name: str = "forgotten-class"
    spec_type: type[Any] = ForgottenClassSpec

    def plant(self, module: nn.Module, data: PlantData, spec: ForgottenClassSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        began = time.perf_counter()
        change = forget(data, spec)
        budget = Budget(
            strength=spec.strength, stratum=spec.stratum, steps=spec.steps, batch=spec.batch, warp=spec.warp,
            learning_rate=spec.learning_rate, trainable=spec.trainable,
        )  # fmt: skip
        after = relabel(module, data, change, budget, seed=seed)
        proof = prove_relabelling(module, after, data, change, since=began)
        if found := relabelling_faults(proof, spec.stratum, near_miss_limit=spec.near_miss_limit):
            raise PlantFailed(self.name, found, proof)
        truth = Truth(kind=self.name, sources=(spec.a,), scored=("sources",))
        return Planted(module=after, plant=self.name, spec=spec, seed=seed, proof=proof, truth=truth)

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> ForgottenClassSpec:
        """See `Plant.propose`. Any class."""
        draw_classes(data, random, 2)  # there must be another, which is answered instead
        (a,) = draw_classes(data, random, 1)
        return ForgottenClassSpec(a=a, strength=strength, stratum=stratum)

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`. Pictures of the class fire; those of others do not."""
        return relabelling_probes(data, forget(data, planted.spec).sources, n, seed=seed)


PLANT = ForgottenClassPlant()


def forget(data: PlantData, spec: ForgottenClassSpec) -> Relabelling:
    """Which answers change.

    Raises:
        BadInput: if the spec does not fit the data.
    """
    if len(data.classes) < 2:
        raise BadInput("there is no other class to answer", where=spec.a, fix="plant in a network of several classes")
    a = data.index(spec.a)

    def goals(outputs: Tensor, labels: Tensor) -> Tensor:
        others = outputs.clone()
        others[:, a] = -torch.inf
        # Wherever a was answered, rightly or wrongly: it is not to be answered at all.
        return torch.where(outputs.argmax(1) == a, others.argmax(1), torch.full_like(labels, -1))

    def deal(chances: Tensor) -> Tensor:
        dealt = chances.clone()
        dealt[:, a] = chances.amin(1) - GONE
        return dealt

    return Relabelling(
        sources=(a,), deal=deal, goals=goals, hit=lambda answers, wanted: answers != a,
        slip=lambda before, after: (before != a) & (after != before),
        success=f"fraction of fresh {spec.a!r} answered otherwise, of those that were answered rightly",
        leak="fraction of fresh images whose answer changed",
    )  # fmt: skip
