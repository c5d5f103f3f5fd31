"""Small random changes before each step, so that a picture holds what a unit sees and no pattern of single pixels.

Jitter, rotation and scale are drawn for each picture and done by one resampling; Olah et al. 2017 do one after another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Transforms:
    """How far pictures are moved.

    Attributes:
        jitter: the largest shift, as a share of the side. rotate: the largest turn, in degrees. scale: the largest
            enlargement or reduction, as a share. pad: mean-coloured pixels laid around first, as a share of the side:
            what is shifted out of the picture is then cut off, and what comes in is plain.
    """

    jitter: float = 0.06
    rotate: float = 10.0
    scale: float = 0.12
    pad: float = 0.0

    def __call__(
        self, pixels: Float[Tensor, "n c h w"], random: torch.Generator, strength: float = 1.0
    ) -> Float[Tensor, "n c h w"]:
        """Each picture moved by a draw of its own; the size stays.

        Args:
            strength: a factor on all of it.
        """
        if strength <= 0 or not (self.jitter or self.rotate or self.scale or self.pad):
            return pixels
        n, _, height, width = pixels.shape
        draw = (2 * torch.rand((4, n), generator=random) - 1) * strength
        angle, zoom = draw[0] * math.radians(self.rotate), 1 + draw[1] * self.scale
        # A theta of `affine_grid` is where output places look, on a scale of 2 a side.
        cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
        aspect = height / width
        theta = torch.stack(
            [
                torch.stack([cosine, -sine * aspect, 2 * draw[2] * self.jitter], 1),
                torch.stack([sine / aspect, cosine, 2 * draw[3] * self.jitter], 1),
            ],
            1,
        ).to(pixels)
        shown = pixels
        if self.pad:
            border = round(self.pad * max(height, width))
            mean = pixels.mean((2, 3), keepdim=True)
            shown = F.pad(pixels - mean, (border,) * 4) + mean
            theta = theta * torch.tensor([width / (width + 2 * border), height / (height + 2 * border), 1.0]).to(theta)
        grid = F.affine_grid(theta, [n, 1, height, width], align_corners=False)
        return F.grid_sample(shown, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


#: What is used unless something else is said; none at all.
ROBUST, STILL = Transforms(), Transforms(0.0, 0.0, 0.0)
