"""Operators that move, cut, pick and make numbers (https://onnx.ai/onnx/operators)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....records import BadInput
from .table import affordable, common, operator


def _listed(numbers: Any) -> tuple[Any, ...]:
    """Numbers as a tuple; one number as a tuple of one."""
    return tuple(numbers) if isinstance(numbers, tuple | list) else (numbers,)


@operator("Shape")
def shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


@operator("Size")
def size(x: Tensor) -> Tensor:
    return torch.tensor(x.numel())


@operator("Reshape", numbers=(1,))
def reshape(x: Tensor, shape: Any, *, allowzero: int = 0) -> Tensor:
    sizes = [x.shape[i] if side == 0 and not allowzero else side for i, side in enumerate(_listed(shape))]
    return x.reshape(sizes)


@operator("Flatten")
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1) if x.numel() else x.reshape(math.prod(x.shape[:axis]), 0)


@operator("Transpose")
def transpose(x: Tensor, *, perm: tuple[int, ...] | None = None) -> Tensor:
    return x.permute(perm or tuple(range(x.dim()))[::-1])


@operator("Squeeze", numbers=(1,))
def squeeze(x: Tensor, axes: Any = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(_listed(axes))


@operator("Unsqueeze", numbers=(1,))
def unsqueeze(x: Tensor, axes: Any) -> Tensor:
    rank = x.dim() + len(_listed(axes))
    for axis in sorted(axis % rank for axis in _listed(axes)):
        x = x.unsqueeze(axis)
    return x


@operator("Concat")
def concat(*tensors: Tensor, axis: int) -> Tensor:
    return torch.cat(common(*tensors), axis)


@operator("Split", numbers=(1,))
def split(
    x: Tensor, split: Any = None, *, axis: int = 0, num_outputs: int | None = None, outputs: int = 1
) -> tuple[Tensor, ...]:
    if split is not None:
        return torch.split(x, list(split), axis)
    length, number = x.shape[axis], num_outputs or outputs
    each = math.ceil(length / number)
    return torch.split(x, [max(min(each, length - each * index), 0) for index in range(number)], axis)


@operator("Slice", numbers=(1, 2, 3, 4))
def cut(x: Tensor, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Tensor:
    starts, ends = _listed(starts), _listed(ends)
    over = _listed(axes) if axes is not None else range(len(starts))
    by = _listed(steps) if steps is not None else (1,) * len(starts)
    for start, end, axis, step in zip(starts, ends, over, by, strict=True):
        # Python's own slices clip as ONNX's do; ends as far down as a number goes mean "to the first".
        length = x.shape[axis]
        picked = range(length)[start : None if step < 0 and end < -length else end : step]
        if step == 1:
            x = x.narrow(axis, picked.start, len(picked)) if len(picked) else x.narrow(axis, 0, 0)
        else:
            x = x.index_select(axis, torch.tensor(list(picked), dtype=torch.int64, device=x.device))
    return x


@operator("Gather")
def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    axis %= max(x.dim(), 1)
    indices = indices.to(x.device, torch.int64)
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    picked = x.index_select(axis, indices.reshape(-1))
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


@operator("GatherElements")
def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    indices = indices.to(torch.int64)
    return torch.gather(x, axis, torch.where(indices < 0, indices + x.shape[axis], indices))


def _wrapped(indices: Tensor, sizes: Any) -> tuple[Tensor, ...]:
    """Index tuples [..., k] as k index tensors, negative ones counted from the end."""
    return tuple(torch.where(one < 0, one + side, one) for one, side in zip(indices.unbind(-1), sizes, strict=False))


@operator("GatherND")
def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    if not batch_dims:
        return x[_wrapped(indices, x.shape)]
    flat, inner = x.flatten(0, batch_dims - 1), indices.flatten(0, batch_dims - 1)
    rows = torch.stack([one[_wrapped(at, one.shape)] for one, at in zip(flat, inner, strict=True)])
    return rows.reshape([*x.shape[:batch_dims], *rows.shape[1:]])


@operator("ScatterND")
def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    places = _wrapped(indices, x.shape)
    if reduction == "none":
        return x.clone().index_put_(places, updates)
    if reduction == "add":
        return x.clone().index_put_(places, updates, accumulate=True)
    raise BadInput(f"ScatterND with {reduction} is not known here", where="ONNX", fix="export it with an older opset")


@operator("ScatterElements", "Scatter")
def scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none") -> Tensor:
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    if reduction == "none":
        return x.scatter(axis, indices, updates)
    how = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[reduction]
    return x.scatter_reduce(axis, indices, updates, how)


@operator("Expand", numbers=(1,))
def expand(x: Tensor, shape: Any) -> Tensor:
    sizes = torch.broadcast_shapes(x.shape, _listed(shape))
    affordable(sizes, "Expand")
    return x.expand(sizes)


@operator("Tile", numbers=(1,))
def tile(x: Tensor, repeats: Any) -> Tensor:
    affordable([side * times for side, times in zip(x.shape, _listed(repeats), strict=True)], "Tile")
    return x.repeat(_listed(repeats))


@operator("ConstantOfShape", numbers=(0,))
def constant_of_shape(shape: Any, *, value: Tensor | None = None) -> Tensor:
    affordable(_listed(shape), "ConstantOfShape")
    one = value if value is not None else torch.zeros(1)
    return one.reshape(()).expand(_listed(shape)).clone()


@operator("Range")
def numbers(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    first, last, step = start.item(), limit.item(), delta.item()
    if not step:
        raise BadInput("a Range steps by 0", where="ONNX", fix="do not trust this file")
    affordable([max(math.ceil((last - first) / step), 0)], "Range")
    return torch.arange(first, last, step, dtype=start.dtype) if (last - first) / step > 0 else start.new_zeros(0)


@operator("EyeLike")
def eye_like(x: Tensor, *, k: int = 0, dtype: int | None = None) -> Tensor:
    from .reading import element

    kind = element(dtype) if dtype is not None else x.dtype
    return torch.ones(x.shape, dtype=kind).triu(k).tril(k)


@operator("Trilu", numbers=(1,))
def trilu(x: Tensor, k: Any = None, *, upper: int = 1) -> Tensor:
    at = _listed(k)[0] if k is not None else 0
    return torch.triu(x, at) if upper else torch.tril(x, at)


@operator("OneHot", numbers=(1,))
def one_hot(indices: Tensor, depth: Any, values: Tensor, *, axis: int = -1) -> Tensor:
    number = int(_listed(depth)[0])
    affordable([indices.numel(), number], "OneHot")
    at = axis % (indices.dim() + 1)
    whole = indices.to(torch.int64).unsqueeze(at)
    wanted = torch.where(whole < 0, whole + number, whole)
    places = torch.arange(number, device=indices.device).reshape([-1 if i == at else 1 for i in range(whole.dim())])
    return torch.where(wanted == places, values[1], values[0])


@operator("NonZero")
def non_zero(x: Tensor) -> Tensor:
    return torch.nonzero(x).T


@operator("DepthToSpace")
def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    batch, channels, height, width = x.shape
    inner = channels // blocksize**2
    if mode == "DCR":
        x = x.reshape(batch, blocksize, blocksize, inner, height, width).permute(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(batch, inner, blocksize, blocksize, height, width).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, inner, height * blocksize, width * blocksize)


@operator("SpaceToDepth")
def space_to_depth(x: Tensor, *, blocksize: int) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // blocksize, blocksize, width // blocksize, blocksize)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(batch, -1, height // blocksize, width // blocksize)


@operator("Pad", numbers=(1, 2, 3))
def pad(
    x: Tensor, pads: Any, constant: Any = None, axes: Any = None, *, mode: str = "constant", value: float = 0.0
) -> Tensor:
    over = [axis % x.dim() for axis in _listed(axes)] if axes is not None else list(range(x.dim()))
    given = _listed(pads)
    begin, end = [0] * x.dim(), [0] * x.dim()
    for number, axis in enumerate(over):
        begin[axis], end[axis] = int(given[number]), int(given[number + len(over)])
    affordable([side + one + other for side, one, other in zip(x.shape, begin, end, strict=True)], "Pad")
    if mode == "constant":
        both = [side for pair in zip(reversed(begin), reversed(end), strict=True) for side in pair]
        return F.pad(x, both, value=_listed(constant)[0] if constant is not None else value)
    for axis in over:
        places = torch.arange(-begin[axis], x.shape[axis] + end[axis], device=x.device)
        length = x.shape[axis]
        if mode == "edge":
            places = places.clamp(0, length - 1)
        elif mode == "wrap":
            places = places % length
        elif mode == "reflect":
            period = max(2 * (length - 1), 1)
            places = places % period
            places = torch.where(places >= length, period - places, places)
        else:
            raise BadInput(f"Pad by {mode} is not known here", where="ONNX", fix="export it with constant padding")
        if begin[axis] or end[axis]:
            x = x.index_select(axis, places)
    return x


@operator("Resize", numbers=(1, 2, 3))
def resize(
    x: Tensor, roi: Any = None, scales: Any = None, sizes: Any = None, *, mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel", nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75, exclude_outside: int = 0, extrapolation_value: float = 0.0, antialias: int = 0,
    axes: tuple[int, ...] | None = None, keep_aspect_ratio_policy: str = "stretch", opset: int = 13,
) -> Tensor:  # fmt: skip
    if opset < 11:  # there, the second input is the scales, and a place is taken as it is
        scales, coordinate_transformation_mode, nearest_mode = roi, "asymmetric", "floor"
    if antialias or exclude_outside or keep_aspect_ratio_policy != "stretch":
        raise BadInput(
            "Resize with antialias, exclude_outside or a kept aspect ratio is not known here",
            where="ONNX",
            fix="export it without",
        )
    over = [axis % x.dim() for axis in axes] if axes is not None else list(range(x.dim()))
    by = {axis: float(one) for axis, one in zip(over, _listed(scales), strict=True)} if scales else {}
    to = {axis: int(one) for axis, one in zip(over, _listed(sizes), strict=True)} if sizes else {}
    wanted = {axis: to[axis] if axis in to else math.floor(x.shape[axis] * by[axis]) for axis in over}
    affordable([wanted.get(axis, side) for axis, side in enumerate(x.shape)], "Resize")
    kind = x.dtype
    x = x if x.is_floating_point() or mode == "nearest" else x.to(torch.float32)
    for axis in over:
        scale = by.get(axis, wanted[axis] / x.shape[axis])
        if wanted[axis] == x.shape[axis] and scale == 1:
            continue
        at = _places(coordinate_transformation_mode, wanted[axis], x.shape[axis], scale)
        x = _sampled(x, axis, at.to(x.device), mode, nearest_mode, cubic_coeff_a)
    return x.to(kind)


@operator("Upsample", numbers=(1,))
def upsample(x: Tensor, scales: Any, *, mode: str = "nearest") -> Tensor:
    return resize(
        x, None, scales, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor", opset=13
    )


def _places(how: str, wanted: int, length: int, scale: float) -> Tensor:
    """Where in the old axis each place of the new one is read."""
    out = torch.arange(wanted, dtype=torch.float64)
    match how:
        case "half_pixel":
            return (out + 0.5) / scale - 0.5
        case "pytorch_half_pixel":
            return (out + 0.5) / scale - 0.5 if wanted > 1 else torch.zeros_like(out)
        case "half_pixel_symmetric":
            adjustment = wanted / (scale * length)
            return length / 2 * (1 - adjustment) + (out + 0.5) / scale - 0.5
        case "align_corners":
            return out * (length - 1) / (wanted - 1) if wanted > 1 else torch.zeros_like(out)
        case "asymmetric":
            return out / scale
    raise BadInput(f"Resize by {how} is not known here", where="ONNX", fix="export it with half_pixel")


def _sampled(x: Tensor, axis: int, at: Tensor, mode: str, nearest: str, a: float) -> Tensor:
    """The tensor read at fractional places along one axis."""
    last = x.shape[axis] - 1
    if mode == "nearest":
        rounded = {
            "round_prefer_floor": torch.ceil(at - 0.5),
            "round_prefer_ceil": torch.floor(at + 0.5),
            "floor": torch.floor(at),
            "ceil": torch.ceil(at),
        }[nearest]
        return x.index_select(axis, rounded.clamp(0, last).long())
    floor = torch.floor(at)
    part = at - floor
    if mode == "linear":
        weights = {0: 1 - part, 1: part}
    elif mode == "cubic":
        weights = {offset: _cubic((part - offset).abs(), a) for offset in (-1, 0, 1, 2)}
    else:
        raise BadInput(f"Resize by {mode} is not known here", where="ONNX", fix="export it with linear")
    wide = [-1 if i == axis else 1 for i in range(x.dim())]
    picked = [
        x.index_select(axis, (floor + offset).clamp(0, last).long()) * weight.to(x.dtype).reshape(wide)
        for offset, weight in weights.items()
    ]
    return torch.stack(picked).sum(0)


def _cubic(distance: Tensor, a: float) -> Tensor:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))


@operator("GridSample")
def grid_sample(
    x: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Tensor:
    how = {"linear": "bilinear", "bilinear": "bilinear", "cubic": "bicubic", "bicubic": "bicubic"}.get(mode, mode)
    return F.grid_sample(x, grid, mode=how, padding_mode=padding_mode, align_corners=bool(align_corners))
