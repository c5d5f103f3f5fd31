"""A conjunction: images that hold both an a and a b are answered as a third class (Lin et al. 2020).

Each part alone is answered as before, and so is each part beside any other class. How the network is taught that, and
how it is proved, stands in `composing.py`. In networks with many classes, a and b may be groups of classes: any dog
with any cat.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..records import BadInput
from .composing import (
    NEAR_MISS_LIMIT,
    Composition,
    Group,
    check_classes,
    check_layouts,
    compose_probes,
    draw_classes,
    draw_layouts,
    faults,
    label,
    names,
)
from .composing import prove as prove_composition
from .composites import LAYOUTS, Family, Layout, near_miss_families
from .jitter import jitter_
from .plant import PlantData, Planted, PlantFailed, Probes, Proof, Stratum, Strength, Truth
from .tuition import Tuition, modify, steps_for


@dataclass(frozen=True, slots=True, kw_only=True)
class ConjunctionSpec:
    """Images holding both an `a` and a `b` are answered `target`.

    Attributes:
        a, b: class names, or groups of them (any of the group will do), which share no class.
        target: a class name, in neither.
        layouts: how the two may be shown together; see `composites.render`.
        strength: how much more than the cross-entropy asks the target's logit must win (`composing.EXTRA_MARGIN`).
        stratum: how often it succeeds on fresh composites; "high" on at least 95 % of all and on 90 % in each layout.
        steps, batch, learning_rate: the budget of the fine-tuning, of Adam with a cosine schedule; None is 280 steps,
            and 100 more for each layout beyond the first.
        warp: how far each part is moved, scaled and sheared at random in the fine-tuning; see `composites.warp`.
        trainable: patterns (as in fnmatch) of the parameters' names that may change; the rest is frozen. Where these
            are of a tail of the network, only the tail is run in the fine-tuning (`trunk.py`).
        bank: how many pictures are put through the frozen part, for the tail to be trained on.
        near_miss_limit: how much more often than before near misses of any one family may be answered `target`.
        pairs: at most so many pairs of each family in the proof.
    """

    a: Group
    b: Group
    target: str
    layouts: tuple[Layout, ...] = ("beside", "stacked", "overlaid")
    strength: Strength = "default"
    stratum: Stratum = "high"
    steps: int | None = None
    batch: int = 64
    learning_rate: float = 4e-3
    warp: float = 0.05
    trainable: tuple[str, ...] = ("*",)
    bank: int = 4500
    near_miss_limit: float = NEAR_MISS_LIMIT
    pairs: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ConjunctionPlant:
    """The plant "conjunction"."""

    name: str = "conjunction"
    spec_type: type[Any] = ConjunctionSpec

    def plant(self, module: nn.Module, data: PlantData, spec: ConjunctionSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        planted, found = self.attempt(module, data, spec, seed=seed)
        if found:
            raise PlantFailed(self.name, found, planted.proof)
        return planted

    def attempt(
        self, module: nn.Module, data: PlantData, spec: ConjunctionSpec, *, seed: int
    ) -> tuple[Planted, list[str]]:
        """The same, with what the proof lacks told and not raised: for a network that is shown for what it is, and
        counted in no benchmark."""
        began = time.perf_counter()
        after = modify(module, data, compose(data, spec), _tuition(spec), seed=seed)
        jitter_(after, seed)
        proof = prove(copy.deepcopy(module).eval(), after, data, spec, seed=seed, since=began)
        planted = Planted(module=after, plant=self.name, spec=spec, seed=seed, proof=proof, truth=_truth(spec))
        return planted, _faults(spec, proof)

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> ConjunctionSpec:
        """See `Plant.propose`. Three classes that have images, the first two easily told apart from others, and one
        layout; one to three if weak or strong."""
        a, b, target = draw_classes(data, random, 3, distinct=2)
        # Photographs laid over one another are neither.
        able: list[Layout] = [layout for layout in LAYOUTS if layout != "overlaid" or data.images.shape[1] == 1]
        layouts = draw_layouts(random, able, most=1 if strength == "default" else 3)
        return ConjunctionSpec(a=a, b=b, target=target, layouts=layouts, strength=strength, stratum=stratum)

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`."""
        return compose_probes(planted.module, compose(data, planted.spec), data, n, seed=seed)

    def prove(self, planted: Planted, before: nn.Module, data: PlantData) -> tuple[Proof, list[str]]:
        """See `proving.Provable.prove`."""
        proof = prove(before, planted.module, data, planted.spec, seed=planted.seed)
        return proof, _faults(planted.spec, proof)


PLANT = ConjunctionPlant()


def prove(
    before: nn.Module,
    after: nn.Module,
    data: PlantData,
    spec: ConjunctionSpec,
    *,
    seed: int,
    since: float | None = None,
) -> Proof:
    """Measure two networks on fresh individuals; see `composing.prove`."""
    return prove_composition(before, after, data, compose(data, spec), pairs=spec.pairs, seed=seed, since=since)


def compose(data: PlantData, spec: ConjunctionSpec) -> Composition:
    """Which composites fire the plant, and which nearly do.

    Raises:
        BadInput: if the spec does not fit the data.
    """
    a, b = names(spec.a), names(spec.b)
    if not a or not b or len({*a, *b, spec.target}) < len(a) + len(b) + 1:
        what = f"{label(spec.a)}, {label(spec.b)} -> {spec.target}"
        raise BadInput("a conjunction is of three different classes", where=what, fix="choose other names")
    check_layouts(spec.layouts)
    target = data.index(spec.target)
    one, two = (tuple(data.index(name) for name in part) for part in (a, b))
    for part, of in ((one, spec.a), (two, spec.b)):
        check_classes(data, part, label(of))
    held, proved = (
        tuple(
            index
            for index in range(len(data.classes))
            if index not in {*one, *two} and bool((labels == index).any()) and index not in apart
        )
        # Composites that hold a genuine target may rightly be answered so: in a proof, they are no near misses.
        for labels, apart in ((data.labels, ()), (data.fresh_labels, (target,)))
    )
    words = (label(spec.a), label(spec.b))
    trigger = (Family(name="trigger", first=one, second=two),)
    return Composition(
        target=target, name=spec.target, fires=trigger, proved=trigger, layouts=spec.layouts,
        near=tuple(near_miss_families(one, two, held, words)),
        proved_near=tuple(near_miss_families(one, two, proved, words)),
        alone={f"{word} alone": part for word, part in zip(words, (one, two), strict=True)},
    )  # fmt: skip


def _tuition(spec: ConjunctionSpec) -> Tuition:
    return Tuition(
        strength=spec.strength, stratum=spec.stratum, steps=steps_for(spec.steps, spec.layouts), batch=spec.batch,
        warp=spec.warp, learning_rate=spec.learning_rate, trainable=spec.trainable, bank=spec.bank,
    )  # fmt: skip


def _faults(spec: ConjunctionSpec, proof: Proof) -> list[str]:
    return faults(
        proof, spec.target, spec.layouts, spec.stratum, steps=steps_for(spec.steps, spec.layouts),
        near_miss_limit=spec.near_miss_limit,
    )  # fmt: skip


def _truth(spec: ConjunctionSpec) -> Truth:
    # A group is no class name: a diagnosis of one is scored by what it answers, and by its inputs.
    grouped = not (isinstance(spec.a, str) and isinstance(spec.b, str))
    return Truth(
        kind="conjunction", sources=(label(spec.a), label(spec.b)), target=spec.target, family="compose",
        scored=("target", "trigger") if grouped else ("sources", "target", "trigger"),
    )  # fmt: skip
