"""MaCo: the amplitude of each frequency stays what it is in the user's pictures; only phases are optimized.

Fel et al. 2023, "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization",
arXiv:2306.06805. Where gradients on the pixels were large over the whole climb is kept as a mask of importance.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..statistics import ImageStatistics, to_logits
from .fourier import canvas
from .parametrization import Parametrization, Size, leaf


class MaCo(Parametrization):
    """Phases of frequencies; see `Fourier` for the arguments."""

    rate: ClassVar[float] = 0.2

    def __init__(
        self, n: int, statistics: ImageStatistics, size: Size, random: torch.Generator, device: torch.device, *,
        start: Float[Tensor, "n c h w"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(statistics, size, device)
        self.spectrum = statistics.resized(size).to(device)
        channels = len(statistics.mean)
        if start is None:
            phase = (2 * torch.rand((n, channels, *self.spectrum.shape), generator=random) - 1) * torch.pi
        else:
            phase = torch.fft.rfft2(self.decorrelated(to_logits(start.to(device))), norm="ortho").angle()
        self.tensors = [leaf(phase, device)]

    def plain(self, size: Size) -> Float[Tensor, "n c h w"]:
        """See `Parametrization`."""
        return canvas(torch.polar(self.spectrum.expand_as(self.tensors[0]), self.tensors[0]), self.size, size)
