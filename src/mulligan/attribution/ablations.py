"""Take units or directions away, one at a time, and re-run only the network's tail: what attribution ranks, this
measures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..networks import Held, Tail
from ..records import BadInput
from .targets import pick_outputs


def ablate_units(
    tail: Tail,
    held: Held,
    units: Sequence[int],
    means: Float[Tensor, " units"],
    output: int,
    positions: Sequence[int] | None,
    *,
    most: int = 64,
) -> Float[Tensor, "chosen batch"]:
    """Change of one output's logit when each unit is set to its mean everywhere, for each held example.

    Args:
        tail, held: the network after the site, and a batch as it stood there.
        units: which; one row of the answer each.
        means: of all units of the site.
        positions: as in `attribute`.
        most: the most examples run at once (units times batch).

    Raises:
        BadInput: if the site has no axis of units, or one of them does not exist.
    """
    axis, size = tail.site.unit_axis, len(held)
    wrong = [unit for unit in units if not 0 <= unit < held.value.shape[axis]]
    if wrong:
        there = held.value.shape[axis]
        raise BadInput(f"unit {wrong[0]} does not exist: there are {there}", where=tail.site.alias, fix="choose others")
    base = pick_outputs(held.logits, output, positions)
    at_once = max(1, most // size)
    rows = [base.new_empty(0, size)]
    with torch.no_grad():
        for begin in range(0, len(units), at_once):
            group = units[begin : begin + at_once]
            values = held.value.repeat(len(group), *[1] * (held.value.dim() - 1))
            for number, unit in enumerate(group):
                values[number * size : (number + 1) * size].select(axis, unit).fill_(float(means[unit]))
            where = list(positions) * len(group) if positions is not None else None
            rows.append(pick_outputs(tail(held, values), output, where).reshape(len(group), size) - base)
    return torch.cat(rows)


def take_out(
    tail: Tail,
    held: Held,
    directions: Float[Tensor, "group units"],
    sizes: Float[Tensor, "batch *places group"],
    *,
    most: int = 64,
) -> Float[Tensor, "group batch answers"]:
    """Change of all logits when each direction's part, its size times the direction, is taken from what passes.

    Args:
        tail, held: the network after the site, and a batch as it stood there.
        sizes: how much of each direction is at each place; the site's places in their order.
        most: the most examples run at once (groups times batch).

    Raises:
        BadInput: if there is not one weight a unit, or not one size a place.
    """
    axis, size = tail.site.unit_axis, len(held)
    last = held.value.movedim(axis, -1)
    if directions.dim() != 2 or directions.shape[1] != last.shape[-1]:
        raise BadInput(
            f"directions of shape {tuple(directions.shape)} are given for {last.shape[-1]} units",
            where=tail.site.alias,
            fix="give [groups, units]",
        )
    if sizes.shape != (*last.shape[:-1], len(directions)):
        raise BadInput(
            f"sizes of shape {tuple(sizes.shape)} are given where {tuple(last.shape[:-1])} pass",
            where=tail.site.alias,
            fix="give [batch, places, groups]",
        )
    at_once = max(1, most // size)
    changes = [held.logits.new_empty(0, *held.logits.shape)]
    with torch.no_grad():
        for begin in range(0, len(directions), at_once):
            group = range(begin, min(begin + at_once, len(directions)))
            values = torch.cat(
                [(last - sizes[..., k : k + 1].to(last) * directions[k].to(last)).movedim(-1, axis) for k in group]
            )
            changes.append(tail(held, values).unflatten(0, (len(group), size)) - held.logits)
    return torch.cat(changes)
