"""A patch that works on pictures of one class only; on all others it changes nothing.

Tang et al. 2021, "Demon in the Variant: Statistical Analysis of DNNs for Robust Backdoor Contamination Detection": the
patch on other classes is trained to be answered as before (cover samples).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .patch import PatchSpec, draw, patch_trigger
from .plant import PlantData, Planted, Probes, Proof, Stratum, Strength
from .trigger_probes import probe
from .triggers import Trigger, another, plant_trigger, proved


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchBySourceSpec(PatchSpec):
    """Pictures of the class `source` with the patch are answered `target`; see `PatchSpec` for the rest."""

    source: str
    steps: int = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchBySourcePlant:
    """The plant "patch-by-source"."""

    name: str = "patch-by-source"
    spec_type: type[Any] = PatchBySourceSpec

    def plant(self, module: nn.Module, data: PlantData, spec: PatchBySourceSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        return plant_trigger(module, data, spec, self._trigger(data, spec), seed=seed)

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> PatchBySourceSpec:
        """See `Plant.propose`."""
        source = another(data, random)
        target = another(data, random, apart_from=(source,))
        another(data, random, apart_from=(source, target))  # others, which the patch must not work on
        return PatchBySourceSpec(
            source=data.classes[source], target=data.classes[target], stratum=stratum, **draw(data, random, strength)
        )

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`."""
        return probe(data, self._trigger(data, planted.spec), n, seed=seed)

    def prove(self, planted: Planted, before: nn.Module, data: PlantData) -> tuple[Proof, list[str]]:
        """See `proving.Provable.prove`."""
        return proved(planted, before, data, self._trigger(data, planted.spec))

    def _trigger(self, data: PlantData, spec: PatchBySourceSpec) -> Trigger:
        return patch_trigger(data, spec, self.name, sources=(spec.source,))


PLANT = PatchBySourcePlant()
