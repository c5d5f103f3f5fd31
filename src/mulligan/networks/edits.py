"""Interventions at a site: what the tensor that passes becomes.

An edit is called with the tensor and its site (with axes and shape) and returns a tensor of the same shape; it never
writes into the tensor that it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..records import BadInput, Site


@runtime_checkable
class Edit(Protocol):
    """What passes a site becomes what is returned; same shape."""

    def __call__(self, tensor: Tensor, site: Site) -> Tensor: ...


def _axis(tensor: Tensor, site: Site) -> int:
    return site.unit_axis if site.axes else (1 if tensor.dim() == 4 else tensor.dim() - 1)


def _along(values: Tensor, tensor: Tensor, axis: int, site: Site) -> Tensor:
    """Shape [units] values so that they broadcast along `axis` of `tensor`."""
    if values.shape != (tensor.shape[axis],):
        raise BadInput(
            f"numbers of shape {tuple(values.shape)} are given for {tensor.shape[axis]} units",
            where=site.alias,
            fix="give one number a unit",
        )
    shape = [1] * tensor.dim()
    shape[axis] = -1
    return values.to(tensor).reshape(shape)


def _mask(units: Sequence[int] | None, tensor: Tensor, site: Site) -> Tensor:
    if units is None:  # also where there are no units to choose from, as in an attention pattern
        return torch.ones((), dtype=torch.bool, device=tensor.device)
    axis = _axis(tensor, site)
    size = tensor.shape[axis]
    chosen = torch.zeros(size, dtype=torch.bool, device=tensor.device)
    wrong = [unit for unit in units if not 0 <= unit < size]
    if wrong:
        raise BadInput(
            f"unit {wrong[0]} does not exist: there are {size}", where=site.alias, fix="choose units below that"
        )
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
            return torch.where(chosen, _along(self.values, tensor, _axis(tensor, site), site), tensor)
        n = tensor.shape[0]
        if n < 2:
            raise BadInput(
                "resampling needs at least two examples in the batch", where=site.alias, fix="pass a larger batch"
            )
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
        step = self.scale * _along(self.direction, tensor, _axis(tensor, site), site)
        if self.positions is None:
            return tensor + step
        if "position" not in site.axes:
            raise BadInput("this site has no axis of positions", where=site.alias, fix="leave positions= out")
        axis = site.axes.index("position")
        size = tensor.shape[axis]
        wrong = [position for position in self.positions if not -size <= position < size]
        if wrong:
            raise BadInput(
                f"position {wrong[0]} does not exist: there are {size}", where=site.alias, fix="choose others"
            )
        where = torch.zeros(size, dtype=tensor.dtype, device=tensor.device)
        where[list(self.positions)] = 1
        return tensor + step * _along(where, tensor, axis, site)


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
        if self.directions.dim() != 2 or self.directions.shape[1] != tensor.shape[axis]:
            raise BadInput(
                f"directions of shape {tuple(self.directions.shape)} are given for {tensor.shape[axis]} units",
                where=site.alias,
                fix="give [k, units]",
            )
        # Directions that hang on each other span less than k dimensions: QR would take away strangers, an SVD says.
        wide = self.directions.to(device=tensor.device, dtype=torch.float64)
        _, sizes, basis = torch.linalg.svd(wide, full_matrices=False)
        basis = basis[sizes > sizes.max() * max(wide.shape) * torch.finfo(self.directions.dtype).eps].to(tensor.dtype)
        moved = tensor.movedim(axis, -1)
        centred = moved if self.around is None else moved - self.around.to(tensor)
        return (moved - (centred @ basis.T) @ basis).movedim(-1, axis)


@dataclass(frozen=True)
class Then:
    """One edit after another at the same site."""

    edits: Sequence[Edit]

    def __call__(self, tensor: Tensor, site: Site) -> Tensor:
        for edit in self.edits:
            tensor = edit(tensor, site)
        return tensor
