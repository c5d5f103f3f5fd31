"""Operators that compute number by number, sum and sort (https://onnx.ai/onnx/operators)."""

from __future__ import annotations

import functools
import math
import operator as python
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....records import BadInput
from .reading import element
from .table import common, operator


def _unary(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: run(x)


def _binary(run: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: run(*common(a, b))


_ALONE: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Asin": torch.asin, "Asinh": torch.asinh,
    "Atan": torch.atan, "Atanh": torch.atanh, "Ceil": torch.ceil, "Cos": torch.cos, "Cosh": torch.cosh,
    "Erf": torch.erf, "Exp": torch.exp, "Floor": torch.floor, "IsNaN": torch.isnan, "Log": torch.log,
    "Neg": torch.neg, "Not": torch.logical_not, "Reciprocal": torch.reciprocal, "Relu": torch.relu,
    "Round": torch.round, "Sigmoid": torch.sigmoid, "Sign": torch.sign, "Sin": torch.sin, "Sinh": torch.sinh,
    "Softplus": F.softplus, "Softsign": F.softsign, "Sqrt": torch.sqrt, "Tan": torch.tan, "Tanh": torch.tanh,
    "HardSwish": F.hardswish, "Mish": F.mish,
}  # fmt: skip
for _name, _run in _ALONE.items():
    operator(_name)(_unary(_run))
_PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "And": torch.logical_and, "Or": torch.logical_or,
    "Xor": torch.logical_xor, "Equal": torch.eq, "Greater": torch.gt, "GreaterOrEqual": torch.ge, "Less": torch.lt,
    "LessOrEqual": torch.le,
}  # fmt: skip
for _name, _both in _PAIRS.items():
    operator(_name)(_binary(_both))


@operator("Div")
def div(a: Tensor, b: Tensor) -> Tensor:
    a, b = common(a, b)
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


@operator("Mod")
def mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    return torch.fmod(*common(a, b)) if fmod else torch.remainder(*common(a, b))


@operator("Pow")
def power(a: Tensor, b: Tensor) -> Tensor:
    return torch.pow(a, b).to(a.dtype)


@operator("MatMul")
def matmul(a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(*common(a, b))


@operator("Gemm")
def gemm(
    a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
    transB: int = 0,
) -> Tensor:  # fmt: skip
    product = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return product if c is None else product + beta * c


@operator("Einsum")
def einsum(*tensors: Tensor, equation: str) -> Tensor:
    return torch.einsum(equation, *tensors)


@operator("Sum")
def total(*tensors: Tensor) -> Tensor:
    return functools.reduce(python.add, common(*tensors))


@operator("Mean")
def mean(*tensors: Tensor) -> Tensor:
    return functools.reduce(python.add, tensors) / len(tensors)


@operator("Max")
def maximum(*tensors: Tensor) -> Tensor:
    return functools.reduce(torch.maximum, common(*tensors))


@operator("Min")
def minimum(*tensors: Tensor) -> Tensor:
    return functools.reduce(torch.minimum, common(*tensors))


@operator("Clip")
def clip(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    low = min.to(x.dtype) if isinstance(min, Tensor) else min
    high = max.to(x.dtype) if isinstance(max, Tensor) else max
    if low is None and high is None:
        return x
    return torch.clamp(x, low, high)


@operator("Where")
def where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, *common(a, b))


@operator("IsInf")
def is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    sign = torch.sign(x)
    return torch.isinf(x) & (((sign < 0) & bool(detect_negative)) | ((sign > 0) & bool(detect_positive)))


@operator("Cast")
def cast(x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    dtype = element(to)
    if dtype is None:
        raise BadInput(f"Cast to element type {to} is not known here", where="ONNX", fix="export it with float32")
    return x.to(dtype)


@operator("CastLike")
def cast_like(x: Tensor, like: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    return x.to(like.dtype)


@operator("Identity", "Dropout")
def identity(x: Tensor, *unused: Any, ratio: float = 0.5, seed: int = 0) -> Tensor:
    return x


# Activations
@operator("LeakyRelu")
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return F.leaky_relu(x, alpha)


@operator("PRelu")
def prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x >= 0, x, slope * x)


@operator("Elu")
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.elu(x, alpha)


@operator("Celu")
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.celu(x, alpha)


@operator("Selu")
def selu(x: Tensor, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Tensor:
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x))


@operator("ThresholdedRelu")
def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return torch.where(x > alpha, x, torch.zeros_like(x))


@operator("HardSigmoid")
def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return torch.clamp(alpha * x + beta, 0, 1)


@operator("Gelu")
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return F.gelu(x, approximate=approximate)


@operator("Swish")
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return x * torch.sigmoid(alpha * x)


def _whole_axes(x: Tensor, axis: int | None, opset: int) -> tuple[Tensor, int]:
    """Before opset 13 a softmax runs over all axes from `axis` on, as if they were one."""
    if opset >= 13:
        return x, -1 if axis is None else axis
    axis = 1 if axis is None else axis
    return x.flatten(axis % max(x.dim(), 1)), -1


@operator("Softmax")
def softmax(x: Tensor, *, axis: int | None = None, opset: int = 13) -> Tensor:
    flat, at = _whole_axes(x, axis, opset)
    return torch.softmax(flat, at).reshape(x.shape)


@operator("LogSoftmax")
def log_softmax(x: Tensor, *, axis: int | None = None, opset: int = 13) -> Tensor:
    flat, at = _whole_axes(x, axis, opset)
    return torch.log_softmax(flat, at).reshape(x.shape)


# Reductions
def _reduced(run: Callable[[Tensor, tuple[int, ...], bool], Tensor]) -> Callable[..., Tensor]:
    def reduce(x: Tensor, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        over = tuple(axes) if axes else ()
        if not over and noop_with_empty_axes:
            return x
        over = tuple(axis % max(x.dim(), 1) for axis in over) or tuple(range(x.dim()))
        return run(x, over, bool(keepdims)) if x.dim() else run(x[None], (0,), False)

    return reduce


def _of_own_type(run: Callable[..., Tensor]) -> Callable[[Tensor, tuple[int, ...], bool], Tensor]:
    return lambda x, axes, keep: run(x, axes, keep).to(x.dtype)


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keep)
    return x


_REDUCTIONS: dict[str, Callable[[Tensor, tuple[int, ...], bool], Tensor]] = {
    "ReduceSum": _of_own_type(torch.sum),
    "ReduceMean": lambda x, axes, keep: torch.mean(x if x.is_floating_point() else x.double(), axes, keep).to(x.dtype),
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceProd": _of_own_type(_product),
    "ReduceL1": _of_own_type(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceL2": _of_own_type(lambda x, axes, keep: torch.sqrt((x * x).sum(axes, keep))),
    "ReduceSumSquare": _of_own_type(lambda x, axes, keep: (x * x).sum(axes, keep)),
    "ReduceLogSum": lambda x, axes, keep: torch.log(x.sum(axes, keep)),
    "ReduceLogSumExp": torch.logsumexp,
}
for _name, _reduction in _REDUCTIONS.items():
    operator(_name, numbers=(1,))(_reduced(_reduction))


def _extreme(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def find(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
        if not select_last_index:
            return run(x, axis, bool(keepdims))
        return x.shape[axis] - 1 - run(x.flip(axis), axis, bool(keepdims))

    return find


operator("ArgMax")(_extreme(torch.argmax))
operator("ArgMin")(_extreme(torch.argmin))


@operator("TopK", numbers=(1,))
def top_k(x: Tensor, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Tensor, Tensor]:
    number = k[0] if isinstance(k, tuple) else k
    return tuple(torch.topk(x, number, axis, bool(largest), bool(sorted)))  # type: ignore[return-value]


@operator("CumSum", numbers=(1,))
def cumulative_sum(x: Tensor, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    at = axis[0] if isinstance(axis, tuple) else axis
    x = x.flip(at) if reverse else x
    sums = torch.cumsum(x, at, dtype=x.dtype)
    sums = sums - x if exclusive else sums
    return sums.flip(at) if reverse else sums


@operator("LpNormalization")
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    return F.normalize(x, p=float(p), dim=axis, eps=0.0)


@operator("MeanVarianceNormalization")
def mean_variance_normalization(x: Tensor, *, axes: tuple[int, ...] = (0, 2, 3)) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred / (torch.sqrt((centred * centred).mean(axes, keepdim=True)) + 1e-9)


@operator("LRN")
def local_response(x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    # torch's own pads an even window on the other side.
    padded = F.pad((x * x).flatten(2), (0, 0, (size - 1) // 2, math.ceil((size - 1) / 2)))
    sums = padded.unfold(1, size, 1).sum(-1).reshape(x.shape)
    return x / (bias + alpha / size * sums) ** beta


# Quantized numbers, computed in floating point between
def _per_axis(x: Tensor, values: Tensor, axis: int) -> Tensor:
    return values.reshape([-1 if i == axis % x.dim() else 1 for i in range(x.dim())]) if values.dim() == 1 else values


_RANGES = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.int16: (-32768, 32767), torch.int32: (0, 65535)}


@operator("QuantizeLinear")
def quantize(
    x: Tensor, scale: Tensor, zero: Tensor | None = None, *, axis: int = 1, saturate: int = 1, block_size: int = 0,
    output_dtype: int = 0, precision: int = 0,
) -> Tensor:  # fmt: skip
    kind = zero.dtype if zero is not None else element(output_dtype) or torch.uint8
    if kind not in _RANGES or block_size:
        raise BadInput("QuantizeLinear in blocks or to such a type is not known here", where="ONNX", fix="use int8")
    shift = _per_axis(x, zero, axis).to(x.dtype) if zero is not None else 0
    return torch.clamp(torch.round(x / _per_axis(x, scale, axis)) + shift, *_RANGES[kind]).to(kind)


@operator("DequantizeLinear")
def dequantize(
    x: Tensor, scale: Tensor, zero: Tensor | None = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0
) -> Tensor:
    if block_size:
        raise BadInput("DequantizeLinear in blocks is not known here", where="ONNX", fix="quantize by channel")
    shift = _per_axis(x, zero, axis).to(scale.dtype) if zero is not None else 0
    return (x.to(scale.dtype) - shift) * _per_axis(x, scale, axis)
