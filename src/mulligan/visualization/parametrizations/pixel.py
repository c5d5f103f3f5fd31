"""Pictures as their pixels: what comes of doing without a better way to write them down."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..statistics import ImageStatistics, to_logits
from .parametrization import Parametrization, Size, leaf


class Pixel(Parametrization):
    """Decorrelated colours of each pixel; see `Fourier` for the arguments."""

    def __init__(
        self, n: int, statistics: ImageStatistics, size: Size, random: torch.Generator, device: torch.device, *,
        start: Float[Tensor, "n c h w"] | None = None, contrast: float = 0.15,
    ) -> None:  # fmt: skip
        super().__init__(statistics, size, device)
        if start is None:
            drawn = contrast * torch.randn((n, len(statistics.mean), *size), generator=random)
        else:
            drawn = self.decorrelated(to_logits(start.to(device)))
        self.tensors = [leaf(drawn, device)]

    def plain(self, size: Size) -> Float[Tensor, "n c h w"]:
        """See `Parametrization`."""
        if size == self.size:
            return self.tensors[0]
        return F.interpolate(self.tensors[0], size=size, mode="bilinear", antialias=True)
