"""Which network this is: a hash of architecture and weights that is the same every time it is loaded."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn

#: Counters that training leaves and that no answer depends on.
_BOOKKEEPING = ("num_batches_tracked",)
#: What a transformers config says beside the architecture: where it came from, names of answers, how to run it.
_NO_ARCHITECTURE = (
    "architectures", "attn_implementation", "dtype", "id2label", "label2id", "model_type", "name_or_path",
    "output_attentions", "output_hidden_states", "problem_type", "quantization_config", "return_dict", "torch_dtype",
    "transformers_version", "use_cache",
)  # fmt: skip


def architecture(module: nn.Module) -> str:
    """One line a module: its path, its class and what the class says of its settings."""
    lines = []
    for path, child in module.named_modules():
        try:
            extra = child.extra_repr()
        except Exception as error:  # a user's extra_repr may fail before the first pass; identity must not
            extra = f"({type(error).__name__})"
        lines.append(f"{path}:{type(child).__qualname__}({extra})")
    return "\n".join([*lines, _settings(module)])


def _settings(module: nn.Module) -> str:
    """What a transformers config adds that no module shows, such as the number of heads; "" for other modules."""
    # The difference from its class's defaults: new settings of a later version do not make another network.
    said = getattr(getattr(module, "config", None), "to_diff_dict", None)
    return json.dumps(_plain(said()), sort_keys=True) if callable(said) else ""


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {str(key): item for key, item in value.items() if not str(key).startswith("_")}
        return {key: _plain(item) for key, item in kept.items() if key not in _NO_ARCHITECTURE}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else type(value).__name__


def identity(module: nn.Module) -> str:
    """A sha256 over architecture, names, types, shapes and bytes of all parameters and buffers, in order of name."""
    sha = hashlib.sha256(architecture(module).encode())
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name in sorted(tensors):
        if name.rpartition(".")[2] in _BOOKKEEPING:
            continue
        tensor = tensors[name].detach().contiguous().cpu()
        sha.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{sha.hexdigest()}"
