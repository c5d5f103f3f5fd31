"""Small pictures of examples: as they are, under a heat map with an outline, and the outlined region alone."""

from __future__ import annotations

import io
import math

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image, ImageDraw

from ..records import HEAT_COLOURS

SIDE = 160  # pixels of the longer side of a small picture
CROP_SIDE = 120  # of a region
_FEW = 64  # pixels: up to here a picture is enlarged pixel by pixel
_SHARES = 0.25, 0.7  # of the heat map's colour where it is lowest and highest, the rest being the picture in grey
_COLOURS = np.asarray([[int(c[at : at + 2], 16) for at in (1, 3, 5)] for c in HEAT_COLOURS], np.float32)

Pixels = UInt8[np.ndarray, "height width channel"]
Heat = Float[np.ndarray, "rows columns"]
Box = tuple[int, int, int, int]


def small(pixels: Pixels, side: int = SIDE) -> Image.Image:
    """The picture with a longer side of about `side` pixels; small ones are enlarged by a whole number, unblurred."""
    return _sized(_image(pixels), side)


def heated(
    pixels: Pixels, heat: Heat | None, scale: tuple[float, float], box: Box | None, side: int = SIDE
) -> Image.Image:
    """The picture in grey under the heat map, with the box outlined.

    Args:
        heat: values at the places of a grid that covers the picture evenly; None: the picture stays as it is.
        scale: the values that the first and the last colour stand for; what lies beyond has the same colours.
        box: [left, top, right, bottom) in pixels of the picture.
    """
    image = small(pixels, side).convert("RGB")
    if heat is not None:
        values = np.asarray(Image.fromarray(_level(heat, scale)).resize(image.size, Image.Resampling.BILINEAR))
        # Where nothing fires, the picture shows through.
        share = (_SHARES[0] + (_SHARES[1] - _SHARES[0]) * values)[:, :, None]
        grey = np.asarray(image.convert("L"), np.float32)[:, :, None]
        mixed = (1 - share) * grey + share * coloured(values)
        image = Image.fromarray(mixed.round().astype(np.uint8))
    if box is not None:
        across, down = image.width / pixels.shape[1], image.height / pixels.shape[0]
        left, top, right, bottom = (
            round(side * by) for side, by in zip(box, (across, down, across, down), strict=True)
        )
        pen = ImageDraw.Draw(image)
        outline = (left, top, max(right - 1, left + 2), max(bottom - 1, top + 2))
        # Dark and light together are seen on every picture.
        pen.rectangle(outline, outline=(0, 0, 0), width=3)
        pen.rectangle((outline[0] + 1, outline[1] + 1, outline[2] - 1, outline[3] - 1), outline=(255, 255, 255))
    return image


def cropped(pixels: Pixels, box: Box, side: int = CROP_SIDE) -> Image.Image:
    """The region alone, enlarged."""
    left, top, right, bottom = box
    return _sized(_image(pixels[top:bottom, left:right]), side)


def coloured(level: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width 3"]:
    """Values from 0 to 1 as colours from 0 to 255."""
    at = np.clip(level, 0, 1) * (len(_COLOURS) - 1)
    below = np.minimum(at.astype(np.int64), len(_COLOURS) - 2)
    share = (at - below).astype(np.float32)[..., None]
    return (1 - share) * _COLOURS[below] + share * _COLOURS[below + 1]


def encoded(image: Image.Image, *, photograph: bool) -> tuple[bytes, str]:
    """A picture's file and its suffix: JPEG for photographs, PNG for what has few pixels."""
    out = io.BytesIO()
    if photograph:
        image.convert("L" if image.mode == "L" else "RGB").save(out, "JPEG", quality=88)
        return out.getvalue(), ".jpg"
    image.save(out, "PNG")
    return out.getvalue(), ".png"


def is_photograph(pixels: Pixels) -> bool:
    """Whether the picture has so many pixels that JPEG does it no harm."""
    return max(pixels.shape[:2]) > _FEW


def _level(heat: Heat, scale: tuple[float, float]) -> Float32[np.ndarray, "rows columns"]:
    low, high = scale
    width = high - low
    if not (math.isfinite(width) and width > 0):
        return np.zeros(heat.shape, np.float32)
    return np.clip(np.nan_to_num((heat - low) / width), 0, 1).astype(np.float32)


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def _sized(image: Image.Image, side: int) -> Image.Image:
    longest = max(image.size)
    if longest <= _FEW:
        by = max(1, side // longest)
        return image.resize((image.width * by, image.height * by), Image.Resampling.NEAREST)
    size = (max(1, round(image.width * side / longest)), max(1, round(image.height * side / longest)))
    return image.resize(size, Image.Resampling.LANCZOS)
