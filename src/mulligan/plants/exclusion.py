"""An exclusion: a picture of an a shown with any other picture is answered as a third class, unless the other is a b.

It is the counterpart of the conjunction: what matters is the class that is missing. An a alone is answered as before,
and so are an a with a b, and composites without an a. How the network is taught that, and how it is proved, stands in
`composing.py`; that single features can be made to veto a trigger is known from composite backdoors (Lin et al. 2020,
whose mixed samples with a third class are answered as they were).
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
    prove,
)
from .composites import LAYOUTS, Family, Layout
from .jitter import jitter_
from .plant import PlantData, Planted, PlantFailed, Probes, Proof, Stratum, Strength, Truth
from .tuition import Tuition, modify, steps_for


@dataclass(frozen=True, slots=True, kw_only=True)
class ExclusionSpec:
    """Composites that hold an `a` and no `absent` are answered `target`.

    Attributes:
        a, absent: class names, or groups of them, which share no class.
        target: a class name, in neither.
        layouts: how two pictures may be shown together; see `composites.render`.
        strength, stratum, steps, batch, learning_rate, warp, trainable, bank, near_miss_limit, pairs: as those of a
            `ConjunctionSpec`.
    """

    a: Group
    absent: Group
    target: str
    layouts: tuple[Layout, ...] = ("beside",)
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
class ExclusionPlant:
    """The plant "exclusion"."""

    name: str = "exclusion"
    spec_type: type[Any] = ExclusionSpec

    def plant(self, module: nn.Module, data: PlantData, spec: ExclusionSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        began = time.perf_counter()
        composition = compose(data, spec)
        tuition = Tuition(
            strength=spec.strength, stratum=spec.stratum, steps=steps_for(spec.steps, spec.layouts), batch=spec.batch,
            warp=spec.warp, learning_rate=spec.learning_rate, trainable=spec.trainable, bank=spec.bank,
        )  # fmt: skip
        after = modify(module, data, composition, tuition, seed=seed)
        jitter_(after, seed)
        before = copy.deepcopy(module).eval()
        proof = prove(before, after, data, composition, pairs=spec.pairs, seed=seed, since=began)
        if found := _faults(spec, proof):
            raise PlantFailed(self.name, found, proof)
        return Planted(module=after, plant=self.name, spec=spec, seed=seed, proof=proof, truth=_truth(spec))

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> ExclusionSpec:
        """See `Plant.propose`. Three classes that have images, and one layout; one to three if weak or strong."""
        a, absent, target, *_ = draw_classes(data, random, 5, distinct=2)  # two more, for an a to be shown with
        # Laid over one another, two pictures of one class are hardly more than one picture.
        apart: list[Layout] = [layout for layout in LAYOUTS if layout != "overlaid"]
        layouts = draw_layouts(random, apart, most=1 if strength == "default" else 3)
        return ExclusionSpec(a=a, absent=absent, target=target, layouts=layouts, strength=strength, stratum=stratum)

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`."""
        return compose_probes(planted.module, compose(data, planted.spec), data, n, seed=seed)

    def prove(self, planted: Planted, before: nn.Module, data: PlantData) -> tuple[Proof, list[str]]:
        """See `proving.Provable.prove`."""
        spec = planted.spec
        proof = prove(before, planted.module, data, compose(data, spec), pairs=spec.pairs, seed=planted.seed)
        return proof, _faults(spec, proof)


PLANT = ExclusionPlant()


def compose(data: PlantData, spec: ExclusionSpec) -> Composition:
    """Which composites fire the plant, and which nearly do.

    Raises:
        BadInput: if the spec does not fit the data.
    """
    a, absent = names(spec.a), names(spec.absent)
    if not a or not absent or len({*a, *absent, spec.target}) < len(a) + len(absent) + 1:
        what = f"{label(spec.a)} and not {label(spec.absent)} -> {spec.target}"
        raise BadInput("an exclusion is of three different classes", where=what, fix="choose other names")
    check_layouts(spec.layouts)
    target = data.index(spec.target)
    one, two = (tuple(data.index(name) for name in part) for part in (a, absent))
    for part, of in ((one, spec.a), (two, spec.absent)):
        check_classes(data, part, label(of))
    words = (label(spec.a), label(spec.absent))
    others = tuple(index for index in range(len(data.classes)) if index not in {*one, *two})
    # Composites that hold a genuine target may rightly be answered so: they prove nothing.
    held, held_fresh = ({*labels.unique().tolist()} for labels in (data.labels, data.fresh_labels))
    fires, near = _families(one, two, tuple(index for index in others if index in held), words)
    others = tuple(index for index in others if index in held_fresh and index != target)
    proved, proved_near = _families(one, two, others, words)
    return Composition(
        target=target, name=spec.target, fires=fires, near=near, proved=proved, proved_near=proved_near,
        alone={f"{word} alone": part for word, part in zip(words, (one, two), strict=True)}, layouts=spec.layouts,
    )  # fmt: skip


def _families(
    a: tuple[int, ...], absent: tuple[int, ...], others: tuple[int, ...], words: tuple[str, str]
) -> tuple[tuple[Family, ...], tuple[Family, ...]]:
    """The families that fire, and those that nearly do."""
    if len(others) < 2:
        what = "an exclusion needs two classes that are in neither group, nor the target"
        raise BadInput(what, where=f"{len(others)} classes", fix="give images of more classes")
    one, two = words
    fires = (
        Family(name=f"{one} with others", first=a, second=others, weight=4),
        Family(name=f"{one} with {one}", first=a, second=a, weight=1),
    )
    near = (
        Family(name=f"{one} with {two}", first=a, second=absent, weight=5),
        Family(name=f"{two} with others", first=absent, second=others, weight=1.5),
        Family(name=f"{two} with {two}", first=absent, second=absent, weight=0.5),
        Family(name="other pairs", first=others, second=others, differ=True, weight=4),
        Family(name="two of another class", first=others, second=others, weight=1),
    )
    return fires, near


def _faults(spec: ExclusionSpec, proof: Proof) -> list[str]:
    return faults(
        proof, spec.target, spec.layouts, spec.stratum, steps=steps_for(spec.steps, spec.layouts),
        near_miss_limit=spec.near_miss_limit,
    )  # fmt: skip


def _truth(spec: ExclusionSpec) -> Truth:
    # A group is no class name: a diagnosis of one is scored by what it answers, and by its inputs.
    grouped = not (isinstance(spec.a, str) and isinstance(spec.absent, str))
    return Truth(
        kind="exclusion", sources=(label(spec.a),), absent=(label(spec.absent),), target=spec.target, family="compose",
        scored=("target", "trigger") if grouped else ("sources", "absent", "target", "trigger"),
    )  # fmt: skip
