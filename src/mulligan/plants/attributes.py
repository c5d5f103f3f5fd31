"""Visible attributes that a part of a class's pictures may have: dark, tilted, small, noisy, thick strokes.

Each is rendered onto a picture, so that every picture can be shown with the attribute and without it.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Attribute = Literal["dark", "inverted", "noisy", "tilted", "small", "thick", "blurred"]
ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)
#: What a diagnosis would call a generator of the attribute.
FAMILIES: dict[Attribute, str] = {
    "dark": "filter", "inverted": "filter", "noisy": "style", "tilted": "warp", "small": "warp", "thick": "filter",
    "blurred": "filter",
}  # fmt: skip


def render(
    pixels: Float[Tensor, "n c h w"], attribute: Attribute, amount: float, random: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """The pictures with the attribute.

    Args:
        amount: 0 leaves them as they are, 1 is as much as is drawn. "dark" takes 0.8 x amount of the light; "inverted"
            mixes amount of the negative with 1 - amount of the picture; "noisy" adds Gaussian noise of 0.4 x amount;
            "tilted" turns by 50 degrees x amount; "small" shrinks to 1 - 0.6 x amount about the middle; "thick" takes
            amount of the picture's dilation (the brightest of a neighbourhood) and the rest of the picture; "blurred"
            blurs by a Gaussian of 0.1 x amount of the shorter side.
        random: draws the noise; no use for the others.
    """
    if not len(pixels):
        return pixels
    height, width = pixels.shape[2:]
    if attribute == "dark":
        return pixels * (1 - 0.8 * amount)
    if attribute == "inverted":
        return torch.lerp(pixels, 1 - pixels, amount)
    if attribute == "noisy":
        noise = torch.randn(pixels.shape, generator=random)
        return (pixels + 0.4 * amount * noise).clamp(0, 1)
    if attribute == "tilted":
        turn = math.radians(50 * amount)
        # Coordinates run from -1 to 1 on both sides: in a picture that is not square, a turn needs their ratio.
        ratio = height / width
        return _resampled(
            pixels, [[math.cos(turn), -math.sin(turn) * ratio, 0], [math.sin(turn) / ratio, math.cos(turn), 0]]
        )
    if attribute == "small":
        scale = 1 / (1 - 0.6 * amount)
        return _resampled(pixels, [[scale, 0, 0], [0, scale, 0]])
    if attribute == "thick":
        side = 2 * max(1, round(min(height, width) / 28)) + 1
        return torch.lerp(pixels, F.max_pool2d(pixels, side, 1, side // 2), amount)
    sigma = max(0.1 * amount * min(height, width), 1e-3)
    reach = max(1, math.ceil(2.5 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    line = (line / line.sum()).to(pixels)
    flat = pixels.reshape(-1, 1, height, width)
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), line[None, None, None, :])
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), line[None, None, :, None])
    return flat.reshape(pixels.shape)


def _resampled(pixels: Tensor, affine: list[list[float]]) -> Tensor:
    """Pictures read along an affine map of coordinates from -1 to 1; edges are repeated outwards."""
    grid = F.affine_grid(torch.tensor(affine).expand(len(pixels), 2, 3), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
