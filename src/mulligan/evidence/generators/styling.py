"""The family "style": low-level looks, each step left out unless it is given, in one fixed order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ...records import BadInput
from .rendering import convolved, fits, many, with_atoms

Pixels = Float[Tensor, "n c h w"]


def style(x: Pixels, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor], random: torch.Generator) -> Pixels:
    """Atoms, blur, kernel, statistics, curve, saturation, edges, inversion, texture, grain, pixelation, levels.

    blur: deviation of a Gaussian, in pixels. kernel: convolved with each channel. mean, deviation: each picture's own
    (a channel, or one for all) are moved toward these, by `strength` (1 if not given); as in adaptive instance
    normalization (Huang & Belongie 2017, arXiv:1703.06868), on pixels. curve: [c or 1, levels], the tones that 0...1
    become, straight lines between. saturation: 0 is grey, 1 as it was. edges: share of the picture that becomes its
    drawing (1 - the gradient's size). texture: added, or x (1 + texture) with mode "multiply". grain: deviation of
    random noise. pixelate: side of the blocks. levels: how many tones are left.
    """
    p = parameters
    x = with_atoms(x, p)
    if p.get("blur", 0) > 0:
        x = blurred(x, p["blur"])
    if "kernel" in tensors:
        x = convolved(x, tensors["kernel"])
    strength = p.get("strength", 1.0)
    if "mean" in p or "deviation" in p:
        mean, deviation = x.mean((2, 3), keepdim=True), x.std((2, 3), correction=0, keepdim=True)
        toward = many(x, p["mean"], "mean") if "mean" in p else mean
        wide = many(x, p["deviation"], "deviation") / deviation.clamp(min=1e-3) if "deviation" in p else 1.0
        x = x + strength * ((x - mean) * wide + toward - x)
    if "curve" in tensors:
        x = toned(x, tensors["curve"])
    if "saturation" in p and x.shape[1] == 3:
        grey = x.mean(1, keepdim=True)
        x = grey + p["saturation"] * (x - grey)
    if p.get("edges", 0) > 0:
        x = x + p["edges"] * (drawn(x) - x)
    if p.get("invert"):
        x = 1 - x
    if "texture" in tensors:
        texture = fits(x, tensors["texture"], "texture")
        x = x * (1 + texture) if p.get("mode", "add") == "multiply" else x + texture
    if p.get("grain", 0) > 0:
        x = x + p["grain"] * torch.randn(x.shape, generator=random)
    if p.get("pixelate", 1) > 1:
        x = pixelated(x, p["pixelate"])
    if "levels" in p:
        steps = p["levels"] - 1
        x = (x.clamp(0, 1) * steps).round() / steps
    return x


def blurred(x: Pixels, sigma: float) -> Pixels:
    """A Gaussian blur, borders repeated."""
    half = max(1, min(round(3 * sigma), min(x.shape[-2:]) // 2))
    line = torch.exp(-0.5 * (torch.arange(-half, half + 1, dtype=x.dtype) / sigma) ** 2)
    line = line / line.sum()
    channels = x.shape[1]
    line = line.expand(channels, 1, 1, -1)
    x = F.conv2d(F.pad(x, (0, 0, half, half), mode="replicate"), line.mT, groups=channels)
    return F.conv2d(F.pad(x, (half, half, 0, 0), mode="replicate"), line, groups=channels)


def toned(x: Pixels, curve: Float[Tensor, "c levels"]) -> Pixels:
    """Tones replaced along a curve a channel, straight between its points."""
    if len(curve) not in (1, x.shape[1]):
        raise BadInput("the generator's curve is for other channels", where="curve", fix="give other pictures")
    if curve.shape[1] == 1:
        return curve.reshape(1, -1, 1, 1).expand_as(x)
    curve = curve.expand(x.shape[1], -1)
    place = x.clamp(0, 1) * (curve.shape[1] - 1)
    low = place.floor().clamp(max=curve.shape[1] - 2).long()
    channel = torch.arange(x.shape[1]).reshape(1, -1, 1, 1)
    before, after = curve[channel, low], curve[channel, low + 1]
    return before + (place - low) * (after - before)


def drawn(x: Pixels) -> Pixels:
    """A drawing of the picture: white, dark where the gradient (Sobel, mean over channels) is large."""
    grey = F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).reshape(1, 1, 3, 3) / 4
    slope = (F.conv2d(grey, across) ** 2 + F.conv2d(grey, across.mT) ** 2 + 1e-12).sqrt()
    return (1 - slope).clamp(0, 1).expand_as(x)


def pixelated(x: Pixels, side: int) -> Pixels:
    """Blocks of one colour, `side` pixels wide and high."""
    height, width = x.shape[-2:]
    small = F.avg_pool2d(x, min(side, height, width), ceil_mode=True)
    large = small.repeat_interleave(side, 2).repeat_interleave(side, 3)
    return large[:, :, :height, :width]
