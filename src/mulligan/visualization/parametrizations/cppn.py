"""Pictures as small networks from a pixel's place to its colour: smooth, and drawn at any size (Stanley 2007).

Mordvintsev et al. 2018, "Differentiable Image Parameterizations" (doi 10.23915/distill.00012), section on CPPNs.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ...records import BadInput
from ..statistics import ImageStatistics
from .parametrization import Parametrization, Size, leaf

HIDDEN, LAYERS = 24, 6


class Cppn(Parametrization):
    """A network a picture: arctangents and their squares, so that it has both edges and blobs."""

    rate: ClassVar[float] = 0.01

    def __init__(
        self, n: int, statistics: ImageStatistics, size: Size, random: torch.Generator, device: torch.device, *,
        start: Float[Tensor, "n c h w"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(statistics, size, device)
        if start is not None:
            raise BadInput("a CPPN cannot begin with a picture", where="parametrization", fix="choose fourier")
        widths = [3, *[2 * HIDDEN] * (LAYERS - 1), 2 * HIDDEN]
        outs = [*[HIDDEN] * LAYERS, len(statistics.mean)]
        self._device = device
        for into, out in zip([*widths], outs, strict=True):
            scale = into**-0.5 if out == HIDDEN else 0.1 * into**-0.5
            self.tensors.append(leaf(scale * torch.randn((n, into, out), generator=random), device))

    def plain(self, size: Size) -> Float[Tensor, "n c h w"]:
        """See `Parametrization`."""
        height, width = size
        y, x = (torch.linspace(-1.7, 1.7, steps, device=self._device) for steps in (height, width))
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        places = torch.stack([rows, columns, torch.hypot(rows, columns) - 1.2], -1).reshape(1, -1, 3)
        hidden = places.expand(len(self.tensors[0]), -1, -1)
        for number, weight in enumerate(self.tensors):
            hidden = torch.bmm(hidden, weight)
            if number < len(self.tensors) - 1:
                bent = torch.atan(hidden)
                hidden = torch.cat([bent / 0.67, (bent.square() - 0.45) / 0.4], -1)
        return hidden.transpose(1, 2).reshape(len(hidden), -1, height, width)
