"""The tensors inside a nested value: tuples, lists, dictionaries, dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..records import BadInput


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in `value` with its key: positions and names joined with "/", "" for a bare tensor."""
    if isinstance(value, Tensor):
        yield prefix, value
        return
    for key, item in _items(value):
        yield from leaves(item, f"{prefix}/{key}" if prefix else str(key))


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(key), item) for key, item in value.items())
    elif isinstance(value, tuple | list):
        yield from ((str(index), item) for index, item in enumerate(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))


def pick(value: Any, leaf: str) -> tuple[str, Tensor]:
    """The tensor at `leaf`, or the first one if `leaf` is "".

    Raises:
        BadInput: if there is none.
    """
    found = dict(leaves(value))
    if not leaf and found:
        return next(iter(found.items()))
    if leaf in found:
        return leaf, found[leaf]
    raise BadInput(f"there is no tensor {leaf!r} here; there are: {', '.join(found) or 'none'}", where="a site's leaf", fix="name one of these in brackets")


def swap(value: Any, leaf: str, new: Tensor) -> Any:
    """`value` with the tensor at `leaf` replaced; what holds it is rebuilt, never changed in place."""
    if isinstance(value, Tensor):
        return new
    key, _, rest = leaf.partition("/")
    if isinstance(value, Mapping):
        inner = swap(value[key], rest, new)
        # A transformers ModelOutput is a dictionary and a dataclass at once, and must stay one.
        rebuilt = type(value)(**{**value, key: inner}) if dataclasses.is_dataclass(value) else type(value)({**value, key: inner})  # type: ignore[call-arg]
        return rebuilt
    if isinstance(value, tuple | list):
        items = list(value)
        items[int(key)] = swap(items[int(key)], rest, new)
        if hasattr(value, "_fields"):
            return type(value)(*items)
        return type(value)(items)
    return dataclasses.replace(value, **{key: swap(getattr(value, key), rest, new)})


def like(value: Any, make: Any) -> Any:
    """`value` with every tensor t replaced by make(t)."""
    out = value
    for key, tensor in list(leaves(value)):
        out = swap(out, key, make(tensor))
    return out


def nan_like(tensor: Tensor, batch: int) -> Tensor:
    """A tensor of `tensor`'s shape (batch axis resized to `batch`) that takes no memory and poisons all that reads it."""
    shape = (batch, *tensor.shape[1:]) if tensor.dim() else ()
    fill = float("nan") if tensor.is_floating_point() else 0
    return torch.full((), fill, dtype=tensor.dtype, device=tensor.device).expand(shape)
