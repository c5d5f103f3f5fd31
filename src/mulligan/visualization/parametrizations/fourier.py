"""Pictures as frequencies: each as large as it is in the user's pictures (Olah et al. 2017, with measured sizes)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..statistics import ImageStatistics, energy, frequencies, to_logits
from .parametrization import Parametrization, Size, leaf


class Fourier(Parametrization):
    """Amplitudes of frequencies, in units of the statistics' spectrum.

    A smaller canvas is the same picture without its high frequencies, so that what is found on it carries over.

    Args:
        start: pictures from 0 to 1 to begin with; None: noise of `contrast`, as a share of what pictures have.
        soft: see `softness`.
    """

    rate: ClassVar[float] = 0.04

    def __init__(
        self, n: int, statistics: ImageStatistics, size: Size, random: torch.Generator, device: torch.device, *,
        start: Float[Tensor, "n c h w"] | None = None, contrast: float = 0.15, soft: float = 0.4,
    ) -> None:  # fmt: skip
        super().__init__(statistics, size, device)
        self.spectrum = softened(statistics.resized(size), size, soft).to(device)
        channels = len(statistics.mean)
        if start is None:
            drawn = contrast * torch.randn((n, channels, *self.spectrum.shape, 2), generator=random)
        else:
            waves = torch.fft.rfft2(self.decorrelated(to_logits(start.to(device))), norm="ortho")
            drawn = torch.view_as_real(waves) / self.spectrum[..., None]
        self.tensors = [leaf(drawn, device)]

    def plain(self, size: Size) -> Float[Tensor, "n c h w"]:
        """See `Parametrization`."""
        waves = torch.view_as_complex(self.tensors[0] * self.spectrum[..., None])
        return canvas(waves, self.size, size)


def softness(steps: int) -> float:
    """The power of the frequency by which a unit of high ones is smaller than in the statistics, for so many steps.

    Gradients are strongest there, and pictures that follow them are harsh and crowded, the more so the longer they do:
    0.4 at 128 steps or fewer, where it costs about a tenth of what is reached; 0.2 more for each doubling, at most 0.8.
    """
    return min(0.8, 0.4 + 0.2 * max(0.0, math.log2(steps / 128)))


def softened(spectrum: Tensor, size: Size, power: float) -> Tensor:
    """A spectrum whose high frequencies are smaller, of the same variance a pixel."""
    bent = spectrum * (frequencies(*size) * max(size)).clamp(min=1.0) ** -power
    return bent * (energy(spectrum, size[1]) / energy(bent, size[1])) ** 0.5


def canvas(waves: Tensor, size: Size, wanted: Size) -> Tensor:
    """Frequencies of pictures of one size as pictures of a size that is at most as large (or larger: no new detail)."""
    if wanted == size:
        return torch.fft.irfft2(waves, s=size, norm="ortho")
    height, width = min(size[0], wanted[0]), min(size[1], wanted[1])
    top, bottom, across = (height + 1) // 2, height // 2, width // 2 + 1
    cut = torch.cat([waves[..., :top, :across], waves[..., waves.shape[-2] - bottom :, :across]], -2)
    if (height, width) != wanted:
        whole = cut.new_zeros((*cut.shape[:-2], wanted[0], wanted[1] // 2 + 1))
        whole[..., :top, :across] = cut[..., :top, :]
        whole[..., wanted[0] - bottom :, :across] = cut[..., top:, :]
        cut = whole
    scale = ((wanted[0] * wanted[1]) / (size[0] * size[1])) ** 0.5
    return torch.fft.irfft2(cut * scale, s=wanted, norm="ortho")
