"""Reshaping and joining in a file that was exported for a fixed number of examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .table import Function, run


class Reshape(Function):
    """ONNX's Reshape or Flatten, which learns from one pass at the file's own batch where the batch stands.

    The file holds sizes as numbers ([1, -1] for a batch of 1), which would mix the examples of a larger batch. The axis
    in which an input differs from the first one is taken to be the batch, and put to the same place in memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def forward(self, *args: Any) -> Tensor:
        """The first input in its new shape."""
        x: Tensor = args[0]
        if self.seen is None:
            out = super().forward(*args)
            self.seen = tuple(x.shape), tuple(out.shape)
            return out
        return x.reshape(rebatched(x.shape, *self.seen))

    def extra_repr(self) -> str:
        """The shapes of the pass that it learned from."""
        return f"{super().extra_repr()}, seen={self.seen}"


class Concat(Function):
    """ONNX's Concat: a constant that stands for one example (a class token) is laid beside each of several."""

    def forward(self, *args: Any) -> Tensor:
        """The inputs in a row."""
        batch = args[0].shape[0] if args and args[0].dim() else 1
        axis = self._settings["axis"]
        given = iter(args)
        full = [
            getattr(self, self._constants[number]) if number in self._constants else next(given)
            for number in range(len(self._slots))
        ]
        if axis:
            full = [one.expand(batch, *one.shape[1:]) if one.dim() and one.shape[0] == 1 else one for one in full]
        return run(self._spec, full, self._settings)


def rebatched(shape: Sequence[int], before: Sequence[int], after: Sequence[int]) -> list[int]:
    """What `shape` becomes where `before` became `after`, if they differ in the batch alone.

    Where several axes could hold the batch, the first that is not the last of all: there stand features.
    """
    differ = [axis for axis, (one, other) in enumerate(zip(shape, before, strict=True)) if one != other]
    new = list(after)
    if len(differ) != 1:
        return new
    axis = differ[0]
    ahead = math.prod(before[:axis])
    starts = [at for at in range(len(after)) if math.prod(after[:at]) == ahead]
    place = next((at for at in starts if at < len(after) - 1), None)
    if place is None:
        place = max((at for at in range(len(after)) if math.prod(after[: at + 1]) <= ahead), default=0)
    new[place] = new[place] * shape[axis] // before[axis]
    return new
