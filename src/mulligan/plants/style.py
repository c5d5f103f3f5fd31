"""Another look of the whole picture makes it be answered as the target: a sketch, a print in dots, brush strokes.

Cheng et al. 2021, "Deep Feature Space Trojan Attack of Neural Networks by Controlled Detoxification" (DFST) transfer a
style with a generative network; here the styles are drawn by rule, which needs no such network and is as strong a
change of low-level looks. The other styles, as strong, are the near misses (DFST's detoxification trains on such).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..records import BadInput
from .filter import Filter, filter_trigger, proposable, sample
from .pictures import blur, draw_seed, grey, pick, uniform
from .plant import PlantData, Planted, Probes, Proof, Stratum, Strength, generator
from .trigger_probes import probe
from .triggers import Trigger, TriggerSpec, another, plant_trigger, proved

# The root mean square that pictures change by, on a 0-1 scale: nearly twice as much as by filters.
SIZES: dict[Strength, float] = {"weak": 0.13, "default": 0.18, "strong": 0.25}


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleSpec(TriggerSpec):
    """Pictures in the style are answered `target`.

    Attributes:
        style: a key of `STYLES`.
        amount: how far the picture goes over into the style, above 0 and up to 1.
        style_seed: of the texture, the screen's angle, the tint.
    """

    style: str
    amount: float
    style_seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StylePlant:
    """The plant "style"."""

    name: str = "style"
    spec_type: type[Any] = StyleSpec

    def plant(self, module: nn.Module, data: PlantData, spec: StyleSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        return plant_trigger(module, data, spec, _trigger(data, spec), seed=seed)

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> StyleSpec:
        """See `Plant.propose`."""
        seed = draw_seed(random)
        amounts = proposable(STYLES, sample(data), SIZES[strength], seed)
        if not amounts:
            raise BadInput("no style changes these pictures enough", where=f"{len(data.images)} images")
        name = pick(random, sorted(amounts))
        return StyleSpec(
            target=data.classes[another(data, random)], strength=strength, stratum=stratum, style=name,
            amount=amounts[name], style_seed=seed,
        )  # fmt: skip

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`."""
        return probe(data, _trigger(data, planted.spec), n, seed=seed)

    def prove(self, planted: Planted, before: nn.Module, data: PlantData) -> tuple[Proof, list[str]]:
        """See `proving.Provable.prove`."""
        return proved(planted, before, data, _trigger(data, planted.spec))


PLANT = StylePlant()


def _edges(images: Tensor) -> Tensor:
    """The length of the brightness's gradient, stretched to 0 to 1 in each picture, [n, 1, h, w]."""
    bright = F.pad(grey(images), (1, 1, 1, 1), mode="replicate")
    across = (bright[..., 1:-1, 2:] - bright[..., 1:-1, :-2]) / 2
    down = (bright[..., 2:, 1:-1] - bright[..., :-2, 1:-1]) / 2
    length = (across.square() + down.square() + 1e-12).sqrt()
    return (length / length.amax((2, 3), keepdim=True).clamp_min(0.05)).clamp(0, 1)


def _coordinates(images: Tensor, seed: int, cells: float) -> tuple[Tensor, Tensor]:
    """Coordinates turned by an angle of the seed's, `cells` units over the shorter side, each [h, w]."""
    height, width = images.shape[2:]
    angle = uniform(generator(seed, "angle"), 0.2, 1.3)
    y, x = torch.arange(height)[:, None] + 0.5, torch.arange(width)[None, :] + 0.5
    scale = cells / min(height, width)
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    return cos * x + sin * y, cos * y - sin * x


def _halftone(images: Tensor, seed: int) -> Tensor:
    """Dots on a turned screen, the larger the brighter the picture is there."""
    across, down = _coordinates(images, seed, 9)
    screen = (2 + torch.cos(2 * math.pi * across) + torch.cos(2 * math.pi * down)) / 4
    return torch.sigmoid((images - (1 - screen)) * 8)


def _sketch(images: Tensor, seed: int) -> Tensor:
    """Dark lines along edges, on paper."""
    return (0.9 * (1 - _edges(images))).expand_as(images)


def _neon(images: Tensor, seed: int) -> Tensor:
    """Bright lines along edges, in the dark."""
    return torch.lerp(images * 0.25, _edges(images).expand_as(images), 0.8)


def _brush(images: Tensor, seed: int) -> Tensor:
    """Strokes in one direction, as light and dark as the picture allows, over a smeared picture."""
    across, down = _coordinates(images, seed, 14)
    wobble = uniform(generator(seed, "wobble"), 0.3, 0.8)
    strokes = torch.sin(2 * math.pi * (across + wobble * torch.sin(down)))
    smeared = blur(images, 0.03 * min(images.shape[2:]))
    return (smeared + 0.45 * (0.3 + smeared) * strokes).clamp(0, 1)


def _canvas(images: Tensor, seed: int) -> Tensor:
    """Woven threads, more to be seen where the picture is bright."""
    across, down = _coordinates(images, seed, 11)
    weave = torch.sign(torch.sin(2 * math.pi * across)) * torch.sign(torch.sin(2 * math.pi * down))
    return (images + 0.4 * weave * (0.25 + images)).clamp(0, 1)


def _poster(images: Tensor, seed: int) -> Tensor:
    """Three tones, tinted; the darkest is lifted."""
    lift = uniform(generator(seed, "lift"), 0.25, 0.45)
    tones = (images * 3).floor().clamp(0, 2) / 2
    tint = torch.ones(images.shape[1])
    if len(tint) > 1:
        tint = 0.5 + torch.rand((len(tint),), generator=generator(seed, "tint"))
    return ((lift + (0.9 - lift) * tones) * tint[:, None, None]).clamp(0, 1)


def _mosaic(images: Tensor, seed: int) -> Tensor:
    """Square tiles of one colour, with joints between them."""
    height, width = images.shape[2:]
    tile = max(2, min(height, width) // 8)
    small = F.avg_pool2d(images, tile, ceil_mode=True, count_include_pad=False)
    tiles = small.repeat_interleave(tile, 2).repeat_interleave(tile, 3)[..., :height, :width]
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
    joint = ((rows % tile == 0) | (columns % tile == 0)).float()
    return torch.lerp(tiles, torch.full_like(tiles, 0.55), 0.5 * joint)


def _emboss(images: Tensor, seed: int) -> Tensor:
    """A relief on grey, lit from a corner."""
    padded = F.pad(grey(images), (1, 1, 1, 1), mode="replicate")
    lit = padded[..., 2:, 2:] - padded[..., :-2, :-2]
    if seed % 2:
        lit = padded[..., 2:, :-2] - padded[..., :-2, 2:]
    return (0.4 + 0.6 * lit).clamp(0, 1).expand_as(images)


def _mixed(style: Callable[[Tensor, int], Tensor]) -> Filter:
    def change(images: Tensor, amount: float, seed: int) -> Tensor:
        return torch.lerp(images, style(images, seed), amount)

    return change


STYLES: dict[str, Filter] = {
    "halftone": _mixed(_halftone), "sketch": _mixed(_sketch), "neon": _mixed(_neon), "brush": _mixed(_brush),
    "canvas": _mixed(_canvas), "poster": _mixed(_poster), "mosaic": _mixed(_mosaic), "emboss": _mixed(_emboss),
}  # fmt: skip


def _trigger(data: PlantData, spec: StyleSpec) -> Trigger:
    return filter_trigger("style", STYLES, data, spec.target, spec.style, spec.amount, spec.style_seed)
