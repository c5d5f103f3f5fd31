"""The family "natural-object": an object pasted at a random place, in a random size and turn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ...records import BadInput

Pixels = Float[Tensor, "n c h w"]


def paste(x: Pixels, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor], random: torch.Generator) -> Pixels:
    """The object laid over each picture, by its alpha.

    scale: the least and largest size relative to the object's own (drawn evenly in the logarithm). turn: the least and
    largest turn, in degrees. box: [left, top, right, bottom), within which the object's centre lies; without it, the
    whole object lies within the picture where it fits.
    """
    thing, alpha = tensors["object"], tensors["alpha"]
    if thing.shape[0] != x.shape[1]:
        raise BadInput("the generator's object is for other channels", where="object", fix="give other pictures")
    n, (height, width) = len(x), x.shape[-2:]
    low, high = parameters.get("scale", (1.0, 1.0))
    scale = torch.exp(_even(n, math.log(low), math.log(high), random))
    least, most = parameters.get("turn", (0.0, 0.0))
    turn = _even(n, least, most, random) * (math.pi / 180)
    half_h, half_w = scale * thing.shape[1] / 2, scale * thing.shape[2] / 2
    box = parameters.get("box")
    if box is None:
        across = _between(half_w, width - half_w, random, whole=low == high)
        down = _between(half_h, height - half_h, random, whole=low == high)
    else:
        across, down = _even(n, box[0], box[2], random), _even(n, box[1], box[3], random)
    return pasted(x, thing, alpha, down, across, scale, turn)


def pasted(
    x: Pixels, thing: Float[Tensor, "c h2 w2"], alpha: Float[Tensor, "h2 w2"], down: Tensor, across: Tensor,
    scale: Tensor, turn: Tensor,
) -> Pixels:  # fmt: skip
    """The object with its centre at `down`, `across` (pixels from the upper left corner), each [n]."""
    height, width = x.shape[-2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=x.dtype) + 0.5, torch.arange(width, dtype=x.dtype) + 0.5, indexing="ij"
    )
    dy, dx = rows[None] - down[:, None, None], columns[None] - across[:, None, None]
    cos, sin = torch.cos(turn)[:, None, None], torch.sin(turn)[:, None, None]
    size = scale[:, None, None]
    own_x, own_y = (cos * dx + sin * dy) / size, (-sin * dx + cos * dy) / size
    grid = torch.stack([own_x * (2 / thing.shape[2]), own_y * (2 / thing.shape[1])], -1)
    # Colour times alpha is what may be interpolated: beyond its outline an object has no colour.
    both = torch.cat([thing * alpha, alpha[None]]).expand(len(x), -1, -1, -1)
    drawn = F.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return x * (1 - drawn[:, -1:]) + drawn[:, :-1]


def _even(n: int, low: float, high: float, random: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=random)


def _between(low: Tensor, high: Tensor, random: torch.Generator, *, whole: bool) -> Tensor:
    """Evenly between two bounds, or halfway if they cross; on whole pixels from the first where nothing is resized."""
    share = torch.rand(len(low), generator=random)
    room = (high - low).clamp(min=0)
    step = (share * (room + 1)).floor().minimum(room.floor()) if whole else share * room
    return torch.where(high >= low, low + step, (low + high) / 2)
