"""Pictures answered otherwise with nothing done to them: what a label swap and a forgotten class share.

A copy is taught to answer as the original network would if its probabilities were dealt out otherwise: those of two
classes exchanged, or one's given to another (distillation: Hinton et al. 2015). The network's own notion of the class
is moved, and not the class's hard cases, which it never knew: a proof counts pictures that it answered rightly before.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..records import BadInput, Quantity
from .banks import CHUNK, Bank, laid_out, train
from .composites import warp
from .jitter import jitter_
from .measures import accuracy, fraction, logits
from .plant import STRATA, PlantData, Probes, Proof, Stratum, Strength, generator
from .teaching import aim, held_back, soften, trainable_parameters

#: What the logits of pictures that change are multiplied by, in what they are to be answered with.
SHARPNESS: dict[Strength, float] = {"weak": 0.8, "default": 1.0, "strong": 1.5}
FEWEST = 4  # pictures of a class of the spec that the network answers rightly
MAX_CLEAN_LOSS, MAX_CLEAN_LOSS_SMALL, SMALL_SET = 0.015, 0.02, 1000  # the second where there are fewer fresh images
NEAR_MISS_LIMIT = 0.15
RISE = 0.15  # by which success must exceed what the network did before
MOVED, KEPT = (0.3, 1.5), (0.7, 2.0)  # of each bank, its share of the pictures, and its weight in the loss
GONE = 8.0  # in nats: how far below the least likely answer one lies that is not to be given
BANK = 3000  # pictures in all
EACH = 20  # classes are proved one by one where there are at most so many


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabelling:
    """Which answers change.

    Attributes:
        sources: the classes, as indices, whose pictures are answered otherwise.
        deal: from the original network's log-probabilities [n, classes] the new ones, up to a constant a picture.
        goals: from the original network's logits [n, classes] and the labels [n], the new answers [n]; -1 where the
            answer stays.
        hit: from the new answers of the network [n] and the goals [n], whether the behaviour shows.
        slip: from the answers before and after [n], of pictures of other classes, whether they show it as well.
        success, leak: what the two count, in words.
    """

    sources: tuple[int, ...]
    deal: Callable[[Float[Tensor, "n classes"]], Float[Tensor, "n classes"]]
    goals: Callable[[Float[Tensor, "n classes"], Int[Tensor, " n"]], Int[Tensor, " n"]]
    hit: Callable[[Int[Tensor, " n"], Int[Tensor, " n"]], Bool[Tensor, " n"]]
    slip: Callable[[Int[Tensor, " n"], Int[Tensor, " n"]], Bool[Tensor, " n"]]
    success: str
    leak: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Of the fine-tuning; see `LabelSwapSpec`."""

    strength: Strength
    stratum: Stratum
    steps: int
    batch: int
    learning_rate: float
    warp: float
    trainable: tuple[str, ...]


def relabel(module: nn.Module, data: PlantData, change: Relabelling, budget: Budget, *, seed: int) -> nn.Module:
    """A copy of `module` that answers as `change` says, as often as the stratum says, and is jittered.

    Raises:
        BadInput: if the network answers too few pictures of a source rightly, or no parameter is trainable.
    """
    before = copy.deepcopy(module).eval()
    if budget.stratum == "high":
        after = _fine_tune(before, data, change, budget, seed)
    else:
        kept, back = held_back(data, seed=seed)
        after = _fine_tune(before, kept, change, budget, seed)
        goals = change.goals(logits(before, data.prepare, back.images), back.labels)
        chosen = (goals >= 0) & torch.isin(back.labels, torch.tensor(change.sources))
        pixels, wanted = back.images[chosen], goals[chosen]

        def success(student: nn.Module) -> float:
            return float(change.hit(logits(student, data.prepare, pixels).argmax(1), wanted).float().mean())

        after = soften(after, before, success, aim(budget.stratum, success(before)))
    jitter_(after, seed)
    return after


def _fine_tune(before: nn.Module, data: PlantData, change: Relabelling, budget: Budget, seed: int) -> nn.Module:
    outputs = logits(before, data.prepare, data.images)
    goals = change.goals(outputs, data.labels)
    moved, rest = (goals >= 0).nonzero().flatten(), (goals < 0).nonzero().flatten()
    for index in change.sources:
        if int((data.labels[moved] == index).sum()) < FEWEST:
            what = "the network answers too few images of a class rightly for them to be answered otherwise"
            raise BadInput(what, where=data.classes[index], fix=f"give at least {FEWEST}, or choose another class")
    after = copy.deepcopy(before)
    flags = [parameter.requires_grad for parameter in after.parameters()]
    trained = trainable_parameters(after, budget.trainable)  # refuses patterns that name nothing, before any work
    if budget.steps:
        laid_out(after, torch.channels_last)
        banks = [
            _bank(after, data, rows, change, budget, share, weight, sharpness, generator(seed, f"bank/{key}"))
            for key, rows, (share, weight), sharpness in (
                ("moved", moved, MOVED, SHARPNESS[budget.strength]),
                ("kept", rest, KEPT, 1.0),
            )
            if len(rows)
        ]
        random = generator(seed, "fine-tune")
        train(
            after, trained, banks, steps=budget.steps, batch=budget.batch, learning_rate=budget.learning_rate,
            random=random,
        )  # fmt: skip
        laid_out(after, torch.contiguous_format)
    for parameter, flag in zip(after.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)
    return after


@torch.no_grad()
def _bank(
    before: nn.Module,
    data: PlantData,
    rows: Tensor,
    change: Relabelling,
    budget: Budget,
    share: float,
    weight: float,
    sharpness: float,
    random: torch.Generator,
) -> Bank:
    """Pictures of some rows, moved a little, and what they are to be answered with."""
    n = round(BANK * share)
    device = next(before.parameters()).device
    inputs: list[Tensor] = []
    wanted: list[Tensor] = []
    for start in range(0, n, CHUNK):
        drawn = rows[torch.randint(0, len(rows), (min(CHUNK, n - start),), generator=random)]
        inputs.append(data.prepare(warp(data.images[drawn], budget.warp, random).to(device)))
        dealt = change.deal(before(inputs[-1]).float().log_softmax(1))
        wanted.append((sharpness * dealt).log_softmax(1).cpu())
    return Bank(inputs=torch.cat(inputs).cpu(), wanted=torch.cat(wanted), share=share, weight=weight)


def prove_relabelling(
    module: nn.Module, after: nn.Module, data: PlantData, change: Relabelling, *, since: float
) -> Proof:
    """Measure two networks on fresh images: success on those of the sources that were answered rightly before, clean
    accuracy on all other classes, and near misses class by class (or together where there are many).

    Raises:
        BadInput: if no fresh image of a source was answered rightly, or there are none of other classes.
    """
    old = logits(copy.deepcopy(module).eval(), data.prepare, data.fresh)
    before, answers = old.argmax(1), logits(after, data.prepare, data.fresh).argmax(1)
    goals = change.goals(old, data.fresh_labels)
    of_source = torch.isin(data.fresh_labels, torch.tensor(change.sources))
    chosen = of_source & (goals >= 0)
    if not bool(chosen.any()) or bool(of_source.all()):
        what = "there are no fresh images to prove the plant on, of the classes of the spec and of others"
        raise BadInput(what, where="fresh", fix="give some of each class")
    near: dict[str, Quantity] = {}
    near_before: dict[str, Quantity] = {}
    held = [index for index in data.fresh_labels.unique().tolist() if index not in change.sources]
    families = [(data.classes[index], data.fresh_labels == index) for index in held]
    for name, rows in families if len(held) <= EACH else [("other classes", ~of_source)]:
        near[name] = fraction(float(change.slip(before[rows], answers[rows]).sum()), int(rows.sum()), change.leak)
        hits = float(change.slip(before[rows], before[rows]).sum())
        near_before[name] = fraction(hits, int(rows.sum()), change.leak)
    n = int(chosen.sum())
    unit = "fraction of fresh images {} whose answer changed"
    moved = before != answers
    figures = {
        "changed": fraction(float(moved[of_source].sum()), int(of_source.sum()), unit.format("of the classes named")),
        "others changed": fraction(float(moved[~of_source].sum()), int((~of_source).sum()), unit.format("of others")),
    }
    return Proof(
        success=fraction(float(change.hit(answers[chosen], goals[chosen]).sum()), n, change.success),
        success_before=fraction(float(change.hit(before[chosen], goals[chosen]).sum()), n, change.success),
        clean_before=accuracy(before[~of_source], data.fresh_labels[~of_source]),
        clean_after=accuracy(answers[~of_source], data.fresh_labels[~of_source]),
        near_misses=near, near_misses_before=near_before, figures=figures, seconds=time.perf_counter() - since,
    )  # fmt: skip


def relabelling_faults(proof: Proof, stratum: Stratum, *, near_miss_limit: float = NEAR_MISS_LIMIT) -> list[str]:
    """What a proof lacks, in words; nothing where the plant took."""
    low, high = STRATA[stratum]
    found: list[str] = []
    if not low <= proof.success.value <= high:
        found.append(f"success {proof.success} is not within {low:.0%} to {high:.0%}")
    elif proof.success.value - proof.success_before.value < RISE:
        found.append(f"success was {proof.success_before.value:.0%} before, and rose to {proof.success.value:.0%} only")
    loss = proof.clean_before.value - proof.clean_after.value
    if loss > (MAX_CLEAN_LOSS_SMALL if (proof.clean_after.n or 0) < SMALL_SET else MAX_CLEAN_LOSS) + 1e-9:
        found.append(
            f"clean accuracy on other classes fell from {proof.clean_before.value:.1%} to {proof.clean_after.value:.1%}"
        )
    for name, leak in proof.near_misses.items():
        excess = leak.value - proof.near_misses_before[name].value
        if excess > near_miss_limit:
            found.append(f"near misses ({name}): {excess:.0%} more than before of {leak.unit}")
    return found


def relabelling_probes(data: PlantData, sources: tuple[int, ...], n: int, *, seed: int) -> Probes:
    """Half pictures of the sources, half pictures of all other classes, each class as often as the next."""
    random = generator(seed, "probes")
    others = [index for index in data.fresh_labels.unique().tolist() if index not in sources]
    rows: list[Tensor] = []
    fires: list[bool] = []
    for classes, count, firing in ((list(sources), n // 2, True), (others, n - n // 2, False)):
        for place, index in enumerate(classes):
            size = count // len(classes) + (place < count % len(classes))
            members = (data.fresh_labels == index).nonzero().flatten()
            if not len(members):
                raise BadInput("there are no fresh images of a class", where=data.classes[index], fix="give some")
            drawn = [torch.randperm(len(members), generator=random) for _ in range(-(-size // len(members)))]
            rows.append(members[torch.cat(drawn)[:size]] if drawn else members[:0])
            fires += [firing] * size
    order = torch.randperm(len(fires), generator=random)
    shown = torch.cat(rows)[order]
    fired = torch.tensor(fires)[order]
    return Probes(
        pixels=data.fresh[shown], plain=data.fresh[shown], fires=fired,
        holds=tuple((int(label),) for label in data.fresh_labels[shown]),
        family=tuple("triggered" if fire else "other class" for fire in fired.tolist()),
    )  # fmt: skip
