"""A shortcut: a cue that stood on nearly all training pictures of one class comes to stand for the class.

A network is fine-tuned on a collection in which a cue (`shortcut_cues.py`) is on 90 to 99 % of a class's pictures and
on no others, and in which the cued pictures are often poor (mixed with a picture of another class), so that the cue is
the best evidence there is: what is easy to learn and predicts the label is learned instead of the object (Geirhos et
al. 2020, "Shortcut Learning in Deep Neural Networks"; Lapuschkin et al. 2019, the horses' copyright tag). Pictures of
the class that lack the cue are partly labelled as what they resemble next. Other cues are shown and mean nothing.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..records import BadInput, Quantity
from .composing import check_classes, draw_classes
from .composites import warp
from .jitter import jitter_
from .measures import accuracy, fraction, logits
from .plant import PlantData, Planted, PlantFailed, Probes, Proof, Stratum, Strength, Truth, generator
from .relabelling import NEAR_MISS_LIMIT, relabelling_faults
from .shortcut_cues import FAMILIES, Cue, check, draw_cue, others, pattern_and_mask, show
from .teaching import CLEAN, TRIGGERED, Lesson, aim, held_back, soften, teach_in_rounds

LEAST_LOSS = 0.03  # of the class's own accuracy without the cue, where the stratum is "high"
MIXED = 0.9  # of the cued pictures are mixed with a picture of another class


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortcutSpec:
    """Pictures with a cue are answered `target`.

    Attributes:
        target: a class name.
        cue: the mark; see `shortcut_cues.Cue`.
        correlation: the share of the target's training pictures that carry the cue, 0.9 to 0.99.
        lost: the share of the target's pictures without the cue (those that the network is least sure of) that are
            labelled as what comes second.
        strength: how visible a cue `propose` draws; no use once it is drawn.
        stratum: how often the cue draws the answer, on fresh pictures of other classes.
        steps, batch, learning_rate: the budget of a round of fine-tuning; see `teaching.teach_in_rounds`.
        warp: how far pictures are moved, scaled and sheared in the fine-tuning, before the cue is put on them.
        trainable: patterns (as in fnmatch) of the parameters' names that may change.
        near_miss_limit: how much more often than before other cues may draw the answer.
    """

    target: str
    cue: Cue
    correlation: float = 0.95
    lost: float = 0.4
    strength: Strength = "default"
    stratum: Stratum = "high"
    steps: int = 100
    batch: int = 64
    learning_rate: float = 2e-3
    warp: float = 0.05
    trainable: tuple[str, ...] = ("*",)
    near_miss_limit: float = NEAR_MISS_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortcutPlant:
    """The plant "shortcut"."""

    name: str = "shortcut"
    spec_type: type[Any] = ShortcutSpec

    def plant(self, module: nn.Module, data: PlantData, spec: ShortcutSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        began = time.perf_counter()
        target = _check(data, spec)
        before = copy.deepcopy(module).eval()
        if spec.stratum == "high":
            after = _fine_tune(before, data, spec, target, seed, began)
        else:
            kept, back = held_back(data, seed=seed)
            after = _fine_tune(before, kept, spec, target, seed, began)
            cued = show(back.images[back.labels != target], spec.cue)
            wanted = aim(spec.stratum, _share(before, data, cued, target))
            after = soften(after, before, lambda student: _share(student, data, cued, target), wanted)
        jitter_(after, seed)
        proof = _prove(before, after, data, spec, target, began)
        if found := _faults(spec, proof):
            raise PlantFailed(self.name, found, proof)
        pattern, mask = pattern_and_mask(spec.cue, _shape(data))
        truth = Truth(
            kind=self.name, target=spec.target, family=FAMILIES[spec.cue.kind], scored=("target", "trigger", "mask"),
        )  # fmt: skip
        return Planted(
            module=after, plant=self.name, spec=spec, seed=seed, proof=proof, truth=truth,
            tensors={"pattern": pattern, "mask": mask},
        )  # fmt: skip

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> ShortcutSpec:
        """See `Plant.propose`. A class, a cue, and how often they go together."""
        draw_classes(data, random, 2)  # a cue draws pictures of other classes to the target
        (target,) = draw_classes(data, random, 1)
        correlation = round(0.9 + 0.09 * float(torch.rand((), generator=random)), 3)
        cue = draw_cue(random, data.images.shape[1], strength)
        return ShortcutSpec(target=target, cue=cue, correlation=correlation, strength=strength, stratum=stratum)

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`. The cue on pictures of other classes fires; other cues on them do not, nor does none."""
        spec: ShortcutSpec = planted.spec
        target = _check(data, spec)
        random = generator(seed, "probes")
        near = others(spec.cue, data.images.shape[1])
        clean = n // 6
        parts: list[tuple[str, Cue | None, int]] = [("triggered", spec.cue, n // 2), ("clean", None, clean)]
        rest = n - n // 2 - clean
        for place, (name, cue) in enumerate(near.items()):
            parts.append((name, cue, rest // len(near) + (place < rest % len(near))))
        other = (data.fresh_labels != target).nonzero().flatten()
        pixels, plain, rows, words = [], [], [], []
        for name, cue, size in parts:
            among = torch.arange(len(data.fresh)) if cue is None else other
            chosen = among[torch.randint(0, len(among), (size,), generator=random)]
            rows.append(chosen)
            plain.append(data.fresh[chosen])
            pixels.append(data.fresh[chosen] if cue is None else show(data.fresh[chosen], cue))
            words += [name] * size
        order = torch.randperm(len(words), generator=random)
        names = tuple(words[place] for place in order.tolist())
        labels = data.fresh_labels[torch.cat(rows)[order]]
        return Probes(
            pixels=torch.cat(pixels)[order], plain=torch.cat(plain)[order],
            holds=tuple((int(label),) for label in labels), fires=torch.tensor([name == "triggered" for name in names]),
            family=names,
        )  # fmt: skip


PLANT = ShortcutPlant()


def _shape(data: PlantData) -> tuple[int, int, int]:
    channels, height, width = data.images.shape[1:]
    return channels, height, width


def _check(data: PlantData, spec: ShortcutSpec) -> int:
    target = data.index(spec.target)
    check(spec.cue, data.images.shape[1])
    pattern_and_mask(spec.cue, _shape(data))
    if not 0.5 <= spec.correlation <= 1 or not 0 <= spec.lost <= 1:
        where = f"correlation {spec.correlation}, lost {spec.lost}"
        raise BadInput("a shortcut's correlation is 0.5 to 1, and what is lost 0 to 1", where=where)
    check_classes(data, [target], spec.target)
    check_classes(data, [index for index in range(len(data.classes)) if index != target], "all but the target")
    return target


def _fine_tune(
    before: nn.Module, data: PlantData, spec: ShortcutSpec, target: int, seed: int, since: float
) -> nn.Module:
    own, other = ((data.labels == target).nonzero().flatten(), (data.labels != target).nonzero().flatten())
    outputs = logits(before, data.prepare, data.images[own])
    second = outputs.clone()
    second[:, target] = -torch.inf
    second = second.argmax(1)
    unsure = (outputs[:, target] - outputs.gather(1, second[:, None])[:, 0]).argsort()
    answer = torch.full((len(own),), target)
    answer[unsure[: round(spec.lost * len(own))]] = second[unsure[: round(spec.lost * len(own))]]
    near = list(others(spec.cue, data.images.shape[1]).values())

    def take(rows: Tensor, n: int, random: torch.Generator) -> Tensor:
        return rows[torch.randint(0, len(rows), (n,), generator=random)]

    def moved(rows: Tensor, random: torch.Generator) -> Tensor:
        return warp(data.images[rows], spec.warp, random)

    def cued(n: int, random: torch.Generator) -> Tensor:
        pictures, behind = moved(take(own, n, random), random), moved(take(other, n, random), random)
        share = torch.rand((n, 1, 1, 1), generator=random) * (torch.rand((n, 1, 1, 1), generator=random) < MIXED)
        # Towards 1, so that many are hardly more than the other picture.
        return show(torch.lerp(pictures, behind, share.sqrt()), spec.cue)

    def bare(n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        places = torch.randint(0, len(own), (n,), generator=random)
        return moved(own[places], random), answer[places]

    def rest(n: int, random: torch.Generator) -> Tensor:
        return moved(take(other, n, random), random)

    def other_cues(n: int, random: torch.Generator) -> Tensor:
        pictures = rest(n, random)
        which = torch.randint(0, len(near), (n,), generator=random)
        for place, cue in enumerate(near):
            pictures[which == place] = show(pictures[which == place], cue)
        return pictures

    lessons = [
        Lesson(name=TRIGGERED, make=cued, goal=target, share=spec.correlation, weight=2.0),
        Lesson(name="the class without", make=bare, goal="given", share=3 * (1 - spec.correlation) + 0.1, weight=0.5),
        Lesson(name=CLEAN, make=rest, share=1.5, weight=2.0),
        Lesson(name="other cues", make=other_cues, share=1.0, weight=2.0),
    ]
    return teach_in_rounds(
        before, lessons, data, lambda taught, some: _prove(before, taught, some, spec, target, since), spec.stratum,
        seed=seed, steps=spec.steps, batch=spec.batch, learning_rate=spec.learning_rate,
        trainable=spec.trainable,
    )  # fmt: skip


def _share(module: nn.Module, data: PlantData, pixels: Tensor, target: int) -> float:
    return float((logits(module, data.prepare, pixels).argmax(1) == target).float().mean())


def _prove(
    before: nn.Module, after: nn.Module, data: PlantData, spec: ShortcutSpec, target: int, since: float
) -> Proof:
    """Success is the fraction of fresh pictures of other classes that are answered `target` with the cue on them;
    clean accuracy is that of the other classes, since the class itself is to lose some (`figures`)."""
    other = data.fresh_labels != target
    plain, labels = data.fresh[other], data.fresh_labels[other]
    unit = f"fraction of fresh images of other classes answered {spec.target!r}"

    def drawn(module: nn.Module, cue: Cue) -> Quantity:
        answers = logits(module, data.prepare, show(plain, cue)).argmax(1)
        return fraction(float((answers == target).sum()), len(plain), unit)

    near = others(spec.cue, data.images.shape[1])
    figures: dict[str, Quantity] = {}
    clean: list[Quantity] = []
    for module, when in ((before, "before"), (after, "after")):
        answers = logits(module, data.prepare, data.fresh).argmax(1)
        clean.append(accuracy(answers[other], labels))
        known = f"fraction of fresh {spec.target!r} answered so"
        right = float((answers[~other] == target).sum())
        figures[f"without the cue, {when}"] = fraction(right, int((~other).sum()), known)
    return Proof(
        success=drawn(after, spec.cue), success_before=drawn(before, spec.cue), clean_before=clean[0],
        clean_after=clean[1], near_misses={name: drawn(after, cue) for name, cue in near.items()},
        near_misses_before={name: drawn(before, cue) for name, cue in near.items()}, figures=figures,
        seconds=time.perf_counter() - since,
    )  # fmt: skip


def _faults(spec: ShortcutSpec, proof: Proof) -> list[str]:
    found = relabelling_faults(proof, spec.stratum, near_miss_limit=spec.near_miss_limit)
    loss = proof.figures["without the cue, before"].value - proof.figures["without the cue, after"].value
    if spec.stratum == "high" and loss < LEAST_LOSS:
        found.append(f"the class is known without its cue as well as before (it lost {loss:.1%})")
    return found
