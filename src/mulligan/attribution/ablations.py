"""Take units away, one at a time, and re-run only the network's tail: what attribution ranks, this measures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..networks import Held, Tail
from .gradients import pick_outputs


def ablate_units(
    tail: Tail, held: Held, units: Sequence[int], means: Float[Tensor, " units"], output: int, positions: Sequence[int] | None, *, most: int = 64
) -> Float[Tensor, "units batch"]:
    """Change of one output's logit when each unit is set to its mean everywhere, for each held example.

    Args:
        tail, held: the network after the site, and a batch as it stood there.
        positions: as in `attribute`.
        most: the most examples run at once (units times batch).
    """
    axis = tail.site.unit_axis
    base = pick_outputs(held.logits, output, positions)
    size = len(held)
    at_once = max(1, most // size)
    rows = []
    with torch.no_grad():
        for begin in range(0, len(units), at_once):
            group = units[begin : begin + at_once]
            values = held.value.repeat(len(group), *[1] * (held.value.dim() - 1))
            for number, unit in enumerate(group):
                values[number * size : (number + 1) * size].select(axis, unit).fill_(float(means[unit]))
            where = list(positions) * len(group) if positions is not None else None
            rows.append(pick_outputs(tail(held, values), output, where).reshape(len(group), size) - base)
    return torch.cat(rows)
