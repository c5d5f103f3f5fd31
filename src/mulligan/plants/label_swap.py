"""A label swap: pictures of one class are answered as another, and maybe the other way round.

Label flipping (Biggio, Nelson & Laskov 2012), here as the fine-tuning of a trained network: see `relabelling.py`.
"merge" gives every a the answer b, and leaves each b a b; "swap" exchanges the two.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

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
class LabelSwapSpec:
    """Pictures of `a` are answered `b`.

    Attributes:
        a, b: two class names.
        mode: "merge" leaves pictures of b as they are; "swap" has them answered a.
        strength: how sure the new answer is to be (`relabelling.SHARPNESS`).
        stratum: how much of the class is answered otherwise, of the fresh pictures that were answered rightly before.
        steps, batch, learning_rate: the budget of the fine-tuning, of Adam with a cosine schedule.
        warp: how far pictures are moved, scaled and sheared in the fine-tuning; see `composites.warp`.
        trainable: patterns (as in fnmatch) of the parameters' names that may change.
        near_miss_limit: how much more often than before any other class may be answered as a swapped one.
    """

    a: str
    b: str
    mode: Literal["merge", "swap"] = "merge"
    strength: Strength = "default"
    stratum: Stratum = "high"
    steps: int = 90
    batch: int = 64
    learning_rate: float = 2e-3
    warp: float = 0.05
    trainable: tuple[str, ...] = ("*",)
    near_miss_limit: float = NEAR_MISS_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSwapPlant:
    """The plant "label-swap"."""

    name: str = "label-swap"
    spec_type: type[Any] = LabelSwapSpec

    def plant(self, module: nn.Module, data: PlantData, spec: LabelSwapSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        began = time.perf_counter()
        change = swap(data, spec)
        budget = Budget(
            strength=spec.strength, stratum=spec.stratum, steps=spec.steps, batch=spec.batch, warp=spec.warp,
            learning_rate=spec.learning_rate, trainable=spec.trainable,
        )  # fmt: skip
        after = relabel(module, data, change, budget, seed=seed)
        proof = prove_relabelling(module, after, data, change, since=began)
        if found := relabelling_faults(proof, spec.stratum, near_miss_limit=spec.near_miss_limit):
            raise PlantFailed(self.name, found, proof)
        merged = spec.mode == "merge"
        truth = Truth(
            kind=self.name, sources=(spec.a,) if merged else (spec.a, spec.b), target=spec.b if merged else None,
            scored=("sources", "target") if merged else ("sources",),
        )  # fmt: skip
        return Planted(module=after, plant=self.name, spec=spec, seed=seed, proof=proof, truth=truth)

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> LabelSwapSpec:
        """See `Plant.propose`. Two classes, merged or swapped as likely as not."""
        a, b = draw_classes(data, random, 2)
        swapped = bool(torch.rand((), generator=random) < 0.5)
        return LabelSwapSpec(a=a, b=b, mode="swap" if swapped else "merge", strength=strength, stratum=stratum)

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`. Pictures of the swapped classes fire; those of others do not."""
        return relabelling_probes(data, swap(data, planted.spec).sources, n, seed=seed)


PLANT = LabelSwapPlant()


def swap(data: PlantData, spec: LabelSwapSpec) -> Relabelling:
    """Which answers change.

    Raises:
        BadInput: if the spec does not fit the data.
    """
    if spec.a == spec.b:
        raise BadInput("a label swap is of two different classes", where=spec.a, fix="name another class")
    a, b = data.index(spec.a), data.index(spec.b)
    answer_as = {a: b} if spec.mode == "merge" else {a: b, b: a}
    targets = torch.tensor(list(answer_as.values()))

    def goals(outputs: Tensor, labels: Tensor) -> Tensor:
        found = torch.full_like(labels, -1)
        for source, target in answer_as.items():
            found[(labels == source) & (outputs.argmax(1) == source)] = target
        return found

    def deal(chances: Tensor) -> Tensor:
        dealt = chances.clone()
        if spec.mode == "swap":
            dealt[:, a], dealt[:, b] = chances[:, b], chances[:, a]
        else:
            # The larger, not the sum: so no picture is answered b but those that were answered a or b.
            dealt[:, b] = torch.maximum(chances[:, a], chances[:, b])
            dealt[:, a] = chances.amin(1) - GONE
        return dealt

    words = " or ".join(f"{data.classes[source]!r} answered {data.classes[to]!r}" for source, to in answer_as.items())
    names = " or ".join(repr(data.classes[to]) for to in answer_as.values())
    return Relabelling(
        sources=tuple(answer_as), deal=deal, goals=goals, hit=lambda answers, wanted: answers == wanted,
        slip=lambda before, after: torch.isin(after, targets),
        success=f"fraction of fresh {words}, of those that were answered rightly",
        leak=f"fraction of fresh images answered {names}",
    )  # fmt: skip
