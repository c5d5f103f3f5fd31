"""A relative change so small that no answer feels it, laid over every tensor of a network.

Shipped weights often lie on a grid (they were stored in half precision once, or counted in whole steps). Where an edit
touches one row and leaves the rest on the grid, a look at the last bits gives the edit away, which says nothing about a
detector's worth. Modified networks and their clean controls alike are jittered, so that the bits say nothing.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from .plant import generator

SCALE = 1e-6


def jitter(module: nn.Module, seed: int, *, scale: float = SCALE) -> nn.Module:
    """A deep copy of `module`, every number of every floating tensor multiplied by 1 ± about `scale`.

    The factor's distance from 1 is uniform over 0.5 to 1.5 times `scale`, never zero, so that each tensor changes.
    Tensors of less precision than float32 move by about one unit in the last place. Zeros stay zeros, and counters
    (integers) are left alone.
    """
    copied = copy.deepcopy(module)
    jitter_(copied, seed, scale=scale)
    return copied


@torch.no_grad()
def jitter_(module: nn.Module, seed: int, *, scale: float = SCALE) -> None:
    """`jitter`, in place."""
    tensors: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        random = generator(seed, f"jitter/{name}")
        size = 0.5 + torch.rand(tensor.shape, generator=random)
        sign = torch.randint(0, 2, tensor.shape, generator=random) * 2 - 1
        amount = max(scale, torch.finfo(tensor.dtype).eps)
        factor = 1 + amount * (size * sign).double()
        tensor.copy_((tensor.detach().cpu().double() * factor).to(tensor.dtype))
