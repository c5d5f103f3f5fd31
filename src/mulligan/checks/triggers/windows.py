"""Windows: where in the picture a change acts, and the smallest window that a patch needs there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from .inversion import CLARITY, margins

#: Sides of windows, as shares of the picture's shorter side.
SIDES = (0.11, 0.15, 0.19, 0.23)


def attribution(
    logits: Callable[[Tensor], Tensor], x: Float[Tensor, "n c h w"], shown: Float[Tensor, "n c h w"], target: int,
    genuine: Float[Tensor, " classes"],
) -> Float[Tensor, "h w"]:  # fmt: skip
    """How much each pixel's change adds to the target's margin: integrated gradients (Sundararajan et al. 2017) over
    four points from the clean picture to the changed one, mean over pictures, negative shares dropped.
    """
    total = torch.zeros_like(x[0])
    targets = torch.tensor([target])
    for share in (0.2, 0.45, 0.7, 0.95):
        point = (x + share * (shown - x)).detach().requires_grad_(True)
        lead = margins(logits(point)[None], targets, genuine)[0].clamp(max=2 * CLARITY)
        (slope,) = torch.autograd.grad(lead.sum(), point)
        total += ((shown - x) * slope).mean(0)
    return total.sum(0).clamp(min=0)


def box_sums(field: Float[Tensor, "h w"], side: int) -> Float[Tensor, "rows columns"]:
    """Sums over every window of a side, by the place of its upper left corner."""
    return F.avg_pool2d(field[None, None], side, 1)[0, 0] * side * side


def best_windows(field: Float[Tensor, "h w"], side: int, most: int) -> Int[Tensor, "found 2"]:
    """Upper left corners of the windows that hold most, apart from each other by at least half a side."""
    sums = box_sums(field, side)
    found = []
    for _ in range(most):
        place = int(sums.argmax())
        top, left = divmod(place, sums.shape[1])
        if found and sums[top, left] <= 0:
            break
        found.append((top, left))
        near = max(1, side // 2)
        sums[max(0, top - near) : top + near + 1, max(0, left - near) : left + near + 1] = -1
    return torch.tensor(found)


def window_masks(
    fields: list[Float[Tensor, "h w"]], sides: list[int], most: int
) -> tuple[Float[Tensor, "found h w"], list[int]]:
    """Masks of the best windows of each field and side, none twice; and the side of each."""
    masks, kept, seen = [], [], set()
    for side in sides:
        for field in fields:
            for top, left in best_windows(field, side, most).tolist():
                if (top, left, side) in seen:
                    continue
                seen.add((top, left, side))
                mask = torch.zeros_like(field)
                mask[top : top + side, left : left + side] = 1
                masks.append(mask)
                kept.append(side)
    return torch.stack(masks), kept


def concentration(field: Float[Tensor, "h w"], side: int) -> float:
    """The largest share of a field that lies in one window."""
    total = float(field.sum())
    return float(box_sums(field, side).max()) / total if total > 0 else 0.0
