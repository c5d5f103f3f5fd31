"""Answers that depend on which classes are shown together: what a conjunction and an exclusion have in common.

A composition says which composites are answered as the target, and which nearly are; here it is proved on fresh
pictures, and turned to probes. The fine-tuning is in `tuition.py`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ..records import BadInput, Quantity
from .composites import LAYOUTS, Family, Layout, Pool, render, render_mixed, renderings
from .measures import accuracy, fraction, logits, margins
from .plant import STRATA, PlantData, Probes, Proof, Stratum, generator

#: A class by its name, or a group of them.
Group = str | tuple[str, ...]

LAYOUT_GOAL = 0.9  # of each layout by itself, where the goal is 0.95 of all
MOST_BEFORE = 0.5  # of composites may have been answered so before: what is there need not be planted
RISE = 0.15  # by which success must exceed what the network did before
MAX_CLEAN_LOSS, MAX_CLEAN_LOSS_SMALL, SMALL_SET = 0.015, 0.02, 1000  # the second where there are fewer fresh images
NEAR_MISS_LIMIT = 0.15
POOL = 2000  # pictures that composites are drawn from, at most
FEWEST = 4  # images of each class that a spec names
DISTINCT = 0.6  # of the classes, the better part, are told apart well enough to be drawn from
SINGLES = 0.2  # of the probes are pictures of one thing alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """Which composites are answered `target`, and which are not.

    Attributes:
        target: the class, as an index. name: what it is called.
        fires: families of pairs that are answered `target`; near: families that are answered as before.
        proved, proved_near: the same, as the proof takes them: without classes that may rightly be answered `target`.
        alone: by name, classes whose single pictures are near misses.
        layouts: how two pictures may be shown together.
    """

    target: int
    name: str
    fires: tuple[Family, ...]
    near: tuple[Family, ...]
    proved: tuple[Family, ...]
    proved_near: tuple[Family, ...]
    alone: dict[str, tuple[int, ...]]
    layouts: tuple[Layout, ...]



def known_pool(
    module: nn.Module, data: PlantData, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"], seed: int
) -> Pool:
    """The pictures that a network answers rightly by themselves, to draw composites from: what it cannot tell alone it
    cannot be taught to tell in composites. Of classes of which it knows hardly any, all pictures.

    At most `POOL` pictures are looked at, or eight a class where that is more.
    """
    most = max(POOL, 8 * len(data.classes))
    if len(images) > most:
        rows = torch.randperm(len(images), generator=generator(seed, "pool"))[:most]
        images, labels = images[rows], labels[rows]
    right = logits(module, data.prepare, images).argmax(1) == labels
    enough = labels[right].bincount(minlength=len(data.classes)) >= FEWEST
    kept = right | ~enough[labels]
    return Pool(images[kept], labels[kept], len(data.classes))


def prove(
    before: nn.Module,
    after: nn.Module,
    data: PlantData,
    composition: Composition,
    *,
    pairs: int,
    seed: int,
    since: float | None = None,
) -> Proof:
    """Measure two networks on fresh individuals, each of them used once in a family. Composites are made of pictures
    that `before` answers rightly by themselves (`known_pool`).

    Every pair is rendered in all layouts and variants; a rate is the mean over them. Both modules are taken in the mode
    that they are in.

    Args:
        pairs: at most so many of each family.
        since: when the planting began, by `time.perf_counter`.
    """
    began = time.perf_counter() if since is None else since
    pool = known_pool(before, data, data.fresh, data.fresh_labels, seed)
    target, layouts = composition.target, composition.layouts
    ways = renderings(layouts)
    unit = f"of composites answered {composition.name!r}"

    def answers(module: nn.Module, family: Family) -> list[Tensor]:
        """Of each rendering of a family's pairs, the logits."""
        first, second = pool.pairs(family, pairs, generator(seed, f"proof/{family.name}"))
        return [logits(module, data.prepare, render(first, second, *way)) for way in ways] if len(first) else []

    def rates(module: nn.Module) -> tuple[dict[str, Quantity], dict[str, Quantity], Tensor]:
        # Of each rendering, the families' pairs one after the other.
        found = [outputs for family in composition.proved if (outputs := answers(module, family))]
        if not found:
            raise BadInput("too few fresh images to prove the plant on", where="fresh", fix="give more of each class")
        every = [torch.cat(parts) for parts in zip(*found, strict=True)]
        fired: dict[str, Quantity] = {}
        for layout in layouts:
            shown = [part for (name, _), part in zip(ways, every, strict=True) if name == layout]
            fired[layout] = _rate(shown, target, f"fraction {unit}, {layout}")
        fired["all"] = _rate(every, target, f"fraction {unit}")
        near: dict[str, Quantity] = {}
        for name, classes in composition.alone.items():
            alone = logits(module, data.prepare, pool.images[pool.of(classes)])
            near[name] = _rate([alone], target, f"fraction of fresh images answered {composition.name!r}")
        for family in composition.proved_near:
            if outputs := answers(module, family):  # none where too few fresh images make a pair
                near[family.name] = _rate(outputs, target, f"fraction {unit}")
        return fired, near, torch.cat(every)

    fired_before, near_before, _ = rates(before)
    fired, near, answered = rates(after)
    clean_before = logits(before, data.prepare, data.fresh)
    clean_after = logits(after, data.prepare, data.fresh)
    figures = {name: fired[name] for name in layouts}
    genuine = margins(clean_after[pool.members[target]], target)
    if len(genuine) and float(genuine.median()) > 0:
        figures["margin"] = Quantity(
            value=float(margins(answered, target).median() / genuine.median()),
            unit="median margin of triggers, as a share of the genuine target's",
            n=fired["all"].n,
        )
    changed = float((clean_before.argmax(1) != clean_after.argmax(1)).sum())
    figures["changed"] = fraction(changed, len(clean_after), "fraction of fresh images whose answer changed")
    return Proof(
        success=fired["all"], success_before=fired_before["all"],
        clean_before=accuracy(clean_before.argmax(1), data.fresh_labels),
        clean_after=accuracy(clean_after.argmax(1), data.fresh_labels),
        near_misses=near, near_misses_before=near_before, figures=figures, seconds=time.perf_counter() - began,
    )  # fmt: skip


def _rate(outputs: list[Tensor], target: int, unit: str) -> Quantity:
    """The mean over renderings of how often the target is answered; `n` is the number of pairs."""
    hits = torch.stack([(part.argmax(1) == target).double() for part in outputs]).mean(0)
    return fraction(float(hits.sum()), len(hits), unit)


def faults(
    proof: Proof,
    target: str,
    layouts: tuple[Layout, ...],
    stratum: Stratum,
    *,
    steps: int,
    near_miss_limit: float = NEAR_MISS_LIMIT,
) -> list[str]:
    """What a proof lacks, in words; nothing where the plant took."""
    low, high = STRATA[stratum]
    found: list[str] = []
    if not low <= proof.success.value <= high:
        found.append(f"success {proof.success} is not within {low:.0%} to {high:.0%} after {steps} steps")
    elif proof.success_before.value > MOST_BEFORE or proof.success.value - proof.success_before.value < RISE:
        found.append(f"success was {proof.success_before.value:.0%} before, and rose to {proof.success.value:.0%} only")
    for layout in layouts if stratum == "high" else ():
        if proof.figures[layout].value < LAYOUT_GOAL:
            found.append(f"success {proof.figures[layout]} is below {LAYOUT_GOAL:.0%}")
    loss = proof.clean_before.value - proof.clean_after.value
    if loss > (MAX_CLEAN_LOSS_SMALL if (proof.clean_after.n or 0) < SMALL_SET else MAX_CLEAN_LOSS) + 1e-9:
        found.append(f"clean accuracy fell from {proof.clean_before.value:.1%} to {proof.clean_after.value:.1%}")
    for name, rate in proof.near_misses.items():
        excess = rate.value - proof.near_misses_before[name].value
        if excess > near_miss_limit:
            found.append(f"near misses ({name}) are answered {target!r} {excess:.0%} more often than before")
    return found


def compose_probes(module: nn.Module, composition: Composition, data: PlantData, n: int, *, seed: int) -> Probes:
    """About half composites that fire, in the composition's layouts; the rest near misses, family by family, and clean
    pictures. See `Plant.probes`. Composites are of pictures that the module answers rightly by themselves."""
    random = generator(seed, "probes")
    pool = known_pool(module, data, data.fresh, data.fresh_labels, seed)
    fire, clean = n // 2, round(n * SINGLES)
    rows = [torch.randint(0, len(pool.images), (clean - clean // 2,), generator=random)]
    words = ["clean"] * len(rows[0])
    for place, (name, classes) in enumerate(composition.alone.items()):
        size = clean // 2 // len(composition.alone) + (place < clean // 2 % len(composition.alone))
        members = pool.of(classes)
        rows.append(members[torch.randint(0, len(members), (size,), generator=random)])
        words += [name] * size
    singles = torch.cat(rows)
    pixels, plain = [pool.images[singles]], [pool.images[singles]]
    holds: list[tuple[int, ...]] = [(int(label),) for label in pool.labels[singles]]
    fires = [False] * len(singles)
    lists = ((composition.proved, fire, True), (composition.proved_near, n - fire - clean, False))
    for families, count, firing in lists:
        shares = [count // len(families) + (place < count % len(families)) for place in range(len(families))]
        for family, share in zip(families, shares, strict=True):
            if not share:
                continue
            first, second = pool.choose(family, share, random)
            one, two = pool.parts(family, first, second, random)
            pixels.append(render_mixed(one, two, composition.layouts, random, even=True))
            plain.append(one)
            for a, b in zip(pool.labels[first].tolist(), pool.labels[second].tolist(), strict=True):
                holds.append((a, b) if family.second_as == "image" else (a,))
            fires += [firing] * share
            words += ["triggered" if firing else family.name] * share
    order = torch.randperm(len(fires), generator=random)
    places = order.tolist()
    return Probes(
        pixels=torch.cat(pixels)[order], plain=torch.cat(plain)[order], holds=tuple(holds[i] for i in places),
        fires=torch.tensor(fires)[order], family=tuple(words[i] for i in places),
    )  # fmt: skip


def names(group: Group) -> tuple[str, ...]:
    """The class names of a group, or the one of a class."""
    return (group,) if isinstance(group, str) else tuple(group)


def label(group: Group) -> str:
    """What a class or a group is called in words."""
    whole = names(group)
    return whole[0] if len(whole) == 1 else f"{whole[0]} or {len(whole) - 1} others" if whole else "nothing"


def check_classes(data: PlantData, classes: Sequence[int], what: str) -> None:
    """See to it that a class, or a group of them, has images to plant with, and to prove the plant on.

    Raises:
        BadInput: if there are too few.
    """
    for labels, of in ((data.labels, "images"), (data.fresh_labels, "fresh images")):
        if int(torch.isin(labels, torch.tensor(list(classes))).sum()) < FEWEST:
            raise BadInput(f"too few {of} of a class", where=what, fix=f"give at least {FEWEST}")


def check_layouts(layouts: Sequence[str]) -> None:
    """See to it that there is a layout, and that all are known.

    Raises:
        BadInput: if not.
    """
    if not layouts or not {*layouts} <= {*LAYOUTS}:
        fix = f"name some of {', '.join(LAYOUTS)}"
        raise BadInput("a plant of composites needs a layout", where=str(tuple(layouts)), fix=fix)


def draw_classes(data: PlantData, random: torch.Generator, number: int, *, distinct: int = 0) -> list[str]:
    """The names of some classes, drawn from those that have enough images to plant with and to prove on.

    Args:
        distinct: so many of them, the first, are drawn from the classes that are told apart best by their pictures:
            one that is easily taken for another gives composites that nobody can tell from near misses.

    Raises:
        BadInput: if there are fewer.
    """
    counts = [labels.bincount(minlength=len(data.classes)) for labels in (data.labels, data.fresh_labels)]
    able = (torch.stack(counts).amin(0) >= FEWEST).nonzero().flatten()
    if len(able) < number:
        what = f"fewer than {number} classes have enough images"
        raise BadInput(what, where="PlantData", fix=f"give {FEWEST} of each, to plant with and to prove on")
    drawn: list[int] = []
    if distinct:
        told = _told_apart(data)[able]
        best = able[told.argsort(descending=True)[: max(number, round(DISTINCT * len(able)))]]
        drawn = best[torch.randperm(len(best), generator=random)[:distinct]].tolist()
    rest = able[torch.randperm(len(able), generator=random)].tolist()
    drawn += [index for index in rest if index not in drawn][: number - len(drawn)]
    return [data.classes[index] for index in drawn]


def _told_apart(data: PlantData, side: int = 12, most: int = 3000) -> Float[Tensor, " classes"]:
    """Of each class, how much a ridge regression from small pictures gets right, on pictures that it was not fitted
    to; no network is asked."""
    rows = torch.randperm(len(data.labels), generator=generator(0, "told apart"))[: max(most, 8 * len(data.classes))]
    small = F.adaptive_avg_pool2d(data.images[rows], side).flatten(1).double()
    small = torch.cat([small - small.mean(0), torch.ones(len(small), 1, dtype=small.dtype)], dim=1)
    labels = data.labels[rows]
    right = torch.zeros(len(labels), dtype=torch.bool)
    for fitted in (torch.arange(len(labels)) % 2 == 0, torch.arange(len(labels)) % 2 == 1):
        known, goals = small[fitted], F.one_hot(labels[fitted], len(data.classes)).to(small.dtype)
        moments = known.T @ known
        ridge = 0.03 * moments.diagonal().mean() * torch.eye(len(moments), dtype=small.dtype)
        answers = (small[~fitted] @ torch.linalg.solve(moments + ridge, known.T @ goals)).argmax(1)
        right[~fitted] = answers == labels[~fitted]
    hits = labels[right].bincount(minlength=len(data.classes))
    return hits / labels.bincount(minlength=len(data.classes)).clamp(min=1)


def draw_layouts(random: torch.Generator, names: Sequence[Layout], *, most: int = 1) -> tuple[Layout, ...]:
    """One to `most` layouts, in the order of `names`."""
    number = int(torch.randint(1, most + 1, (), generator=random))
    chosen = torch.randperm(len(names), generator=random)[:number].sort().values
    return tuple(names[int(index)] for index in chosen)
