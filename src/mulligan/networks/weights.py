"""Weights from files, without ever running what is in them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..records import BadInput

_CONVERT = (
    "in a place where you trust the file, load it and save its state_dict with safetensors.torch.save_file, "
    "then give that file"
)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A state dict from safetensors, or from a torch file that loads with weights_only=True.

    Raises:
        BadInput: if the file is missing, truncated, or asks to be unpickled as code.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput("there is no such weights file", where=path, fix="check the path given to --weights")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise _damaged(path, error) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own old formats
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # An "unsupported operand" is a byte that no pickle has; other unsupported things are code.
        if "Unsupported operand" not in str(error) and "nsupported" in str(error):
            raise BadInput(
                "this file wants to be unpickled as code, which Mulligan never does", where=path, fix=_CONVERT
            ) from error
        raise BadInput(
            "this is not a weights file, or it is damaged",
            where=path,
            fix=f"give safetensors or a torch state dict; or {_CONVERT}",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        if "TorchScript" in str(error):
            raise BadInput("this is a TorchScript program, not weights alone", where=path, fix=_CONVERT) from error
        raise _damaged(path, error) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise BadInput(
            "this torch file holds no state dict (names to tensors)",
            where=path,
            fix="save model.state_dict() and give that file",
        )
    return {str(key): value for key, value in loaded.items()}


def _damaged(path: Path, error: Exception) -> BadInput:
    first = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    return BadInput(f"the weights file is damaged or truncated: {first}", where=path, fix="copy or download it again")


def put_weights(module: nn.Module, state: Mapping[str, Tensor], where: object) -> None:
    """Load a state dict that must fit exactly. Of names that share one tensor (tied weights), one is enough.

    Raises:
        BadInput: naming the first five keys that are missing, unexpected or of another shape; or that hold NaN.
    """
    own = module.state_dict()
    given = {_place(own[key]): key for key in own if key in state}
    missing = [key for key in own if _place(own[key]) not in given and not key.endswith("num_batches_tracked")]
    fixed = dict(module.named_buffers())
    # Older files also hold tables that the network makes by itself, such as numbers of positions.
    extra = [key for key in state if key not in own and not (key in fixed and _alike(state[key], fixed[key]))]
    shapes = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    complaints = [
        f"{len(keys)} {what}, first {', '.join(keys[:5])}"
        for what, keys in (("missing", missing), ("unexpected", extra), ("of another shape", shapes))
        if keys
    ]
    if complaints:
        raise BadInput(
            f"the weights do not fit this network: {'; '.join(complaints)}",
            where=where,
            fix="give the weights of this very architecture",
        )
    untied = [
        f"{key} and {given[_place(own[key])]}"
        for key in own
        if key in state and not torch.equal(state[key], state[given[_place(own[key])]])
    ]
    broken = [key for key, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise BadInput(
            f"{len(broken)} weight tensors hold NaN or infinity, first {', '.join(broken[:5])}",
            where=where,
            fix="take an earlier checkpoint",
        )
    if untied:
        raise BadInput(
            f"this network has one tensor where the weights have two that differ: {', '.join(untied[:5])}",
            where=where,
            fix="give the weights of this very architecture",
        )
    module.load_state_dict(
        {key: state[given[_place(own[key])]] if _place(own[key]) in given else own[key] for key in own}
    )


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.double(), other.double(), rtol=1e-3)


def _place(tensor: Tensor) -> object:
    """Where a tensor lies in memory: equal for tied weights. Empty tensors lie nowhere and are never tied."""
    return (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else id(tensor)
