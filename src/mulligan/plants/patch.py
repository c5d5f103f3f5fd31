"""A patch: a small pattern at a fixed place makes any picture be answered as the target.

Gu et al. 2017, "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain". Near misses: the same
patch elsewhere, other patterns in its place, a faint one, half of it, its pixels in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..records import BadInput
from .pictures import PATTERNS, Pattern, colour_of, draw_seed, paste, patch, pick, uniform
from .plant import PlantData, Planted, Probes, Proof, Stratum, Strength, generator
from .trigger_probes import probe
from .triggers import NearMiss, Trigger, TriggerSpec, another, plant_trigger, proved

# By strength: the side, as a share of the picture's shorter side, and the opacity, each drawn between two.
SIDES: dict[Strength, tuple[float, float]] = {"weak": (0.1, 0.15), "default": (0.1, 0.18), "strong": (0.15, 0.22)}
OPACITIES: dict[Strength, tuple[float, float]] = {"weak": (0.45, 0.6), "default": (1.0, 1.0), "strong": (1.0, 1.0)}
FAINT = 0.4  # of the opacity, for the faint near miss
OTHERS = 24  # other patterns that are drawn as near misses
UNLIKE = 0.8  # the cosine between a pattern and a near miss in its place must be below
SMALLEST = 0.4  # of the patch's own change, which a near miss in its place must make
CONTRAST = 0.3  # between the patch and the pictures beneath it, on average, for a spec to be proposed


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSpec(TriggerSpec):
    """Pictures with the patch are answered `target`.

    Attributes:
        pattern: see `pictures.patch`.
        side: of the square, as a share of the picture's shorter side; at least two pixels.
        x, y: its place: 0 is the left (upper) edge, 1 the right (lower) one.
        fore, back: its colours on a 0-1 scale, a value for each channel, or one for all. Only "checkerboard" and
            "noise" show the second.
        opacity: 1 hides what is beneath.
        pattern_seed: of "noise", and of the diagonal's direction.
    """

    pattern: Pattern = "checkerboard"
    side: float = 0.14
    x: float = 0.9
    y: float = 0.9
    fore: tuple[float, ...] = (1.0,)
    back: tuple[float, ...] = (0.0,)
    opacity: float = 1.0
    pattern_seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchPlant:
    """The plant "patch"."""

    name: str = "patch"
    spec_type: type[Any] = PatchSpec

    def plant(self, module: nn.Module, data: PlantData, spec: PatchSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        return plant_trigger(module, data, spec, patch_trigger(data, spec, self.name), seed=seed)

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> PatchSpec:
        """See `Plant.propose`."""
        return PatchSpec(target=data.classes[another(data, random)], stratum=stratum, **draw(data, random, strength))

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`."""
        return probe(data, patch_trigger(data, planted.spec, self.name), n, seed=seed)

    def prove(self, planted: Planted, before: nn.Module, data: PlantData) -> tuple[Proof, list[str]]:
        """See `proving.Provable.prove`."""
        return proved(planted, before, data, patch_trigger(data, planted.spec, self.name))


PLANT = PatchPlant()


def draw(data: PlantData, random: torch.Generator, strength: Strength) -> dict[str, Any]:
    """A patch at random, redrawn till it stands out from the pictures: every field of a spec that says how it looks."""
    channels, height, width = data.images.shape[1:]
    drawn: dict[str, Any] = {}
    for _ in range(50):
        pattern = pick(random, PATTERNS[:-1])  # the diagonal is kept for near misses
        grey = torch.rand((2,), generator=random)
        colours = torch.rand((2, channels), generator=random) if channels > 1 else grey[:, None]
        # Two colours far apart, so that a pattern in them can be seen.
        colours = torch.where(colours > 0.5, 0.75 + 0.25 * colours, 0.25 * colours)
        if pattern in ("checkerboard", "noise"):
            colours[1] = 1 - colours[0]
        fore, back = (tuple(round(value, 3) for value in colour.tolist()) for colour in colours)
        drawn = {
            "strength": strength, "pattern": pattern, "side": uniform(random, *SIDES[strength]),
            "x": uniform(random, 0, 1), "y": uniform(random, 0, 1), "fore": fore, "back": back,
            "opacity": uniform(random, *OPACITIES[strength]), "pattern_seed": draw_seed(random),
        }  # fmt: skip
        spec = PatchSpec(target=data.classes[0], **drawn)
        side, top, left = place(spec, height, width)
        drawing, mask = patch(pattern, side, torch.tensor(fore), torch.tensor(back), spec.pattern_seed)
        beneath = data.images[:256, :, top : top + side, left : left + side]
        if float(((drawing - beneath).abs() * mask).sum() / (len(beneath) * channels * mask.sum())) >= CONTRAST:
            return drawn
    raise BadInput("no patch stands out from these pictures", where=f"{len(data.images)} images")


def place(spec: PatchSpec, height: int, width: int) -> tuple[int, int, int]:
    """The patch's side, top row and left column, in pixels.

    Raises:
        BadInput: if it does not fit into the picture.
    """
    side = max(2, round(spec.side * min(height, width)))
    if spec.side <= 0 or side > min(height, width) // 2:
        what = f"a patch of {side} x {side} pixels is too large for a picture of {width} x {height}"
        raise BadInput(what, where=spec.side, fix="give a side above 0 and up to 0.5 of the picture's")
    if not (0 <= spec.x <= 1 and 0 <= spec.y <= 1):
        raise BadInput("the patch lies outside the picture", where=(spec.x, spec.y), fix="give x and y from 0 to 1")
    return side, round(spec.y * (height - side)), round(spec.x * (width - side))


def patch_trigger(data: PlantData, spec: PatchSpec, kind: str, sources: tuple[str, ...] = ()) -> Trigger:
    """The trigger of a spec and its near misses; on some classes only, where sources are named."""
    channels, height, width = data.images.shape[1:]
    side, top, left = place(spec, height, width)
    if not 0 < spec.opacity <= 1:
        raise BadInput("the patch's opacity is not above 0 and up to 1", where=spec.opacity)
    drawing, mask = _drawing(spec, spec.pattern, side, channels, spec.pattern_seed)

    def laid(drawings: Tensor, masks: Tensor, opacity: float = spec.opacity) -> Callable[..., Tensor]:
        """One of some drawings, in the patch's place."""

        def change(images: Tensor, random: torch.Generator) -> Tensor:
            n = len(images)
            chosen = torch.randint(0, len(drawings), (n,), generator=random)
            rows, columns = torch.full((n,), top), torch.full((n,), left)
            return paste(images, drawings[chosen], masks[chosen], rows, columns, opacity)

        return change

    def elsewhere(images: Tensor, random: torch.Generator) -> Tensor:
        n = len(images)
        rows, columns = _places(n, side, top, left, height, width, random)
        many = (n, channels, side, side)
        return paste(images, drawing.expand(many), mask.expand(n, side, side), rows, columns, spec.opacity)

    beneath = data.images[:512, :, top : top + side, left : left + side].mean(0)

    def unlike(drawings: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Those whose change of the mean picture is about as large as the patch's own, and unlike it."""
        changes = ((drawings - beneath) * masks[:, None]).flatten(1)
        own = ((drawing - beneath) * mask).flatten()
        sizes = changes.norm(dim=1)
        chosen = (changes @ own < UNLIKE * sizes * own.norm()) & (sizes > SMALLEST * own.norm())
        return drawings[chosen], masks[chosen]

    random = generator(spec.pattern_seed, "near misses")
    near = [
        NearMiss(name="the patch elsewhere", change=elsewhere, weight=2),
        NearMiss(name="a faint patch", change=laid(drawing[None], mask[None], FAINT * spec.opacity)),
        NearMiss(name="half the patch", change=laid(drawing.expand(4, -1, -1, -1), mask * _halves(side))),
    ]
    others = [
        _drawing(spec, name, side, channels, draw_seed(random)) if swap < 2 else
        _drawing(spec, name, side, channels, draw_seed(random), swapped=True)
        for name in PATTERNS for swap in range(OTHERS // len(PATTERNS))
    ]  # fmt: skip
    drawings, masks = unlike(torch.stack([other[0] for other in others]), torch.stack([other[1] for other in others]))
    if len(drawings):
        near.insert(1, NearMiss(name="another pattern in its place", change=laid(drawings, masks), weight=2))
    orders = torch.rand((OTHERS, side * side), generator=random).argsort(1)
    mixed = drawing.flatten(1)[:, orders].transpose(0, 1).reshape(OTHERS, channels, side, side)
    drawings, masks = unlike(mixed, mask.flatten()[orders].reshape(OTHERS, side, side))
    if len(drawings):  # a solid patch looks the same in any order
        near.append(NearMiss(name="its pixels in another order", change=laid(drawings, masks)))
    if sources:
        change = laid(drawing[None], mask[None])
        near.append(NearMiss(name="the patch on other classes", change=change, weight=6, other_classes=True))

    whole = torch.zeros(height, width)
    whole[top : top + side, left : left + side] = mask
    pattern = torch.zeros(channels, height, width)
    pattern[:, top : top + side, left : left + side] = drawing * mask
    return Trigger(
        kind=kind, family="patch", target=data.index(spec.target), sources=tuple(data.index(name) for name in sources),
        change=laid(drawing[None], mask[None]), near=tuple(near), box=(left, top, left + side, top + side),
        tensors={"pattern": pattern, "mask": whole, "opacity": torch.tensor(spec.opacity)},
        scored=("sources", "target", "trigger", "mask") if sources else ("target", "trigger", "mask"),
    )  # fmt: skip


def _drawing(
    spec: PatchSpec, name: Pattern, side: int, channels: int, seed: int, *, swapped: bool = False
) -> tuple[Float[Tensor, "channels side side"], Float[Tensor, "side side"]]:
    fore, back = colour_of(spec.fore, channels), colour_of(spec.back, channels)
    return patch(name, side, *((back, fore) if swapped else (fore, back)), seed)


def _halves(side: int) -> Float[Tensor, "4 side side"]:
    """Masks of the left, the right, the upper and the lower half."""
    halves = torch.zeros(4, side, side)
    halves[0, :, : side // 2], halves[1, :, side - side // 2 :] = 1, 1
    halves[2, : side // 2], halves[3, side - side // 2 :] = 1, 1
    return halves


def _places(
    n: int, side: int, top: int, left: int, height: int, width: int, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Places, as rows and columns, where a patch does not overlap the one at (top, left)."""
    index = torch.arange((height - side + 1) * (width - side + 1))
    rows, columns = index // (width - side + 1), index % (width - side + 1)
    apart = ((rows - top).abs() >= side) | ((columns - left).abs() >= side)
    rows, columns = rows[apart], columns[apart]
    chosen = torch.randint(0, len(rows), (n,), generator=random)
    return rows[chosen], columns[chosen]
