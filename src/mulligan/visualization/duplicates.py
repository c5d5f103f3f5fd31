"""Near-duplicates: two pictures (or texts) of one thing, so that the strongest examples are not nine times the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from jaxtyping import Float32
from PIL import Image

from ..datasets import Dataset
from ..networks import ImageInput, Network

#: Tiny pictures that correlate so strongly are called near-duplicates: a photograph saved again, resized or made
#: lighter. Cropped and mirrored ones are another matter: they are other pictures to a network, too.
ALIKE = 0.985
#: Texts that share such a part of their words.
SAME_WORDS = 0.9
_TINY = 16  # pixels of a side

Prints = Float32[np.ndarray, "tiny"]


class Likeness:
    """Tells near-duplicates among a data set's examples; each example is read once.

    Pictures are compared as the network sees them, shrunk to 16 x 16: the correlation of their pixels, which neither
    brightness nor contrast changes. Arrays are compared by their correlation, texts by their words.
    """

    def __init__(self, network: Network, dataset: Dataset) -> None:
        self._input, self._dataset = network.input, dataset
        self._prints: dict[int, Prints | frozenset[str]] = {}

    def alike(self, one: int, other: int) -> bool:
        """Whether two examples are near-duplicates, by their numbers in the data."""
        a, b = self._print(one), self._print(other)
        if isinstance(a, frozenset) or isinstance(b, frozenset):
            a, b = cast("frozenset[str]", a), cast("frozenset[str]", b)
            return len(a & b) >= SAME_WORDS * len(a | b)
        return float(np.vdot(a, b)) >= ALIKE

    def _print(self, row: int) -> Prints | frozenset[str]:
        if row not in self._prints:
            self._prints[row] = self._made(self._dataset.raw(row))
        return self._prints[row]

    def _made(self, raw: object) -> Prints | frozenset[str]:
        if isinstance(raw, str):
            return frozenset(raw.casefold().split())
        if isinstance(self._input, ImageInput):
            pixels = self._input.crop(cast("Image.Image | np.ndarray", raw))
            grey = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("L")
            values = np.asarray(grey.resize((_TINY, _TINY), Image.Resampling.BOX), np.float32).ravel()
        else:
            values = np.asarray(raw, np.float32).ravel()
        values = values - values.mean()
        # What has one value everywhere is like nothing but its equal, and is no loss.
        return values / max(float(np.linalg.norm(values)), 1e-6)


def distinct(order: Sequence[int], alike: Callable[[int, int], bool]) -> tuple[list[int], int]:
    """Of examples in their order, those that are no near-duplicate of an earlier one, and how many were left out."""
    kept: list[int] = []
    for row in order:
        if not any(alike(row, before) for before in kept):
            kept.append(row)
    return kept, len(order) - len(kept)
