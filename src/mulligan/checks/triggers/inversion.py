"""Inversion: for every target at once, the smallest change of a family that turns pictures of other classes into it.

Each family writes a change as a direction and a size. Directions follow the gradient (Adam) of a hinge on the target's
margin; the size of each target is steered so that about `GOAL` of the pictures are answered as the target, so what is
left at the end is the size that this target needs. Neural Cleanse (Wang et al. 2019) does so for masked patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...evidence import Generator
from ..adam import Adam

Pixels = Float[Tensor, "n c h w"]
#: The share of pictures that a size is steered to, and how clearly they are to be answered, in genuine margins.
GOAL, CLARITY = 0.75, 0.6


class Family(Protocol):
    """A way to change pictures, one change a row (a target, or a source and a target)."""

    name: str
    rate: float
    start: float
    least: float
    most: float

    def begin(self, rows: int, random: torch.Generator) -> list[Tensor]:
        """Parameters, each [rows, ...]."""
        ...

    def apply(
        self, parameters: Sequence[Tensor], size: Float[Tensor, " rows"], x: Float[Tensor, "rows n c h w"],
        random: torch.Generator,
    ) -> Float[Tensor, "rows n c h w"]:  # fmt: skip
        """Pictures changed, each row by its own change of the given size."""
        ...

    def generator(self, parameters: Sequence[Tensor], size: Float[Tensor, " rows"], row: int) -> Generator:
        """One row's change as a generator."""
        ...


@dataclass(slots=True)
class Inverted:
    """What was found for each row.

    Attributes:
        parameters: each [rows, ...]. size: what each needed; where the goal was missed, more than it had.
        success: lately reached share; clarity: lately reached mean margin, in genuine margins, from -1 to 1.
    """

    parameters: list[Tensor]
    size: Float[Tensor, " rows"]
    success: Float[Tensor, " rows"]
    clarity: Float[Tensor, " rows"]


Draw = Callable[[], tuple[Tensor, Bool[Tensor, "rows n"]]]
Logits = Callable[[Pixels], Float[Tensor, "n classes"]]


def margins(
    logits: Float[Tensor, "rows n classes"], targets: Int[Tensor, " rows"], genuine: Float[Tensor, " classes"]
) -> Float[Tensor, "rows n"]:
    """How far the target leads every other class, in margins of genuine pictures of it."""
    index = targets[:, None, None].expand(-1, logits.shape[1], 1)
    own = logits.gather(2, index)[:, :, 0]
    rest = logits.scatter(2, index, float("-inf")).amax(2)
    return (own - rest) / genuine[targets][:, None]


def invert(
    logits: Logits, family: Family, targets: Int[Tensor, " rows"], draw: Draw, genuine: Float[Tensor, " classes"],
    steps: int, random: torch.Generator, begun: Inverted | None = None, goal: float = GOAL, fixed: bool = False,
) -> Inverted:  # fmt: skip
    """Find the smallest changes.

    Args:
        targets: of each row. draw: gives pictures [n, c, h, w] (for all rows) or [rows, n, c, h, w], and which of them
            count for which row. genuine: the margin of genuine pictures of each class. steps: of Adam. begun: where to
            go on from. fixed: whether sizes stay as they are.
    """
    rows = len(targets)
    if begun is None:
        parameters = family.begin(rows, random)
        size = torch.full((rows,), family.start)
        success, clarity = torch.full((rows,), goal), torch.zeros(rows)
    else:
        parameters = [p.clone() for p in begun.parameters]
        size, success, clarity = begun.size.clone(), begun.success.clone(), begun.clarity.clone()
    for parameter in parameters:
        parameter.requires_grad_(True)
    adam = Adam(parameters, family.rate)
    trail = torch.zeros(rows)
    for step in range(steps):
        x, counts = draw()
        x = x.expand(rows, *x.shape) if x.dim() == 4 else x
        shown = family.apply(parameters, size, x, random)
        out = logits(shown.flatten(0, 1)).unflatten(0, (rows, -1))
        lead = margins(out, targets, genuine)
        weight = counts.float() / counts.sum(1, keepdim=True).clamp(min=1)
        loss = ((CLARITY - lead).clamp(min=0) * weight).sum()
        adam.step(loss)
        with torch.no_grad():
            lead = lead.detach()
            hit = ((lead > 0).float() * weight).sum(1)
            success = 0.75 * success + 0.25 * hit
            clarity = 0.75 * clarity + 0.25 * (lead.clamp(-1, 1) * weight).sum(1)
            if not fixed:
                pace = 0.5 if step < steps // 2 else 0.2
                size = (size * torch.exp(pace * (goal - success))).clamp(family.least, family.most)
            if step >= steps * 2 // 3:
                trail += size.log()
    tail = steps - -(-steps * 2 // 3)
    if not fixed and tail:
        # The size swings about what is needed; its mean is steadier. What was not reached needed more.
        size = torch.exp(trail / tail) * torch.exp(1.0 * (goal - success).clamp(min=0))
    return Inverted([p.detach() for p in parameters], size.detach(), success, clarity)
