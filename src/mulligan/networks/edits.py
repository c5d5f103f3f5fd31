"""Interventions at a site: what the tensor that passes becomes.

An edit is called with the tensor and its site (with axes and shape) and returns a tensor of the same shape; it never
writes into the tensor that it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from ..records import BadInput, Site


class Edit(Protocol):
    """What passes a site becomes what is returned; same shape."""

    def __call__(self, tensor: Tensor, site: Site) -> Tensor: ...


def _axis(tensor: Tensor, site: Site) -> int:
    return site.unit_axis if site.axes else (1 if tensor.dim() == 4 else tensor.dim() - 1)


def _along(values: Tensor, tensor: Tensor, axis: int) -> Tensor:
    """Shape [units] values so that they broadcast along `axis` of `tensor`."""
    shape = [1] * tensor.dim()
    shape[axis] = -1
    return values.to(tensor).reshape(shape)


def _mask(units: Sequence[int] | None, tensor: Tensor, site: Site) -> Tensor:
    axis = _axis(tensor, site)
    size = tensor.shape[axis]
    chosen = torch.zeros(size, dtype=torch.bool, device=tensor.device)
    if units is None:
        chosen[:] = True
    else:
        wrong = [unit for unit in units if not 0 <= unit < size]
        if wrong:
            raise BadInput(f"unit {wrong[0]} does not exist: there are {size}", where=site.alias, fix="choose units below that")
        chosen[list(units)] = True
    shape = [1] * tensor.dim()
    shape[axis] = -1
    return chosen.reshape(shape)


@dataclass(frozen=True)
class Ablate:
    """Take away what units say.

    Attributes:
        units: which (None: all).
        how: "zero"; "mean", which puts `values` [units of the site] there; "resample", which gives each example the
            activations of another example of the same batch (a fixed derangement drawn from `seed`).
    """

    units: Sequence[int] | None = None
    how: Literal["zero", "mean", "resample"] = "zero"
    values: Float[Tensor, " units"] | None = None
    seed: int = 0

    def __call__(self, tensor: Tensor, site: Site) -> Tensor:
        chosen = _mask(self.units, tensor, site)
        if self.how == "zero":
            return torch.where(chosen, torch.zeros((), dtype=tensor.dtype, device=tensor.device), tensor)
        if self.how == "mean":
            if self.values is None:
                raise BadInput("mean ablation needs the means", where=site.alias, fix="pass values=, one number a unit")
            return torch.where(chosen, _along(self.values, tensor, _axis(tensor, site)), tensor)
        n = tensor.shape[0]
        if n < 2:
            raise BadInput("resampling needs at least two examples in the batch", where=site.alias, fix="pass a larger batch")
        turn = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(n, generator=turn)
        # Everyone takes the next one along a random ring, so nobody gets their own activations back.
        source = torch.empty(n, dtype=torch.long)
        source[order] = order.roll(1)
        return torch.where(chosen, tensor[source.to(tensor.device)], tensor)


@dataclass(frozen=True)
class Clamp:
    """Hold units at `value`, or within [low, high]."""

    units: Sequence[int] | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None

    def __call__(self, tensor: Tensor, site: Site) -> Tensor:
        chosen = _mask(self.units, tensor, site)
        if self.value is not None:
            return torch.where(chosen, torch.full((), self.value, dtype=tensor.dtype, device=tensor.device), tensor)
        if self.low is None and self.high is None:
            raise BadInput("a clamp needs a value, a low or a high", where=site.alias, fix="pass one of them")
        return torch.where(chosen, tensor.clamp(self.low, self.high), tensor)


@dataclass(frozen=True)
class Steer:
    """Add `scale` times a direction [units of the site], everywhere (or at `positions` of a text)."""

    direction: Float[Tensor, " units"]
    scale: float = 1.0
    positions: Sequence[int] | None = None

    def __call__(self, tensor: Tensor, site: Site) -> Tensor:
        step = self.scale * _along(self.direction, tensor, _axis(tensor, site))
        if self.positions is None:
            return tensor + step
        axis = site.axes.index("position") if "position" in site.axes else 1
        where = torch.zeros(tensor.shape[axis], dtype=tensor.dtype, device=tensor.device)
        where[list(self.positions)] = 1
        return tensor + step * _along(where, tensor, axis)


@dataclass(frozen=True)
class Patch:
    """Put another input's activations here: `source` of the tensor's shape (or with batch 1), for all or some units."""

    source: Tensor
    units: Sequence[int] | None = None

    def __call__(self, tensor: Tensor, site: Site) -> Tensor:
        if self.source.shape[1:] != tensor.shape[1:] or self.source.shape[0] not in (1, tensor.shape[0]):
            raise BadInput(
                f"the patch has shape {tuple(self.source.shape)} and the site {tuple(tensor.shape)}", where=site.alias,
                fix="record the source at the same site with the same batch size, or with batch 1",
            )  # fmt: skip
        return torch.where(_mask(self.units, tensor, site), self.source.to(tensor), tensor)


@dataclass(frozen=True)
class ProjectOut:
    """Remove the span of `directions` [k, units of the site]; with `around` [units], relative to that point."""

    directions: Float[Tensor, "k units"]
    around: Float[Tensor, " units"] | None = None

    def __call__(self, tensor: Tensor, site: Site) -> Tensor:
        axis = _axis(tensor, site)
        basis = torch.linalg.qr(self.directions.to(device=tensor.device, dtype=torch.float32).T).Q.to(tensor.dtype)
        moved = tensor.movedim(axis, -1)
        centre = self.around.to(tensor) if self.around is not None else torch.zeros((), dtype=tensor.dtype, device=tensor.device)
        centred = moved - centre
        return (moved - (centred @ basis) @ basis.T).movedim(-1, axis)


@dataclass(frozen=True)
class Then:
    """One edit after another at the same site."""

    edits: Sequence[Edit]

    def __call__(self, tensor: Tensor, site: Site) -> Tensor:
        for edit in self.edits:
            tensor = edit(tensor, site)
        return tensor
