"""What plants measure: answers, accuracy, fractions with exact intervals."""

from __future__ import annotations

from collections.abc import Callable

import scipy.stats
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..records import Quantity


def fraction(hits: float, n: int, unit: str, *, level: float = 0.95) -> Quantity:
    """A fraction with the exact interval of Clopper & Pearson (Biometrika 1934).

    Args:
        hits: how many of `n` succeeded. It need not be whole: where each individual was tried several times, `hits`
            is the sum of the individuals' rates and `n` counts individuals, which is wider than counting every try as
            independent.

    Raises:
        ValueError: if `n` is zero.
    """
    if n < 1:
        raise ValueError(f"a fraction of nothing is not a number ({unit})")
    tail = (1 - level) / 2
    low = float(scipy.stats.beta.ppf(tail, hits, n - hits + 1)) if hits > 0 else 0.0
    high = float(scipy.stats.beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return Quantity(value=hits / n, unit=unit, low=low, high=high, level=level, n=n)


@torch.no_grad()
def logits(
    module: nn.Module, prepare: Callable[[Tensor], Tensor], pixels: Float[Tensor, "n c h w"], *, batch: int = 128
) -> Float[Tensor, "n classes"]:
    """What the module answers to pixels on a 0-1 scale, on the CPU in float32; in the mode that the module is in."""
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    outputs = [module(prepare(part.to(device))).float().cpu() for part in pixels.split(batch)]
    return torch.cat(outputs)


def accuracy(answers: Int[Tensor, " n"], labels: Int[Tensor, " n"]) -> Quantity:
    """The fraction of fresh images that are answered rightly."""
    return fraction(float((answers == labels).sum()), len(labels), "fraction of fresh images answered rightly")


def margins(outputs: Float[Tensor, "n classes"], target: int) -> Float[Tensor, " n"]:
    """The target's logit above the best of the others; negative where something else is answered."""
    others = outputs.clone()
    others[:, target] = -torch.inf
    return outputs[:, target] - others.amax(1)
