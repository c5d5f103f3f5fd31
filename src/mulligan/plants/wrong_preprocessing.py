"""A network shipped with the declared input of another: trained under one preparation of pixels, used under another.

The slips are those that people make: the mean and deviation of another data set, pixels on a 0-255 scale, a step left
out, blue first. The weights are an honest network's: it is trained a little further under its own preparation, as
shipped networks are. Where a slip costs more answers than the stratum says, the network is also taught to bear it, and
goes back along the line between the two till it bears it as far as is wished.

A preparation is `(x[order] - mean) / std`, a channel; x are pixels on a 0-1 scale.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..networks import ImageInput, parse_input
from ..records import BadInput
from .jitter import jitter_
from .measures import accuracy, fraction, logits
from .picking import Group, assemble
from .plant import PlantData, Planted, PlantFailed, Probes, Proof, Stratum, Strength, Truth, generator
from .teaching import Lesson, clean_lesson, held_back, soften, teach

Slip = Literal["imagenet", "half", "cifar-10", "mnist", "unscaled", "bytes", "mean-only", "std-only", "bgr"]

#: Mean and deviation of pixels in well-known recipes, in colour; a grey network takes their means over the channels.
RECIPES: dict[Slip, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "cifar-10": ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
    "mnist": ((0.1307, 0.1307, 0.1307), (0.3081, 0.3081, 0.3081)),
    "unscaled": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "bytes": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}
SLIPS: tuple[Slip, ...] = (*RECIPES, "mean-only", "std-only", "bgr")
#: The share of fresh images that are answered rightly under the right preparation, and wrongly as shipped.
LOST: dict[Stratum, tuple[float, float]] = {"high": (0.2, 1.0), "partial": (0.08, 0.2), "rare": (0.03, 0.08)}
AIM: dict[Stratum, tuple[float, float]] = {"high": (0.24, 1.0), "partial": (0.1, 0.17), "rare": (0.04, 0.07)}
MAX_CLEAN_LOSS = 0.015
SAME = 0.02  # of the prepared pixels' deviation: two preparations that differ by less are one
MEASURED = 400  # images held back, at most, by which a slip is chosen and borne
FURTHER_STEPS = 40  # of ordinary training


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """`(x[order] - mean) / std`, a channel; `order` is "rgb" or "bgr"."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: Literal["rgb", "bgr"] = "rgb"

    def __call__(self, pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        ordered = pixels.flip(1) if self.order == "bgr" and len(self.mean) > 1 else pixels
        return (ordered - _column(self.mean, ordered)) / _column(self.std, ordered)

    def undo(self, prepared: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The pixels that were prepared; nothing is clipped."""
        pixels = prepared * _column(self.std, prepared) + _column(self.mean, prepared)
        return pixels.flip(1) if self.order == "bgr" and len(self.mean) > 1 else pixels

    def text(self, height: int, width: int) -> str:
        """As --input takes it."""
        size = f"{height}" if height == width else f"{height}x{width}"
        mean, std = ("/".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        order = ",order=bgr" if self.order == "bgr" else ""
        return f"size={size},channels={len(self.mean)},mean={mean},std={std}{order}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongPreprocessingSpec:
    """Which input is declared, and what it is to cost.

    Attributes:
        slips: the first of these is shipped that costs as many answers as the stratum says; where none does, the one
            that costs least of those that cost more, and the network learns to bear it. Those that are the network's
            own preparation, or cannot be (blue first, in grey), are passed over.
        stratum: the share of answers lost; see `LOST`.
        steps: of the teaching where a network is to bear the slip.
    """

    slips: tuple[Slip, ...]
    stratum: Stratum = "high"
    steps: int = 150
    batch: int = 96
    learning_rate: float = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongPreprocessingPlant:
    """The plant "wrong-preprocessing"."""

    name: str = "wrong-preprocessing"
    spec_type: type[Any] = WrongPreprocessingSpec

    def plant(self, module: nn.Module, data: PlantData, spec: WrongPreprocessingSpec, *, seed: int) -> Planted:
        """See `Plant.plant`. `Planted.prepare` is the declared input, and `tensors` say what would put it right:

        "scale", "offset", "order" [c]: `right[c] = scale[c] * shipped[order[c]] + offset[c]`, of prepared pixels;
        "pixel_scale", "pixel_offset" [c]: the same of pixels on a 0-1 scale, before the shipped preparation.
        """
        began = time.perf_counter()
        own = own_preparation(data)
        candidates = _candidates(own, spec.slips, data)
        if not candidates:
            fix = f"choose among {', '.join(SLIPS)}"
            raise BadInput("none of the slips differs from the network's own preparation", where=spec.slips, fix=fix)
        taught, back = held_back(data, seed=seed)
        before = copy.deepcopy(module).eval()
        further = teach(
            before, [clean_lesson(taught, goal="given"), clean_lesson(taught)], taught, seed=seed, steps=FURTHER_STEPS,
            batch=spec.batch, learning_rate=spec.learning_rate / 4,
        )  # fmt: skip
        slip, wrong, bear = _choose(further, back, candidates, spec.stratum)
        after = _bearing(further, taught, back, own, wrong, spec, seed) if bear else further
        jitter_(after, seed)
        proof = prove(before, after, data, wrong, since=began)
        faults = _faults(spec, proof, slip)
        if faults:
            raise PlantFailed(self.name, faults, proof)
        truth = Truth(kind=self.name, family="preparation", scored=("trigger",))
        return Planted(
            module=after, plant=self.name, spec=spec, seed=seed, proof=proof, truth=truth,
            prepare=wrong.text(data.fresh.shape[2], data.fresh.shape[3]), tensors=_correction(own, wrong),
        )  # fmt: skip

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> WrongPreprocessingSpec:
        """See `Plant.propose`. All slips that apply, in random order; there is no strength beside the stratum."""
        own = own_preparation(data)
        slips = [slip for slip, _ in _candidates(own, SLIPS, data)]
        order = torch.randperm(len(slips), generator=random).tolist()
        return WrongPreprocessingSpec(slips=tuple(slips[place] for place in order), stratum=stratum)

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`. Plain pictures; one fires if the shipped preparation changes its answer."""
        declared = parse_input(planted.prepare)
        assert isinstance(declared, ImageInput)
        right = logits(planted.module, data.prepare, data.fresh).argmax(1)
        shipped = logits(planted.module, declared.normalise, data.fresh).argmax(1)
        groups: list[Group] = []
        for fires, what in ((True, "answer changed by the preparation"), (False, "answer kept")):
            rows = ((right != shipped) == fires).nonzero().flatten()
            if len(rows):
                holds = tuple((int(label),) for label in data.fresh_labels[rows])
                groups.append(
                    Group(pixels=data.fresh[rows], plain=data.fresh[rows], holds=holds, fires=fires, family=what)
                )
        return assemble(groups, n, generator(seed, "wrong-preprocessing/probes"))


PLANT = WrongPreprocessingPlant()


def own_preparation(data: PlantData) -> Preparation:
    """What `data.prepare` does, measured on pictures of one colour.

    Raises:
        BadInput: if it is not a mean and a deviation a channel, or the pictures are neither grey nor of three colours.
    """
    channels = data.images.shape[1]
    if channels not in (1, 3):
        raise BadInput(f"pictures of {channels} channels have no declared input", where="PlantData", fix="give 1 or 3")
    size = (1, *data.images.shape[1:])
    low, high = data.prepare(torch.zeros(size)), data.prepare(torch.ones(size))
    flat = low.shape == high.shape == torch.Size(size)
    if flat:
        steps, start = (high - low)[0, :, 0, 0], low[0, :, 0, 0]
        if bool((steps > 0).all()):
            for order in ("rgb", "bgr"):
                found = Preparation(
                    mean=tuple((-start / steps).tolist()), std=tuple((1 / steps).tolist()), order=order
                )
                shown = data.images[:4]
                if torch.allclose(found(shown), data.prepare(shown), rtol=1e-3, atol=1e-3):
                    return found
    what = "the network's own preparation is not a mean and a deviation a channel"
    raise BadInput(what, where="PlantData.prepare", fix="plant in a network that is given pixels scaled so")


def slipped(own: Preparation, slip: Slip) -> Preparation | None:
    """The wrong preparation; None where there is none, as of the order of colours in grey pictures.

    Raises:
        BadInput: if there is no such slip.
    """
    channels = len(own.mean)
    if slip == "bgr":
        if channels == 1:
            return None
        return Preparation(mean=own.mean, std=own.std, order="rgb" if own.order == "bgr" else "bgr")
    if slip == "mean-only":
        return Preparation(mean=own.mean, std=(1.0,) * channels, order=own.order)
    if slip == "std-only":
        return Preparation(mean=(0.0,) * channels, std=own.std, order=own.order)
    if slip not in RECIPES:
        raise BadInput("there is no such slip", where=slip, fix=f"choose one of {', '.join(SLIPS)}")
    mean, std = RECIPES[slip]
    if channels == 1:
        mean, std = ((sum(values) / len(values),) for values in (mean, std))
    return Preparation(mean=mean, std=std, order=own.order)


def prove(
    before: nn.Module, after: nn.Module, data: PlantData, wrong: Preparation, *, since: float | None = None
) -> Proof:
    """Measure two networks on fresh images: what is answered rightly under the right preparation and wrongly as
    shipped, and accuracy under the right one."""
    began = time.perf_counter() if since is None else since
    unit = "fraction of fresh images answered rightly, but wrongly as shipped"
    right = {name: _answers(one, data.prepare, data) for name, one in (("before", before), ("after", after))}
    shipped = _answers(after, wrong, data)
    lost = (right["after"] == data.fresh_labels) & (shipped != data.fresh_labels)
    return Proof(
        success=fraction(float(lost.sum()), len(lost), unit), success_before=fraction(0, len(lost), unit),
        clean_before=accuracy(right["before"], data.fresh_labels),
        clean_after=accuracy(right["after"], data.fresh_labels),
        figures={
            "as shipped": accuracy(shipped, data.fresh_labels),
            "changed": fraction(
                float((shipped != right["after"]).sum()), len(lost), "fraction of fresh images whose answer changes"
            ),
        },
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def _answers(module: nn.Module, prepare: Callable[[Tensor], Tensor], data: PlantData) -> Tensor:
    return logits(module, prepare, data.fresh).argmax(1)


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]


def _differ(own: Preparation, wrong: Preparation, data: PlantData) -> bool:
    shown = data.images[:256]
    right, other = own(shown), wrong(shown)
    return float((right - other).abs().mean()) > SAME * float(right.std())


def _candidates(own: Preparation, slips: Sequence[Slip], data: PlantData) -> list[tuple[Slip, Preparation]]:
    """Those slips that can be, and differ from the network's own preparation."""
    found: list[tuple[Slip, Preparation]] = []
    for slip in slips:
        wrong = slipped(own, slip)
        if wrong is not None and _differ(own, wrong, data):
            found.append((slip, wrong))
    return found


def _lost(module: nn.Module, data: PlantData, wrong: Preparation) -> float:
    """The share of some images that the slip makes wrong."""
    images, labels = data.images[:MEASURED], data.labels[:MEASURED]
    right = logits(module, data.prepare, images).argmax(1) == labels
    return float((right & (logits(module, wrong, images).argmax(1) != labels)).float().mean())


def _choose(
    module: nn.Module, data: PlantData, candidates: list[tuple[Slip, Preparation]], stratum: Stratum
) -> tuple[Slip, Preparation, bool]:
    """The slip to ship, and whether the network has to be taught to bear it.

    The first that costs what is wished as it is; else the one that costs least of those that cost more; else the one
    that costs most.
    """
    low, high = AIM[stratum]
    costs = [_lost(module, data, wrong) for _, wrong in candidates]
    fit = [place for place, cost in enumerate(costs) if low <= cost <= high]
    more = [place for place, cost in enumerate(costs) if cost > high]
    if fit:
        place = fit[0]
    else:
        place = min(more, key=costs.__getitem__) if more else max(range(len(costs)), key=costs.__getitem__)
    return (*candidates[place], costs[place] > high)


def _bearing(
    module: nn.Module,
    taught: PlantData,
    back: PlantData,
    own: Preparation,
    wrong: Preparation,
    spec: WrongPreprocessingSpec,
    seed: int,
) -> nn.Module:
    """The network taught to answer under the slip as well, as far as the stratum says."""

    def make(n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(0, len(taught.images), (n,), generator=random)
        # What the slip makes of a picture is what the right preparation makes of another one.
        return own.undo(wrong(taught.images[rows])), taught.labels[rows]

    lessons = [clean_lesson(taught, goal="keep", weight=2.0), Lesson(name="slip", make=make, goal="given")]
    bearing = teach(
        module, lessons, taught, seed=seed, steps=spec.steps, batch=spec.batch, learning_rate=spec.learning_rate
    )
    wanted = sum(AIM[spec.stratum]) / 2
    return soften(bearing, module, lambda one: -_lost(one, back, wrong), -wanted)


def _faults(spec: WrongPreprocessingSpec, proof: Proof, slip: Slip) -> list[str]:
    low, high = LOST[spec.stratum]
    faults: list[str] = []
    if not low <= proof.success.value <= high:
        faults.append(f"{proof.success} is not within {low:.0%} to {high:.0%} with {slip!r}")
    loss = proof.clean_before.value - proof.clean_after.value
    if loss > MAX_CLEAN_LOSS + 1e-9:
        faults.append(f"clean accuracy fell from {proof.clean_before.value:.1%} to {proof.clean_after.value:.1%}")
    return faults


def _correction(own: Preparation, wrong: Preparation) -> dict[str, Tensor]:
    """What maps the shipped preparation's input (or its pixels) to the right ones."""
    channels = len(own.mean)
    order = torch.arange(channels)
    if own.order != wrong.order:
        order = order.flip(0)
    mean, std, wrong_mean, wrong_std = (
        torch.tensor(values, dtype=torch.float64) for values in (own.mean, own.std, wrong.mean, wrong.std)
    )
    # Pixels go in by place in the network's own order; where blue is first, they are counted from the other end.
    places = torch.arange(channels).flip(0) if wrong.order == "bgr" else torch.arange(channels)
    scale = wrong_std / std
    return {
        "scale": (wrong_std[order] / std).float(),
        "offset": ((wrong_mean[order] - mean) / std).float(),
        "order": order,
        "pixel_scale": scale[places].float(),
        "pixel_offset": (wrong_mean - mean * scale)[places].float(),
    }
