"""Pictures that share what they can: what is common to a batch is written down once, so that they line up.

Mordvintsev et al. 2018, "Differentiable Image Parameterizations" (doi 10.23915/distill.00012), aligned interpolation.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..statistics import ImageStatistics
from .fourier import Fourier
from .parametrization import Parametrization, Size


class Shared(Parametrization):
    """Each picture is the sum of its own frequencies and of common ones.

    Args:
        share: of a picture's variance at the start that is common.
    """

    def __init__(
        self, n: int, statistics: ImageStatistics, size: Size, random: torch.Generator, device: torch.device, *,
        start: Float[Tensor, "n c h w"] | None = None, share: float = 0.75, contrast: float = 0.15,
        soft: float = 0.4,
    ) -> None:  # fmt: skip
        super().__init__(statistics, size, device)
        self._weights = share**0.5, (1 - share) ** 0.5
        begun = None if start is None else start.mean(0, keepdim=True)
        self._both = Fourier(1, statistics, size, random, device, start=begun, contrast=contrast, soft=soft)
        self._own = Fourier(n, statistics, size, random, device, contrast=contrast, soft=soft)
        if start is not None:
            with torch.no_grad():
                self._both.tensors[0] /= self._weights[0]
                self._own.tensors[0].zero_()
        self.tensors, self.common = self._own.tensors, self._both.tensors

    def plain(self, size: Size) -> Float[Tensor, "n c h w"]:
        """See `Parametrization`."""
        self._own.tensors = self.tensors
        return self._weights[0] * self._both.plain(size) + self._weights[1] * self._own.plain(size)
