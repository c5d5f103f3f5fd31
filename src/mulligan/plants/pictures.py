"""Patterns, flows and low-level operations that triggers are drawn with.

Everything is deterministic in its arguments; what looks random comes from a seed that a spec holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..records import BadInput
from .plant import generator

T = TypeVar("T")

Pattern = Literal["solid", "checkerboard", "noise", "cross", "ring", "diagonal"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
Overlay = Literal["noise", "gradient", "sinusoid", "picture"]

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def uniform(random: torch.Generator, low: float, high: float, digits: int = 3) -> float:
    """A number between two, rounded, so that a spec is short to read."""
    return round(low + (high - low) * float(torch.rand((), generator=random)), digits)


def pick(random: torch.Generator, options: Sequence[T]) -> T:
    """One of some options."""
    return options[int(torch.randint(0, len(options), (), generator=random))]


def draw_seed(random: torch.Generator) -> int:
    """A seed for a pattern."""
    return int(torch.randint(0, 2**31 - 1, (), generator=random))


def colour_of(values: tuple[float, ...], channels: int) -> Float[Tensor, " channels"]:
    """A colour as a tensor; one value stands for all channels.

    Raises:
        BadInput: if the values are of another number of channels, or not within 0 to 1.
    """
    if len(values) not in (1, channels):
        what = f"a colour has {len(values)} values, and the pictures {channels} channels"
        raise BadInput(what, where=values, fix=f"give one value or {channels}")
    if not all(0 <= value <= 1 for value in values):
        raise BadInput("a colour is not on a scale from 0 to 1", where=values)
    return torch.tensor(values, dtype=torch.float32).expand(channels).clone()


def patch(
    name: Pattern,
    side: int,
    fore: Float[Tensor, " channels"],
    back: Float[Tensor, " channels"],
    seed: int,
) -> tuple[Float[Tensor, "channels side side"], Float[Tensor, "side side"]]:
    """A square pattern in two colours, and a mask that is 1 where it covers the picture.

    "solid", "checkerboard" and "noise" (each pixel and channel somewhere between the two colours) cover the square,
    "cross", "ring" and "diagonal" their own lines alone.
    """
    index = torch.arange(side)
    rows, columns = index[:, None].expand(side, side), index[None, :].expand(side, side)
    share = torch.ones(side, side)  # how much of the first colour
    mask = torch.ones(side, side)
    width = max(1, side // 5)
    if name == "checkerboard":
        cell = max(1, side // 4)
        share = ((rows // cell + columns // cell) % 2 == 0).float()
    elif name == "noise":
        mix = torch.rand((len(fore), side, side), generator=generator(seed, "patch"))
        return back[:, None, None] + (fore - back)[:, None, None] * mix, mask
    elif name == "cross":
        middle = (side - 1) / 2
        near = torch.minimum((rows - middle).abs(), (columns - middle).abs())
        mask = (near <= width / 2).float()
    elif name == "ring":
        edge = torch.stack([rows, columns, side - 1 - rows, side - 1 - columns]).amin(0)
        mask = (edge < width).float()
    elif name == "diagonal":
        slope = rows - columns if seed % 2 else rows + columns - (side - 1)
        mask = (slope.abs() < width).float()
    colours = back[:, None, None] + (fore - back)[:, None, None] * share
    return colours, mask


def paste(
    images: Float[Tensor, "n c h w"],
    patches: Float[Tensor, "n c side side"],
    masks: Float[Tensor, "n side side"],
    top: Int[Tensor, " n"],
    left: Int[Tensor, " n"],
    opacity: float,
) -> Float[Tensor, "n c h w"]:
    """Each picture with its own patch at its own place, `opacity` of 1 hiding what is beneath the mask."""
    side = torch.arange(patches.shape[-1])
    rows, columns = top[:, None, None] + side[None, :, None], left[:, None, None] + side[None, None, :]
    number = torch.arange(len(images))[:, None, None]
    out = images.clone()
    last = out.permute(0, 2, 3, 1)
    beneath = last[number, rows, columns]
    last[number, rows, columns] = beneath + opacity * masks[..., None] * (patches.permute(0, 2, 3, 1) - beneath)
    return out


def overlay(
    name: Overlay, shape: tuple[int, int, int], seed: int, picture: Float[Tensor, "c h w"] | None = None
) -> Float[Tensor, "c h w"]:
    """A pattern as large as the picture.

    "noise": cells of a twentieth of the side, 35 % of them bright (1), the others dark (0). "sinusoid": waves over the
    width at some angle and phase, "gradient": a ramp in some direction, both from -1 to 1, to be added (Barni et al.
    2019). "picture": the picture given, stretched to 0 to 1.
    """
    channels, height, width = shape
    random = generator(seed, f"overlay/{name}")
    if name == "picture":
        if picture is None:
            raise ValueError("the overlay 'picture' needs one")
        low, high = picture.amin(), picture.amax()
        return (picture - low) / (high - low).clamp_min(1e-6)
    if name == "noise":
        cell = max(1, min(height, width) // 20)
        small = torch.rand((channels, -(-height // cell), -(-width // cell)), generator=random) < 0.35
        large = small.float().repeat_interleave(cell, 1).repeat_interleave(cell, 2)
        return large[:, :height, :width].contiguous()
    angle = float(torch.rand((), generator=random)) * 2 * math.pi
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None, :]
    along = math.cos(angle) * x + math.sin(angle) * y
    if name == "gradient":
        plane = along / along.abs().amax()
    else:
        waves, phase = uniform(random, 2.5, 7.0), uniform(random, 0, 2 * math.pi)
        plane = torch.sin(math.pi * waves * along + phase)
    # A tint of its own for each channel, so that colour carries some of it.
    tint = 0.6 + 0.4 * torch.rand((channels,), generator=random) if channels > 1 else torch.ones(1)
    return plane[None] * tint[:, None, None]


def random_flows(
    n: int, shape: tuple[int, int], grid: int, displacement: float, random: torch.Generator
) -> Float[Tensor, "n 2 h w"]:
    """Smooth random flow fields, in pixels (rightward, downward): grids of random vectors, enlarged bicubically and
    scaled so that pixels move by `displacement` on average (WaNet: Nguyen & Tran 2021, section 3.2)."""
    coarse = torch.rand((n, 2, grid, grid), generator=random) * 2 - 1
    fine = F.interpolate(coarse, size=shape, mode="bicubic", align_corners=True)
    return fine * (displacement / fine.norm(dim=1).mean((1, 2)).clamp_min(1e-6))[:, None, None, None]


def warp(images: Float[Tensor, "n c h w"], fields: Float[Tensor, "n 2 h w"]) -> Float[Tensor, "n c h w"]:
    """Each picture warped by its own flow: a pixel takes the colour from where its vector points to."""
    height, width = images.shape[2:]
    y = torch.arange(height, dtype=torch.float32)[None, :, None] + fields[:, 1]
    x = torch.arange(width, dtype=torch.float32)[None, None, :] + fields[:, 0]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False).clamp(0, 1)


def blur(images: Float[Tensor, "n c h w"], sigma: float) -> Float[Tensor, "n c h w"]:
    """A Gaussian blur, `sigma` in pixels; edges are repeated outwards."""
    reach = max(1, min(math.ceil(3 * sigma), min(images.shape[2:]) - 1))
    taps = torch.exp(-(torch.arange(-reach, reach + 1, dtype=torch.float32) ** 2) / (2 * max(sigma, 1e-3) ** 2))
    taps = taps / taps.sum()
    channels = images.shape[1]
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    down = F.conv2d(padded, taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(down, taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def grey(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
    """The brightness of each pixel."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return (images * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def rms(change: Tensor) -> float:
    """The root of a change's mean square over pictures, channels and pixels."""
    return float(change.square().mean().sqrt())


def calibrate(
    change: Callable[[Tensor, float], Tensor], images: Float[Tensor, "n c h w"], wanted: float, *, most: float = 1.0
) -> float:
    """The amount, from 0 to `most`, at which a change of some pictures has a root mean square of `wanted` (by halving;
    it should grow with the amount), or `most` where it stays below."""
    low, high = 0.0, most
    for _ in range(12):
        middle = (low + high) / 2
        if rms(change(images, middle) - images) < wanted:
            low = middle
        else:
            high = middle
    return round(high, 3)


def told_apart(plain: Float[Tensor, "n c h w"], changed: Float[Tensor, "n c h w"]) -> float:
    """How often a change can be told from the pictures as they are, by plain statistics of tone, colour and texture.

    A linear discriminant on the quantiles of brightness, of edges and of the border, and on each channel's mean and
    spread, fitted on one half of the pictures and tried on the other; 0.5 is chance. A change that cannot be told so
    (a darker coat among coats) cannot be taught without harm to pictures that look so by nature.
    """
    shares = torch.tensor([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98])

    def features(images: Tensor) -> Tensor:
        bright = grey(images)
        edges = torch.cat([bright.diff(dim=2).flatten(1), bright.diff(dim=3).flatten(1)], dim=1).abs()
        border = torch.cat([bright[:, 0, 0], bright[:, 0, -1], bright[:, 0, :, 0], bright[:, 0, :, -1]], dim=1)
        parts = [part.quantile(shares, dim=1).T for part in (bright.flatten(1), edges, border)]
        return torch.cat([*parts, images.mean((2, 3)), images.std((2, 3))], dim=1)

    one, two = features(plain), features(changed)
    half = len(one) // 2
    known = torch.cat([one[:half], two[:half]])
    middle, spread = known.mean(0), known.std(0).clamp_min(1e-4)

    def design(values: Tensor) -> Tensor:
        scaled = ((values - middle) / spread).clamp(-5, 5)
        return torch.cat([torch.ones(len(values), 1), scaled, scaled.square()], dim=1).double()

    x = design(known)
    sides = torch.cat([-torch.ones(half), torch.ones(half)]).double()
    ridge = 0.02 * half * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(x.T @ x + ridge, x.T @ sides)
    right = torch.cat([design(one[half:]) @ weights < 0, design(two[half:]) @ weights > 0])
    return float(right.double().mean())
