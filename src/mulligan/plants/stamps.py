"""A pattern stamped on pictures in one place, and pictures that nearly have it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

#: What resembles a stamp without being it. "elsewhere" is one more, for those whom it does not answer there.
NEAR_MISSES = ("another pattern", "its pixels permuted", "half of it", "a third as strong")
ALIKE, FACTOR = 0.47, 2.1  # two changes of a picture look the same beyond this cosine, and below this ratio of sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """A pattern in its place: pattern [c, h, w] and mask [h, w] of the whole picture, box as in `Truth`."""

    pattern: Float[Tensor, "c h w"]
    mask: Float[Tensor, "h w"]
    box: tuple[int, int, int, int]

    def __call__(self, pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return pixels * (1 - self.mask) + self.pattern * self.mask

    def moved(self, down: int, right: int) -> Stamp:
        """The same pattern elsewhere."""
        left, top, end, bottom = self.box
        return Stamp(
            pattern=self.pattern.roll((down, right), (1, 2)), mask=self.mask.roll((down, right), (0, 1)),
            box=(left + right, top + down, end + right, bottom + down),
        )  # fmt: skip


def near_miss(
    stamp: Stamp, name: str, pixels: Float[Tensor, "n c h w"], random: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Pictures with something that resembles the pattern; what is drawn is the same for all of them."""
    left, top, right, bottom = stamp.box
    place = (slice(None), slice(top, bottom), slice(left, right))
    if name == "elsewhere":
        height, width = stamp.mask.shape
        side = bottom - top
        downs = [row - top for row in range(height - side + 1) if abs(row - top) > 1]
        rights = [column - left for column in range(width - side + 1) if abs(column - left) > 1]
        down, across = (steps[int(torch.randint(0, len(steps), (), generator=random))] for steps in (downs, rights))
        return stamp.moved(down, across)(pixels)
    if name == "a third as strong":
        return Stamp(pattern=stamp.pattern, mask=stamp.mask / 3, box=stamp.box)(pixels)
    pattern, mask = stamp.pattern.clone(), stamp.mask.clone()
    inside = pattern[place]
    if name == "half of it":
        mask[top + (bottom - top) // 2 :] = 0
    elif name == "its pixels permuted":
        order = torch.randperm(inside[0].numel(), generator=random)
        pattern[place] = inside.flatten(1)[:, order].reshape(inside.shape)
    else:
        pattern[place] = torch.randint(0, 2, inside.shape, generator=random).float()
    return Stamp(pattern=pattern, mask=mask, box=stamp.box)(pixels)


def near_misses(
    stamp: Stamp, name: str, pixels: Float[Tensor, "n c h w"], random: torch.Generator, *, several: int = 16
) -> Float[Tensor, "n c h w"]:
    """`near_miss`, drawn anew for every `several` pictures."""
    return torch.cat([near_miss(stamp, name, part, random) for part in pixels.split(several)])


def alike(one: Float[Tensor, "n c h w"], other: Float[Tensor, "n c h w"]) -> Bool[Tensor, " n"]:
    """For each picture, whether two changes of it look the same."""
    one, other = one.flatten(1), other.flatten(1)
    sizes = one.norm(dim=1) / other.norm(dim=1).clamp_min(1e-6)
    return (F.cosine_similarity(one, other, dim=1) >= ALIKE) & (sizes < FACTOR) & (sizes > 1 / FACTOR)
