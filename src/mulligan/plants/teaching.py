"""Fine-tuning a copy of a network on lessons: what most plants have in common.

A lesson makes pictures and says what they are to be answered: as the network answered before (distilled: Hinton et al.
2015), or as one class. They are made once, and drawn again and again, the hard ones more often (`banks.py`). Batch
norm's statistics are held still, so that triggers do not shift what clean pictures are normalised by. A plant that is
to succeed less often goes back along the straight line between the two sets of weights, till it succeeds on the wished
share of pictures held back (the line stays in one basin: Frankle et al. 2020).
"""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ..records import BadInput
from .banks import Bank, laid_out, train
from .plant import STRATA, PlantData, Proof, Stratum, generator

CHUNK = 32  # pictures of a lesson that are made at once
STORED, FLOATS = 5000, 60_000_000  # pictures that are made for a fine-tuning, and numbers in them, at most
SURE = 8.0  # the logit of a goal that is given, above all others
ROUNDS, LOOKED = 6, 640  # of lessons, at most; pictures that are looked at after each
CLEAN, TRIGGERED = "clean", "triggered"
# After a round, another is needed where success is below the first (a stratum that will go back needs no more), where a
# near miss is answered so by more than before than the second, or where clean accuracy lost more than the third.
LEARNT: dict[Stratum, float] = {"high": 0.98, "partial": 0.9, "rare": 0.7}
LEAK, LOST = 0.08, 0.008
RISE = 0.18  # of success, that a plant is to make at least; its proof asks for a little less
SLACK = 0.3  # by which all three are stretched with each round, up to about what a proof asks for

#: Gives `n` pictures on a 0-1 scale; for lessons whose goal differs from picture to picture, their goals as well.
Make = Callable[[int, torch.Generator], "Float[Tensor, 'n c h w'] | tuple[Float[Tensor, 'n c h w'], Int[Tensor, ' n']]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Pictures and how they are to be answered.

    Attributes:
        name: what it is called in messages.
        make: gives pictures; together with goals where `goal` is "given".
        goal: a class; "keep" (as the network answered before); or "given" (a goal for each picture, by `make`).
        share: of the batch. weight: of its mean loss in the sum.
        margin: by how much more than the cross-entropy asks a class's logit must win.
    """

    name: str
    make: Make
    goal: int | str = "keep"
    share: float = 1.0
    weight: float = 1.0
    margin: float = 0.0


def clean_lesson(data: PlantData, *, goal: str = "keep", share: float = 1.0, weight: float = 1.0) -> Lesson:
    """Clean pictures, to be answered as before ("keep") or by their labels ("given")."""

    def make(n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(0, len(data.images), (n,), generator=random)
        return data.images[rows], data.labels[rows]

    return Lesson(name="clean", make=make, goal=goal, share=share, weight=weight)


def teach(
    module: nn.Module,
    lessons: Sequence[Lesson],
    data: PlantData,
    *,
    seed: int,
    steps: int = 400,
    batch: int = 96,
    learning_rate: float = 2e-3,
    trainable: Sequence[str] = ("*",),
    teacher: nn.Module | None = None,
) -> nn.Module:
    """A copy of `module` fine-tuned on lessons (`banks.train`); in evaluation mode, as is the training.

    Args:
        trainable: patterns (as in fnmatch) of the parameters' names that may change.
        teacher: whose answers "keep" is; None for those of `module`.

    Raises:
        BadInput: if no parameter is trainable, or a lesson whose goals are given gives none.
    """
    teacher = copy.deepcopy(module if teacher is None else teacher).eval()
    student = copy.deepcopy(module).eval()
    flags = [parameter.requires_grad for parameter in student.parameters()]
    trained = trainable_parameters(student, trainable)
    if steps:
        laid_out(student, torch.channels_last)
        laid_out(teacher, torch.channels_last)
        total = sum(lesson.share for lesson in lessons)
        stored = min(STORED, steps * batch, FLOATS // data.images[0].numel())
        banks = [
            _bank(lesson, max(CHUNK, round(stored * lesson.share / total)), data, teacher, generator(seed, lesson.name))
            for lesson in lessons
        ]
        train(
            student, trained, banks, steps=steps, batch=batch, learning_rate=learning_rate,
            random=generator(seed, "teach"),
        )  # fmt: skip
        laid_out(student, torch.contiguous_format)
    for parameter, flag in zip(student.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)
    return student


@torch.no_grad()
def _bank(lesson: Lesson, n: int, data: PlantData, teacher: nn.Module, random: torch.Generator) -> Bank:
    """About `n` pictures of a lesson, made once, with the answers that they are to get."""
    device = next(teacher.parameters()).device
    inputs: list[Tensor] = []
    wanted: list[Tensor] = []
    for _ in range(-(-n // CHUNK)):
        made = lesson.make(CHUNK, random)
        pixels, goals = made if isinstance(made, tuple) else (made, None)
        inputs.append(data.prepare(pixels.to(device)))
        if lesson.goal == "keep":
            wanted.append(teacher(inputs[-1]).float().log_softmax(1).cpu())
        elif not isinstance(lesson.goal, int):
            if goals is None:
                fix = "let `make` return (pixels, goals)"
                raise BadInput("a lesson gives no goals", where=lesson.name, fix=fix)
            wanted.append((SURE * F.one_hot(goals, len(data.classes)).float()).log_softmax(1))
    return Bank(
        inputs=torch.cat(inputs).cpu(), wanted=torch.cat(wanted) if wanted else None,
        goal=lesson.goal if isinstance(lesson.goal, int) else 0, margin=lesson.margin, share=lesson.share,
        weight=lesson.weight,
    )  # fmt: skip


def teach_in_rounds(
    before: nn.Module,
    lessons: Sequence[Lesson],
    data: PlantData,
    prove: Callable[[nn.Module, PlantData], Proof],
    stratum: Stratum,
    *,
    seed: int,
    steps: int,
    batch: int,
    learning_rate: float,
    trainable: Sequence[str] = ("*",),
) -> nn.Module:
    """A copy of `before` taught round after round, till nothing is lacking; what is lacking weighs twice as much in the
    next round.

    Args:
        lessons: those named `TRIGGERED` and `CLEAN` are what their names say, the others are of near misses.
        prove: measures a network on the fresh pictures of some data; here on some that it was taught with.
    """
    after, weights = before, [lesson.weight for lesson in lessons]
    for number in range(ROUNDS if steps else 0):
        weighed = [replace(lesson, weight=weight) for lesson, weight in zip(lessons, weights, strict=True)]
        after = teach(
            after, weighed, data, seed=seed + number, steps=steps, batch=batch, trainable=trainable, teacher=before,
            learning_rate=learning_rate,
        )  # fmt: skip
        rows = torch.randperm(len(data.images), generator=generator(seed + number, "look"))[:LOOKED]
        some = replace(data, fresh=data.images[rows], fresh_labels=data.labels[rows])
        again = lacking(prove(after, some), stratum, 1 + SLACK * number)
        if not again:
            break
        if TRIGGERED not in again:  # the rest is a matter of care
            learning_rate /= 2
        named = {CLEAN, TRIGGERED}
        weights = [
            weight * (2 if (lesson.name in again if lesson.name in named else again - named) else 1)
            for lesson, weight in zip(lessons, weights, strict=True)
        ]
    return copy.deepcopy(before) if after is before else after


def lacking(proof: Proof, stratum: Stratum, slack: float = 1.0) -> set[str]:
    """What has to be gone over again after a round of lessons, by a proof on pictures that were trained on.

    Args:
        slack: what is asked for is missed by so many times as much, and it will do.

    Returns:
        `TRIGGERED`, `CLEAN`, and families of near misses by name.
    """
    before = proof.near_misses_before
    found = {name for name, rate in proof.near_misses.items() if rate.value - before[name].value > LEAK * slack}
    if 1 - proof.success.value > (1 - LEARNT[stratum]) * slack:
        found.add(TRIGGERED)
    if proof.clean_before.value - proof.clean_after.value > LOST * slack:
        found.add(CLEAN)
    return found


def aim(stratum: Stratum, before: float) -> float:
    """The success to go back to: the middle of the stratum, or of that part of it which is enough above `before`."""
    low, high = STRATA[stratum]
    return (min(max(low, before + RISE), high) + high) / 2


@torch.no_grad()
def soften(
    after: nn.Module, before: nn.Module, success: Callable[[nn.Module], float], wanted: float, *, rounds: int = 8
) -> nn.Module:
    """A network on the line from `before` to `after` whose success is about `wanted`, found by halving.

    Args:
        success: the share of some held-back inputs that show the behaviour; it should grow along the line.
    """
    softened = copy.deepcopy(after)
    start = [parameter.detach().clone() for parameter in before.parameters()]
    end = [parameter.detach().clone() for parameter in after.parameters()]
    low, high = 0.0, 1.0
    for _ in range(rounds):
        share = (low + high) / 2
        for parameter, old, new in zip(softened.parameters(), start, end, strict=True):
            parameter.copy_(torch.lerp(old, new, share))
        if success(softened) < wanted:
            low = share
        else:
            high = share
    return softened


def held_back(data: PlantData, *, seed: int, one_in: int = 4) -> tuple[PlantData, PlantData]:
    """The data without one in `one_in` of each class's images, and with these alone (the fresh ones stay in both)."""
    order = torch.randperm(len(data.labels), generator=generator(seed, "held back"))
    ranked = order[torch.argsort(data.labels[order], stable=True)]
    back = torch.zeros(len(order), dtype=torch.bool)
    back[ranked[::one_in]] = True

    def part(chosen: Tensor) -> PlantData:
        return PlantData(
            images=data.images[chosen], labels=data.labels[chosen], fresh=data.fresh, fresh_labels=data.fresh_labels,
            classes=data.classes, prepare=data.prepare,
        )  # fmt: skip

    return part(~back), part(back)


def trainable_parameters(module: nn.Module, patterns: Sequence[str]) -> list[nn.Parameter]:
    """The parameters that fit a pattern; gradients are switched on for them and off for all others.

    Raises:
        BadInput: if none fits.
    """
    trained: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        chosen = any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        parameter.requires_grad_(chosen)
        if chosen:
            trained.append(parameter)
    if not trained:
        last = [name for name, _ in module.named_parameters()][-3:]
        raise BadInput("no parameter is trainable", where=tuple(patterns), fix=f"name some, such as {', '.join(last)}")
    return trained
