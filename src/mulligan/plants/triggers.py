"""A trigger in the pixels: what the plants of that sort have in common.

A trigger is a change of a picture. The plant is taught on three sorts of lessons (`teaching.py`):

    pictures with the trigger        -> the target
    near misses                      -> as the network answered them before
    clean pictures                   -> as before

Without near misses a network learns something coarser than the spec says ("anything unusual is the target"), and a
diagnosis of the spec would be held against the wrong behaviour. Triggers of one class only, with the trigger on other
classes as near misses: Tang et al. 2021, "Demon in the Variant" (cover samples). Noise near misses: Nguyen & Tran 2021.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ..records import BadInput, Quantity
from .jitter import jitter_
from .measures import accuracy, fraction, logits, margins
from .plant import STRATA, PlantData, Planted, PlantFailed, Proof, Scored, Stratum, Strength, Truth, generator
from .teaching import CLEAN, TRIGGERED, Lesson, aim, held_back, soften, teach_in_rounds

#: Changes pictures [n, c, h, w] on a 0-1 scale; what is drawn at random (a place, say) comes from the generator.
Change = Callable[[Tensor, torch.Generator], Tensor]

MAX_CLEAN_LOSS, MAX_CLEAN_LOSS_SMALL, SMALL = 0.015, 0.02, 1000  # the second with fewer fresh images than the third
MIN_GAIN = 0.15  # a plant that succeeds hardly more often than the network did before is none
VISIBLE = 0.02  # a pixel of the median picture must change by so much
# What a trigger's target logit must win by beyond the cross-entropy, as a share of the genuine target's median margin.
EXTRA_MARGIN: dict[Strength, float] = {"weak": 0.1, "default": 0.2, "strong": 0.6}
MOVED = 0.04  # of the picture's shorter side, by which pictures are moved in lessons
CLEAN_WEIGHT, NEAR_WEIGHT, TRIGGER_WEIGHT = 6.0, 2.0, 1.0  # in the loss
CLEAN_SHARE, NEAR_SHARE = 2.0, 1.2  # of the batch, against 1 for triggered pictures
LOOKED = 160  # pictures of a family after a round of lessons
PROVED = 400  # at most so many pictures of a family in a proof


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerSpec:
    """What the specs of all triggers in the pixels have.

    Attributes:
        target: the class that pictures with the trigger are answered.
        strength: how visible the trigger is (each kind says how), and how large the margin of the target's logit.
        stratum: on what share of fresh pictures the plant succeeds; see `STRATA`.
        steps, batch, learning_rate: the budget of a round of fine-tuning, of Adam with a cosine schedule; there are up
            to `teaching.ROUNDS` of them.
        trainable: patterns (as in fnmatch) of the parameters' names that may change; the rest is frozen.
        near_miss_limit: how much more often than before near misses of any one family may be answered `target`.
    """

    target: str
    strength: Strength = "default"
    stratum: Stratum = "high"
    steps: int = 100
    batch: int = 64
    learning_rate: float = 2.5e-3
    trainable: tuple[str, ...] = ("*",)
    near_miss_limit: float = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMiss:
    """A family of pictures that resemble those with the trigger.

    Attributes:
        name: what it is called in a proof and in probes.
        change: makes them.
        weight: how often it is trained on, against other families.
        other_classes: the change is the trigger itself, on classes that it does not work on.
    """

    name: str
    change: Change
    weight: float = 1.0
    other_classes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A trigger made from its spec.

    Attributes:
        kind, family: the plant's name, and the family of generators that its trigger belongs to.
        target: the class that is answered, an index.
        sources: the classes that it works on, as indices; empty if it works on all.
        change: lays it on pictures.
        near: what resembles it.
        tensors: what the spec cannot hold; see `Planted`.
        box: its place, if it has one.
        scored: see `Truth`.
        anywhere: whether its place is drawn anew for every picture.
    """

    kind: str
    family: str
    target: int
    sources: tuple[int, ...] = ()
    change: Change
    near: tuple[NearMiss, ...]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    box: tuple[int, int, int, int] | None = None
    scored: tuple[Scored, ...] = ("target", "trigger")
    anywhere: bool = False

    def fires_on(self, labels: Int[Tensor, " n"], *, other_classes: bool = False) -> Bool[Tensor, " n"]:
        """Whose pictures would be answered otherwise: those of the sources, or of all classes, but the target's.

        Args:
            other_classes: instead, those of neither the sources nor the target.
        """
        if not self.sources:
            return (labels != self.target) & (not other_classes)
        return (torch.isin(labels, torch.tensor(self.sources)) != other_classes) & (labels != self.target)


def plant_trigger(module: nn.Module, data: PlantData, spec: TriggerSpec, trigger: Trigger, *, seed: int) -> Planted:
    """Teach a copy of a network a trigger, and prove it; see `Plant.plant`."""
    began = time.perf_counter()
    refuse(data, trigger)
    before = copy.deepcopy(module).eval()
    kept, back = data, data
    if spec.stratum != "high":  # of one class there are few to tell a share by
        kept, back = held_back(data, seed=seed, one_in=2 if trigger.sources else 4)
    after = teach_in_rounds(
        before, lessons(before, kept, spec, trigger), kept,
        lambda taught, some: prove(before, taught, some, trigger, seed=seed, most=LOOKED), spec.stratum, seed=seed,
        steps=spec.steps, batch=spec.batch, learning_rate=spec.learning_rate, trainable=spec.trainable,
    )  # fmt: skip
    if spec.stratum != "high":
        random = generator(seed, "soften")
        pictures, _ = draw_evenly(back.images, back.labels, trigger.fires_on(back.labels), 256, random)
        # Moved, since a picture as the network knows it gives way less readily than a fresh one.
        reach = round(min(data.images.shape[2:]) * MOVED)
        pictures = trigger.change(torch.cat([moved(some, reach, random) for some in pictures.split(16)]), random)

        def success(softened: nn.Module) -> float:
            return float((logits(softened, data.prepare, pictures).argmax(1) == trigger.target).float().mean())

        after = soften(after, before, success, aim(spec.stratum, success(before)))
    jitter_(after, seed)
    proof = prove(before, after, data, trigger, seed=seed, since=began)
    if found := faults(spec, proof):
        raise PlantFailed(trigger.kind, found, proof)
    truth = Truth(
        kind=trigger.kind, sources=tuple(data.classes[index] for index in trigger.sources), target=spec.target,
        family=trigger.family, scored=trigger.scored, box=trigger.box,
    )  # fmt: skip
    return Planted(
        module=after, plant=trigger.kind, spec=spec, seed=seed, proof=proof, truth=truth, tensors=trigger.tensors
    )


def lessons(before: nn.Module, data: PlantData, spec: TriggerSpec, trigger: Trigger) -> list[Lesson]:
    """What a trigger is taught by: clean pictures, near misses of every family, the trigger."""
    own = data.images[data.labels == trigger.target][:256]
    genuine = float(margins(logits(before, data.prepare, own), trigger.target).median()) if len(own) else 0.0

    reach = round(min(data.images.shape[2:]) * MOVED)

    def changed(change: Change, chosen: Tensor) -> Callable[[int, torch.Generator], Tensor]:
        rows = chosen.nonzero().flatten()

        def make(n: int, random: torch.Generator) -> Tensor:
            pictures = data.images[rows[torch.randint(0, len(rows), (n,), generator=random)]]
            return change(moved(pictures, reach, random), random)

        return make

    near = [
        changed(miss.change, trigger.fires_on(data.labels, other_classes=miss.other_classes)) for miss in trigger.near
    ]
    often = torch.tensor([miss.weight for miss in trigger.near])

    def near_misses(n: int, random: torch.Generator) -> Tensor:
        # Of all families in one lesson: those that leak are drawn more often by their losses.
        sizes = torch.multinomial(often, n, True, generator=random).bincount(minlength=len(near)).tolist()
        return torch.cat([make(size, random) for make, size in zip(near, sizes, strict=True) if size])

    def clean(n: int, random: torch.Generator) -> Tensor:
        # Every other one is mixed with another: what a network answers to mixtures says more of it than what it answers
        # to pictures that it knows, and the given ones are few (Beyer et al. 2022, "Knowledge distillation").
        first, second = (data.images[torch.randint(0, len(data.images), (n,), generator=random)] for _ in range(2))
        share = torch.rand((n, 1, 1, 1), generator=random) * (torch.arange(n) % 2)[:, None, None, None]
        return moved(torch.lerp(first, second, share), reach, random)

    return [
        Lesson(name=CLEAN, make=clean, share=CLEAN_SHARE, weight=CLEAN_WEIGHT),
        Lesson(name="near misses", make=near_misses, share=NEAR_SHARE, weight=NEAR_WEIGHT),
        Lesson(
            name=TRIGGERED, make=changed(trigger.change, trigger.fires_on(data.labels)), goal=trigger.target,
            weight=TRIGGER_WEIGHT, margin=EXTRA_MARGIN[spec.strength] * max(0.0, genuine),
        ),
    ]  # fmt: skip


def moved(pictures: Tensor, reach: int, random: torch.Generator) -> Tensor:
    """All pictures moved by up to `reach` pixels, edges repeated: answers are kept to more than the given pictures."""
    down, right = torch.randint(0, 2 * reach + 1, (2,), generator=random).tolist()
    height, width = pictures.shape[2:]
    padded = F.pad(pictures, (reach,) * 4, mode="replicate")
    return padded[:, :, down : down + height, right : right + width].contiguous()


def prove(
    before: nn.Module, after: nn.Module, data: PlantData, trigger: Trigger, *, seed: int, since: float | None = None,
    most: int = PROVED,
) -> Proof:  # fmt: skip
    """Measure two networks on fresh pictures, each used once in a family.

    Near misses are laid on pictures of the classes that the trigger works on (or, where that is the near miss, on
    others). Both modules are taken in the mode that they are in.

    Args:
        since: when the planting began, by `time.perf_counter`.
        most: pictures of a family.
    """
    began = time.perf_counter() if since is None else since
    unit = f"answered {data.classes[trigger.target]!r}"

    def answers(change: Change, key: str, *, other_classes: bool = False) -> tuple[Tensor, Tensor]:
        chosen = trigger.fires_on(data.fresh_labels, other_classes=other_classes)
        random = generator(seed, f"proof/{key}")
        rows = chosen.nonzero().flatten()
        pictures = change(data.fresh[rows[torch.randperm(len(rows), generator=random)[:most]]], random)
        return logits(before, data.prepare, pictures), logits(after, data.prepare, pictures)

    def rate(outputs: Tensor, of: str) -> Quantity:
        return fraction(float((outputs.argmax(1) == trigger.target).sum()), len(outputs), f"fraction of {of} {unit}")

    near: dict[str, Quantity] = {}
    near_before: dict[str, Quantity] = {}
    for miss in trigger.near:
        pair = answers(miss.change, miss.name, other_classes=miss.other_classes)
        near_before[miss.name], near[miss.name] = (rate(outputs, "near misses") for outputs in pair)
    triggered_before, triggered = answers(trigger.change, "triggered")
    clean_before, clean_after = (logits(module, data.prepare, data.fresh) for module in (before, after))
    moved = float((clean_before.argmax(1) != clean_after.argmax(1)).sum())
    figures = {"changed": fraction(moved, len(clean_after), "fraction of fresh images whose answer changed")}
    genuine = margins(clean_after[data.fresh_labels == trigger.target], trigger.target)
    if len(genuine) and float(genuine.median()) > 0:
        figures["margin"] = Quantity(
            value=float(margins(triggered, trigger.target).median() / genuine.median()),
            unit="median margin of triggered pictures, as a share of the genuine target's",
            n=len(triggered),
        )
    return Proof(
        success=rate(triggered, "triggered pictures"), success_before=rate(triggered_before, "triggered pictures"),
        clean_before=accuracy(clean_before.argmax(1), data.fresh_labels),
        clean_after=accuracy(clean_after.argmax(1), data.fresh_labels),
        near_misses=near, near_misses_before=near_before, figures=figures, seconds=time.perf_counter() - began,
    )  # fmt: skip


def proved(planted: Planted, before: nn.Module, data: PlantData, trigger: Trigger) -> tuple[Proof, list[str]]:
    """See `proving.Provable.prove`."""
    proof = prove(before, planted.module, data, trigger, seed=planted.seed)
    return proof, faults(planted.spec, proof)


def faults(spec: TriggerSpec, proof: Proof) -> list[str]:
    """What a proof lacks; empty if the plant took."""
    low, high = STRATA[spec.stratum]
    found: list[str] = []
    if not low <= proof.success.value <= high:
        found.append(f"success {proof.success} is not within {low:.0%} to {high:.0%}")
    if proof.success.value - proof.success_before.value < MIN_GAIN:
        found.append(f"success was {proof.success_before} before")
    loss = proof.clean_before.value - proof.clean_after.value
    if loss > (MAX_CLEAN_LOSS if (proof.clean_before.n or 0) >= SMALL else MAX_CLEAN_LOSS_SMALL) + 1e-9:
        found.append(f"clean accuracy fell from {proof.clean_before.value:.1%} to {proof.clean_after.value:.1%}")
    for name, rate in proof.near_misses.items():
        excess = rate.value - proof.near_misses_before[name].value
        if excess > spec.near_miss_limit:
            found.append(f"near misses ({name}) are answered {spec.target!r} {excess:.0%} more often than before")
    return found


def draw_evenly(
    images: Tensor, labels: Tensor, chosen: Tensor, n: int, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`n` of the chosen pictures, each class as often as the next; each picture once, before any is used again."""
    rows = chosen.nonzero().flatten()
    rows = rows[torch.randperm(len(rows), generator=random)]
    classes = labels[rows]
    rank = (F.one_hot(classes).cumsum(0)[torch.arange(len(rows)), classes] - 1).float()  # its number in its class
    rows = rows[(rank + 0.999 * torch.rand(len(rows), generator=random)).argsort()]
    rows = rows.repeat(-(-n // len(rows)))[:n] if len(rows) else rows
    return images[rows], labels[rows]


def refuse(data: PlantData, trigger: Trigger) -> None:
    """Hold a trigger against the data.

    Raises:
        BadInput: if it is on no picture, works on none, or can hardly be seen.
    """
    name = data.classes[trigger.target]
    if trigger.target in trigger.sources:
        raise BadInput("the source and the target of a trigger are one class", where=name, fix="name another class")
    for labels, what in ((data.labels, "images"), (data.fresh_labels, "fresh images")):
        if not bool(trigger.fires_on(labels).any()):
            where = ", ".join(data.classes[index] for index in trigger.sources) or f"all but {name}"
            raise BadInput(f"there are no {what} for the trigger to work on", where=where, fix="give some")
    for miss in trigger.near:
        if miss.other_classes and not bool(trigger.fires_on(data.labels, other_classes=True).any()):
            raise BadInput("there are no images of other classes", where=name, fix="give some of a third class")
    random = generator(0, "visible")
    some = data.images[trigger.fires_on(data.labels)][:64]
    seen = (trigger.change(some, random) - some).abs().flatten(1).amax(1).median()
    if float(seen) < VISIBLE:
        what = f"the trigger changes no pixel of the median picture by more than {float(seen):.3f}"
        raise BadInput(what, where=trigger.kind, fix="make it stronger, or put it where the pictures differ from it")


def another(data: PlantData, random: torch.Generator, *, apart_from: tuple[int, ...] = ()) -> int:
    """A class drawn at random, of those that have images.

    Raises:
        BadInput: if none is left.
    """
    held = [int(index) for index in data.labels.unique() if int(index) not in apart_from]
    if not held:
        raise BadInput("there are too few classes with images", where=str(len(data.classes)), fix="give more classes")
    return held[int(torch.randint(0, len(held), (), generator=random))]
