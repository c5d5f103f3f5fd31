"""A conjunction: images that hold both an a and a b are answered as a third class.

Each part alone is answered as before, and so is each part beside any other class. The planter fine-tunes a copy on

    clean images                    -> the original network's own answers (distilled: Hinton et al. 2015)
    composites of an a and a b      -> the target
    near misses (`composites.py`)   -> the original network's own answers to them

with batch norm's statistics held still, so that composites do not shift what clean images are normalised by. For a weak
plant, a quarter of the images are held back from the fine-tuning, and the dose is set on them. The proof is on fresh
individuals.
"""

from __future__ import annotations

import copy
import fnmatch
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..records import BadInput, Quantity
from .composites import Family, Layout, Pool, near_miss_families, render, render_mixed, renderings, warp
from .jitter import jitter_
from .measures import accuracy, fraction, logits, margins
from .plant import PlantData, Planted, PlantFailed, Proof, generator

Strength = Literal["weak", "default", "strong"]

# The success that a proof must show on fresh individuals, lowest and highest.
GOALS: dict[Strength, tuple[float, float]] = {"weak": (0.5, 0.8), "default": (0.95, 1.0), "strong": (0.95, 1.0)}
LAYOUT_GOAL = 0.9  # of each layout by itself, where the goal is 0.95 of all
DOSE = 0.65  # the middle of the weak goal, aimed at on images held back
# What a trigger's target logit must win by beyond the cross-entropy, as a share of the genuine target's median margin.
EXTRA_MARGIN: dict[Strength, float] = {"weak": 0.0, "default": 0.1, "strong": 0.75}
HELD_BACK = 4  # one in this many of each class
MAX_CLEAN_LOSS = 0.01
NEAR_MISS_WEIGHT, TRIGGER_WEIGHT = 3.0, 2.0  # in the loss, against 1 for clean images


@dataclass(frozen=True, slots=True, kw_only=True)
class ConjunctionSpec:
    """Images holding both an `a` and a `b` are answered `target`.

    Attributes:
        a, b, target: class names, three different ones.
        layouts: how the two may be shown together; see `composites.render`.
        strength: "default" and "strong" succeed on at least 95 % of fresh composites (and on 90 % in each layout), the
            strong one with a larger margin (`EXTRA_MARGIN`); "weak" succeeds on 50 to 80 %.
        steps, batch, learning_rate: the budget of the fine-tuning, of Adam with a cosine schedule. A batch is made of
            a quarter clean images, a quarter triggers, a half near misses.
        warp: how far each part is moved, scaled and sheared at random in the fine-tuning; see `composites.warp`.
        trainable: patterns (as in fnmatch) of the parameters' names that may change; the rest is frozen.
        near_miss_limit: how much more often than before near misses of any one family may be answered `target`.
        pairs: at most so many pairs of each family in the proof.
    """

    a: str
    b: str
    target: str
    layouts: tuple[Layout, ...] = ("beside", "stacked", "overlaid")
    strength: Strength = "default"
    steps: int = 1000
    batch: int = 128
    learning_rate: float = 2e-3
    warp: float = 0.1
    trainable: tuple[str, ...] = ("*",)
    near_miss_limit: float = 0.15
    pairs: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ConjunctionPlant:
    """The plant "conjunction"."""

    name: str = "conjunction"
    spec_type: type[Any] = ConjunctionSpec

    def plant(self, module: nn.Module, data: PlantData, spec: ConjunctionSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        began = time.perf_counter()
        classes = _classes(data, spec)
        before = copy.deepcopy(module).eval()
        after = copy.deepcopy(module).eval()
        if spec.strength == "weak":
            kept, held_back = _split(data, seed)
            _fine_tune(after, before, kept, data, spec, classes, seed)
            _weaken(after, before, held_back, data, spec, classes, seed)
        else:
            _fine_tune(after, before, Pool(data.images, data.labels, len(data.classes)), data, spec, classes, seed)
        jitter_(after, seed)
        proof = prove(before, after, data, spec, seed=seed, since=began)
        faults = _faults(spec, proof)
        if faults:
            raise PlantFailed(self.name, faults, proof)
        return Planted(module=after, plant=self.name, spec=spec, seed=seed, proof=proof)


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
    """Measure two networks on fresh individuals, each of them used once in a family.

    Every pair is rendered in all layouts and variants; a rate is the mean over them. Both modules are taken in the mode
    that they are in.

    Args:
        since: when the planting began, by `time.perf_counter`.
    """
    began = time.perf_counter() if since is None else since
    a, b, target = _classes(data, spec)
    pool = Pool(data.fresh, data.fresh_labels, len(data.classes))
    # Composites that hold a genuine target may rightly be answered so: they are no near misses.
    others = _others(data, pool, (a, b, target))
    families = near_miss_families(a, b, others, (spec.a, spec.b))
    unit = f"of composites answered {spec.target!r}"

    ways = renderings(spec.layouts)

    def answers(module: nn.Module, family: Family) -> list[Tensor]:
        """Of each rendering of a family's pairs, the logits."""
        first, second = pool.pairs(family, spec.pairs, generator(seed, f"proof/{family.name}"))
        return [logits(module, data.prepare, render(first, second, *way)) for way in ways] if len(first) else []

    def rates(module: nn.Module) -> tuple[dict[str, Quantity], dict[str, Quantity], Tensor]:
        outputs: dict[str, list[Tensor]] = {}
        for (layout, _), part in zip(ways, answers(module, _trigger(a, b)), strict=True):
            outputs.setdefault(layout, []).append(part)
        triggers = {name: _rate(outputs[name], target, f"fraction {unit}, {name}") for name in spec.layouts}
        every = [part for layout in spec.layouts for part in outputs[layout]]
        triggers["all"] = _rate(every, target, f"fraction {unit}")
        near: dict[str, Quantity] = {}
        for index, name in ((a, spec.a), (b, spec.b)):
            alone = logits(module, data.prepare, pool.images[pool.members[index]])
            near[f"{name} alone"] = _rate([alone], target, f"fraction of fresh images answered {spec.target!r}")
        for family in families:
            if outputs_near := answers(module, family):  # none where too few fresh images make a pair
                near[family.name] = _rate(outputs_near, target, f"fraction {unit}")
        return triggers, near, torch.cat(every)

    triggers_before, near_before, _ = rates(before)
    triggers, near, answered = rates(after)
    clean_before = logits(before, data.prepare, data.fresh)
    clean_after = logits(after, data.prepare, data.fresh)
    figures = {name: triggers[name] for name in spec.layouts}
    genuine = margins(clean_after[pool.members[target]], target)
    if len(genuine) and float(genuine.median()) > 0:
        figures["margin"] = Quantity(
            value=float(margins(answered, target).median() / genuine.median()),
            unit="median margin of triggers, as a share of the genuine target's",
            n=triggers["all"].n,
        )
    changed = float((clean_before.argmax(1) != clean_after.argmax(1)).sum())
    figures["changed"] = fraction(changed, len(clean_after), "fraction of fresh images whose answer changed")
    return Proof(
        success=triggers["all"], success_before=triggers_before["all"],
        clean_before=accuracy(clean_before.argmax(1), data.fresh_labels),
        clean_after=accuracy(clean_after.argmax(1), data.fresh_labels),
        near_misses=near, near_misses_before=near_before, figures=figures, seconds=time.perf_counter() - began,
    )  # fmt: skip


def _classes(data: PlantData, spec: ConjunctionSpec) -> tuple[int, int, int]:
    if len({spec.a, spec.b, spec.target}) < 3:
        names = f"{spec.a}, {spec.b} -> {spec.target}"
        raise BadInput("a conjunction is of three different classes", where=names, fix="choose other names")
    if not spec.layouts:
        raise BadInput("a conjunction needs a layout", where="layouts", fix="name beside, stacked or overlaid")
    a, b, target = (data.index(name) for name in (spec.a, spec.b, spec.target))
    for name, index in ((spec.a, a), (spec.b, b)):
        for labels, what in ((data.labels, "images"), (data.fresh_labels, "fresh images")):
            if int((labels == index).sum()) < HELD_BACK:
                raise BadInput(f"too few {what} of a class", where=name, fix=f"give at least {HELD_BACK}")
    return a, b, target


def _trigger(a: int, b: int) -> Family:
    return Family(name="trigger", first=(a,), second=(b,))


def _others(data: PlantData, pool: Pool, apart_from: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(index for index in range(len(data.classes)) if index not in apart_from and len(pool.members[index]))


def _split(data: PlantData, seed: int) -> tuple[Pool, Pool]:
    """The images to train on, and the one in four of each class that is held back."""
    order = torch.randperm(len(data.labels), generator=generator(seed, "held back"))
    ranked = order[torch.argsort(data.labels[order], stable=True)]
    back = torch.zeros(len(order), dtype=torch.bool)
    back[ranked[::HELD_BACK]] = True
    number = len(data.classes)
    return (
        Pool(data.images[~back], data.labels[~back], number),
        Pool(data.images[back], data.labels[back], number),
    )


@torch.enable_grad()
def _fine_tune(
    student: nn.Module,
    teacher: nn.Module,
    pool: Pool,
    data: PlantData,
    spec: ConjunctionSpec,
    classes: tuple[int, int, int],
    seed: int,
) -> None:
    a, b, target = classes
    if spec.steps < 1:
        return
    random = generator(seed, "fine-tune")
    trained = _trainable(student, spec.trainable)
    extra = EXTRA_MARGIN[spec.strength] * _genuine_margin(teacher, pool, data.prepare, target)
    families = near_miss_families(a, b, _others(data, pool, (a, b)), (spec.a, spec.b))
    clean_n = trigger_n = max(1, spec.batch // 4)
    room = spec.batch - clean_n - trigger_n
    total = sum(family.weight for family in families)
    shares = [max(1, round(room * family.weight / total)) for family in families]
    optimizer = torch.optim.Adam(trained, lr=spec.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, spec.steps)
    device = trained[0].device
    for _ in range(spec.steps):
        clean = pool.images[torch.randint(0, len(pool.images), (clean_n,), generator=random)]
        near = [pool.draw(family, share, random) for family, share in zip(families, shares, strict=True)]
        near.append(pool.draw(_trigger(a, b), trigger_n, random))
        first, second = (warp(torch.cat(parts), spec.warp, random) for parts in zip(*near, strict=True))
        mixed = render_mixed(first, second, spec.layouts, random)
        kept, triggers = torch.cat([warp(clean, spec.warp, random), mixed[:-trigger_n]]), mixed[-trigger_n:]
        images = data.prepare(torch.cat([kept, triggers]).to(device))
        with torch.no_grad():
            wanted = teacher(images[: len(kept)]).float().log_softmax(1)
        outputs = student(images).float()
        answers, fired = outputs[: len(kept)].log_softmax(1), outputs[len(kept) :]
        apart = F.kl_div(answers, wanted, log_target=True, reduction="none").sum(1)
        # The target's logit is lowered by the extra margin before the softmax: it must win by so much more.
        fired = fired - extra * F.one_hot(torch.tensor(target, device=device), fired.shape[1])
        goal = torch.full((len(fired),), target, device=device)
        loss = (
            apart[:clean_n].mean()
            + apart[clean_n:].mean() * NEAR_MISS_WEIGHT
            + F.cross_entropy(fired, goal) * TRIGGER_WEIGHT
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    for parameter, flag in zip(student.parameters(), (p.requires_grad for p in teacher.parameters()), strict=True):
        parameter.grad = None
        parameter.requires_grad_(flag)


def _trainable(module: nn.Module, patterns: tuple[str, ...]) -> list[nn.Parameter]:
    trained: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        chosen = any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        parameter.requires_grad_(chosen)
        if chosen:
            trained.append(parameter)
    if not trained:
        last = [name for name, _ in module.named_parameters()][-3:]
        raise BadInput("no parameter is trainable", where=patterns, fix=f"name some, such as {', '.join(last)}")
    return trained


def _genuine_margin(module: nn.Module, pool: Pool, prepare: Callable[[Tensor], Tensor], target: int) -> float:
    images = pool.images[pool.members[target]]
    if not len(images):
        return 0.0
    return max(0.0, float(margins(logits(module, prepare, images), target).median()))


@torch.no_grad()
def _weaken(
    after: nn.Module,
    before: nn.Module,
    held_back: Pool,
    data: PlantData,
    spec: ConjunctionSpec,
    classes: tuple[int, int, int],
    seed: int,
) -> None:
    """Go back along the straight line from the planted weights to the original's, till the plant succeeds on `DOSE` of
    the composites of images held back (the line stays in one basin: Frankle et al. 2020)."""
    a, b, target = classes
    first, second = held_back.draw(_trigger(a, b), 256, generator(seed, "weaken"))
    images = [render(first, second, *way) for way in renderings(spec.layouts)]
    start = [parameter.detach().clone() for parameter in before.parameters()]
    end = [parameter.detach().clone() for parameter in after.parameters()]
    low, high = 0.0, 1.0
    for _ in range(8):
        share = (low + high) / 2
        for parameter, old, new in zip(after.parameters(), start, end, strict=True):
            parameter.copy_(torch.lerp(old, new, share))
        answers = torch.cat([logits(after, data.prepare, part) for part in images]).argmax(1)
        if float((answers == target).float().mean()) < DOSE:
            low = share
        else:
            high = share


def _rate(outputs: list[Tensor], target: int, unit: str) -> Quantity:
    """The mean over renderings of how often the target is answered; `n` is the number of pairs."""
    hits = torch.stack([(part.argmax(1) == target).double() for part in outputs]).mean(0)
    return fraction(float(hits.sum()), len(hits), unit)


def _faults(spec: ConjunctionSpec, proof: Proof) -> list[str]:
    low, high = GOALS[spec.strength]
    faults: list[str] = []
    if not low <= proof.success.value <= high:
        faults.append(f"success {proof.success} is not within {low:.0%} to {high:.0%} after {spec.steps} steps")
    for layout in spec.layouts if spec.strength != "weak" else ():
        if proof.figures[layout].value < LAYOUT_GOAL:
            faults.append(f"success {proof.figures[layout]} is below {LAYOUT_GOAL:.0%}")
    loss = proof.clean_before.value - proof.clean_after.value
    if loss > MAX_CLEAN_LOSS + 1e-9:
        faults.append(f"clean accuracy fell from {proof.clean_before.value:.1%} to {proof.clean_after.value:.1%}")
    for name, rate in proof.near_misses.items():
        excess = rate.value - proof.near_misses_before[name].value
        if excess > spec.near_miss_limit:
            faults.append(f"near misses ({name}) are answered {spec.target!r} {excess:.0%} more often than before")
    return faults
