"""The family "compose": two pictures shown as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from .parameters import ARRANGEMENTS
from .rendering import many

Pixels = Float[Tensor, "n c h w"]


def compose(first: Pixels, second: Pixels, parameters: Mapping[str, Any], random: torch.Generator) -> Pixels:
    """Both in one picture of the same size; "any" arrangement or order is drawn for each pair.

    background: what lies behind pictures that do not fill the place (one number a channel); without it, the median of
    the first pictures' borders. scale: the side of an inset, as a share of the picture's (0.5 if not given).
    """
    n = len(first)
    if parameters.get("order", "any") == "any":
        turned = (torch.rand(n, generator=random) < 0.5).reshape(-1, 1, 1, 1)
        first, second = torch.where(turned, second, first), torch.where(turned, first, second)
    edge = many(first, parameters["background"], "background") if "background" in parameters else _border(first)
    scale = parameters.get("scale", 0.5)
    name = parameters["arrangement"]
    if name != "any":
        return arranged(first, second, name, edge, scale, random)
    which = torch.randint(0, len(ARRANGEMENTS), (n,), generator=random)
    out = first.clone()
    for number, one in enumerate(ARRANGEMENTS):
        rows = which == number
        if rows.any():
            out[rows] = arranged(first[rows], second[rows], one, edge, scale, random)
    return out


def arranged(
    first: Pixels, second: Pixels, name: str, edge: Float[Tensor, "c 1 1"], scale: float, random: torch.Generator
) -> Pixels:
    """One arrangement, the first picture to the left, above, or as the ground.

    beside, stacked: both squeezed to a half. overlaid: the mean. brighter: the larger of both, pixel by pixel. inset:
    the second, small, in a random corner of the first. diagonal: both in half size, in opposite corners. quadrants:
    each twice, in half size.
    """
    height, width = first.shape[-2:]
    top, left = height // 2, width // 2
    if name == "beside":
        return torch.cat([_fit(first, height, left), _fit(second, height, width - left)], 3)
    if name == "stacked":
        return torch.cat([_fit(first, top, width), _fit(second, height - top, width)], 2)
    if name == "overlaid":
        return (first + second) / 2
    if name == "brighter":
        return torch.maximum(first, second)
    if name == "inset":
        out = first.clone()
        small = _fit(second, max(1, round(height * scale)), max(1, round(width * scale)))
        corner = torch.randint(0, 4, (len(first),), generator=random)
        for k in range(4):
            rows = corner == k
            down = slice(0, small.shape[2]) if k < 2 else slice(height - small.shape[2], height)
            across = slice(0, small.shape[3]) if k % 2 == 0 else slice(width - small.shape[3], width)
            out[rows, :, down, across] = small[rows]
        return out
    empty = name == "diagonal"
    a, b = _fit(first, top, left), _fit(second, height - top, width - left)
    ground = edge.expand(first.shape[1], 1, 1)
    right = ground.expand(len(first), -1, top, width - left) if empty else _fit(second, top, width - left)
    below = ground.expand(len(first), -1, height - top, left) if empty else _fit(first, height - top, left)
    return torch.cat([torch.cat([a, right], 3), torch.cat([below, b], 3)], 2)


def _fit(x: Pixels, height: int, width: int) -> Pixels:
    return F.interpolate(x, size=(height, width), mode="bilinear", antialias=True, align_corners=False)


def _border(x: Pixels) -> Float[Tensor, "c 1 1"]:
    edges = torch.cat([x[:, :, 0], x[:, :, -1], x[:, :, :, 0], x[:, :, :, -1]], 2)
    return edges.transpose(0, 1).flatten(1).median(1).values.reshape(-1, 1, 1)
