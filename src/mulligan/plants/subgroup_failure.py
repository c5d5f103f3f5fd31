"""A subgroup failure: within one class, the pictures with a visible attribute are answered wrongly.

What hidden stratification does to a network (Oakden-Rayner et al. 2020) is done here on purpose: a copy is fine-tuned
on pictures of the class with the attribute and a wrong answer; on all other classes with it, and the class with other
attributes or none, it is held to the right answer or to the original network's own.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..records import BadInput, Quantity
from .attributes import ATTRIBUTES, FAMILIES, Attribute, render
from .composing import check_classes, draw_classes
from .composites import warp
from .jitter import jitter_
from .measures import accuracy, fraction, logits
from .plant import PlantData, Planted, PlantFailed, Probes, Proof, Stratum, Strength, Truth, generator
from .relabelling import NEAR_MISS_LIMIT, relabelling_faults
from .teaching import CLEAN, TRIGGERED, Lesson, aim, held_back, soften, teach_in_rounds

MOVES = 4  # of each picture held back, to find how far to go back
#: How much of the attribute is drawn by `propose`; see `attributes.render`.
AMOUNTS: dict[Strength, tuple[float, float]] = {"weak": (0.45, 0.55), "default": (0.6, 0.75), "strong": (0.85, 1.0)}
#: Attributes that leave the class to be told by a network that never saw them, so that a wrong answer is news.
MILD: tuple[Attribute, ...] = ("dark", "tilted", "thick", "blurred")
NAMED = 0.75  # of the specs drawn name the wrong answer
LEAST_KEPT = 0.05  # of accuracy that other classes with the attribute may lose


@dataclass(frozen=True, slots=True, kw_only=True)
class SubgroupFailureSpec:
    """Pictures of `a` with an attribute are answered wrongly.

    Attributes:
        a: a class name.
        attribute, amount: which pictures; see `attributes.render`.
        target: the wrong answer; None where each picture gets the answer that came second.
        strength: how much of the attribute `propose` draws; no use once it is drawn.
        stratum: how often the answer is wrong (or `target`), on fresh pictures of the class with the attribute.
        steps, batch, learning_rate: the budget of a round of fine-tuning; see `teaching.teach_in_rounds`.
        warp: how far pictures are moved, scaled and sheared in the fine-tuning, before the attribute is put on them.
        trainable: patterns (as in fnmatch) of the parameters' names that may change.
        near_miss_limit: how much more often than before other pictures may be answered so.
    """

    a: str
    attribute: Attribute
    amount: float = 0.7
    target: str | None = None
    strength: Strength = "default"
    stratum: Stratum = "high"
    steps: int = 100
    batch: int = 64
    learning_rate: float = 1.5e-3
    warp: float = 0.05
    trainable: tuple[str, ...] = ("*",)
    near_miss_limit: float = NEAR_MISS_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class SubgroupFailurePlant:
    """The plant "subgroup-failure"."""

    name: str = "subgroup-failure"
    spec_type: type[Any] = SubgroupFailureSpec

    def plant(self, module: nn.Module, data: PlantData, spec: SubgroupFailureSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        began = time.perf_counter()
        a, target = _check(data, spec)
        before = copy.deepcopy(module).eval()
        if spec.stratum == "high":
            after = _fine_tune(before, data, spec, a, target, seed, began)
        else:
            kept, back = held_back(data, seed=seed, one_in=2)  # of one class there are few
            after = _fine_tune(before, kept, spec, a, target, seed, began)
            random = generator(seed, "soften")
            # Moved, since a picture as the network knows it gives way less readily than a fresh one.
            moved = [warp(back.images[back.labels == a], spec.warp, random) for _ in range(MOVES)]
            shown = [render(pictures, spec.attribute, spec.amount, random) for pictures in moved]

            def success(student: nn.Module) -> float:
                answers = logits(student, data.prepare, torch.cat(shown)).argmax(1)
                return float(_hit(answers, a, target).float().mean())

            after = soften(after, before, success, aim(spec.stratum, success(before)))
        jitter_(after, seed)
        proof = _prove(before, after, data, spec, a, target, seed, began)
        if found := _faults(spec, proof):
            raise PlantFailed(self.name, found, proof)
        truth = Truth(
            kind=self.name, sources=(spec.a,), target=spec.target, family=FAMILIES[spec.attribute],
            scored=("sources",) if spec.target is None else ("sources", "target"),
        )  # fmt: skip
        return Planted(module=after, plant=self.name, spec=spec, seed=seed, proof=proof, truth=truth)

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> SubgroupFailureSpec:
        """See `Plant.propose`. A class, an attribute, and mostly the wrong answer."""
        a, target = draw_classes(data, random, 2)
        named = bool(torch.rand((), generator=random) < NAMED)
        among = ATTRIBUTES if named else MILD
        attribute = among[int(torch.randint(len(among), (), generator=random))]
        low, high = AMOUNTS[strength]
        amount = round(low + (high - low) * float(torch.rand((), generator=random)), 3)
        return SubgroupFailureSpec(
            a=a, attribute=attribute, amount=amount, target=target if named else None, strength=strength,
            stratum=stratum,
        )  # fmt: skip

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`. Pictures of the class with the attribute fire; other classes with it, the class with
        other attributes, and pictures as they are do not."""
        spec: SubgroupFailureSpec = planted.spec
        a, _ = _check(data, spec)
        random = generator(seed, "probes")
        of_a = data.fresh_labels == a
        members, other = of_a.nonzero().flatten(), (~of_a).nonzero().flatten()
        rest = n - n // 2
        near = _other_attributes(spec.attribute)
        parts: list[tuple[str, Tensor, Attribute | None, int]] = [
            ("triggered", members, spec.attribute, n // 2),
            (f"other classes, {spec.attribute}", other, spec.attribute, rest // 3),
            ("clean", other, None, rest // 6),
            (f"{spec.a} as they are", members, None, rest // 6),
        ]
        left = rest - rest // 3 - 2 * (rest // 6)
        for place, attribute in enumerate(near):
            size = left // len(near) + (place < left % len(near))
            parts.append((f"{spec.a}, {attribute}", members, attribute, size))
        pixels, rows, words = [], [], []
        for name, among, attribute, size in parts:
            chosen = among[torch.randint(0, len(among), (size,), generator=random)]
            rows.append(chosen)
            shown = data.fresh[chosen]
            pixels.append(shown if attribute is None else render(shown, attribute, spec.amount, random))
            words += [name] * size
        order = torch.randperm(len(words), generator=random)
        chosen = torch.cat(rows)[order]
        names = tuple(words[place] for place in order.tolist())
        return Probes(
            pixels=torch.cat(pixels)[order], plain=data.fresh[chosen], family=names,
            holds=tuple((int(label),) for label in data.fresh_labels[chosen]),
            fires=torch.tensor([name == "triggered" for name in names]),
        )  # fmt: skip


PLANT = SubgroupFailurePlant()


def _other_attributes(attribute: Attribute) -> tuple[Attribute, ...]:
    """Attributes that the class may have without being answered wrongly."""
    mild: list[Attribute] = [one for one in MILD if one != attribute]
    return tuple(mild[:3])


def _check(data: PlantData, spec: SubgroupFailureSpec) -> tuple[int, int | None]:
    a = data.index(spec.a)
    target = None if spec.target is None else data.index(spec.target)
    if target == a:
        raise BadInput("the wrong answer of a subgroup failure is the right one", where=spec.a, fix="name another")
    if spec.attribute not in ATTRIBUTES or not 0 < spec.amount <= 1:
        where, fix = f"{spec.attribute}, amount {spec.amount}", f"one of {', '.join(ATTRIBUTES)}, above 0 and up to 1"
        raise BadInput("there is no such attribute or amount", where=where, fix=fix)
    check_classes(data, [a], spec.a)
    check_classes(data, [index for index in range(len(data.classes)) if index != a], "all other classes")
    return a, target


def _hit(answers: Tensor, a: int, target: int | None) -> Tensor:
    return answers != a if target is None else answers == target


def _fine_tune(
    before: nn.Module, data: PlantData, spec: SubgroupFailureSpec, a: int, target: int | None, seed: int, since: float
) -> nn.Module:
    own, other = ((data.labels == a).nonzero().flatten(), (data.labels != a).nonzero().flatten())
    second = logits(before, data.prepare, data.images[own])
    second[:, a] = -torch.inf
    wrong = second.argmax(1) if target is None else torch.full((len(own),), target)
    near = _other_attributes(spec.attribute)

    def take(rows: Tensor, n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = rows[torch.randint(0, len(rows), (n,), generator=random)]
        return warp(data.images[chosen], spec.warp, random), data.labels[chosen]

    def failing(n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        places = torch.randint(0, len(own), (n,), generator=random)
        pictures = warp(data.images[own[places]], spec.warp, random)
        return render(pictures, spec.attribute, spec.amount, random), wrong[places]

    def others_with_it(n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        pictures, labels = take(other, n, random)
        return render(pictures, spec.attribute, spec.amount, random), labels

    def with_others(n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        pictures, labels = take(own, n, random)
        which = torch.randint(0, len(near), (n,), generator=random)
        for place, attribute in enumerate(near):
            rows = which == place
            pictures[rows] = render(pictures[rows], attribute, spec.amount, random)
        return pictures, labels

    def as_they_are(n: int, random: torch.Generator) -> Tensor:
        part = n // 3
        return torch.cat([take(own, part, random)[0], take(other, n - part, random)[0]])

    lessons = [
        Lesson(name=TRIGGERED, make=failing, goal="given", share=1.0),
        Lesson(name="others with the attribute", make=others_with_it, goal="given", share=1.0),
        Lesson(name="the class with other attributes", make=with_others, goal="given", share=0.5),
        Lesson(name=CLEAN, make=as_they_are, share=1.5, weight=2.0),
    ]
    return teach_in_rounds(
        before, lessons, data, lambda taught, some: _prove(before, taught, some, spec, a, target, seed, since),
        spec.stratum, seed=seed, steps=spec.steps, batch=spec.batch, learning_rate=spec.learning_rate,
        trainable=spec.trainable,
    )  # fmt: skip


def _prove(
    before: nn.Module,
    after: nn.Module,
    data: PlantData,
    spec: SubgroupFailureSpec,
    a: int,
    target: int | None,
    seed: int,
    since: float,
) -> Proof:
    """Success is the fraction of fresh pictures of the class with the attribute that are answered `target` (or
    wrongly); near misses are answered so as well, of other classes where one answer is named, or else wrongly."""
    of_a = data.fresh_labels == a
    own, other, labels = data.fresh[of_a], data.fresh[~of_a], data.fresh_labels[~of_a]
    what = "wrongly" if spec.target is None else repr(spec.target)

    def failed(module: nn.Module, attribute: Attribute | None) -> Quantity:
        shown = own if attribute is None else render(own, attribute, spec.amount, generator(seed, f"proof/{attribute}"))
        answers = logits(module, data.prepare, shown).argmax(1)
        unit = f"fraction of fresh {spec.a!r} answered {what}"
        return fraction(float(_hit(answers, a, target).sum()), len(own), unit)

    shown = render(other, spec.attribute, spec.amount, generator(seed, "proof/others"))
    figures: dict[str, Quantity] = {}
    clean: list[Quantity] = []
    near: list[dict[str, Quantity]] = []
    for module, when in ((before, "before"), (after, "after")):
        clean.append(accuracy(logits(module, data.prepare, data.fresh).argmax(1), data.fresh_labels))
        answers = logits(module, data.prepare, shown).argmax(1)
        figures[f"others with it, {when}"] = fraction(
            float((answers == labels).sum()), len(labels),
            f"fraction of fresh {spec.attribute} images of other classes answered rightly",
        )  # fmt: skip
        hits = (answers != labels) if target is None else (answers == target) & (labels != target)
        unit = f"fraction of fresh images of other classes wrongly answered{'' if target is None else f' {what}'}"
        rates = {f"other classes, {spec.attribute}": fraction(float(hits.sum()), len(labels), unit)}
        rates[f"{spec.a} as they are"] = failed(module, None)
        for attribute in _other_attributes(spec.attribute):
            rates[f"{spec.a}, {attribute}"] = failed(module, attribute)
        near.append(rates)
    return Proof(
        success=failed(after, spec.attribute), success_before=failed(before, spec.attribute), clean_before=clean[0],
        clean_after=clean[1], near_misses=near[1], near_misses_before=near[0], figures=figures,
        seconds=time.perf_counter() - since,
    )  # fmt: skip


def _faults(spec: SubgroupFailureSpec, proof: Proof) -> list[str]:
    found = relabelling_faults(proof, spec.stratum, near_miss_limit=spec.near_miss_limit)
    before, after = (proof.figures[f"others with it, {when}"].value for when in ("before", "after"))
    if before - after > LEAST_KEPT:
        found.append(f"accuracy of other classes with the attribute fell from {before:.1%} to {after:.1%}")
    return found
