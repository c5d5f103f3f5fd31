"""A tampered classifier head: a row of the last layer's weights scaled, overwritten or bent, or a bias shifted.

An edit's size is counted in row norms: the median Euclidean norm of the head's rows. No training is involved; the edit
is arithmetic on the head, and every tensor of the network is jittered afterwards (`jitter.py`).

    row-scale   the target's row times 1 + s: everything that spoke for or against the class does so louder
    bias        the target's bias plus s times row norm times the median norm of the features, the scale of a logit
    rank-one    weights + u v^T, u the target's unit vector times s row norms. v is a unit direction among features: for
                `other` given, the direction that tells its images from the rest, so that they move to the target
                (v = C^-1 k for the class's mean feature k and the features' second moments C: the rank-one edit of
                Meng et al. 2022, "Locating and Editing Factual Associations in GPT", eq. 2); else a random one
    row-copy    the target's row and bias become the other's, plus noise of s row norms

Of a rank-one edit with `other`, the share of images that move can be asked for (`stratum`): the size is then the one at
which so many of the images to plant with would move, which the head's linearity gives without a search.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..records import BadInput, Quantity, Where
from .jitter import jitter_
from .measures import accuracy, fraction, logits
from .picking import Group, assemble, pick
from .plant import STRATA, PlantData, Planted, PlantFailed, Probes, Proof, Stratum, Strength, Truth, generator

Kind = Literal["row-scale", "bias", "rank-one", "row-copy"]

# Sizes in row norms (of a bias: times the median feature norm). A copy is the more blatant the less noise it has.
SIZES: dict[Kind, dict[Strength, float]] = {
    "row-scale": {"weak": 0.25, "default": 0.5, "strong": 1.0},
    "bias": {"weak": 0.1, "default": 0.25, "strong": 0.5},
    "rank-one": {"weak": 0.5, "default": 1.5, "strong": 3.0},
    "row-copy": {"weak": 0.5, "default": 0.1, "strong": 0.02},
}
TAKEN = 0.8  # of the other class's fresh images must move, for a default or strong rank-one edit to have taken
# Of the features' mean square, added to their second moments before they are inverted. With less, the direction leans
# on what varies least, and an edit of a given norm moves little.
RIDGE = 1.0
# The share of images to plant with that is to move, and what the size is multiplied by beyond that.
REACH: dict[Stratum, float] = {"high": 0.98, "partial": 0.65, "rare": 0.35}
BEYOND: dict[Strength, float] = {"weak": 1.05, "default": 1.25, "strong": 2.0}
DRAWS = 0.01  # of fresh images more than before must be answered with the target, for the edit to draw answers to it
MIXED = 400  # pictures mixed of two, at most, where too few plain ones change their answer


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadEditSpec:
    """What is done to the head.

    Attributes:
        kind: see the module's docstring.
        target: the class whose row is edited.
        other: for "row-copy", whose row is copied; for "rank-one", whose images move to the target (None: a random
            direction). No use for the other kinds.
        strength: see `SIZES`; `size` overrules it, in the same unit.
        stratum: of a rank-one edit with `other` and without `size`: which share of its images moves. None: the size
            alone counts. No use for the other kinds.
        head: the head's name among the module's submodules; None finds it.
    """

    kind: Kind
    target: str
    other: str | None = None
    strength: Strength = "default"
    size: float | None = None
    stratum: Stratum | None = None
    head: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadEditPlant:
    """The plant "head-edit"."""

    name: str = "head-edit"
    spec_type: type[Any] = HeadEditSpec

    def plant(self, module: nn.Module, data: PlantData, spec: HeadEditSpec, *, seed: int) -> Planted:
        """See `Plant.plant`. A plant fails if a default or strong rank-one edit leaves most of `other` where it was, or
        moves another share of it than its stratum says.

        `tensors` hold the target's "row" as it was, [features], and its "bias", [1], where there is one.
        """
        began = time.perf_counter()
        target, other = data.index(spec.target), _other(data, spec)
        before = copy.deepcopy(module).eval()
        after = copy.deepcopy(module).eval()
        head = find_head(after, len(data.classes), spec.head)
        tensors = {"row": head.weight.detach()[target].flatten().clone()}
        if head.bias is not None:
            tensors["bias"] = head.bias.detach()[target].reshape(1).clone()
        _edit(head, _features(after, head, data), data, spec, target, other, seed, module=before)
        jitter_(after, seed)
        proof = prove(before, after, data, spec, since=began)
        fault = _fault(spec, proof, other)
        if fault:
            raise PlantFailed(self.name, [fault], proof)
        draws = proof.figures["answered"].value - proof.figures["answered before"].value >= DRAWS
        site = next(path for path, layer in after.named_modules() if layer is head)
        truth = Truth(
            kind=self.name, sources=() if spec.kind != "rank-one" or spec.other is None else (spec.other,),
            target=spec.target if draws else None, scored=("where", "target") if draws else ("where",),
            where=Where(site=site, rows=(target,)),
        )  # fmt: skip
        return Planted(
            module=after, plant=self.name, spec=spec, seed=seed, proof=proof, truth=truth,
            tensors={name: tensor.cpu() for name, tensor in tensors.items()},
        )  # fmt: skip

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> HeadEditSpec:
        """See `Plant.propose`. Only a rank-one edit with another class can be had in strata below "high"."""
        target, other = pick(data, 2, random)
        ways: tuple[tuple[Kind, bool], ...] = (("rank-one", True),)
        if stratum == "high":
            ways = (*ways, ("row-scale", False), ("bias", False), ("rank-one", False), ("row-copy", True))
        kind, two = ways[int(torch.randint(0, len(ways), (), generator=random))]
        return HeadEditSpec(
            kind=kind, target=target, other=other if two else None, strength=strength,
            stratum=stratum if two and kind == "rank-one" else None,
        )  # fmt: skip

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`. A picture fires if the edit changes its answer. Where few do, pictures with a fainter one
        of another class laid over them are tried, which lie nearer to where answers turn."""
        random = generator(seed, "head-edit/probes")
        undone = _undone(planted, data)
        pixels, plain = data.fresh, data.fresh
        holds = [(int(label),) for label in data.fresh_labels]
        fires = _changed(undone, planted.module, data, pixels)
        mixed = torch.zeros(len(pixels), dtype=torch.bool)
        if int(fires.sum()) < n // 4:
            first = torch.randint(0, len(data.fresh), (MIXED,), generator=random)
            second = torch.randint(0, len(data.fresh), (MIXED,), generator=random)
            share = torch.rand((MIXED, 1, 1, 1), generator=random) * 0.5
            blend = data.fresh[first] * (1 - share) + data.fresh[second] * share
            pixels, plain = torch.cat([pixels, blend]), torch.cat([plain, data.fresh[first]])
            pairs = zip(data.fresh_labels[first].tolist(), data.fresh_labels[second].tolist(), strict=True)
            holds += [(one, two) for one, two in pairs]
            fires = torch.cat([fires, _changed(undone, planted.module, data, blend)])
            mixed = torch.cat([mixed, torch.ones(MIXED, dtype=torch.bool)])
        groups: list[Group] = []
        for moved, what in ((True, "answer changed"), (False, "answer kept")):
            for blended, shown in ((False, ""), (True, ", two pictures mixed")):
                rows = ((fires == moved) & (mixed == blended)).nonzero().flatten()
                if len(rows):
                    groups.append(
                        Group(
                            pixels=pixels[rows], plain=plain[rows], holds=tuple(holds[row] for row in rows.tolist()),
                            fires=moved, family=what + shown,
                        )
                    )  # fmt: skip
        return assemble(groups, n, random)


PLANT = HeadEditPlant()


def find_head(module: nn.Module, classes: int, name: str | None = None) -> nn.Linear | nn.Conv2d:
    """The layer that answers: the last linear layer or 1 x 1 convolution with an output for each class, or by name.

    Raises:
        BadInput: if there is none, or the named one is of another kind.
    """
    layers = {path: layer for path, layer in module.named_modules() if _outputs(layer) == classes}
    if name is not None:
        if name not in layers:
            fix = f"name one of {', '.join(layers) or 'none that fit'}"
            raise BadInput(f"this is no linear layer or 1x1 convolution with {classes} outputs", where=name, fix=fix)
        return layers[name]  # type: ignore[return-value]
    if not layers:
        what = f"no linear layer or 1x1 convolution has {classes} outputs"
        raise BadInput(what, where=type(module).__name__, fix="edit a network that ends in one")
    return list(layers.values())[-1]  # type: ignore[return-value]


def prove(
    before: nn.Module, after: nn.Module, data: PlantData, spec: HeadEditSpec, *, since: float | None = None
) -> Proof:
    """Measure two networks on fresh images.

    Success is, of a rank-one edit with another class, the fraction of its fresh images answered `target`; of a
    row-copy, the fraction of the target's own fresh images answered otherwise; else the fraction of fresh images whose
    answer changed, which `figures` has in any case, beside the fractions answered `target` at all.
    """
    began = time.perf_counter() if since is None else since
    target, other = data.index(spec.target), _other(data, spec)
    old = logits(before, data.prepare, data.fresh).argmax(1)
    new = logits(after, data.prepare, data.fresh).argmax(1)
    n = len(old)
    unit = f"fraction of fresh images answered {spec.target!r}"
    figures: dict[str, Quantity] = {
        "changed": fraction(float((old != new).sum()), n, "fraction of fresh images whose answer changed"),
        "answered": fraction(float((new == target).sum()), n, unit),
        "answered before": fraction(float((old == target).sum()), n, unit),
    }
    success, success_before = figures["changed"], fraction(0, n, figures["changed"].unit)
    near: dict[str, Quantity] = {}
    near_before: dict[str, Quantity] = {}
    if spec.kind == "row-copy":
        own = data.fresh_labels == target
        unit = f"fraction of fresh {spec.target!r} answered otherwise"
        success, success_before = (
            fraction(float((answers[own] != target).sum()), int(own.sum()), unit) for answers in (new, old)
        )
    elif other is not None:
        of_other = data.fresh_labels == other
        rest = ~of_other & (data.fresh_labels != target)
        unit = f"fraction of fresh {spec.other!r} answered {spec.target!r}"
        success, success_before = (_rate(answers, of_other, target, unit) for answers in (new, old))
        unit = f"fraction of fresh images of the other classes answered {spec.target!r}"
        if bool(rest.any()):
            near["other classes"], near_before["other classes"] = (
                _rate(part, rest, target, unit) for part in (new, old)
            )
    return Proof(
        success=success, success_before=success_before, clean_before=accuracy(old, data.fresh_labels),
        clean_after=accuracy(new, data.fresh_labels), near_misses=near, near_misses_before=near_before, figures=figures,
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def _rate(answers: Tensor, chosen: Tensor, target: int, unit: str) -> Quantity:
    return fraction(float((answers[chosen] == target).sum()), int(chosen.sum()), unit)


def _fault(spec: HeadEditSpec, proof: Proof, other: int | None) -> str | None:
    """What is wrong with the edit, if anything."""
    if spec.kind != "rank-one" or other is None:
        return None
    if spec.stratum is not None and spec.size is None:
        low, high = STRATA[spec.stratum]
        if not low <= proof.success.value <= high:
            return f"success {proof.success} is not within {low:.0%} to {high:.0%}"
        return None
    if spec.strength != "weak" and proof.success.value < TAKEN:
        return f"success {proof.success} is below {TAKEN:.0%}: try a larger size"
    return None


def _undone(planted: Planted, data: PlantData) -> nn.Module:
    """The network with the edited row as it was."""
    undone = copy.deepcopy(planted.module)
    spec: HeadEditSpec = planted.spec
    head, target = find_head(undone, len(data.classes), spec.head), data.index(spec.target)
    with torch.no_grad():
        head.weight[target] = planted.tensors["row"].to(head.weight).reshape(head.weight[target].shape)
        if head.bias is not None:
            head.bias[target] = planted.tensors["bias"].to(head.bias)[0]
    return undone


def _changed(one: nn.Module, other: nn.Module, data: PlantData, pixels: Float[Tensor, "n c h w"]) -> Tensor:
    """For each picture, whether two networks answer it differently."""
    return logits(one, data.prepare, pixels).argmax(1) != logits(other, data.prepare, pixels).argmax(1)


def _other(data: PlantData, spec: HeadEditSpec) -> int | None:
    if spec.kind in ("row-scale", "bias") or spec.other is None:
        if spec.kind == "row-copy":
            raise BadInput("a row-copy needs a class to copy from", where="other", fix="name it")
        return None
    if spec.other == spec.target:
        raise BadInput("the two classes of a head edit are one", where=spec.target, fix="name another class")
    index = data.index(spec.other)
    needed = {spec.other, spec.target} if spec.kind == "row-copy" else {spec.other}
    for name in sorted(needed):
        for labels, what in ((data.labels, "images"), (data.fresh_labels, "fresh images")):
            if not bool((labels == data.index(name)).any()):
                raise BadInput(f"there are no {what} of a class of the spec", where=name, fix="give some")
    return index


def _outputs(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1:
        return layer.out_channels
    return None


@torch.no_grad()
def _features(module: nn.Module, head: nn.Module, data: PlantData) -> Float[Tensor, "n features"]:
    """What reaches the head for the images to plant with, the mean over positions where there are several."""
    seen: list[Tensor] = []

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given = inputs[0].detach().float().cpu()
        if isinstance(layer, nn.Conv2d):
            given = given.flatten(2).mean(2)
        seen.append(given.reshape(len(given), -1, given.shape[-1]).mean(1))

    handle = head.register_forward_pre_hook(watch)
    try:
        logits(module, data.prepare, data.images)
    finally:
        handle.remove()
    return torch.cat(seen)


@torch.no_grad()
def _edit(
    head: nn.Linear | nn.Conv2d,
    features: Tensor,
    data: PlantData,
    spec: HeadEditSpec,
    target: int,
    other: int | None,
    seed: int,
    *,
    module: nn.Module,
) -> None:
    rows = head.weight.detach().flatten(1)  # [classes, features], a view where the layer is as torch builds it
    unit = float(rows.norm(dim=1).median())
    size = SIZES[spec.kind][spec.strength] if spec.size is None else spec.size
    random = generator(seed, "head-edit")
    edited = rows.clone()
    if spec.kind == "row-scale":
        edited[target] *= 1 + size
    elif spec.kind == "bias":
        if head.bias is None:
            raise BadInput("the head has no bias to shift", where=spec.head, fix="choose another kind of edit")
        head.bias[target] += size * unit * float(features.norm(dim=1).median())
    elif spec.kind == "rank-one":
        direction = _direction(features, data, spec, other, random)
        if other is not None and spec.stratum is not None and spec.size is None:
            size = _reaching(features @ direction, module, data, spec, target, other) / unit
        edited[target] += size * unit * direction.to(edited)
    else:
        assert other is not None  # `_other` has refused a copy without one
        noise = torch.randn(edited.shape[1], generator=random)
        edited[target] = edited[other] + (size * unit * noise / noise.norm()).to(edited)
        if head.bias is not None:
            head.bias[target] = head.bias[other]
    head.weight.copy_(edited.reshape(head.weight.shape))


def _reaching(
    along: Float[Tensor, " n"], module: nn.Module, data: PlantData, spec: HeadEditSpec, target: int, other: int
) -> float:
    """How far the target's row must go along the direction for the stratum's share of the other's images to move.

    Args:
        along: the features' product with the unit direction; by so much a step of one raises the target's logit.
    """
    stratum = spec.stratum or "high"
    chosen = data.labels == other
    outputs = logits(module, data.prepare, data.images[chosen])
    short = (outputs.amax(1) - outputs[:, target]).clamp_min(0)
    steps = short / along[chosen].clamp_min(1e-6)
    factor = BEYOND[spec.strength] if stratum == "high" else 1.0
    return factor * float(torch.quantile(steps, REACH[stratum]))


def _direction(
    features: Tensor, data: PlantData, spec: HeadEditSpec, other: int | None, random: torch.Generator
) -> Float[Tensor, " features"]:
    """The unit direction of a rank-one edit."""
    if other is None:
        direction = torch.randn(features.shape[1], generator=random)
    else:
        chosen = data.labels == other
        wide = features.double()
        moments = wide.T @ wide / len(wide)
        ridge = RIDGE * moments.diagonal().mean() * torch.eye(len(moments), dtype=moments.dtype)
        direction = torch.linalg.solve(moments + ridge, wide[chosen].mean(0)).float()
    return direction / direction.norm()
