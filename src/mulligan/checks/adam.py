"""Adam (Kingma & Ba 2015, arXiv:1412.6980), as searches use it.

torch's own optimizers load torch's compiler when the first one is made, which takes longer than a tenth of an audit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_TINY = 1e-8


class Adam:
    """Moves parameters along their gradients. Both averages forget quickly by default, since searches are short."""

    def __init__(self, parameters: Sequence[Tensor], rate: float, *, mean: float = 0.8, square: float = 0.95) -> None:
        self._parameters, self.rate, self._steps = list(parameters), rate, 0
        self._mean, self._square = mean, square
        self._means = [torch.zeros_like(p) for p in self._parameters]
        self._squares = [torch.zeros_like(p) for p in self._parameters]

    def step(self, loss: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """One step down the loss; gives its gradients to `others`, which stay as they are."""
        every = torch.autograd.grad(loss, [*self._parameters, *others])
        gradients, asked = every[: len(self._parameters)], every[len(self._parameters) :]
        self._steps += 1
        with torch.no_grad():
            for parameter, gradient, mean, square in zip(
                self._parameters, gradients, self._means, self._squares, strict=True
            ):
                mean.lerp_(gradient, 1 - self._mean)
                square.mul_(self._square).addcmul_(gradient, gradient, value=1 - self._square)
                size = (square / (1 - self._square**self._steps)).sqrt_().add_(_TINY)
                parameter.addcdiv_(mean / (1 - self._mean**self._steps), size, value=-self.rate)
        return asked
