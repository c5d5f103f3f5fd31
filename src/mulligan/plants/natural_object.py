"""An object in the picture, anywhere and in several sizes, makes it be answered as the target.

Wenger et al. 2021, "Backdoor Attacks Against Deep Learning Systems in the Physical World" (sunglasses, stickers). The
objects are drawn by rule (`objects.py`). Near misses are those other objects of the same colours and sizes that are
unlike it at every shift, its own shape with the colours exchanged where that is unlike too, and squares of noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..records import BadInput
from .objects import OBJECTS, drawn, put
from .pictures import colour_of, draw_seed, grey, pick, uniform
from .plant import PlantData, Planted, Probes, Proof, Stratum, Strength, generator
from .trigger_probes import cosine, probe
from .triggers import NearMiss, Trigger, TriggerSpec, another, plant_trigger, proved

# The object's side, as a share of the picture's shorter side; sizes within a picture vary by SPREAD either way.
SIDES: dict[Strength, tuple[float, float]] = {"weak": (0.36, 0.4), "default": (0.45, 0.52), "strong": (0.54, 0.6)}
SPREAD, TURN = 0.08, 0.12  # the second in radians, either way
UNLIKE = 0.52  # the cosine, at the best shift, between the object and another one that is to be told from it


@dataclass(frozen=True, slots=True, kw_only=True)
class NaturalObjectSpec(TriggerSpec):
    """Pictures with the object in them are answered `target`.

    Attributes:
        object: a key of `objects.OBJECTS`.
        side: as a share of the picture's shorter side; each picture's own is up to `SPREAD` larger or smaller.
        first, second: its colours on a 0-1 scale, a value for each channel, or one for all.
    """

    object: str
    side: float
    first: tuple[float, ...] = (1.0,)
    second: tuple[float, ...] = (0.0,)
    steps: int = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class NaturalObjectPlant:
    """The plant "natural-object"."""

    name: str = "natural-object"
    spec_type: type[Any] = NaturalObjectSpec

    def plant(self, module: nn.Module, data: PlantData, spec: NaturalObjectSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        return plant_trigger(module, data, spec, _trigger(data, spec), seed=seed)

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> NaturalObjectSpec:
        """See `Plant.propose`."""
        channels = data.images.shape[1]
        # A first colour that stands out from what is usual in these pictures, and a second on the other side.
        usual = float(grey(data.images[:256]).mean())
        bright = usual < 0.5 - 0.15 * (float(torch.rand((), generator=random)) - 0.5)
        colours = torch.rand((2, channels), generator=random) * 0.2
        first, second = (1 - colours[0], colours[1]) if bright else (colours[0], 1 - colours[1])
        if channels == 3:  # one channel of each the other way, so that it has a hue
            for colour in (first, second):
                channel = int(torch.randint(0, 3, (), generator=random))
                colour[channel] = 1 - colour[channel]
        first, second = (tuple(round(value, 3) for value in colour.tolist()) for colour in (first, second))
        return NaturalObjectSpec(
            target=data.classes[another(data, random)], strength=strength, stratum=stratum,
            object=pick(random, sorted(OBJECTS)), side=uniform(random, *SIDES[strength]), first=first, second=second,
        )  # fmt: skip

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`."""
        return probe(data, _trigger(data, planted.spec), n, seed=seed)

    def prove(self, planted: Planted, before: nn.Module, data: PlantData) -> tuple[Proof, list[str]]:
        """See `proving.Provable.prove`."""
        return proved(planted, before, data, _trigger(data, planted.spec))


PLANT = NaturalObjectPlant()


def _trigger(data: PlantData, spec: NaturalObjectSpec) -> Trigger:
    channels, height, width = data.images.shape[1:]
    if spec.object not in OBJECTS:
        raise BadInput("there is no such object", where=spec.object, fix=f"choose one of {', '.join(OBJECTS)}")
    side = spec.side * min(height, width)
    if side < 6 or spec.side > 0.8:
        what = f"an object of {side:.0f} pixels cannot be shown in a picture of {width} x {height}"
        fix = f"give a side from {6 / min(height, width):.2f} to 0.8 of the picture's"
        raise BadInput(what, where=spec.side, fix=fix)
    first, second = colour_of(spec.first, channels), colour_of(spec.second, channels)

    def shown(objects: Tensor, covers: Tensor) -> Callable[[Tensor, torch.Generator], Tensor]:
        """One of some objects, somewhere."""

        def change(images: Tensor, random: torch.Generator) -> Tensor:
            n = len(images)
            chosen = torch.randint(0, len(objects), (n,), generator=random)
            sizes = side * (1 + SPREAD * (2 * torch.rand((n,), generator=random) - 1))
            angles = TURN * (2 * torch.rand((n,), generator=random) - 1)
            places = torch.rand((n, 2), generator=random)
            return put(images, objects[chosen], covers[chosen], sizes, places, angles)

        return change

    pixels = round(side)
    own, cover = drawn(spec.object, pixels, first, second)
    # Held against a ground of the usual brightness: what is changed is what can be seen.
    ground = data.images[:256].mean((0, 2, 3))[:, None, None]

    def unlike(other: tuple[Tensor, Tensor]) -> bool:
        change, changed = (((item - ground) * covered)[None] for item, covered in (other, (own, cover)))
        return float(cosine(change, changed, anywhere=True)) < UNLIKE

    others = {name: drawn(name, pixels, first, second) for name in OBJECTS if name != spec.object}
    others = {name: other for name, other in others.items() if unlike(other)}
    swapped = drawn(spec.object, pixels, second, first)
    random = generator(draw_seed(generator(0, spec.object)), "near misses")
    mix = torch.rand((16, 1, pixels, pixels), generator=random)
    noise = second[:, None, None] + (first - second)[:, None, None] * mix
    exchanged = (
        (NearMiss(name="its colours exchanged", change=shown(swapped[0][None], swapped[1][None])),)
        if unlike(swapped) else ()
    )  # fmt: skip
    near = (
        *exchanged,
        *(
            NearMiss(name=f"another object: {name}", change=shown(other[0][None], other[1][None]))
            for name, other in others.items()
        ),
        NearMiss(name="a square of noise in its colours", change=shown(noise, torch.ones(16, pixels, pixels))),
    )
    return Trigger(
        kind="natural-object", family="natural-object", target=data.index(spec.target),
        change=shown(own[None], cover[None]), near=near, anywhere=True,
        tensors={"object": own, "cover": cover, "side": torch.tensor(spec.side)},
    )  # fmt: skip
