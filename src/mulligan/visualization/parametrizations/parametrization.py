"""What every parametrization can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..statistics import ImageStatistics

Size = tuple[int, int]


class Parametrization(ABC):
    """Several pictures as parameters.

    Attributes:
        tensors: what is optimized; those of which each row is a picture.
        common: what is optimized and belongs to all pictures.
        rate: a step size that suits it.
    """

    rate: ClassVar[float] = 0.05

    def __init__(self, statistics: ImageStatistics, size: Size, device: torch.device) -> None:
        self.statistics, self.size = statistics, size
        self.mean, self.colour = statistics.mean.to(device), statistics.colour.to(device)
        self.tensors: list[Tensor] = []
        self.common: list[Tensor] = []

    @abstractmethod
    def plain(self, size: Size) -> Float[Tensor, "n c h w"]:
        """The pictures in decorrelated colours about the mean, at any size."""

    def logits(self, size: Size | None = None) -> Float[Tensor, "n c h w"]:
        """The pictures as logits of pixels."""
        plain = self.plain(size or self.size)
        return torch.einsum("ij,njhw->nihw", self.colour, plain) + self.mean[:, None, None]

    def pixels(self, size: Size | None = None) -> Float[Tensor, "n c h w"]:
        """The pictures, from 0 to 1."""
        return torch.sigmoid(self.logits(size))

    def decorrelated(self, logits: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Undoes what `logits` does to `plain`."""
        return torch.einsum("ij,njhw->nihw", torch.linalg.inv(self.colour), logits - self.mean[:, None, None])

    def keep(self, rows: Tensor) -> None:
        """Go on with these pictures alone."""
        self.tensors = [tensor.detach()[rows].requires_grad_(True) for tensor in self.tensors]


def leaf(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor to optimize."""
    return tensor.to(device).requires_grad_(True)
