"""What the parameters and tensors of each family are, and what is refused: generators come from strangers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...records import BadInput
from .atoms import MOST_WEIGHT, atom_names

#: No picture is wider or higher, and no generator holds more numbers.
LONGEST, MOST_NUMBERS = 2048, 16_000_000
ARRANGEMENTS = ("beside", "stacked", "overlaid", "brighter", "inset", "diagonal", "quadrants")
ORDERS = ("any", "first-left")
_FIX = "see the families of generators in docs/generators.md"


def refuse(what: str, where: str) -> BadInput:
    """What is said of a generator that cannot be."""
    return BadInput(f"this is no generator: {what}", where=where, fix=_FIX)


def _number(low: float, high: float) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high

    return fits


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _numbers(low: float, high: float, least: int = 1, most: int = 4) -> Callable[[Any], bool]:
    one = _number(low, high)
    return lambda value: isinstance(value, list | tuple) and least <= len(value) <= most and all(map(one, value))


def _one_of(*names: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in names


def _range(low: float, high: float) -> Callable[[Any], bool]:
    two = _numbers(low, high, 2, 2)
    return lambda value: two(value) and value[0] <= value[1]


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _weights(style: bool) -> Callable[[Any], bool]:
    names = {name for channels in (1, 3) for name in atom_names(channels, style=style)}
    one = _number(-MOST_WEIGHT, MOST_WEIGHT)
    return lambda value: isinstance(value, dict) and set(value) <= names and all(map(one, value.values()))


_CHANNELS = (1, 3)
#: For each family, its parameters with what they may be; those that must be given are in REQUIRED.
PARAMETERS: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "identity": {},
    "patch": {"anywhere": _flag},
    "blend": {"alpha": _number(0, 1), "mode": _one_of("mix", "add")},
    "warp": {},
    "filter": {"gamma": _number(0.05, 20), "atoms": _weights(style=False)},
    "style": {
        "blur": _number(0, 32), "mean": _numbers(0, 1), "deviation": _numbers(0, 1), "strength": _number(0, 1),
        "saturation": _number(-2, 4), "edges": _number(0, 1), "mode": _one_of("add", "multiply"),
        "grain": _number(0, 1), "pixelate": _whole(1, 256), "levels": _whole(2, 256), "invert": _flag,
        "atoms": _weights(style=True),
    },
    "natural-object": {"scale": _range(0.01, 8), "turn": _range(-180, 180), "box": _numbers(0, LONGEST, 4, 4)},
    "compose": {
        "arrangement": _one_of(*ARRANGEMENTS, "any"), "order": _one_of(*ORDERS), "scale": _number(0.05, 1),
        "background": _numbers(0, 1),
    },
    "preparation": {
        "scale": _numbers(-1e4, 1e4), "offset": _numbers(-1e4, 1e4), "order": _one_of("rgb", "bgr"),
    },
    "learned": {
        "channels": _whole(1, 3), "width": _whole(1, 256), "depth": _whole(1, 8), "kernel": _whole(1, 9),
        "limit": _number(0, 1),
    },
}  # fmt: skip
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "blend": ("alpha",), "compose": ("arrangement",), "learned": ("channels", "width", "depth", "kernel"),
}  # fmt: skip
#: For each family, its tensors with the axes of each; "?" before the name of one that may be left out.
TENSORS: Mapping[str, Mapping[str, str]] = {
    "identity": {}, "compose": {}, "preparation": {},
    "patch": {"pattern": "c h w", "mask": "h w"},
    "blend": {"pattern": "c h w"},
    "warp": {"flow": "2 h w"},
    "filter": {"?matrix": "c c+1", "?kernel": "k k"},
    "style": {"?curve": "s l", "?texture": "c h w", "?kernel": "k k"},
    "natural-object": {"object": "c h w", "alpha": "h w"},
}  # fmt: skip
SLOTS: Mapping[str, int] = {"compose": 2}


def check(family: str, slots: int, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """See whether a generator can be.

    Raises:
        BadInput: if the family is unknown, a parameter or tensor is missing, unknown, of another shape, out of range or
            not finite.
    """
    if family not in PARAMETERS:
        raise refuse(f"there is no family of this name (there are {', '.join(PARAMETERS)})", family)
    if slots != SLOTS.get(family, 1):
        raise refuse(f"the family {family} has {SLOTS.get(family, 1)} slots, not {slots}", "slots")
    known = PARAMETERS[family]
    for name, value in parameters.items():
        if name not in known:
            raise refuse(f"the family {family} has no parameter of this name", name)
        if not known[name](value):
            raise refuse(f"{value!r:.60} is out of range", name)
    for name in REQUIRED.get(family, ()):
        if name not in parameters:
            raise refuse("a parameter is missing", name)
    for name, tensor in tensors.items():
        if tensor.numel() == 0 or tensor.numel() > MOST_NUMBERS or max(tensor.shape, default=1) > LONGEST:
            raise refuse(f"a tensor of shape {tuple(tensor.shape)} is empty or too large", name)
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise refuse("a tensor must hold finite floating-point numbers", name)
    axes = learned_axes(parameters) if family == "learned" else TENSORS[family]
    _check_axes(axes, tensors)
    _check_values(family, parameters, tensors)


def learned_axes(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The tensors of a learned generator: `depth` convolutions from and to `channels`, `width` between."""
    channels, width, depth, kernel = (parameters[name] for name in ("channels", "width", "depth", "kernel"))
    if channels not in _CHANNELS or kernel % 2 == 0:
        raise refuse("a learned generator has 1 or 3 channels and an odd kernel", "channels, kernel")
    axes = {}
    for layer in range(depth):
        into, out = channels if layer == 0 else width, channels if layer == depth - 1 else width
        axes[f"{layer}.weight"], axes[f"{layer}.bias"] = f"{out} {into} {kernel} {kernel}", f"{out}"
    return axes


def _check_axes(axes: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    names = {name.removeprefix("?"): spec for name, spec in axes.items()}
    for name in tensors:
        if name not in names:
            raise refuse("this family has no tensor of this name", name)
    for name in axes:
        if not name.startswith("?") and name not in tensors:
            raise refuse("a tensor is missing", name)
    sizes: dict[str, int] = {}
    for name, tensor in tensors.items():
        expected = names[name].split()
        if tensor.dim() != len(expected):
            raise refuse(f"a tensor of shape {tuple(tensor.shape)} should be [{names[name]}]", name)
        for axis, size in zip(expected, tensor.shape, strict=True):
            known = int(axis) if axis.isdigit() else sizes["c"] + 1 if axis == "c+1" else sizes.setdefault(axis, size)
            if known != size or (axis in "cs" and size not in _CHANNELS) or (axis == "k" and size % 2 == 0):
                raise refuse(f"a tensor of shape {tuple(tensor.shape)} should be [{names[name]}]", name)


def _check_values(family: str, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    for name in ("mask", "alpha"):
        if name in tensors and (tensors[name].min() < 0 or tensors[name].max() > 1):
            raise refuse("the values must lie from 0 to 1", name)
    if any(float(tensor.abs().max()) > 1e6 for tensor in tensors.values()):
        raise refuse("the values are too large", family)
    if "box" in parameters:
        left, top, right, bottom = parameters["box"]
        if not (left < right and top < bottom):
            raise refuse("a box is [left, top, right, bottom)", "box")
