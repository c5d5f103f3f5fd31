"""Which network this is: a hash of architecture and weights that is the same every time it is loaded."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

#: Counters that training leaves and that no answer depends on.
_BOOKKEEPING = ("num_batches_tracked",)


def architecture(module: nn.Module) -> str:
    """One line a module: its path, its class and what the class says of its settings."""
    lines = []
    for path, child in module.named_modules():
        try:
            extra = child.extra_repr()
        except Exception as error:  # a user's extra_repr may fail before the first pass; identity must not
            extra = f"({type(error).__name__})"
        lines.append(f"{path}:{type(child).__qualname__}({extra})")
    return "\n".join(lines)


def identity(module: nn.Module) -> str:
    """"sha256:..." over architecture, names, types, shapes and bytes of every parameter and buffer, in order of name."""
    sha = hashlib.sha256(architecture(module).encode())
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name in sorted(tensors):
        if name.rpartition(".")[2] in _BOOKKEEPING:
            continue
        tensor = tensors[name].detach().contiguous().cpu()
        sha.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{sha.hexdigest()}"
