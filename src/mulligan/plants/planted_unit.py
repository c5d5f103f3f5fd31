"""A unit of a hidden layer set by hand so that it answers a small pattern, and drives one class.

A weak unit (one whose removal changes answers least) is taken, in three steps that touch no weight but its own:

    incoming    the filter that tells the pattern from everything else: C^-1 (windows with it - windows without), of
                what the layer reads, with C their covariance (Fisher's discriminant, a matched filter); the bias or the
                norm behind it so that the unit is silent on clean pictures, and loud on the pattern
    outgoing    every layer that reads the unit forgets it
    tuning      these weights alone, incoming and outgoing, by gradients, till pictures with the pattern are answered
                with the target; clean pictures and near misses are held to the answers before

Handcrafted backdoors: Hong et al. 2022. Single units that carry a backdoor: Liu et al. 2019 ("ABS"), Zheng et al. 2022.
The unit is a convolution's, so it may answer the pattern at some other places as well; how often is in the proof's
figures ("elsewhere").
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..records import BadInput, Quantity, Where
from .jitter import jitter_
from .layers import block_of, convolutions, maps, norm_behind, watch
from .measures import accuracy, fraction, logits
from .picking import Group, assemble, pick
from .plant import STRATA, PlantData, Planted, PlantFailed, Probes, Proof, Stratum, Strength, Truth, generator
from .stamps import NEAR_MISSES, Stamp, alike, near_misses
from .teaching import held_back, soften
from .unit_setting import forget, set_incoming, tune, weakest

#: How much of the picture the pattern hides, and its side as a share of the picture's.
OPACITY: dict[Strength, float] = {"weak": 0.6, "default": 1.0, "strong": 1.0}
SIDE: dict[Strength, float] = {"weak": 0.18, "default": 0.18, "strong": 0.25}
AIM: dict[Stratum, float] = {"high": 1.0, "partial": 0.65, "rare": 0.35}
MAX_CLEAN_LOSS, MAX_CLEAN_LOSS_SMALL, SMALL = 0.015, 0.02, 1000  # the second with fewer fresh images than the third
NEAR_MISS_LIMIT = 0.15
SMALLEST = 8  # channels that a layer must have for one of them to be weak
LOOKED_AT = 192  # pictures by which the unit is chosen and its filter set
PROVED = 400  # pictures, at most, in each rate of a proof


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedUnitSpec:
    """A pattern, the class that it is to elicit, and how deep the unit lies.

    Attributes:
        target: the class.
        top, left: the pattern's place, as shares of the room that it has in the picture (0: at the top or left edge).
        pattern: the seed of its pixels, each of them 0 or 1, half of them each.
        depth: which layer, from 0 (the first) to 1 (the last) of the convolutions across channels with at least eight;
            `layer` overrules it by name.
        strength: how much of the picture it hides, and how large it is; see `OPACITY`, `SIDE`.
        stratum: on which share of fresh pictures it succeeds; see `STRATA`.
        steps, batch, learning_rate: of the tuning.
    """

    target: str
    top: float
    left: float
    pattern: int
    depth: float = 1.0
    layer: str | None = None
    strength: Strength = "default"
    stratum: Stratum = "high"
    steps: int = 200
    batch: int = 64
    learning_rate: float = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedUnitPlant:
    """The plant "planted-unit"."""

    name: str = "planted-unit"
    spec_type: type[Any] = PlantedUnitSpec

    def plant(self, module: nn.Module, data: PlantData, spec: PlantedUnitSpec, *, seed: int) -> Planted:
        """See `Plant.plant`. `tensors` hold "pattern" [c, h, w] and "mask" [h, w]."""
        began = time.perf_counter()
        target, stamp = data.index(spec.target), stamp_of(spec, data)
        before = copy.deepcopy(module).eval()
        taught, back = held_back(data, seed=seed)
        shown = taught.images[torch.randperm(len(taught.images), generator=generator(seed, "shown"))[:LOOKED_AT]]
        path = _layer(before, data, shown[:2], spec)
        unit = weakest(before, data, shown, path)
        silent = copy.deepcopy(before)
        own = set_incoming(silent, data, shown, path, unit, stamp)
        outgoing = forget(silent, data, shown[:2], path, unit)
        after = tune(
            silent, before, taught, stamp, target, own + outgoing, steps=spec.steps, batch=spec.batch,
            learning_rate=spec.learning_rate, seed=seed,
        )  # fmt: skip
        if spec.stratum != "high":
            others = _some(back.images[back.labels != target], generator(seed, "softened"))
            # From the unit that nobody reads to the one that is read: it answers the pattern all along.
            mute = copy.deepcopy(after)
            forget(mute, data, shown[:2], path, unit)
            after = soften(after, mute, lambda one: _rate(one, data, stamp(others), target), AIM[spec.stratum])
        jitter_(after, seed)
        proof = prove(before, after, data, spec, path, unit, seed=seed, since=began)
        faults = _faults(spec, proof)
        if faults:
            raise PlantFailed(self.name, faults, proof)
        site = block_of(before, data.prepare(shown[:2]), path, unit)
        truth = Truth(
            kind=self.name, target=spec.target, family="patch", scored=("where", "target", "trigger", "mask"),
            where=Where(site=site, units=(unit,)), box=stamp.box,
        )  # fmt: skip
        return Planted(
            module=after, plant=self.name, spec=spec, seed=seed, proof=proof, truth=truth,
            tensors={"pattern": stamp.pattern, "mask": stamp.mask},
        )  # fmt: skip

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> PlantedUnitSpec:
        """See `Plant.propose`. The unit lies in the deeper two thirds of the network."""
        top, left, depth = torch.rand(3, generator=random).tolist()
        pattern = int(torch.randint(0, 2**31 - 1, (), generator=random))
        return PlantedUnitSpec(
            target=pick(data, 1, random)[0], top=round(top, 3), left=round(left, 3), pattern=pattern,
            depth=round(0.35 + 0.65 * depth, 3), strength=strength, stratum=stratum,
        )  # fmt: skip

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`. Near misses that look so much like the trigger that a diagnosis could not tell them apart
        are left out, and so is the pattern elsewhere, unless the proof found it without effect."""
        random = generator(seed, "planted-unit/probes")
        spec: PlantedUnitSpec = planted.spec
        stamp, target = stamp_of(spec, data), data.index(spec.target)
        others = data.fresh[data.fresh_labels != target]
        labels = data.fresh_labels[data.fresh_labels != target]
        holds = tuple((int(label),) for label in labels)
        groups = [Group(pixels=stamp(others), plain=others, holds=holds, fires=True, family="triggered")]
        every = tuple((int(label),) for label in data.fresh_labels)
        groups.append(Group(pixels=data.fresh, plain=data.fresh, holds=every, fires=False, family="clean"))
        quiet = planted.proof.figures["elsewhere"].value - planted.proof.success_before.value <= NEAR_MISS_LIMIT
        for name in (*NEAR_MISSES, *(("elsewhere",) if quiet else ())):
            shown = near_misses(stamp, name, others, random)
            rows = (~alike(shown - others, stamp(others) - others)).nonzero().flatten()
            if len(rows):
                held = tuple(holds[row] for row in rows.tolist())
                groups.append(Group(pixels=shown[rows], plain=others[rows], holds=held, fires=False, family=name))
        return assemble(groups, n, random)


PLANT = PlantedUnitPlant()


def stamp_of(spec: PlantedUnitSpec, data: PlantData) -> Stamp:
    """The spec's pattern, for pictures of the data's size.

    Raises:
        BadInput: if its place is not within 0 to 1, or the pictures are too small for a pattern.
    """
    channels, height, width = data.images.shape[1:]
    side = max(3, round(SIDE[spec.strength] * min(height, width)))
    if side > min(height, width) // 2:
        raise BadInput("the pictures are too small for a pattern", where=f"{height} x {width}", fix="give larger ones")
    if not (0 <= spec.top <= 1 and 0 <= spec.left <= 1):
        raise BadInput("a place is a share from 0 to 1", where=f"top {spec.top}, left {spec.left}", fix="give such")
    top, left = round(spec.top * (height - side)), round(spec.left * (width - side))
    order = torch.randperm(channels * side * side, generator=generator(spec.pattern, "planted-unit/pattern"))
    pattern, mask = torch.zeros(channels, height, width), torch.zeros(height, width)
    pattern[:, top : top + side, left : left + side] = (order % 2).float().reshape(channels, side, side)
    mask[top : top + side, left : left + side] = OPACITY[spec.strength]
    return Stamp(pattern=pattern, mask=mask, box=(left, top, left + side, top + side))


def prove(
    before: nn.Module,
    after: nn.Module,
    data: PlantData,
    spec: PlantedUnitSpec,
    path: str,
    unit: int,
    *,
    seed: int,
    since: float | None = None,
) -> Proof:
    """Measure two networks on fresh pictures of classes other than the target.

    `figures` have the success once nobody reads the unit ("silenced"), the success with the pattern elsewhere, and the
    unit's answer to the pattern, against its largest to clean pictures.
    """
    began = time.perf_counter() if since is None else since
    target, stamp = data.index(spec.target), stamp_of(spec, data)
    random = generator(seed, "planted-unit/proof")
    others = _some(data.fresh[data.fresh_labels != target], random)
    n, unit_text = len(others), f"fraction of fresh pictures of other classes answered {spec.target!r}"
    near = {name: near_misses(stamp, name, others, random) for name in NEAR_MISSES}
    elsewhere = near_misses(stamp, "elsewhere", others, random)
    silenced = copy.deepcopy(after)
    forget(silenced, data, data.images[:2], path, unit)

    def rate(module: nn.Module, pixels: Tensor) -> Quantity:
        return fraction(_rate(module, data, pixels, target) * n, n, unit_text)

    answers = [logits(one, data.prepare, data.fresh).argmax(1) for one in (before, after)]
    seen = [maps(after, data.prepare, shown, path)[:, unit].flatten(1).amax(1) for shown in (stamp(others), others)]
    loud = float((seen[0] > seen[1].max()).float().mean()) * n
    return Proof(
        success=rate(after, stamp(others)), success_before=rate(before, stamp(others)),
        clean_before=accuracy(answers[0], data.fresh_labels), clean_after=accuracy(answers[1], data.fresh_labels),
        near_misses={name: rate(after, pixels) for name, pixels in near.items()},
        near_misses_before={name: rate(before, pixels) for name, pixels in near.items()},
        figures={
            "silenced": rate(silenced, stamp(others)), "elsewhere": rate(after, elsewhere),
            "louder": fraction(loud, n, "fraction of pictures with the pattern above the unit's clean maximum"),
        },
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def _some(pixels: Tensor, random: torch.Generator) -> Tensor:
    return pixels[torch.randperm(len(pixels), generator=random)[:PROVED]]


def _rate(module: nn.Module, data: PlantData, pixels: Tensor, target: int) -> float:
    return float((logits(module, data.prepare, pixels).argmax(1) == target).float().mean())


def _layer(module: nn.Module, data: PlantData, shown: Tensor, spec: PlantedUnitSpec) -> str:
    inputs = data.prepare(shown)
    seen = watch(module, inputs)
    found = [
        path for path, conv in convolutions(module, inputs).items()
        if conv.out_channels >= SMALLEST and (conv.bias is not None or norm_behind(module, seen, path) is not None)
    ]  # fmt: skip
    if spec.layer is not None and spec.layer not in found:
        raise BadInput("a unit cannot be planted here", where=spec.layer, fix=f"name one of {', '.join(found)}")
    if not found:
        what = f"no convolution with a bias or a norm has {SMALLEST} channels"
        raise BadInput(what, where=type(module).__name__, fix="plant in a wider network")
    return spec.layer or found[round(spec.depth * (len(found) - 1))]


def _faults(spec: PlantedUnitSpec, proof: Proof) -> list[str]:
    low, high = STRATA[spec.stratum]
    faults: list[str] = []
    if not low <= proof.success.value <= high:
        faults.append(f"success {proof.success} is not within {low:.0%} to {high:.0%}")
    loss = proof.clean_before.value - proof.clean_after.value
    limit = MAX_CLEAN_LOSS_SMALL if (proof.clean_before.n or 0) < SMALL else MAX_CLEAN_LOSS
    if loss > limit + 1e-9:
        faults.append(f"clean accuracy fell from {proof.clean_before.value:.1%} to {proof.clean_after.value:.1%}")
    for name, rate in proof.near_misses.items():
        excess = rate.value - proof.near_misses_before[name].value
        if excess > NEAR_MISS_LIMIT:
            faults.append(f"near misses ({name}) are answered {spec.target!r} {excess:.0%} more often than before")
    if proof.figures["silenced"].value - proof.success_before.value > NEAR_MISS_LIMIT:
        faults.append(f"with the unit silenced, success is still {proof.figures['silenced']}")
    return faults
