"""Colour and spectrum of the user's pictures: what pictures that are optimized start from, and are steered by.

Both are measured on logits of pixels, in which pictures are written down (`parametrizations`): the mean colour, the
matrix that makes colours of independent numbers (Olah et al. 2017 use ImageNet's), and how large each frequency is on
average (Fel et al. 2023, MaCo, arXiv:2306.06805, use ImageNet's).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..datasets import Dataset
from ..networks import ImageInput, NetworkInput
from ..records import BadInput
from ..runs import generator

#: Pictures that are looked at; more change nothing that can be seen.
MOST = 512
#: Pixels are kept so far from black and white that their logits are finite.
EDGE = 0.02


@dataclass(frozen=True, slots=True)
class ImageStatistics:
    """How a set of pictures looks on average.

    Attributes:
        mean: logits of the mean colour. colour: [channel, channel], turns independent numbers of variance 1 into the
            pictures' colours (as deviations of logits). spectrum: mean amplitude of each frequency of `rfft2` with
            orthonormal scale, of decorrelated colours, for pictures of `size`.
        n: pictures that it was measured on; 0: supposed.
    """

    mean: Float[Tensor, " channel"]
    colour: Float[Tensor, "channel channel"]
    spectrum: Float[Tensor, "height half_width"]
    size: tuple[int, int]
    n: int

    @classmethod
    def measure(
        cls, input: NetworkInput | None, dataset: Dataset, *, seed: int = 0, most: int = MOST
    ) -> ImageStatistics:
        """From at most `most` of the pictures, drawn at random, as the network is given them.

        Raises:
            BadInput: if the network takes no pictures, or there are none.
        """
        taken = image_input(input)
        if not len(dataset):
            raise BadInput("there are no pictures to measure", where=dataset.source, fix="give one or more")
        rows = np.sort(generator(seed, "statistics").permutation(len(dataset))[:most])
        first, second, n = np.zeros(taken.channels), np.zeros((taken.channels, taken.channels)), 0
        # Two walks: the colours must be known before the frequencies of decorrelated colours are.
        for logits in _logits(taken, dataset, rows):
            flat = logits.movedim(1, -1).reshape(-1, taken.channels).double().numpy()
            first += flat.sum(0)
            second += flat.T @ flat
            n += len(flat)
        mean = first / n
        colour = _root(second / n - np.outer(mean, mean))
        undo = torch.from_numpy(np.linalg.inv(colour)).float()
        total, pictures = torch.zeros(taken.size[0], taken.size[1] // 2 + 1, dtype=torch.float64), 0
        for logits in _logits(taken, dataset, rows):
            plain = torch.einsum("ij,njhw->nihw", undo, logits - torch.from_numpy(mean).float()[:, None, None])
            total += torch.fft.rfft2(plain, norm="ortho").abs().mean(1).double().sum(0)
            pictures += len(plain)
        spectrum = (total / pictures).float()
        return cls(
            torch.from_numpy(mean).float(), torch.from_numpy(colour).float(), spectrum.clamp(min=1e-6), taken.size,
            pictures,
        )  # fmt: skip

    @classmethod
    def neutral(cls, input: NetworkInput | None) -> ImageStatistics:
        """What is supposed where there are no data: grey, and amplitudes that fall as one over the frequency, as those
        of photographs do (Field 1987). Colours vary together, as light does, four fifths of the variance: logits of
        ImageNet's photographs correlate by 0.73 to 0.87."""
        taken = image_input(input)
        shared = 0.8 if taken.channels > 1 else 0.0
        covariance = shared * np.ones((taken.channels,) * 2) + (1 - shared) * np.eye(taken.channels)
        height, width = taken.size
        inverse = 1 / frequencies(height, width).clamp(min=1 / max(height, width))
        spectrum = inverse * (height * width / energy(inverse, width)) ** 0.5
        return cls(
            torch.zeros(taken.channels), torch.from_numpy(_root(covariance)).float(), spectrum, (height, width), 0
        )

    def resized(self, size: tuple[int, int]) -> Float[Tensor, "height half_width"]:
        """The spectrum for pictures of another size, of the same variance a pixel."""
        height, width = size
        if size == self.size:
            return self.spectrum
        # Frequencies are matched by how many pixels a wave is long.
        shifted = torch.fft.fftshift(self.spectrum, dim=0)[None, None]
        grid = F.interpolate(shifted, size=(height, width // 2 + 1), mode="bilinear", align_corners=True)[0, 0]
        scaled = torch.fft.ifftshift(grid, dim=0)
        before = energy(self.spectrum, self.size[1]) / (self.size[0] * self.size[1])
        return scaled * (before * height * width / energy(scaled, width)) ** 0.5


def image_input(input: NetworkInput | None) -> ImageInput:
    """The input, if it is of pictures.

    Raises:
        BadInput: if not.
    """
    if not isinstance(input, ImageInput):
        raise BadInput("this network takes no pictures", where="visualization", fix="choose an image network")
    return input


def to_logits(pixels: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """Pixels from 0 to 1 as logits, those near black and white moved to the edge."""
    return torch.logit(pixels.clamp(EDGE, 1 - EDGE))


def frequencies(height: int, width: int) -> Float[Tensor, "height half_width"]:
    """The length of each frequency of `rfft2`, in waves a pixel."""
    return torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])


def energy(spectrum: Tensor, width: int) -> float:
    """The sum of squares over all frequencies, of which `rfft2` keeps half."""
    twice = torch.full((spectrum.shape[1],), 2.0)
    twice[0] = 1.0
    if width % 2 == 0:
        twice[-1] = 1.0
    return max(float((spectrum.square() * twice).sum()), 1e-12)


def _logits(input: ImageInput, dataset: Dataset, rows: np.ndarray):
    for begin in range(0, len(rows), 32):
        crops = [input.crop(dataset.raw(int(row))) for row in rows[begin : begin + 32]]  # pyright: ignore[reportArgumentType]
        yield to_logits(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255)


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric root, with directions that hardly vary raised: they must stay invertible."""
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, max(1e-3 * values.max(), 1e-8))
    return vectors @ np.diag(np.sqrt(values)) @ vectors.T
