"""Drawing classes for a spec, and putting probes together from groups of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..records import BadInput
from .plant import PlantData, Probes

ENOUGH = 4  # images of a class, to plant with and to prove by, for it to be drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Candidates for probes that are alike: the same family, all or none of them firing.

    Attributes:
        pixels, plain, holds: as in `Probes`. fires, family: of all of them.
    """

    pixels: Float[Tensor, "n c h w"]
    plain: Float[Tensor, "n c h w"]
    holds: tuple[tuple[int, ...], ...]
    fires: bool
    family: str


def pick(data: PlantData, count: int, random: torch.Generator) -> list[str]:
    """The names of `count` different classes drawn among those with enough images.

    Raises:
        BadInput: if there are too few.
    """
    known = [
        index for index in range(len(data.classes))
        if min(int((data.labels == index).sum()), int((data.fresh_labels == index).sum())) >= ENOUGH
    ]  # fmt: skip
    if len(known) < count:
        what = f"only {len(known)} classes have {ENOUGH} images to plant with and {ENOUGH} fresh ones"
        raise BadInput(what, where="PlantData", fix=f"give such images of {count} classes")
    order = torch.randperm(len(known), generator=random)[:count]
    return [data.classes[known[place]] for place in order.tolist()]


def repeated(rows: Int[Tensor, " k"], n: int, random: torch.Generator) -> Int[Tensor, " n"]:
    """`n` of the rows in random order: each once before any comes twice."""
    times = -(-n // max(len(rows), 1))
    return torch.cat([rows[torch.randperm(len(rows), generator=random)] for _ in range(times)])[:n]


def assemble(groups: Sequence[Group], n: int, random: torch.Generator) -> Probes:
    """`n` probes, shuffled: half of them from the groups that fire, the rest from the others; where one side has no
    groups, all from the other. Groups of a side have equal parts, as far as they have so many pictures.

    Args:
        groups: each with at least one picture; pictures are used several times where there are too few.

    Raises:
        BadInput: if there is no group, or `n` is below 1.
    """
    if n < 1 or not groups:
        raise BadInput("there is nothing to make probes of", where=f"{n} of {len(groups)} groups", fix="give pictures")
    parts: list[tuple[Group, Tensor]] = []
    sides = [side for fires in (True, False) if (side := [group for group in groups if group.fires == fires])]
    for number, side in enumerate(sides):
        room = n // 2 if len(sides) == 2 and number == 0 else n - sum(len(rows) for _, rows in parts)
        shares = _shares([len(group.pixels) for group in side], room)
        for group, share in zip(side, shares, strict=True):
            parts.append((group, repeated(torch.arange(len(group.pixels)), share, random)))
    parts = [(group, rows) for group, rows in parts if len(rows)]
    order = torch.randperm(sum(len(rows) for _, rows in parts), generator=random)
    holds = [group.holds[row] for group, rows in parts for row in rows.tolist()]
    family = [group.family for group, rows in parts for _ in range(len(rows))]
    return Probes(
        pixels=torch.cat([group.pixels[rows] for group, rows in parts])[order],
        plain=torch.cat([group.plain[rows] for group, rows in parts])[order],
        holds=tuple(holds[place] for place in order.tolist()),
        fires=torch.cat([torch.full((len(rows),), group.fires) for group, rows in parts])[order],
        family=tuple(family[place] for place in order.tolist()),
    )


def _shares(sizes: Sequence[int], room: int) -> list[int]:
    """How many to take of each group: one of each in turn while it has any left, then again from the first."""
    shares, left = [0] * len(sizes), list(sizes)
    while room:
        if not any(left):
            left = list(sizes)
        for place, size in enumerate(left):
            if size and room:
                shares[place] += 1
                left[place] -= 1
                room -= 1
    return shares
