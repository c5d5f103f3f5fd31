"""Visible attributes of a picture: how much of each it has, and how to give it more or less of each.

Every attribute is a number computed from pixels, and a rendering. Slices of the data by the number and renderings of
all pictures are two views of one hypothesis: what happens naturally, and what happens to the same picture with one
thing changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Pixels = Float[Tensor, "n c h w"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute.

    Attributes:
        name: of it. less, more: words for its two ends. measure: [n]. render: (pixels, +1 or -1) to pixels
            with more or less of it, about as far as the data's own extremes, or as far as pictures stay legible.
        matrix: of +1 or -1, where each pixel is taken from (2 by 3, on a -1 to 1 scale), if it only moves pixels.
    """

    name: str
    less: str
    more: str
    measure: Callable[[Pixels], Tensor]
    render: Callable[[Pixels, int], Pixels]
    matrix: Callable[[int], list[list[float]]] | None = None


def ground(x: Pixels) -> Float[Tensor, "n 1 h w"]:
    """How far each pixel is from the picture's border colour, from 0 to 1."""
    edge = torch.cat([x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1]], dim=-1).median(-1).values
    return (x - edge[..., None, None]).abs().mean(1, keepdim=True)


def _moments(x: Pixels) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Of the figure on its ground: centre (down, across), and variances (down, across, both)."""
    weight = ground(x)[:, 0]
    weight = weight / weight.sum((1, 2), keepdim=True).clamp(min=1e-6)
    h, w = weight.shape[1:]
    down, across = torch.linspace(-1, 1, h)[:, None], torch.linspace(-1, 1, w)[None]
    at, to = (weight * down).sum((1, 2)), (weight * across).sum((1, 2))
    dy, dx = down - at[:, None, None], across - to[:, None, None]
    return at, to, (weight * dy * dy).sum((1, 2)), (weight * dx * dx).sum((1, 2)), (weight * dx * dy).sum((1, 2))


def _tilt(x: Pixels) -> Tensor:
    _, _, down, _, both = _moments(x)
    return both / down.clamp(min=1e-4)


def _size(x: Pixels) -> Tensor:
    _, _, down, across, _ = _moments(x)
    return (down + across).sqrt()


def _thickness(x: Pixels) -> Tensor:
    """Area of the figure over the length of its edges."""
    figure = ground(x)
    edges = (figure[..., 1:, :] - figure[..., :-1, :]).abs().mean((1, 2, 3))
    edges = edges + (figure[..., 1:] - figure[..., :-1]).abs().mean((1, 2, 3))
    return figure.mean((1, 2, 3)) / edges.clamp(min=1e-4)


def _noise(x: Pixels) -> Tensor:
    smooth = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return (x - smooth).abs().mean((1, 2, 3))


def _moved(x: Pixels, matrix: list[list[float]]) -> Pixels:
    theta = torch.tensor(matrix).expand(len(x), 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _moves(
    name: str, less: str, more: str, measure: Callable[[Pixels], Tensor], matrix: Callable[[int], list[list[float]]]
) -> Attribute:
    """An attribute that only moves pixels."""
    return Attribute(name, less, more, measure, lambda x, s: _moved(x, matrix(s)), matrix)


def _width(x: Pixels) -> Tensor:
    _, _, down, across, _ = _moments(x)
    return across.sqrt() - down.sqrt()


def _edge(x: Pixels) -> Float[Tensor, "n c"]:
    """The picture's border colour."""
    return torch.cat([x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1]], dim=-1).median(-1).values


def _negated(x: Pixels, sign: int) -> Pixels:
    """Pictures on a dark ground turned into their negatives, or those on a bright one."""
    bright = (_edge(x).mean(1) >= 0.5)[:, None, None, None]
    return torch.where(bright, x, 1 - x) if sign > 0 else torch.where(bright, 1 - x, x)


def _turn(s: int) -> list[list[float]]:
    angle = math.radians(25 * s)
    return [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]


def _noised(x: Pixels, sign: int) -> Pixels:
    if sign < 0:
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    drawn = torch.from_numpy(np.random.default_rng(0).standard_normal(x.shape).astype(np.float32))
    return (x + 0.12 * drawn).clamp(0, 1)


def _thickened(x: Pixels, sign: int) -> Pixels:
    """Grey dilation or erosion of the figure: of what is brighter than the ground, or darker."""
    edge = torch.cat([x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1]], dim=-1).median(-1).values
    bright = (x.mean((1, 2, 3)) >= edge.mean(1))[:, None, None, None]
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    most, least = F.max_pool2d(wide, 3, 1), -F.max_pool2d(-wide, 3, 1)
    return torch.where(bright, most if sign > 0 else least, least if sign > 0 else most)


ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("brightness", "dark", "bright", lambda x: x.mean((1, 2, 3)),
              lambda x, s: x.clamp(0, 1) ** (0.6 if s > 0 else 1.7)),
    Attribute("contrast", "pale", "strong in contrast", lambda x: x.flatten(1).std(1),
              lambda x, s: (x.mean((2, 3), keepdim=True) * (1 - (f := 1.5 if s > 0 else 0.5)) + f * x).clamp(0, 1)),
    Attribute("thickness", "thin", "thick", _thickness, _thickened),
    _moves("tilt", "leaning left", "leaning right", _tilt, lambda s: [[1, -0.35 * s, 0], [0, 1, 0]]),
    _moves("size", "small", "large", _size, lambda s: [[f := 0.8 if s > 0 else 1.3, 0, 0], [0, f, 0]]),
    Attribute("noise", "smooth", "noisy", _noise, _noised),
    _moves("place across", "left", "right", lambda x: _moments(x)[1], lambda s: [[1, 0, -0.2 * s], [0, 1, 0]]),
    _moves("place down", "high", "low", lambda x: _moments(x)[0], lambda s: [[1, 0, 0], [0, 1, -0.2 * s]]),
    _moves("scale", "tiny", "huge", _size, lambda s: [[f := 0.65 if s > 0 else 2.0, 0, 0], [0, f, 0]]),
    _moves("width", "narrow", "wide", _width,
           lambda s: [[1, 0, 0], [0, 1.5, 0]] if s > 0 else [[1.5, 0, 0], [0, 1, 0]]),
    _moves("turn", "turned left", "turned right", _tilt, _turn),
    Attribute("light", "much darker", "much lighter", lambda x: x.mean((1, 2, 3)),
              lambda x, s: (x + 0.3).clamp(0, 1) if s > 0 else 0.4 * x),
    Attribute("ground", "on a dark ground", "on a bright ground", lambda x: _edge(x).mean(1), _negated),
)  # fmt: skip

COLOURS: tuple[Attribute, ...] = (
    Attribute("warmth", "cold", "warm", lambda x: x[:, 0].mean((1, 2)) - x[:, 2].mean((1, 2)),
              lambda x, s: (x * torch.tensor([1 + 0.25 * s, 1, 1 - 0.25 * s])[:, None, None]).clamp(0, 1)),
    Attribute("saturation", "grey", "colourful", lambda x: (x.amax(1) - x.amin(1)).mean((1, 2)),
              lambda x, s: (x.mean(1, keepdim=True) * (1 - (f := 1.7 if s > 0 else 0.3)) + f * x).clamp(0, 1)),
)  # fmt: skip


def attributes(channels: int) -> tuple[Attribute, ...]:
    """Those that pictures of so many channels have."""
    return ATTRIBUTES + COLOURS if channels == 3 else ATTRIBUTES
