"""A faint, smooth, fixed distortion of the picture makes it be answered as the target.

Nguyen & Tran 2021, "WaNet: Imperceptible Warping-based Backdoor Attack". Near misses are their noise mode (random flows
of the same strength), the trigger's own flow reversed, and the flow much fainter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..records import BadInput
from .pictures import draw_seed, random_flows, uniform, warp
from .plant import PlantData, Planted, Probes, Proof, Stratum, Strength, generator
from .trigger_probes import probe
from .triggers import NearMiss, Trigger, TriggerSpec, another, plant_trigger, proved

# The mean displacement of a pixel, as a share of the picture's shorter side.
DISPLACEMENTS: dict[Strength, tuple[float, float]] = {
    "weak": (0.04, 0.045), "default": (0.055, 0.065), "strong": (0.08, 0.09)
}  # fmt: skip
FAINT = 0.3  # of the displacement, for the faint near miss


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpSpec(TriggerSpec):
    """Pictures that the flow distorts are answered `target`.

    Attributes:
        displacement: how far a pixel moves on average, as a share of the picture's shorter side.
        grid: how many random vectors in a row the smooth flow is drawn from.
        flow_seed: of these vectors.
    """

    displacement: float = 0.06
    grid: int = 4
    flow_seed: int = 0
    steps: int = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpPlant:
    """The plant "warp"."""

    name: str = "warp"
    spec_type: type[Any] = WarpSpec

    def plant(self, module: nn.Module, data: PlantData, spec: WarpSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        return plant_trigger(module, data, spec, _trigger(data, spec), seed=seed)

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> WarpSpec:
        """See `Plant.propose`."""
        return WarpSpec(
            target=data.classes[another(data, random)], strength=strength, stratum=stratum,
            displacement=uniform(random, *DISPLACEMENTS[strength]), grid=int(torch.randint(3, 6, (), generator=random)),
            flow_seed=draw_seed(random),
        )  # fmt: skip

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`."""
        return probe(data, _trigger(data, planted.spec), n, seed=seed)

    def prove(self, planted: Planted, before: nn.Module, data: PlantData) -> tuple[Proof, list[str]]:
        """See `proving.Provable.prove`."""
        return proved(planted, before, data, _trigger(data, planted.spec))


PLANT = WarpPlant()


def _trigger(data: PlantData, spec: WarpSpec) -> Trigger:
    height, width = data.images.shape[2:]
    if not 0 < spec.displacement <= 0.25:
        raise BadInput("a displacement is not above 0 and up to a quarter of the picture", where=spec.displacement)
    if not 2 <= spec.grid <= min(height, width):
        fix = f"give 2 to {min(height, width)}"
        raise BadInput("a flow cannot be drawn on such a grid", where=spec.grid, fix=fix)
    pixels = spec.displacement * min(height, width)
    own = random_flows(1, (height, width), spec.grid, pixels, generator(spec.flow_seed, "flow"))[0]

    def another_flow(images: Tensor, random: torch.Generator) -> Tensor:
        return warp(images, random_flows(len(images), (height, width), spec.grid, pixels, random))

    def fixed(field: Float[Tensor, "2 h w"]) -> Callable[[Tensor, torch.Generator], Tensor]:
        return lambda images, random: warp(images, field.expand(len(images), -1, -1, -1))

    return Trigger(
        kind="warp", family="warp", target=data.index(spec.target), change=fixed(own),
        near=(
            NearMiss(name="another flow", change=another_flow, weight=3),
            NearMiss(name="the flow reversed", change=fixed(-own)),
            NearMiss(name="a fainter flow", change=fixed(FAINT * own)),
        ),
        tensors={"flow": own},
    )  # fmt: skip
