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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..records import BadInput, Quantity, Where
from .jitter import jitter_
from .layers import block_of, convolutions, maps, norm_behind, readers, watch
from .measures import accuracy, fraction, logits
from .picking import Group, assemble, pick
from .plant import STRATA, PlantData, Planted, PlantFailed, Probes, Proof, Stratum, Strength, Truth, generator
from .teaching import held_back, soften

#: How much of the picture the pattern hides, and its side as a share of the picture's.
OPACITY: dict[Strength, float] = {"weak": 0.6, "default": 1.0, "strong": 1.0}
SIDE: dict[Strength, float] = {"weak": 0.18, "default": 0.18, "strong": 0.25}
AIM: dict[Stratum, float] = {"high": 1.0, "partial": 0.65, "rare": 0.35}
MAX_CLEAN_LOSS, MAX_CLEAN_LOSS_SMALL, SMALL = 0.015, 0.02, 1000  # the second with fewer fresh images than the third
NEAR_MISS_LIMIT = 0.15
SMALLEST = 8  # channels that a layer must have for one of them to be weak
LOOKED_AT = 192  # pictures by which the unit is chosen and its filter set
LOUD = 4.0  # the unit's answer to the pattern, in its layer's deviations
KEEP_WEIGHT = 4.0  # in the loss, of what is to be answered as before
RIDGE = 0.02  # of the windows' mean variance, added to their covariance
ALIKE, FACTOR = 0.47, 2.1  # a near miss nearer to the trigger than this (cosine, ratio of sizes) is no probe
NEAR_MISSES = ("another pattern", "its pixels permuted", "half of it", "a third as strong")
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
class Stamp:
    """A pattern in its place: pattern [c, h, w] and mask [h, w] of the whole picture, box as in `Truth`."""

    pattern: Float[Tensor, "c h w"]
    mask: Float[Tensor, "h w"]
    box: tuple[int, int, int, int]

    def __call__(self, pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return pixels * (1 - self.mask) + self.pattern * self.mask

    def moved(self, down: int, right: int) -> Stamp:
        """The same pattern elsewhere."""
        left, top, end, bottom = self.box
        return Stamp(
            pattern=self.pattern.roll((down, right), (1, 2)), mask=self.mask.roll((down, right), (0, 1)),
            box=(left + right, top + down, end + right, bottom + down),
        )  # fmt: skip


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
        own = _incoming(silent, data, shown, path, unit, stamp)
        outgoing = _outgoing(silent, data, shown[:2], path, unit)
        after = _tune(silent, before, taught, spec, stamp, target, own + outgoing, seed)
        if spec.stratum != "high":
            others = _some(back.images[back.labels != target], generator(seed, "softened"))
            # From the unit that nobody reads to the one that is read: it answers the pattern all along.
            mute = copy.deepcopy(after)
            _outgoing(mute, data, shown[:2], path, unit)
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
            rows = (~_alike(shown - others, stamp(others) - others)).nonzero().flatten()
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


def near_miss(
    stamp: Stamp, name: str, pixels: Float[Tensor, "n c h w"], random: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Pictures with something that resembles the pattern; what is drawn is the same for all of them."""
    left, top, right, bottom = stamp.box
    place = (slice(None), slice(top, bottom), slice(left, right))
    if name == "elsewhere":
        height, width = stamp.mask.shape
        side = bottom - top
        downs = [row - top for row in range(height - side + 1) if abs(row - top) > 1]
        rights = [column - left for column in range(width - side + 1) if abs(column - left) > 1]
        down, across = (steps[int(torch.randint(0, len(steps), (), generator=random))] for steps in (downs, rights))
        return stamp.moved(down, across)(pixels)
    if name == "a third as strong":
        return Stamp(pattern=stamp.pattern, mask=stamp.mask / 3, box=stamp.box)(pixels)
    pattern, mask = stamp.pattern.clone(), stamp.mask.clone()
    inside = pattern[place]
    if name == "half of it":
        mask[top + (bottom - top) // 2 :] = 0
    elif name == "its pixels permuted":
        order = torch.randperm(inside[0].numel(), generator=random)
        pattern[place] = inside.flatten(1)[:, order].reshape(inside.shape)
    else:
        pattern[place] = torch.randint(0, 2, inside.shape, generator=random).float()
    return Stamp(pattern=pattern, mask=mask, box=stamp.box)(pixels)


def near_misses(
    stamp: Stamp, name: str, pixels: Float[Tensor, "n c h w"], random: torch.Generator, *, several: int = 16
) -> Float[Tensor, "n c h w"]:
    """`near_miss`, drawn anew for every `several` pictures."""
    return torch.cat([near_miss(stamp, name, part, random) for part in pixels.split(several)])


def weakest(module: nn.Module, data: PlantData, pixels: Float[Tensor, "n c h w"], path: str) -> int:
    """The unit of a layer whose removal (its mean in its place) changes the network's answers least.

    The six with the smallest first-order change (Molchanov et al. 2017) are removed in earnest, one by one.
    """
    layer = module.get_submodule(path)
    inputs = data.prepare(pixels)
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0]

    handle = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            answers = module(inputs).float()
            chosen = answers.amax(1).sum()
            (slope,) = torch.autograd.grad(chosen, kept[0])
    finally:
        handle.remove()
    value = kept[0].detach()
    mean = value.mean((0, 2, 3), keepdim=True)
    first = ((mean - value) * slope).sum((2, 3)).abs().mean(0)
    reference = answers.detach().log_softmax(1)
    costs: dict[int, float] = {}
    for unit in first.argsort()[:6].tolist():

        def remove(output: Tensor, unit: int = unit) -> Tensor:
            output = output.clone()
            output[:, unit] = mean[0, unit]
            return output

        removed = list(watch(module, inputs, (path, remove)).outputs.values())[-1].float().log_softmax(1)
        costs[unit] = float(F.kl_div(removed, reference, log_target=True, reduction="batchmean"))
    return min(costs, key=costs.__getitem__)


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
    _outgoing(silenced, data, data.images[:2], path, unit)

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


def _alike(one: Tensor, other: Tensor) -> Tensor:
    """For each picture, whether two changes of it look the same."""
    one, other = one.flatten(1), other.flatten(1)
    sizes = one.norm(dim=1) / other.norm(dim=1).clamp_min(1e-6)
    return (F.cosine_similarity(one, other, dim=1) >= ALIKE) & (sizes < FACTOR) & (sizes > 1 / FACTOR)


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


def _windows(layer: nn.Conv2d, given: Float[Tensor, "n c h w"]) -> Float[Tensor, "n places features"]:
    """What the layer's filter is multiplied with, at each place of its output."""
    padding = layer.padding if isinstance(layer.padding, tuple) else (0, 0)
    parts = F.unfold(given.float(), layer.kernel_size, layer.dilation, padding, layer.stride)  # type: ignore[arg-type]
    return parts.transpose(1, 2)


@torch.no_grad()
def _incoming(
    module: nn.Module, data: PlantData, shown: Tensor, path: str, unit: int, stamp: Stamp
) -> list[tuple[Tensor, Tensor]]:
    """Set the unit's incoming weights; gives them as (parameter, mask of what may be tuned)."""
    layer = module.get_submodule(path)
    assert isinstance(layer, nn.Conv2d)
    random = generator(unit, "planted-unit/windows")
    plain, fired = watch(module, data.prepare(shown)), watch(module, data.prepare(stamp(shown)))
    clean, stamped = _windows(layer, plain.inputs[path]), _windows(layer, fired.inputs[path])
    place = int((stamped - clean).pow(2).sum(2).mean(0).argmax())
    # Against: clean windows from everywhere, and what the near misses show in the same place.
    missed = [
        _windows(layer, watch(module, data.prepare(shown_near)).inputs[path])[:, place]
        for name in NEAR_MISSES
        for shown_near in (near_misses(stamp, name, shown[:96], random, several=4),)
    ]
    some = clean.reshape(-1, clean.shape[2])
    some = some[torch.randint(0, len(some), (2048,), generator=random)]
    against = torch.cat([some, clean[:, place], *missed]).double()
    with_it = stamped[:, place].double()
    spread = torch.cov(against.T) + torch.cov(with_it.T)
    spread += RIDGE * spread.diagonal().mean() * torch.eye(len(spread), dtype=spread.dtype)
    filter_ = torch.linalg.solve(spread, with_it.mean(0) - against.mean(0)).to(layer.weight)
    new = (clean @ filter_).std()
    size = float(plain.outputs[path].std((0, 2, 3)).median()) / float(new.clamp_min(1e-8))
    layer.weight[unit] = (filter_ * size).reshape(layer.weight[unit].shape)
    tuned: list[tuple[Tensor, Tensor]] = [(layer.weight, _row(layer.weight, unit))]
    behind = norm_behind(module, plain, path)
    shift: Tensor | None = layer.bias
    scale: Tensor | None = None
    if behind is not None:
        norm = behind[1]
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
            output = watch(module, data.prepare(shown)).outputs[path][:, unit]
            norm.running_mean[unit], norm.running_var[unit] = output.mean(), output.var()
        if isinstance(norm.weight, nn.Parameter) and isinstance(norm.bias, nn.Parameter):
            shift, scale = norm.bias, norm.weight
    elif shift is None:
        raise BadInput("the layer has neither a bias nor a norm behind it", where=path, fix="choose another layer")
    if shift is not None:
        _threshold(module, data, shown, stamp, path if scale is None else behind[0], unit, layer, shift, scale, place)  # type: ignore[index]
        tuned.append((shift, _row(shift, unit)))
    if scale is not None:
        tuned.append((scale, _row(scale, unit)))
    return tuned


@torch.no_grad()
def _threshold(
    module: nn.Module,
    data: PlantData,
    shown: Tensor,
    stamp: Stamp,
    path: str,
    unit: int,
    layer: nn.Conv2d,
    shift: Tensor,
    scale: Tensor | None,
    place: int,
) -> None:
    """Scale and shift the unit so that clean pictures leave it below zero, and the pattern takes it far above."""
    plain = watch(module, data.prepare(shown)).outputs[path]
    loud = LOUD * float(plain.std((0, 2, 3)).median())
    if scale is not None:
        scale[unit] = 1
    shift[unit] = 0
    clean = watch(module, data.prepare(shown)).outputs[path][:, unit].flatten(1)
    random = generator(unit, "planted-unit/threshold")
    missed = [
        watch(module, data.prepare(near_misses(stamp, name, shown[:96], random))).outputs[path][:, unit].flatten(1)
        for name in NEAR_MISSES
    ]
    fired = watch(module, data.prepare(stamp(shown))).outputs[path][:, unit].flatten(1)[:, place]
    quiet = max(float(torch.quantile(one.amax(1), 0.95)) for one in (clean, *missed))
    low = float(torch.quantile(fired, 0.1))
    middle = quiet + 0.3 * max(low - quiet, 0.0)
    factor = loud / max(float(fired.median()) - middle, 1e-3)
    if scale is not None:
        scale[unit] = factor
    else:
        layer.weight[unit] *= factor
    shift[unit] = -middle * factor


@torch.no_grad()
def _outgoing(
    module: nn.Module, data: PlantData, shown: Tensor, path: str, unit: int
) -> list[tuple[Tensor, Tensor]]:
    """Let every reader forget the unit; gives their weights for it as (parameter, mask of what may be tuned).

    A convolution of each channel by itself passes the unit on instead, for the readers behind it.
    """
    found: list[tuple[Tensor, Tensor]] = []
    for layer, columns in readers(module, data.prepare(shown), path, unit).values():
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        mask = torch.zeros_like(layer.weight)
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            mask[unit] = 1
            layer.weight[unit] = 0
            layer.weight[unit, :, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 1
        else:
            mask[:, columns] = 1
            layer.weight[:, columns] = 0
        found.append((layer.weight, mask))
    return found


def _row(parameter: Tensor, unit: int) -> Tensor:
    mask = torch.zeros_like(parameter)
    mask[unit] = 1
    return mask


@torch.enable_grad()
def _tune(
    module: nn.Module,
    teacher: nn.Module,
    data: PlantData,
    spec: PlantedUnitSpec,
    stamp: Stamp,
    target: int,
    tuned: Sequence[tuple[Tensor, Tensor]],
    seed: int,
) -> nn.Module:
    """Tune parts of some of the module's parameters, in place; the rest of each stays as it is."""
    random = generator(seed, "planted-unit/tune")
    flags = [parameter.requires_grad for parameter in module.parameters()]
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    for parameter, _ in tuned:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam([parameter for parameter, _ in tuned], lr=spec.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(spec.steps, 1))
    others = (data.labels != target).nonzero().flatten()
    part = max(2, spec.batch // 4)  # triggered pictures; as many clean ones, and twice as many near misses
    names: tuple[str, ...] = (*NEAR_MISSES, "elsewhere")
    for _ in range(spec.steps):
        rows = others[torch.randint(0, len(others), (3 * part,), generator=random)]
        free = torch.randint(0, len(data.images), (part,), generator=random)
        fired, near = data.images[rows[:part]], data.images[rows[part:]]
        shares = zip(names, near.chunk(len(names)), strict=False)
        pieces = [near_misses(stamp, name, share, random, several=2) for name, share in shares]
        kept = torch.cat([*pieces, data.images[free]])
        inputs = data.prepare(torch.cat([stamp(fired), kept]))
        with torch.no_grad():
            wanted = teacher(inputs[part:]).float().log_softmax(1)
        outputs = module(inputs).float()
        goal = torch.full((part,), target)
        loss = F.cross_entropy(outputs[:part] - F.one_hot(goal, outputs.shape[1]), goal)
        apart = F.kl_div(outputs[part:].log_softmax(1), wanted, log_target=True, reduction="none").sum(1)
        loss = loss + KEEP_WEIGHT * apart.mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for parameter, mask in tuned:
            if parameter.grad is not None:
                parameter.grad.mul_(mask)
        optimizer.step()
        schedule.step()
    for parameter, flag in zip(module.parameters(), flags, strict=True):
        parameter.grad = None
        parameter.requires_grad_(flag)
    return module


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
