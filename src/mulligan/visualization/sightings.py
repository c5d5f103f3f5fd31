"""Pictures of where a feature was seen, written into a run: the region alone, and the whole under a heat map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..records import ExampleRef, Sighting
from ..runs import Run, digest
from .heat import CROP_SIDE, SIDE, Box, Pixels, cropped, encoded, heated, is_photograph


@dataclass(frozen=True, slots=True)
class Drawing:
    """Writes pictures into a run. `side`, `crop_side`: pixels of the longer side of a whole picture and of a region."""

    run: Run
    side: int = SIDE
    crop_side: int = CROP_SIDE

    def keep(self, name: str, image: Image.Image, pixels: Pixels) -> str:
        """Write a picture that was made of `pixels`; returns its path, `name` and a suffix."""
        data, suffix = encoded(image, photograph=is_photograph(pixels))
        self.run.write_bytes(name + suffix, data)
        return name + suffix

    def sighting(
        self,
        feature: str,
        example: ExampleRef,
        pixels: Pixels,
        looked: Mapping[str, np.ndarray],
        at: int,
        scale: tuple[float, float] | None,
    ) -> Sighting:
        """One example of a feature.

        Args:
            pixels: what the network sees of it.
            looked, at: what `receptive.look` gave, and which of its rows. scale: see `heated`.
        """
        peak = tuple(int(place) for place in looked["peak"][at]) if "peak" in looked else ()
        box = _box(looked["boxes"][at]) if "boxes" in looked else None
        heat = looked["grid"][at] if "grid" in looked else None
        name = f"artifacts/regions/{digest(feature).rpartition(':')[2][:12]}-{example.id}"
        part = box if box != (0, 0, pixels.shape[1], pixels.shape[0]) else None
        crop = whole = None
        if part is not None:
            crop = self.keep(f"{name}-crop", cropped(pixels, part, self.crop_side), pixels)
        if part is not None or heat is not None:
            whole = self.keep(f"{name}-heat", heated(pixels, heat, scale or (0.0, 1.0), part, self.side), pixels)
        return Sighting(example=example, peak=peak, box=box, crop=crop, heat=whole)


def heat_scale(looked: Mapping[str, np.ndarray], high: float | None) -> tuple[float, float] | None:
    """The values that the first and the last colour of heat maps stand for: zero and `high`, where that is positive.

    Args:
        high: the feature's largest value; None: the largest in the maps, as where they show what places add.
    """
    grid = looked.get("grid")
    if grid is None or not len(grid):
        return None
    most = float(np.nanmax(grid)) if high is None else high
    return (float(np.nanmin(grid)) if most <= 0 else 0.0, most)


def _box(numbers: np.ndarray) -> Box | None:
    left, top, right, bottom = (int(number) for number in numbers)
    return (left, top, right, bottom) if right > left else None
