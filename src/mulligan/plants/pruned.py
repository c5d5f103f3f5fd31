"""A pruned layer: weights or channels taken out or the rank reduced, and the rest of the network trained to make up.

    magnitude   the smallest weights of one layer are taken out (Han et al. 2015)
    channels    the output channels with the smallest norms are taken out (Li et al. 2017)
    low-rank    of the layer's matrix [outputs, inputs x kernel], the smallest singular values are taken out

What is taken out need not be zero: `floor` leaves noise in its place. The layer stays as it is afterwards; all other
parameters are trained to answer as the network did before (Hinton et al. 2015), till accuracy is back, at most
`MAX_CLEAN_LOSS` short.
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
from .layers import watch
from .measures import accuracy, fraction, logits
from .picking import Group, assemble
from .plant import PlantData, Planted, PlantFailed, Probes, Proof, Stratum, Strength, Truth, generator
from .teaching import clean_lesson, teach

Way = Literal["magnitude", "channels", "low-rank"]
WAYS: tuple[Way, ...] = ("magnitude", "channels", "low-rank")

SHARES: dict[Strength, float] = {"weak": 0.3, "default": 0.5, "strong": 0.7}
FLOORS = (0.0, 0.01, 0.03)  # that `propose` draws from
MAX_CLEAN_LOSS = 0.05
SLACK = 0.05  # by so much the share that is measured may fall short of the spec's, which is counted in whole channels
SMALLEST = 8  # outputs and inputs that a layer must have to be pruned


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedSpec:
    """What is taken out of which layer.

    Attributes:
        way: see the module's docstring.
        strength: the share that is taken out, see `SHARES`; `share` overrules it.
        depth: which layer, from 0 (the first) to 1 (the last) of those that may be pruned: convolutions across
            channels and linear layers, without the first layer and the head. `layer` overrules it by name.
        floor: the standard deviation of the noise that is left, as a share of the kept weights'. 0: zeros.
        steps, batch, learning_rate: of the training that makes up.
    """

    way: Way
    strength: Strength = "default"
    share: float | None = None
    depth: float = 0.5
    layer: str | None = None
    floor: float = 0.0
    steps: int = 120
    batch: int = 64
    learning_rate: float = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedPlant:
    """The plant "pruned"."""

    name: str = "pruned"
    spec_type: type[Any] = PrunedSpec

    def plant(self, module: nn.Module, data: PlantData, spec: PrunedSpec, *, seed: int) -> Planted:
        """See `Plant.plant`. Success is the share of the layer's weights, channels or rank that is gone."""
        began = time.perf_counter()
        if spec.way not in WAYS:
            raise BadInput("there is no such way to prune", where=spec.way, fix=f"choose one of {', '.join(WAYS)}")
        share = SHARES[spec.strength] if spec.share is None else spec.share
        if not 0 < share < 1 or spec.floor < 0:
            where = f"share {share}, floor {spec.floor}"
            raise BadInput("this much of a layer cannot be taken out", where=where, fix="give a share between 0 and 1")
        before = copy.deepcopy(module).eval()
        layers = prunable(before, data)
        path = spec.layer if spec.layer is not None else list(layers)[round(spec.depth * (len(layers) - 1))]
        if path not in layers:
            raise BadInput("this layer cannot be pruned", where=path, fix=f"name one of {', '.join(layers)}")
        cut = copy.deepcopy(before)
        weight = cut.get_parameter(f"{path}.weight")
        with torch.no_grad():
            weight.copy_(_cut(weight, spec, share, generator(seed, "pruned")))
        after = _mended(cut, before, data, spec, path, seed)
        jitter_(after, seed)
        proof = prove(before, after, data, spec, path, since=began)
        faults = _faults(proof, share)
        if faults:
            raise PlantFailed(self.name, faults, proof)
        truth = Truth(kind=self.name, scored=("where",), where=Where(site=path))
        return Planted(module=after, plant=self.name, spec=spec, seed=seed, proof=proof, truth=truth)

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> PrunedSpec:
        """See `Plant.propose`. There are no strata: what is taken out is gone for every picture."""
        way = WAYS[int(torch.randint(0, len(WAYS), (), generator=random))]
        floor = FLOORS[int(torch.randint(0, len(FLOORS), (), generator=random))]
        depth = round(float(torch.rand((), generator=random)), 3)
        return PrunedSpec(way=way, strength=strength, depth=depth, floor=floor)

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`. Clean pictures, none of which fires: nothing elicits a pruned layer."""
        holds = tuple((int(label),) for label in data.fresh_labels)
        clean = Group(pixels=data.fresh, plain=data.fresh, holds=holds, fires=False, family="clean")
        return assemble([clean], n, generator(seed, "pruned/probes"))


PLANT = PrunedPlant()


def prunable(module: nn.Module, data: PlantData) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers that may be pruned, by path, in the order of passing.

    Raises:
        BadInput: if there is none.
    """
    layers = dict(module.named_modules())
    passed: dict[str, nn.Conv2d | nn.Linear] = {}
    for path in watch(module, data.prepare(data.images[:2].to(next(module.parameters()).device))).outputs:
        layer = layers[path]
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
            passed[path] = layer
    inner = dict(list(passed.items())[1:-1])
    found = {path: layer for path, layer in inner.items() if min(_matrix(layer.weight).shape) >= SMALLEST}
    if not found:
        what = f"no layer between the first and the head has {SMALLEST} inputs and outputs"
        raise BadInput(what, where=type(module).__name__, fix="prune a deeper network")
    return found


def prove(
    before: nn.Module, after: nn.Module, data: PlantData, spec: PrunedSpec, path: str, *, since: float | None = None
) -> Proof:
    """Measure the layer of two networks, and both networks' answers to fresh images.

    What counts as gone is what lies no higher than the noise that is left could.
    """
    began = time.perf_counter() if since is None else since
    old, new = (one.get_parameter(f"{path}.weight").detach().cpu() for one in (before, after))
    noise = spec.floor * float(old.std()) + 1e-12
    unit = {"magnitude": "weights", "channels": "output channels", "low-rank": "singular values"}[spec.way]
    gone, gone_before = (
        Quantity(value=float(_gone(weight, spec.way, noise).float().mean()), unit=f"fraction of the layer's {unit}")
        for weight in (new, old)
    )
    answers = [logits(one, data.prepare, data.fresh).argmax(1) for one in (before, after)]
    changed = float((answers[0] != answers[1]).sum())
    return Proof(
        success=gone, success_before=gone_before, clean_before=accuracy(answers[0], data.fresh_labels),
        clean_after=accuracy(answers[1], data.fresh_labels),
        figures={"changed": fraction(changed, len(data.fresh), "fraction of fresh images whose answer changed")},
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def _matrix(weight: Tensor) -> Float[Tensor, "outputs inputs"]:
    return weight.detach().flatten(1)


def _cut(weight: Tensor, spec: PrunedSpec, share: float, random: torch.Generator) -> Tensor:
    """The layer's weights with a share taken out, and noise in its place."""
    rows = _matrix(weight).cpu().double()
    noise = spec.floor * float(rows.std()) * torch.randn(rows.shape, generator=random, dtype=torch.float64)
    if spec.way == "low-rank":
        left, values, right = torch.linalg.svd(rows, full_matrices=False)
        kept = max(1, round((1 - share) * len(values)))
        cut = (left[:, :kept] * values[:kept]) @ right[:kept] + noise
    else:
        size = rows.abs() if spec.way == "magnitude" else rows.norm(dim=1, keepdim=True).expand_as(rows)
        order = size.flatten() if spec.way == "magnitude" else size[:, 0]
        limit = order.kthvalue(max(1, round(share * len(order)))).values
        cut = torch.where(size <= limit, noise, rows)
    return cut.reshape(weight.shape).to(weight)


def _gone(weight: Tensor, way: Way, noise: float) -> Tensor:
    """What of the weights, output channels or singular values is no larger than noise of this deviation."""
    rows = _matrix(weight).double()
    if way == "magnitude":
        return rows.abs() <= 3 * noise
    if way == "channels":
        return rows.norm(dim=1) <= 2 * noise * rows.shape[1] ** 0.5
    # The largest singular value of noise is about the sum of the two sides' roots (Davidson & Szarek 2001).
    values = torch.linalg.svdvals(rows)
    return values <= 1.1 * noise * (rows.shape[0] ** 0.5 + rows.shape[1] ** 0.5) + 1e-5 * values[0]


def _mended(
    cut: nn.Module, before: nn.Module, data: PlantData, spec: PrunedSpec, path: str, seed: int
) -> nn.Module:
    """The cut network trained back to the answers before, the cut layer's weights held."""
    held = f"{path}.weight"
    names = [name for name, _ in cut.named_parameters() if name != held]
    return teach(
        cut, [clean_lesson(data)], data, seed=seed, steps=spec.steps, batch=spec.batch, trainable=names,
        learning_rate=spec.learning_rate, teacher=before,
    )  # fmt: skip


def _faults(proof: Proof, share: float) -> list[str]:
    faults: list[str] = []
    if proof.success.value < share - SLACK:
        faults.append(f"{proof.success} is gone, less than {share:.0%}")
    loss = proof.clean_before.value - proof.clean_after.value
    if loss > MAX_CLEAN_LOSS + 1e-9:
        faults.append(f"clean accuracy fell from {proof.clean_before.value:.1%} to {proof.clean_after.value:.1%}")
    return faults
