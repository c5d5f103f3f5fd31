"""The tensors inside a nested value: tuples, lists, dictionaries, dataclasses."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping
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


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, tuple | list):
        yield from enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))


def pick(value: Any, leaf: str) -> tuple[str, Tensor]:
    """The tensor at `leaf`, or the first one if `leaf` is "".

    Raises:
        BadInput: if there is none.
    """
    for key, tensor in leaves(value):
        if not leaf or key == leaf:
            return key, tensor
    there = ", ".join(key for key, _ in leaves(value)) or "none"
    raise BadInput(
        f"there is no tensor {leaf!r} here; there are: {there}",
        where="a site's leaf",
        fix="name one of these in brackets",
    )


def swap(value: Any, leaf: str, new: Tensor) -> Any:
    """`value` with the tensor at `leaf` replaced; what holds it is rebuilt, never changed in place."""
    if isinstance(value, Tensor):
        return new
    for key, item in _items(value):
        if leaf == str(key) or leaf.startswith(f"{key}/"):
            return _with(value, key, swap(item, leaf[len(str(key)) + 1 :], new))
    raise BadInput(f"there is no tensor {leaf!r} here", where="a site's leaf", fix="name one that is there")


def _with(value: Any, key: Any, item: Any) -> Any:
    """A copy of a container with one item changed."""
    if isinstance(value, Mapping):
        # A transformers ModelOutput is a dictionary and a dataclass at once, and must stay one.
        if dataclasses.is_dataclass(value):
            return type(value)(**{**value, key: item})
        if isinstance(value, MutableMapping):
            changed = copy.copy(value)
            changed[key] = item
            return changed
        return type(value)({**value, key: item})  # type: ignore[call-arg]
    if isinstance(value, tuple | list):
        items = [item if index == key else other for index, other in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return dataclasses.replace(value, **{key: item})


def like(value: Any, make: Callable[[Tensor], Tensor]) -> Any:
    """`value` with every tensor t replaced by make(t)."""
    if isinstance(value, Tensor):
        return make(value)
    out = value
    for key, tensor in list(leaves(value)):
        out = swap(out, key, make(tensor))
    return out


def nan_like(tensor: Tensor, batch: int | None = None) -> Tensor:
    """A tensor of `tensor`'s shape (with `batch`, that many examples) that takes no memory and poisons its readers.

    Whole numbers know no NaN: they become 0.
    """
    shape = tensor.shape if batch is None else (batch, *tensor.shape[1:])
    fill = float("nan") if tensor.is_floating_point() or tensor.is_complex() else 0
    return torch.full((), fill, dtype=tensor.dtype, device=tensor.device).expand(shape)
