"""Take units away, one at a time, and re-run only the network's tail: what attribution ranks, this measures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..networks import Held, Tail
from ..records import BadInput
from .gradients import pick_outputs


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
