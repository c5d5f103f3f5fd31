"""The optimizer that pictures climb by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .parametrizations import Parametrization


class Adam:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980) upward, for pictures that may leave.

    torch's own optimizers load torch's compiler when the first is made, which takes longer than many a climb.
    """

    def __init__(self, param: Parametrization, rate: float) -> None:
        self.param, self.rate, self.steps = param, rate, 0
        tensors = [*param.tensors, *param.common]
        self.means, self.squares = ([torch.zeros_like(t) for t in tensors] for _ in range(2))

    def step(self, slopes: Sequence[Tensor], scale: float) -> None:
        """One step along the slopes."""
        self.steps += 1
        with torch.no_grad():
            tensors = [*self.param.tensors, *self.param.common]
            for tensor, slope, mean, square in zip(tensors, slopes, self.means, self.squares, strict=True):
                finite = slope.nan_to_num(0, 0, 0)
                mean.lerp_(finite, 0.1)
                square.mul_(0.99).addcmul_(finite, finite, value=0.01)
                size = (square / (1 - 0.99**self.steps)).sqrt_().add_(1e-12)
                tensor.addcdiv_(mean / (1 - 0.9**self.steps), size, value=self.rate * scale)

    def keep(self, rows: Tensor) -> None:
        """Go on with these pictures alone."""
        n = len(self.param.tensors)
        for kept in (self.means, self.squares):
            kept[:n] = [state[rows] for state in kept[:n]]
