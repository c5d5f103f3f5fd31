"""Pictures under their factors' colours: each place belongs to the factor that is largest there.

Colour, hatching and a number say the same three times, so that nobody needs to tell colours apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from ...visualization.heat import small

SIDE = 336  # pixels of the longer side of an overlay
ALONE = 128  # of a picture with one factor lit
_LEAST = 0.2  # of the largest size in the picture, below which a place belongs to no factor
_FADED = 128.0
_PERIOD = 12  # pixels from one line of a hatching to the next

Pixels = UInt8[np.ndarray, "height width channel"]
Sizes = Float[np.ndarray, "rows columns factor"]


def hatched(name: str, height: int, width: int, period: int = _PERIOD) -> Bool[np.ndarray, "height width"]:
    """Where the lines of a hatching are ("rising", "falling", "level", "upright", "crossed", "dotted")."""
    y, x = np.mgrid[:height, :width]
    thick = max(period // 5, 1)
    lines = {
        "rising": (x + y) % period < thick,
        "falling": (x - y) % period < thick,
        "level": y % period < thick,
        "upright": x % period < thick,
    }
    if name == "crossed":
        return lines["rising"] | lines["falling"]
    if name == "dotted":
        half = period // 2
        return (x % period - half) ** 2 + (y % period - half) ** 2 <= (period / 4) ** 2
    return lines[name]


def overlay(
    pixels: Pixels, sizes: Sizes, colours: Sequence[str], hatches: Sequence[str], least: float = 0.0
) -> Image.Image:
    """The picture in grey, each place in the colour and hatching of its largest factor, stronger where that is larger;
    the factor's number stands where it is largest.

    Args:
        least: what counts as large at least, so that a picture that holds little of any factor is not full of colours.
    """
    image = small(pixels, SIDE).convert("RGB")
    width, height = image.size
    grown = np.stack([_grown(sizes[:, :, k], width, height) for k in range(sizes.shape[2])], 2)
    most = max(float(sizes.max()), least, 1e-12)
    owner, strength = grown.argmax(2), np.clip(grown.max(2) / most, 0, 1)
    owner[strength < _LEAST] = -1
    grey = np.repeat(np.asarray(image.convert("L"), np.float32)[:, :, None], 3, 2)
    mixed = grey * 0.8 + 40
    for k, (colour, hatch) in enumerate(zip(colours, hatches, strict=True)):
        mine = owner == k
        if not mine.any():
            continue
        tint = np.asarray(_rgb(colour), np.float32)
        share = (0.25 + 0.3 * strength)[:, :, None]
        mixed = np.where(mine[:, :, None], (1 - share) * mixed + share * tint, mixed)
        lines = mine & hatched(hatch, height, width)
        mixed[lines] = 0.35 * mixed[lines] + 0.65 * tint
    mixed[_edges(owner)] = 20
    picture = Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
    _number(picture, sizes, owner)
    return picture


def alone(pixels: Pixels, sizes: Float[np.ndarray, "rows columns"], most: float) -> Image.Image:
    """The picture, faded to grey where there is little of one factor; `most`: the size that is fully seen."""
    image = small(pixels, ALONE).convert("RGB")
    light = _grown(sizes / max(most, 1e-12), *image.size).clip(0, 1)[:, :, None]
    # To grey and not to black: what lies on a dark ground must be seen, too.
    share = 0.1 + 0.9 * light
    lit = share * np.asarray(image, np.float32) + (1 - share) * _FADED
    return Image.fromarray(lit.round().astype(np.uint8))


def _grown(grid: Float[np.ndarray, "rows columns"], width: int, height: int) -> Float[np.ndarray, "height width"]:
    image = Image.fromarray(np.ascontiguousarray(grid, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.float32)


def _edges(owner: Int[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    found = np.zeros(owner.shape, dtype=bool)
    found[:, 1:] |= owner[:, 1:] != owner[:, :-1]
    found[1:] |= owner[1:] != owner[:-1]
    return found


def _number(picture: Image.Image, sizes: Sizes, owner: Int[np.ndarray, "height width"]) -> None:
    """Write each factor's number where it is largest among the places that are its own."""
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=15)
    rows, columns, factors = sizes.shape
    height, width = owner.shape
    for k in range(factors):
        mine = np.where(sizes.argmax(2) == k, sizes[:, :, k], -1.0)
        at = np.unravel_index(int(mine.argmax()), mine.shape)
        y, x = int((at[0] + 0.5) * height / rows), int((at[1] + 0.5) * width / columns)
        if mine.max() <= 0 or owner[min(y, height - 1), min(x, width - 1)] != k:
            continue
        x, y = min(max(x, 12), width - 12), min(max(y, 12), height - 12)
        pen.ellipse((x - 11, y - 11, x + 11, y + 11), fill=(255, 255, 255), outline=(20, 20, 20), width=2)
        pen.text((x, y), str(k + 1), fill=(20, 20, 20), font=font, anchor="mm")


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
