"""A level's cells packed into pictures: tiles that cover the plane exactly once, whole from the start, better later.

A cell that is not drawn yet is a square: its colour is that of its commonest label, its size says how many activations
it holds. So an atlas is whole before its first cell is drawn, and stays whole if the drawing is broken off.
"""

from __future__ import annotations

import colorsys
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from ...records import AtlasTile

TILE = 768  # the most pixels along a side of a tile
PAPER = (236, 232, 224)
QUALITY = 88

Pixels = UInt8[np.ndarray, "height width channel"]


def cell_pixels(side: int) -> int:
    """How many pixels a cell is given along each side: the coarser the zoom, the more."""
    return next((pixels for most, pixels in ((8, 128), (16, 96), (32, 64)) if side <= most), 48)


def tile_grid(side: int, pixels: int, folder: str) -> tuple[AtlasTile, ...]:
    """The tiles of `side` x `side` cells, row by row: each cell is in exactly one, and none is larger than `TILE`."""
    per = max(1, TILE // pixels)
    starts = range(0, side, per)
    return tuple(
        AtlasTile(
            row=row, column=column, rows=min(per, side - row), columns=min(per, side - column),
            image=f"{folder}/{side}/{row}-{column}.jpg",
        )
        for row in starts
        for column in starts
    )  # fmt: skip


@dataclass
class Canvas:
    """What a level's tiles are painted from.

    Attributes:
        counts: activations in each cell. kept: the cells that are shown. hues: a number a cell from 0 to 1; NaN: grey.
    """

    side: int
    pixels: int
    counts: Int64[np.ndarray, " cell"]
    kept: Int64[np.ndarray, " cell"]
    hues: np.ndarray

    def paint(self, tile: AtlasTile, drawn: Mapping[int, Pixels]) -> bytes:
        """A tile as JPEG: its cells' pictures where they are drawn, squares where not, paper where nothing is."""
        picture = np.empty((tile.rows * self.pixels, tile.columns * self.pixels, 3), np.uint8)
        picture[:] = PAPER
        shown = set(self.kept.tolist())
        most = max(int(self.counts.max(initial=1)), 1)
        for row in range(tile.rows):
            for column in range(tile.columns):
                cell = (tile.row + row) * self.side + tile.column + column
                if cell not in shown:
                    continue
                square = fitted(drawn[cell], self.pixels) if cell in drawn else self._square(cell, most)
                top, left = row * self.pixels, column * self.pixels
                picture[top : top + self.pixels, left : left + self.pixels] = square
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "JPEG", quality=QUALITY, subsampling=0)
        return out.getvalue()

    def _square(self, cell: int, most: int) -> Pixels:
        square = np.empty((self.pixels, self.pixels, 3), np.uint8)
        square[:] = PAPER
        share = math.sqrt(self.counts[cell] / most)
        margin = round((self.pixels - 1) / 2 * (1 - (0.35 + 0.6 * share)))
        square[margin : self.pixels - margin, margin : self.pixels - margin] = colour(float(self.hues[cell]))
        return square


def fitted(picture: Pixels, pixels: int) -> Pixels:
    """A picture as a cell shows it: square, in colour."""
    if picture.shape[2] == 1:
        picture = picture.repeat(3, axis=2)
    if picture.shape[:2] == (pixels, pixels):
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((pixels, pixels), Image.Resampling.LANCZOS))


def colour(hue: float) -> tuple[int, int, int]:
    """A muted colour of this hue; grey for NaN."""
    if math.isnan(hue):
        return (150, 148, 144)
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, 0.52, 0.45)
    return round(255 * red), round(255 * green), round(255 * blue)


def label_hues(labels: Int64[np.ndarray, "cell class"] | None, cells: int) -> np.ndarray:
    """A hue a cell, of its commonest label; NaN where no label is known. Hues of neighbours in number lie far apart."""
    hues = np.full(cells, np.nan)
    if labels is not None:
        known = labels.sum(1) > 0
        hues[known] = labels[known].argmax(1) * 0.61803398875 % 1.0
    return hues
