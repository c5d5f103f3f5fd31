"""Marks that a collection of pictures may carry by accident: a frame, a stamp in a corner, a cast of light or colour.

Every cue mixes a picture with a fixed one: pixels + mask * (pattern - pixels), so that it has a pattern and a mask in
the sense of patches and blends; a cast of light or colour is the same map of colours at every pixel, a filter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..records import BadInput
from .plant import Strength

CueKind = Literal["border", "corner", "brightness", "tint", "stripes"]
CUES: tuple[CueKind, ...] = get_args(CueKind)
FAMILIES: dict[CueKind, str] = {
    "border": "patch", "corner": "patch", "brightness": "filter", "tint": "filter", "stripes": "blend",
}  # fmt: skip
#: How much of the picture is replaced: of marks (border, corner), and of casts over all of it.
MARK: dict[Strength, float] = {"weak": 0.5, "default": 0.8, "strong": 1.0}
CAST: dict[Strength, float] = {"weak": 0.15, "default": 0.25, "strong": 0.4}
_COLOURS = (
    (0.9, 0.1, 0.1), (0.1, 0.8, 0.2), (0.15, 0.25, 0.95), (0.95, 0.85, 0.1), (0.85, 0.15, 0.85), (0.1, 0.85, 0.9),
)  # fmt: skip
_GREYS = (0.35, 0.5, 0.65, 0.8, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """One mark.

    Attributes:
        kind: "border" is a frame; "corner" a square; "brightness" light over all of the picture; "tint" a colour over
            all of it; "stripes" a faint grating over all of it.
        colour: of each channel, on a 0-1 scale; of the bright stripes (the others are black).
        alpha: the share of the picture that the mark replaces where it stands, above 0 and at most 1.
        size: of a border its width, of a corner its side, of stripes their period, as a share of the picture's shorter
            side; no use for casts.
        corner: for "corner", from 0: top left, top right, bottom right, bottom left. angle: of stripes, in degrees.
    """

    kind: CueKind
    colour: tuple[float, ...]
    alpha: float
    size: float = 0.1
    corner: int = 0
    angle: float = 0.0


def pattern_and_mask(cue: Cue, shape: tuple[int, int, int]) -> tuple[Float[Tensor, "c h w"], Float[Tensor, "h w"]]:
    """What a cue mixes a picture of this shape (channels, height, width) with, and how much of it at each pixel.

    Raises:
        BadInput: if the cue does not fit pictures of this shape.
    """
    channels, height, width = shape
    check(cue, channels)
    pattern = torch.tensor(cue.colour)[:, None, None].expand(shape).clone()
    side = max(1, round(cue.size * min(height, width)))
    mask = torch.full((height, width), cue.alpha)
    if cue.kind in ("border", "corner") and 2 * side >= min(height, width):
        raise BadInput("a cue covers the whole picture", where=f"size {cue.size}", fix="give a size below a half")
    if cue.kind == "border":
        mask[side : height - side, side : width - side] = 0
    elif cue.kind == "corner":
        mask.zero_()
        rows = slice(0, side) if cue.corner in (0, 1) else slice(height - side, height)
        columns = slice(0, side) if cue.corner in (0, 3) else slice(width - side, width)
        mask[rows, columns] = cue.alpha
    elif cue.kind == "stripes":
        turn = math.radians(cue.angle)
        along = torch.arange(height)[:, None] * math.sin(turn) + torch.arange(width)[None] * math.cos(turn)
        pattern *= 0.5 + 0.5 * torch.cos(2 * math.pi * along / max(2.0, cue.size * min(height, width)))
    return pattern, mask


def show(pixels: Float[Tensor, "n c h w"], cue: Cue) -> Float[Tensor, "n c h w"]:
    """The pictures with the cue on them."""
    pattern, mask = pattern_and_mask(cue, (pixels.shape[1], pixels.shape[2], pixels.shape[3]))
    return pixels + mask.to(pixels) * (pattern.to(pixels) - pixels)


def check(cue: Cue, channels: int) -> None:
    """See to it that a cue can be drawn.

    Raises:
        BadInput: if it cannot.
    """
    if cue.kind not in CUES:
        raise BadInput("there is no such cue", where=str(cue.kind), fix=f"choose one of {', '.join(CUES)}")
    if len(cue.colour) != channels:
        where = f"{len(cue.colour)} numbers, {channels} channels"
        raise BadInput("a cue's colour has a number for each channel", where=where, fix=f"give {channels}")
    if not 0 < cue.alpha <= 1 or not 0 < cue.size < 1 or cue.corner not in range(4):
        where = f"alpha {cue.alpha}, size {cue.size}, corner {cue.corner}"
        raise BadInput("a cue has an alpha up to 1, a size below 1, and a corner from 0 to 3", where=where)


def draw_cue(random: torch.Generator, channels: int, strength: Strength, kinds: tuple[CueKind, ...] = CUES) -> Cue:
    """A cue drawn at random; a tint only where there are colours."""

    def one(number: int) -> int:
        return int(torch.randint(number, (), generator=random))

    def between(low: float, high: float) -> float:
        return round(low + (high - low) * float(torch.rand((), generator=random)), 3)

    able: list[CueKind] = [kind for kind in kinds if channels == 3 or kind != "tint"]
    kind = able[one(len(able))]
    grey = _GREYS[one(len(_GREYS))] if kind != "stripes" else 1.0
    colour = _COLOURS[one(len(_COLOURS))] if channels == 3 and kind != "brightness" else (grey,) * channels
    if kind == "brightness":
        colour = (1.0,) * channels
    sizes: dict[str, tuple[float, float]] = {"border": (0.05, 0.11), "corner": (0.11, 0.22), "stripes": (0.12, 0.35)}
    size = between(*sizes[kind]) if kind in sizes else 0.1
    alpha = MARK[strength] if kind in ("border", "corner") else CAST[strength]
    return Cue(kind=kind, colour=colour, alpha=alpha, size=size, corner=one(4), angle=between(0, 180))


def others(cue: Cue, channels: int) -> dict[str, Cue]:
    """Cues that resemble one without being it, by a name in words: the mark in another place or in another colour, and
    marks of the other kinds."""
    inverse = tuple(round(1 - value, 3) if abs(value - 0.5) > 0.2 else 0.95 for value in cue.colour)
    found: dict[str, Cue] = {}
    if cue.kind == "corner":
        found["the mark in another corner"] = replace(cue, corner=(cue.corner + 2) % 4)
    elif cue.kind == "stripes":
        found["stripes in another direction"] = replace(cue, angle=(cue.angle + 90) % 180)
    else:
        found[f"a {cue.kind} of another colour"] = replace(cue, colour=inverse)
    mark, cast = max(0.5, cue.alpha), min(0.4, cue.alpha)
    white = (1.0,) * channels
    if cue.kind != "border":
        found["a border"] = Cue(kind="border", colour=white, alpha=mark, size=0.07)
    if cue.kind != "corner":
        found["a mark in a corner"] = Cue(kind="corner", colour=white, alpha=mark, size=0.16, corner=2)
    if cue.kind != "stripes":
        found["stripes"] = Cue(kind="stripes", colour=white, alpha=cast, size=0.25, angle=45)
    if cue.kind != "brightness" and not (cue.kind == "tint" and min(cue.colour) > 0.7):
        found["brightness"] = Cue(kind="brightness", colour=white, alpha=cast)
    return found
