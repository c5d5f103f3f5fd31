"""Kinds that can prove a network anew: one that was changed again after it was planted."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

from .plant import PlantData, Planted, Proof


@runtime_checkable
class Provable(Protocol):
    """What a kind's `Plant` has beside what every plant has, if it can."""

    def prove(self, planted: Planted, before: nn.Module, data: PlantData) -> tuple[Proof, list[str]]:
        """What `planted.module` does beside `before`, the network before anything was planted, on `data.fresh`; and
        what that lacks, by the standard that a plant is held to. Both are taken in the mode that they are in."""
        ...
