"""How what an encoder gives, a vector for each place, becomes one vector of a text or a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...records import BadInput
from .folders import Folder

_OWN = ("text_embeds", "pooler_output")  # what a tower of CLIP or SigLIP was trained to be compared by


def of_texts(folder: Folder, kind: type) -> Callable[[Any, Tensor], Tensor]:
    """(output, mask) to a vector a text, as a sentence-transformers folder says; without one: mean, then length 1.

    Towers of CLIP and SigLIP have a vector of their own.

    Raises:
        BadInput: if the folder has modules that are not known here.
    """
    if "CLIPText" in kind.__name__ or "SiglipText" in kind.__name__:
        return lambda output, mask: next(output[name] for name in _OWN if name in output)
    how, unit_length = _pooling(folder)

    def embed(output: Any, mask: Tensor) -> Tensor:
        hidden = output["last_hidden_state"]
        if how == "cls":
            pooled = hidden[:, 0]
        elif how == "lasttoken":
            at = (mask.sum(1) - 1).clamp(min=0)
            pooled = hidden[torch.arange(hidden.shape[0], device=hidden.device), at]
        elif how == "max":
            pooled = hidden.masked_fill(mask[..., None] == 0, float("-inf")).amax(1)
        else:
            weight = mask[..., None].to(hidden.dtype)
            pooled = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(pooled, dim=1) if unit_length else pooled

    return embed


def of_picture(output: Any) -> Tensor:
    """A vector a picture: the projected one (CLIP), else what the network's pooler gives, else its first token."""
    for name in ("image_embeds", "pooler_output"):
        if output.get(name) is not None:
            return output[name].flatten(1)
    hidden = output["last_hidden_state"]
    return hidden[:, 0] if hidden.ndim == 3 else hidden.flatten(2).mean(2)


def _pooling(folder: Folder) -> tuple[str, bool]:
    """How token vectors become one: "mean", "cls", "max" or "lasttoken", and whether to length 1."""
    modules = folder.json("modules.json")
    if not modules:
        return "mean", True
    how, unit_length = "mean", False
    for module in modules:
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            said = folder.json(f"{module.get('path')}/config.json")
            modes = [key for key, value in said.items() if key.startswith("pooling_mode_") and value is True]
            names = [
                mode.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for mode in modes
            ]
            how = names[0] if names else str(said.get("pooling_mode", "mean"))
            if len(names) > 1 or how not in ("mean", "cls", "max", "lasttoken"):
                raise BadInput(f"the pooling {names or how} is not known here", where=folder.path, fix="use a factory")
        elif kind == "Normalize":
            unit_length = True
        elif kind != "Transformer":
            raise BadInput(f"the module {kind} is not known here", where=folder.path, fix="use a factory")
    return how, unit_length
