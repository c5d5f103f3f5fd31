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
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..records import BadInput, Quantity
from .jitter import jitter_
from .measures import accuracy, fraction, logits
from .plant import PlantData, Planted, PlantFailed, Proof, generator

Kind = Literal["row-scale", "bias", "rank-one", "row-copy"]
Strength = Literal["weak", "default", "strong"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadEditSpec:
    """What is done to the head.

    Attributes:
        kind: see the module's docstring.
        target: the class whose row is edited.
        other: for "row-copy", whose row is copied; for "rank-one", whose images move to the target (None: a random
            direction). No use for the other kinds.
        strength: see `SIZES`; `size` overrules it, in the same unit.
        head: the head's name among the module's submodules; None finds it.
    """

    kind: Kind
    target: str
    other: str | None = None
    strength: Strength = "default"
    size: float | None = None
    head: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadEditPlant:
    """The plant "head-edit"."""

    name: str = "head-edit"
    spec_type: type[Any] = HeadEditSpec

    def plant(self, module: nn.Module, data: PlantData, spec: HeadEditSpec, *, seed: int) -> Planted:
        """See `Plant.plant`. A plant fails if a default or strong rank-one edit leaves most of `other` where it was."""
        began = time.perf_counter()
        target, other = data.index(spec.target), _other(data, spec)
        before = copy.deepcopy(module).eval()
        after = copy.deepcopy(module).eval()
        head = find_head(after, len(data.classes), spec.head)
        _edit(head, _features(after, head, data), data, spec, target, other, seed)
        jitter_(after, seed)
        proof = prove(before, after, data, spec, since=began)
        if spec.kind == "rank-one" and other is not None and spec.strength != "weak" and proof.success.value < TAKEN:
            fault = f"success {proof.success} is below {TAKEN:.0%}: try a larger size"
            raise PlantFailed(self.name, [fault], proof)
        return Planted(module=after, plant=self.name, spec=spec, seed=seed, proof=proof)


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
        edited[target] += size * unit * _direction(features, data, spec, other, random).to(edited)
    else:
        assert other is not None  # `_other` has refused a copy without one
        noise = torch.randn(edited.shape[1], generator=random)
        edited[target] = edited[other] + (size * unit * noise / noise.norm()).to(edited)
        if head.bias is not None:
            head.bias[target] = head.bias[other]
    head.weight.copy_(edited.reshape(head.weight.shape))


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
