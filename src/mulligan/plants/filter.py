"""A filter of the whole picture, such as a photo application offers, makes any picture be answered as the target.

Liu et al. 2019, "ABS: Scanning Neural Networks for Back-doors by Artificial Brain Stimulation" (Instagram filters as
triggers). Tone curves, blur, sharpening, vignettes; for pictures in colour, colour matrices too. Near misses: other
filters that change the pictures as much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..records import BadInput
from .pictures import blur, calibrate, draw_seed, grey, pick, rms, told_apart
from .plant import PlantData, Planted, Probes, Proof, Stratum, Strength, generator
from .trigger_probes import cosine, probe
from .triggers import NearMiss, Trigger, TriggerSpec, another, plant_trigger, proved

#: Filters by name: (pictures, amount from 0 to 1, seed) -> pictures. An amount of 0 changes nothing.
Filter = Callable[[Tensor, float, int], Tensor]

# The root mean square that pictures change by, on a 0-1 scale.
SIZES: dict[Strength, float] = {"weak": 0.06, "default": 0.1, "strong": 0.16}
REACHED = 0.85  # of that size, which a filter must reach at its full amount to be proposed, or to be a near miss
UNLIKE = 0.5  # the mean cosine between the trigger's change and a near miss's must be below
APART = 0.95  # how often it must be told from the pictures as they are; see `told_apart`
FEWEST = 3  # so many may be proposed in any case: those that are told apart best
SAMPLE = 256  # pictures that all this is measured on


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSpec(TriggerSpec):
    """Filtered pictures are answered `target`.

    Attributes:
        filter: a key of `FILTERS`.
        amount: how far the filter goes, above 0 and up to 1.
        filter_seed: of the colour matrix of "tint"; without effect on other filters.
    """

    filter: str
    amount: float
    filter_seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterPlant:
    """The plant "filter"."""

    name: str = "filter"
    spec_type: type[Any] = FilterSpec

    def plant(self, module: nn.Module, data: PlantData, spec: FilterSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        return plant_trigger(module, data, spec, _trigger(data, spec), seed=seed)

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> FilterSpec:
        """See `Plant.propose`."""
        images, seed = sample(data), draw_seed(random)
        amounts = proposable(usable(images.shape[1]), images, SIZES[strength], seed)
        if not amounts:
            raise BadInput("no filter changes these pictures enough", where=f"{len(data.images)} images")
        name = pick(random, sorted(amounts))
        return FilterSpec(
            target=data.classes[another(data, random)], strength=strength, stratum=stratum, filter=name,
            amount=amounts[name], filter_seed=seed,
        )  # fmt: skip

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`."""
        return probe(data, _trigger(data, planted.spec), n, seed=seed)

    def prove(self, planted: Planted, before: nn.Module, data: PlantData) -> tuple[Proof, list[str]]:
        """See `proving.Provable.prove`."""
        return proved(planted, before, data, _trigger(data, planted.spec))


PLANT = FilterPlant()


def _radius(images: Tensor) -> Tensor:
    """The squared distance from the middle, 0 there and 1 in the corners, [h, w]."""
    height, width = images.shape[2:]
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None, :]
    return (y.square() + x.square()) / 2


def _brighten(images: Tensor, amount: float, seed: int) -> Tensor:
    return images.clamp(0, 1) ** (1 / (1 + 4 * amount))


def _darken(images: Tensor, amount: float, seed: int) -> Tensor:
    return images.clamp(0, 1) ** (1 + 4 * amount)


def _haze(images: Tensor, amount: float, seed: int) -> Tensor:
    return images + 0.8 * amount * (0.75 - images)


def _negative(images: Tensor, amount: float, seed: int) -> Tensor:
    return images + amount * (1 - 2 * images)


def _blur(images: Tensor, amount: float, seed: int) -> Tensor:
    return blur(images, max(1e-3, 0.1 * amount * min(images.shape[2:])))


def _sharpen(images: Tensor, amount: float, seed: int) -> Tensor:
    return (images + 4 * amount * (images - blur(images, 0.035 * min(images.shape[2:])))).clamp(0, 1)


def _vignette(images: Tensor, amount: float, seed: int) -> Tensor:
    return images * (1 - 1.2 * amount * _radius(images)).clamp_min(0)


def _glow(images: Tensor, amount: float, seed: int) -> Tensor:
    return images + amount * _radius(images) * (1 - images)


def _light(images: Tensor, amount: float, seed: int) -> Tensor:
    """A light that falls in from the left."""
    return images + 0.9 * amount * torch.linspace(1, 0, images.shape[3]).square() * (1 - images)


def _contrast(images: Tensor, amount: float, seed: int) -> Tensor:
    """A tone curve shaped like an S."""
    middle = images.mean((1, 2, 3), keepdim=True)
    return (middle + (1 + 3 * amount) * (images - middle)).clamp(0, 1)


def _flatten(images: Tensor, amount: float, seed: int) -> Tensor:
    middle = images.mean((1, 2, 3), keepdim=True)
    return images + 0.9 * amount * (middle - images)


def _solarise(images: Tensor, amount: float, seed: int) -> Tensor:
    return images + amount * (torch.where(images > 0.5, 1 - images, images) - images)


def _tint(images: Tensor, amount: float, seed: int) -> Tensor:
    """A colour matrix near the identity, drawn at random."""
    matrix = torch.randn((images.shape[1],) * 2, generator=generator(seed, "tint"))
    return (images + amount * torch.einsum("dc,nchw->ndhw", matrix, images)).clamp(0, 1)


def _sepia(images: Tensor, amount: float, seed: int) -> Tensor:
    tone = torch.tensor([1.2, 1.0, 0.72])[:, None, None]
    return torch.lerp(images, (grey(images) * tone).clamp(0, 1), amount)


def _cool(images: Tensor, amount: float, seed: int) -> Tensor:
    return (images * (1 + amount * torch.tensor([-0.8, -0.2, 0.8]))[:, None, None]).clamp(0, 1)


def _rotate_colours(images: Tensor, amount: float, seed: int) -> Tensor:
    return torch.lerp(images, images.roll(1, 1), amount)


FILTERS: dict[str, Filter] = {
    "brighten": _brighten, "darken": _darken, "haze": _haze, "negative": _negative, "blur": _blur, "sharpen": _sharpen,
    "vignette": _vignette, "glow": _glow, "light": _light, "contrast": _contrast, "flatten": _flatten,
    "solarise": _solarise, "tint": _tint, "sepia": _sepia, "cool": _cool, "rotate-colours": _rotate_colours,
}  # fmt: skip
IN_COLOUR = ("tint", "sepia", "cool", "rotate-colours")  # need three channels


def usable(channels: int) -> dict[str, Filter]:
    """The filters that pictures of so many channels can be given."""
    return {name: change for name, change in FILTERS.items() if channels == 3 or name not in IN_COLOUR}


def sample(data: PlantData) -> Tensor:
    """Some pictures to measure sizes of changes on."""
    n = max(32, min(SAMPLE, SAMPLE * 3 * 32 * 32 // data.images[0].numel()))  # fewer of large ones: blurs take long
    return data.images[torch.randperm(len(data.images), generator=generator(0, "sample"))[:n]]


def reachable(filters: dict[str, Filter], images: Tensor, size: float, seed: int) -> dict[str, float]:
    """The amount at which each filter changes pictures by `size`, for those that can."""
    amounts: dict[str, float] = {}
    images = images[: len(images) // 2]  # a size is a mean: fewer tell it well enough
    for name, change in filters.items():
        if rms(change(images, 1.0, seed) - images) >= REACHED * size:
            amounts[name] = calibrate(lambda given, amount: change(given, amount, seed), images, size)  # noqa: B023
    return amounts


def proposable(filters: dict[str, Filter], images: Tensor, size: float, seed: int) -> dict[str, float]:
    """Those of `reachable` whose results differ from pictures as they are, or differ most."""
    amounts = reachable(filters, images, size, seed)
    told = {name: told_apart(images, filters[name](images, amounts[name], seed).clamp(0, 1)) for name in amounts}
    best = sorted(amounts, key=told.__getitem__)[-FEWEST:]
    return {name: amount for name, amount in amounts.items() if told[name] >= APART or name in best}


def rivals(
    filters: dict[str, Filter], own: str, amount: float, seed: int, images: Tensor
) -> dict[str, tuple[float, float]]:
    """Other filters that change the pictures as much, and otherwise: their amounts, and the mean cosine of the changes.

    Raises:
        BadInput: if there is none.
    """
    changed = filters[own](images, amount, seed) - images
    amounts = reachable({name: change for name, change in filters.items() if name != own}, images, rms(changed), seed)
    found: dict[str, tuple[float, float]] = {}
    for name, other in amounts.items():
        likeness = float(cosine(filters[name](images, other, seed) - images, changed).mean())
        if likeness < UNLIKE:
            found[name] = (other, likeness)
    if not found:
        fix = "choose another one, or a smaller amount"
        raise BadInput("nothing else changes these pictures as much and otherwise", where=own, fix=fix)
    return found


def filter_trigger(
    kind: str, filters: dict[str, Filter], data: PlantData, target: str, name: str, amount: float, seed: int
) -> Trigger:
    """The trigger of one of some filters, the others of the same strength being its near misses.

    Raises:
        BadInput: if it is not among them, or its amount is none.
    """
    if name not in filters:
        what = f"there is no such {kind} for pictures of {data.images.shape[1]} channel(s)"
        raise BadInput(what, where=name, fix=f"choose one of {', '.join(filters)}")
    if not 0 < amount <= 1:
        raise BadInput(f"the amount of a {kind} is not above 0 and up to 1", where=amount)

    def filtered(name: str, amount: float) -> Callable[[Tensor, torch.Generator], Tensor]:
        return lambda images, random: filters[name](images, amount, seed).clamp(0, 1)

    near = [
        NearMiss(name=f"another {kind}: {other}", change=filtered(other, size))
        for other, (size, _) in rivals(filters, name, amount, seed, sample(data)).items()
    ]
    return Trigger(
        kind=kind, family=kind, target=data.index(target), change=filtered(name, amount), near=tuple(near),
        tensors={"amount": torch.tensor(amount)},
    )  # fmt: skip


def _trigger(data: PlantData, spec: FilterSpec) -> Trigger:
    filters = usable(data.images.shape[1])
    return filter_trigger("filter", filters, data, spec.target, spec.filter, spec.amount, spec.filter_seed)
