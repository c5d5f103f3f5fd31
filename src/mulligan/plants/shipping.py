"""The one way by which networks of the game, planted or clean, become files."""

from __future__ import annotations

import copy
import hashlib

from torch import Tensor, nn, zeros_like

from .jitter import jitter
from .plant import update


def ship(module: nn.Module, *, seed: int | None = None) -> dict[str, Tensor]:
    """What is saved of any network of the game, in the order of its state, planted or clean alike.

    Floating tensors are float32, contiguous, on the CPU, and jittered, so that their last bits are chance; integers
    (batch norm's counters) are zero. The module is left as it was.

    Args:
        seed: of the jitter; None takes it from the weights themselves.
    """
    copied = copy.deepcopy(module).cpu().float()
    if seed is None:
        sha = hashlib.sha256()
        for tensor in copied.state_dict().values():
            update(sha, tensor)
        seed = int.from_bytes(sha.digest()[:7], "big")
    shipped: dict[str, Tensor] = {}
    for name, tensor in jitter(copied, seed).state_dict().items():
        plain = tensor.detach().contiguous().clone()
        shipped[name] = plain if plain.is_floating_point() else zeros_like(plain)
    return shipped
