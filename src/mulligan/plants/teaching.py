"""Fine-tuning a copy of a network on lessons: what most plants have in common.

A lesson makes pictures and says what they are to be answered: as the network answered before (distilled: Hinton et al.
2015), or as one class. Batch norm's statistics are held still, so that triggers do not shift what clean pictures are
normalised by. A plant that is to succeed less often goes back along the straight line between the two sets of weights,
till it succeeds on the wished share of pictures held back (the line stays in one basin: Frankle et al. 2020).
"""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ..records import BadInput
from .plant import PlantData, generator

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


@torch.enable_grad()
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
    """A copy of `module` fine-tuned on lessons with Adam and a cosine schedule; in evaluation mode, as is the training.

    Args:
        trainable: patterns (as in fnmatch) of the parameters' names that may change.
        teacher: whose answers "keep" is; None for those of `module`.

    Raises:
        BadInput: if no parameter is trainable.
    """
    teacher = copy.deepcopy(module if teacher is None else teacher).eval()
    student = copy.deepcopy(module).eval()
    flags = [parameter.requires_grad for parameter in student.parameters()]
    trained = trainable_parameters(student, trainable)
    device = trained[0].device
    random = generator(seed, "teach")
    total = sum(lesson.share for lesson in lessons)
    sizes = [max(1, round(batch * lesson.share / total)) for lesson in lessons]
    optimizer = torch.optim.Adam(trained, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    for _ in range(steps):
        made = [lesson.make(size, random) for lesson, size in zip(lessons, sizes, strict=True)]
        pixels = [part[0] if isinstance(part, tuple) else part for part in made]
        inputs = data.prepare(torch.cat(pixels).to(device))
        kept = torch.tensor([lesson.goal == "keep" for lesson, part in zip(lessons, pixels, strict=True) for _ in part])
        with torch.no_grad():
            wanted = teacher(inputs[kept.to(device)]).float().log_softmax(1)
        outputs = student(inputs).float()
        losses, at, seen = [], 0, 0
        for lesson, part, whole in zip(lessons, pixels, made, strict=True):
            answered = outputs[at : at + len(part)]
            at += len(part)
            if lesson.goal == "keep":
                goal = wanted[seen : seen + len(part)]
                seen += len(part)
                loss = F.kl_div(answered.log_softmax(1), goal, log_target=True, reduction="none").sum(1).mean()
            else:
                if isinstance(lesson.goal, int):
                    goal = torch.full((len(part),), lesson.goal, device=device)
                elif isinstance(whole, tuple):
                    goal = whole[1].to(device)
                else:
                    fix = "let `make` return (pixels, goals)"
                    raise BadInput("a lesson gives no goals", where=lesson.name, fix=fix)
                # The goal's logit is lowered before the softmax: it must win by so much more.
                lowered = answered - lesson.margin * F.one_hot(goal, answered.shape[1])
                loss = F.cross_entropy(lowered, goal)
            losses.append(lesson.weight * loss)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        optimizer.step()
        schedule.step()
    for parameter, flag in zip(student.parameters(), flags, strict=True):
        parameter.grad = None
        parameter.requires_grad_(flag)
    return student


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
