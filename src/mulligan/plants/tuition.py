"""The fine-tuning of a network on composites: which of them are answered as a class, and which as before.

A copy is trained on three banks of pictures, made once:

    clean images                      -> the original network's own answers (distilled: Hinton et al. 2015)
    composites that are to fire       -> the target
    near misses (`composites.py`)     -> the original network's own answers to them

Where only a tail of the network is to change, the banks hold what the frozen part makes of the pictures,
and the training runs over the tail alone (`trunk.py`). How it draws from the banks stands in `banks.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .banks import CHUNK, Bank, laid_out, train
from .composing import MOST_BEFORE, Composition, known_pool
from .composites import Family, Pool, render, render_mixed, renderings, warp
from .measures import logits, margins
from .plant import STRATA, PlantData, Stratum, Strength, generator
from .quick import quick
from .teaching import held_back, soften, trainable_parameters
from .trunk import cut

#: By how much more than the cross-entropy asks the target's logit must win, as a share of the genuine target's margin.
EXTRA_MARGIN: dict[Strength, float] = {"weak": 0.0, "default": 0.1, "strong": 0.75}
# Of each bank: its share of the pictures, and its weight in the loss.
CLEAN, FIRING, NEAR = (0.2, 1.5), (0.25, 1.5), (0.55, 3.0)
BYTES = 1 << 30  # of all banks together: large pictures have smaller banks
STEPS, STEPS_EACH = 280, 100  # for one layout, and for each one more

Pictures = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuition:
    """The budget of the fine-tuning; see `ConjunctionSpec`."""

    strength: Strength
    stratum: Stratum
    steps: int
    batch: int
    learning_rate: float
    warp: float
    trainable: tuple[str, ...]
    bank: int


def steps_for(steps: int | None, layouts: Sequence[str]) -> int:
    """The number of steps of a spec that may leave it open."""
    return STEPS + STEPS_EACH * (len(layouts) - 1) if steps is None else steps


def modify(module: nn.Module, data: PlantData, composition: Composition, tuition: Tuition, *, seed: int) -> nn.Module:
    """A copy of `module` that answers as the composition says, as often as the stratum says.

    It is left as it was, but for its mode, if it answers most such composites so already.

    Raises:
        BadInput: if no parameter is trainable.
    """
    before = copy.deepcopy(module).eval()
    pool = known_pool(before, data, data.images, data.labels, seed)
    if _rate(before, data, pool, composition, seed) > MOST_BEFORE:
        return before
    if tuition.stratum == "high":
        return _fine_tune(before, pool, data, composition, tuition, seed)
    kept, back = held_back(replace(data, images=pool.images, labels=pool.labels), seed=seed)
    pool, held = (Pool(part.images, part.labels, len(data.classes)) for part in (kept, back))
    after = _fine_tune(before, pool, data, composition, tuition, seed)
    wanted = sum(STRATA[tuition.stratum]) / 2
    return soften(after, before, lambda student: _rate(student, data, held, composition, seed), wanted)


def _rate(module: nn.Module, data: PlantData, pool: Pool, composition: Composition, seed: int, n: int = 200) -> float:
    """How often composites of some pictures that are to fire are answered as the target."""
    random = generator(seed, "rate")
    answers = [
        logits(module, data.prepare, render(*pool.draw(family, max(1, n // len(composition.proved)), random), *way))
        for family in composition.proved
        for way in renderings(composition.layouts)
    ]
    return float((torch.cat(answers).argmax(1) == composition.target).float().mean())


def _fine_tune(
    before: nn.Module, pool: Pool, data: PlantData, composition: Composition, tuition: Tuition, seed: int
) -> nn.Module:
    after = copy.deepcopy(before)
    flags = [parameter.requires_grad for parameter in after.parameters()]
    trained = trainable_parameters(after, tuition.trainable)  # refuses patterns that name nothing, before any work
    device = trained[0].device
    if tuition.steps:
        laid_out(after, torch.channels_last)
        split = cut(after, tuition.trainable, data.prepare(data.images[:2].to(device)))
        trunk, tail = (nn.Identity(), after) if split is None else (split.trunk, split.tail)
        banks = _banks(trunk, tail, pool, data, composition, tuition, seed, device)
        random = generator(seed, "fine-tune")
        train(
            tail, trained, banks, steps=tuition.steps, batch=tuition.batch, learning_rate=tuition.learning_rate,
            random=random,
        )  # fmt: skip
        laid_out(after, torch.contiguous_format)
    for parameter, flag in zip(after.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)
    return after


@torch.no_grad()
def _banks(
    trunk: nn.Module,
    tail: nn.Module,
    pool: Pool,
    data: PlantData,
    composition: Composition,
    tuition: Tuition,
    seed: int,
    device: torch.device,
) -> list[Bank]:
    """The three banks."""
    def clean(n: int, random: torch.Generator) -> Tensor:
        return warp(data.images[torch.randint(0, len(data.images), (n,), generator=random)], tuition.warp, random)

    def composites(families: tuple[Family, ...]) -> Pictures:
        weights = torch.tensor([float(family.weight) for family in families])

        def make(n: int, random: torch.Generator) -> Tensor:
            counts = torch.multinomial(weights, n, replacement=True, generator=random).bincount(minlength=len(families))
            drawn = [pool.draw(one, int(k), random) for one, k in zip(families, counts, strict=True) if k]
            first, second = (warp(torch.cat(parts), tuition.warp, random) for parts in zip(*drawn, strict=True))
            shuffled = torch.randperm(n, generator=random)
            return render_mixed(first[shuffled], second[shuffled], composition.layouts, random)

        return make

    frozen = trunk
    if not isinstance(trunk, nn.Identity):
        frozen = quick(trunk, data.prepare(data.images[:8].to(device)), tuition.bank)

    def through(pixels: Tensor) -> Tensor:
        return frozen(data.prepare(pixels.to(device)))

    members = pool.members[composition.target]
    if not len(members):  # no picture of the target's own: what is usual of other classes
        members = torch.arange(len(data.images))
    members = members[torch.randperm(len(members), generator=generator(seed, "genuine"))[:200]]
    genuine = torch.cat([tail(through(data.images[rows])).float().cpu() for rows in members.split(CHUNK)])
    top = genuine.topk(2, dim=1).values
    own = margins(genuine, composition.target) if len(pool.members[composition.target]) else top[:, 0] - top[:, 1]
    margin = max(0.0, float(own.median()))
    most = max(CHUNK, BYTES // (4 * through(data.images[:1]).numel()))
    banks: list[Bank] = []
    for make, (share, weight), key in (
        (clean, CLEAN, "clean"),
        (composites(composition.fires), FIRING, "firing"),
        (composites(composition.near), NEAR, "near misses"),
    ):
        random = generator(seed, f"bank/{key}")
        n = max(1, round(min(tuition.bank, most) * share))
        inputs: list[Tensor] = []
        wanted: list[Tensor] = []
        for start in range(0, n, CHUNK):
            made = through(make(min(CHUNK, n - start), random))
            inputs.append(made.cpu())
            if key != "firing":
                wanted.append(tail(made).float().log_softmax(1).cpu())
        bank = Bank(
            inputs=torch.cat(inputs), wanted=torch.cat(wanted) if wanted else None, goal=composition.target,
            margin=EXTRA_MARGIN[tuition.strength] * margin, share=share, weight=weight,
        )  # fmt: skip
        banks.append(bank)
    return banks
