"""Operators that are layers: with constant weights they become torch's own modules, whose paths people know."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....records import BadInput
from .reading import Node
from .table import operator


@dataclass(frozen=True)
class Call:
    """A node with what is known of its inputs: constants by number."""

    node: Node
    constants: Mapping[int, Tensor]
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.node.attributes.get(name, default)

    def has(self, number: int) -> bool:
        """Whether this input is there."""
        return number < len(self.node.inputs) and self.node.inputs[number] != ""

    def fixed(self, *numbers: int) -> bool:
        """Whether these inputs are constants, or left out."""
        return all(not self.has(number) or number in self.constants for number in numbers)


#: To the module, or None: it is run as a function. Each takes the inputs that are not constant, the first one first.
Maker = Callable[[Call], nn.Module | None]
LAYERS: dict[str, Maker] = {}


def layer(*names: str) -> Callable[[Maker], Maker]:
    """Put a maker into the table of layers."""

    def put(make: Maker) -> Maker:
        LAYERS.update(dict.fromkeys(names, make))
        return make

    return put


def empty(make: Callable[[], nn.Module]) -> Any:
    """A module without numbers of its own, to be filled."""
    with torch.device("meta"):
        return make()


def fill(module: nn.Module, **tensors: Tensor | None) -> nn.Module:
    """Give a module its numbers; those of trained layers are parameters."""
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if name in module._buffers:
            module._buffers[name] = tensor
        else:
            module._parameters[name] = tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor)
    return module


# Padding
def _pads(call: Call, space: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    given = call.get("pads", (0,) * 2 * space)
    return tuple(given[:space]), tuple(given[space:])


def _same(x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], how: str) -> list[int]:
    """Padding of F.pad, last axis first, so that ceil(size / stride) places come out."""
    both: list[int] = []
    for size, k, s, d in reversed(list(zip(x.shape[2:], kernel, stride, dilation, strict=True))):
        whole = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
        small, large = whole // 2, whole - whole // 2
        both += [small, large] if how == "SAME_UPPER" else [large, small]
    return both


def _around(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    return [side for pair in zip(reversed(begin), reversed(end), strict=True) for side in pair]


class _Padded:
    """Mixed into a layer that pads more on one side than on the other, or by the size of its input."""

    around: list[int] | None = None
    auto = ""

    def pad(self, x: Tensor, fill: float = 0.0) -> Tensor:
        """The input with its padding."""
        layer: Any = self
        if self.auto:
            space = x.dim() - 2
            sizes = [
                value if isinstance(value, tuple) else (value,) * space
                for value in (layer.kernel_size, layer.stride, getattr(layer, "dilation", 1))
            ]
            return F.pad(x, _same(x, sizes[0], sizes[1], sizes[2], self.auto), value=fill)
        return F.pad(x, self.around, value=fill) if self.around else x

    def padding_repr(self) -> str:
        """What `extra_repr` does not say."""
        return f", padded={self.auto or self.around}" if self.auto or self.around else ""


def _padded(kind: type[nn.Module], fill: float = 0.0) -> type[Any]:
    class Padded(_Padded, kind):  # type: ignore[misc,valid-type]
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(self.pad(input, fill))

        def extra_repr(self) -> str:
            return super().extra_repr() + self.padding_repr()

    Padded.__name__ = Padded.__qualname__ = f"Padded{kind.__name__}"
    return Padded


_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_MAX = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_PADDED_CONV = {space: _padded(kind) for space, kind in _CONV.items()}
_PADDED_MAX = {space: _padded(kind, -math.inf) for space, kind in _MAX.items()}


def _auto(call: Call) -> str:
    auto = call.get("auto_pad", "NOTSET")
    return auto if auto in ("SAME_UPPER", "SAME_LOWER") else ""


@layer("Conv")
def conv(call: Call) -> nn.Module | None:
    """nn.Conv1d, nn.Conv2d or nn.Conv3d."""
    if 1 not in call.constants or not call.fixed(2):
        return None
    weight, bias = call.constants[1], call.constants.get(2)
    space, groups = weight.dim() - 2, call.get("group", 1)
    if space not in _CONV:
        return None
    begin, end = _pads(call, space)
    uneven = bool(_auto(call)) or begin != end
    kind = (_PADDED_CONV if uneven else _CONV)[space]
    module = empty(
        lambda: kind(
            weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]),
            stride=call.get("strides", (1,) * space), dilation=call.get("dilations", (1,) * space),
            padding=0 if uneven else begin, groups=groups, bias=bias is not None,
        )
    )  # fmt: skip
    if uneven:
        module.auto, module.around = _auto(call), _around(begin, end)
    return fill(module, weight=weight, bias=bias)


@operator("Conv")
def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, auto_pad: str = "NOTSET", group: int = 1,
    dilations: Any = None, kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Tensor:  # fmt: skip
    space = x.dim() - 2
    strides, dilations = strides or (1,) * space, dilations or (1,) * space
    around = _around(pads[:space], pads[space:]) if pads else [0] * 2 * space
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        around = _same(x, weight.shape[2:], strides, dilations, auto_pad)
    run: Any = (F.conv1d, F.conv2d, F.conv3d)[space - 1]
    return run(F.pad(x, around), weight, bias, strides, 0, dilations, group)


_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def _cropped(kind: type[nn.Module]) -> type[Any]:
    class Cropped(kind):  # type: ignore[misc,valid-type]
        ends: tuple[tuple[int, int], ...] = ()

        def forward(self, input: Tensor) -> Tensor:
            out = super().forward(input)
            for axis, (begin, end) in enumerate(self.ends, 2):
                out = out.narrow(axis, begin, out.shape[axis] - begin - end)
            return out

        def extra_repr(self) -> str:
            return f"{super().extra_repr()}, ends={self.ends}"

    Cropped.__name__ = Cropped.__qualname__ = f"Cropped{kind.__name__}"
    return Cropped


_CROPPED = {space: _cropped(kind) for space, kind in _TRANSPOSED.items()}


@layer("ConvTranspose")
def conv_transpose(call: Call) -> nn.Module | None:
    """nn.ConvTranspose1d, nn.ConvTranspose2d or nn.ConvTranspose3d."""
    if 1 not in call.constants or not call.fixed(2) or call.get("output_shape") or _auto(call):
        raise BadInput(
            f"{call.node.place} computes its weight, or its padding from a size",
            where="ONNX",
            fix="export it with constant weights and explicit padding",
        )
    weight, bias = call.constants[1], call.constants.get(2)
    space, groups = weight.dim() - 2, call.get("group", 1)
    begin, end = _pads(call, space)
    uneven = begin != end
    module = empty(
        lambda: (_CROPPED if uneven else _TRANSPOSED)[space](
            weight.shape[0], weight.shape[1] * groups, tuple(weight.shape[2:]),
            stride=call.get("strides", (1,) * space), padding=0 if uneven else begin,
            output_padding=call.get("output_padding", (0,) * space), groups=groups, bias=bias is not None,
            dilation=call.get("dilations", (1,) * space),
        )
    )  # fmt: skip
    if uneven:
        module.ends = tuple(zip(begin, end, strict=True))
    return fill(module, weight=weight, bias=bias)


# Linear
@layer("Gemm")
def gemm(call: Call) -> nn.Module | None:
    """nn.Linear, with the factors multiplied in."""
    if 1 not in call.constants or not call.fixed(2) or call.get("transA", 0):
        return None
    weight = call.constants[1] if call.get("transB", 0) else call.constants[1].T
    bias = call.constants.get(2)
    if bias is not None and (bias.numel() not in (1, weight.shape[0]) or bias.shape[:-1].numel() > 1):
        return None
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    weight = weight if alpha == 1 else weight.detach() * alpha
    if bias is not None and (beta != 1 or bias.shape != weight.shape[:1]):
        bias = (bias.detach() * beta).reshape(-1).expand(weight.shape[0])
    return linear(weight, bias)


@layer("MatMul")
def matmul(call: Call) -> nn.Module | None:
    """nn.Linear without bias."""
    if 1 not in call.constants or call.constants[1].dim() != 2:
        return None
    return linear(call.constants[1].T, None)


def linear(weight: Tensor, bias: Tensor | None) -> nn.Module | None:
    """nn.Linear with this weight [out, in]."""
    if not weight.is_floating_point():
        return None
    out, into = weight.shape
    weight = weight if weight.is_contiguous() else nn.Parameter(weight.detach().contiguous())
    bias = bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias.detach().clone())
    return fill(empty(lambda: nn.Linear(into, out, bias=bias is not None)), weight=weight, bias=bias)


class Embedding(nn.Embedding):
    """nn.Embedding that takes negative numbers as ONNX does, counted from the end, wherever they come from."""

    def forward(self, input: Tensor) -> Tensor:
        """Rows of the table."""
        ids = input.to(self.weight.device, torch.int64)
        return super().forward(torch.where(ids < 0, ids + self.num_embeddings, ids))


@layer("Gather")
def embedding(call: Call) -> nn.Module | None:
    """An embedding, where rows of a constant table are picked."""
    table = call.constants.get(0)
    if table is None or table.dim() != 2 or not table.is_floating_point() or call.get("axis", 0) != 0:
        return None
    if 1 in call.constants:
        return None
    return fill(empty(lambda: Embedding(table.shape[0], table.shape[1])), weight=table)


# Norms
class BatchNorm(nn.BatchNorm2d):
    """Batch norm of tensors of any number of axes: the file does not say how many."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


@layer("BatchNormalization")
def batch_norm(call: Call) -> nn.Module | None:
    """nn.BatchNorm2d with the file's running statistics."""
    if not call.fixed(1, 2, 3, 4) or call.get("training_mode", 0):
        raise BadInput(
            f"{call.node.place} is in training mode or computes its statistics",
            where="ONNX",
            fix="call model.eval() before exporting it",
        )
    scale, bias, mean, variance = (call.constants[number] for number in (1, 2, 3, 4))
    module = empty(lambda: BatchNorm(scale.shape[0], eps=call.get("epsilon", 1e-5)))
    module._buffers["num_batches_tracked"] = torch.tensor(0)
    return fill(
        module, weight=scale, bias=bias, running_mean=mean.detach().clone(), running_var=variance.detach().clone()
    )


class LayerNorm(nn.LayerNorm):
    """Layer norm over the axes from `axis` on, as ONNX counts them."""

    axis = -1

    def forward(self, input: Tensor) -> Tensor:
        """The input, normalized."""
        if tuple(input.shape[self.axis :]) != tuple(self.normalized_shape):
            raise BadInput(
                f"a LayerNormalization of {tuple(self.normalized_shape)} is given {tuple(input.shape)}",
                where="ONNX",
                fix="export it with weights of the whole normalized shape",
            )
        return super().forward(input)


@layer("LayerNormalization")
def layer_norm(call: Call) -> nn.Module | None:
    """nn.LayerNorm."""
    if not call.fixed(1, 2) or len(call.node.outputs) > 1 or 1 not in call.constants:
        return None
    scale, bias = call.constants[1], call.constants.get(2)
    module = empty(lambda: LayerNorm(list(scale.shape), eps=call.get("epsilon", 1e-5), bias=bias is not None))
    module.axis = call.get("axis", -1)
    return fill(module, weight=scale, bias=bias)


@operator("LayerNormalization")
def normalize_layer(
    x: Tensor, scale: Tensor, bias: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    axes = tuple(range(axis % x.dim(), x.dim()))
    centred = x - x.mean(axes, keepdim=True)
    out = centred / torch.sqrt((centred * centred).mean(axes, keepdim=True) + epsilon) * scale
    return out if bias is None else out + bias


@operator("RMSNormalization")
def rms_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    axes = tuple(range(axis % x.dim(), x.dim()))
    return x * torch.rsqrt((x * x).mean(axes, keepdim=True) + epsilon) * scale


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm of tensors of any number of axes."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


@layer("InstanceNormalization")
def instance_norm(call: Call) -> nn.Module | None:
    """nn.InstanceNorm2d."""
    if not call.fixed(1, 2):
        return None
    scale, bias = call.constants[1], call.constants[2]
    module = empty(lambda: InstanceNorm(scale.shape[0], eps=call.get("epsilon", 1e-5), affine=True))
    return fill(module, weight=scale, bias=bias)


@operator("InstanceNormalization")
def normalize_instance(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


@layer("GroupNormalization")
def group_norm(call: Call) -> nn.Module | None:
    """nn.GroupNorm; before opset 21 there is one factor a group, which does not fit it."""
    if not call.fixed(1, 2) or call.opset < 21:
        return None
    scale, bias, groups = call.constants[1], call.constants[2], call.get("num_groups")
    module = empty(lambda: nn.GroupNorm(groups, scale.shape[0], eps=call.get("epsilon", 1e-5)))
    return fill(module, weight=scale, bias=bias)


@operator("GroupNormalization")
def normalize_group(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    each = x.shape[1] // scale.shape[0]
    scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
    return F.group_norm(x, num_groups, scale, bias, epsilon)


# Pooling
class GlobalAveragePool(nn.AdaptiveAvgPool2d):
    """The mean over all places, of tensors of any number of axes."""

    def forward(self, input: Tensor) -> Tensor:
        """One place each."""
        return input.mean(tuple(range(2, input.dim())), keepdim=True)


class GlobalMaxPool(nn.AdaptiveMaxPool2d):
    """The maximum over all places, of tensors of any number of axes."""

    def forward(self, input: Tensor) -> Tensor:
        """One place each."""
        return input.amax(tuple(range(2, input.dim())), keepdim=True)


LAYERS["GlobalAveragePool"] = lambda call: GlobalAveragePool(1)
LAYERS["GlobalMaxPool"] = lambda call: GlobalMaxPool(1)


@layer("MaxPool")
def max_pool(call: Call) -> nn.Module | None:
    """nn.MaxPool1d, nn.MaxPool2d or nn.MaxPool3d."""
    kernel = call.get("kernel_shape")
    space = len(kernel)
    if len([name for name in call.node.outputs if name]) > 1 or space not in _MAX:
        raise BadInput(f"{call.node.place} answers with places too", where="ONNX", fix="export it without them")
    begin, end = _pads(call, space)
    # torch pads by half a window at most.
    uneven = bool(_auto(call)) or begin != end or any(2 * one > k for one, k in zip(begin, kernel, strict=True))
    module: Any = (_PADDED_MAX if uneven else _MAX)[space](
        kernel, stride=call.get("strides", (1,) * space), dilation=call.get("dilations", (1,) * space),
        padding=0 if uneven else begin, ceil_mode=bool(call.get("ceil_mode", 0)),
    )  # fmt: skip
    if uneven:
        module.auto, module.around = _auto(call), _around(begin, end)
    return module


_AVERAGE = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


class AveragePool(_Padded, nn.AvgPool2d):
    """An average over windows that knows uneven padding and spread windows; torch's own does the plain ones."""

    dilation: tuple[int, ...] = (1,)

    def forward(self, input: Tensor) -> Tensor:
        """Averages; what is padded is counted or not."""
        whole = self.pad(torch.ones_like(input), 1.0 if self.count_include_pad else 0.0)
        sums, counts = self._sums(self.pad(input)), self._sums(whole)
        return sums / counts

    def _sums(self, x: Tensor) -> Tensor:
        space = x.dim() - 2
        run: Any = (F.conv1d, F.conv2d, F.conv3d)[space - 1]
        kernel: Any = self.kernel_size
        ones = x.new_ones(x.shape[1], 1, *kernel)
        if self.ceil_mode:
            more = []
            for size, k, s, d in zip(x.shape[2:], kernel, self.stride, self.dilation, strict=True):  # type: ignore[arg-type]
                places = math.ceil((size - (k - 1) * d - 1) / s)
                more.append(max(places * s + (k - 1) * d + 1 - size, 0))
            x = F.pad(x, _around([0] * space, more))
        return run(x, ones, None, self.stride, 0, self.dilation, x.shape[1])

    def extra_repr(self) -> str:
        """As torch's, with the padding and the spread."""
        return f"{super().extra_repr()}, dilation={self.dilation}{self.padding_repr()}"


@layer("AveragePool")
def average_pool(call: Call) -> nn.Module | None:
    """nn.AvgPool1d, nn.AvgPool2d or nn.AvgPool3d; others as sums over counts."""
    kernel = call.get("kernel_shape")
    space = len(kernel)
    begin, end = _pads(call, space)
    stride, dilation = call.get("strides", (1,) * space), call.get("dilations", (1,) * space)
    ceil, counted = bool(call.get("ceil_mode", 0)), bool(call.get("count_include_pad", 0))
    plain = not _auto(call) and begin == end and set(dilation) == {1} and space in _AVERAGE
    if plain and not any(2 * one > k for one, k in zip(begin, kernel, strict=True)):
        return _AVERAGE[space](kernel, stride, begin, ceil_mode=ceil, count_include_pad=counted)
    module = AveragePool(kernel, stride, 0, ceil_mode=ceil, count_include_pad=counted)
    module.auto, module.around, module.dilation = _auto(call), _around(begin, end), tuple(dilation)
    return module


# Activations that torch has a module for
_SIMPLE: dict[str, Callable[[], nn.Module]] = {
    "Relu": nn.ReLU, "Sigmoid": nn.Sigmoid, "Tanh": nn.Tanh, "Softplus": nn.Softplus, "Softsign": nn.Softsign,
    "HardSwish": nn.Hardswish, "Mish": nn.Mish,
}  # fmt: skip


def _simple(kind: Callable[[], nn.Module]) -> Maker:
    return lambda call: kind()


LAYERS.update({name: _simple(kind) for name, kind in _SIMPLE.items()})
LAYERS["Gelu"] = lambda call: nn.GELU(call.get("approximate", "none"))
LAYERS["LeakyRelu"] = lambda call: nn.LeakyReLU(call.get("alpha", 0.01))
LAYERS["Elu"] = lambda call: nn.ELU(call.get("alpha", 1.0))


@layer("Softmax")
def softmax(call: Call) -> nn.Module | None:
    """nn.Softmax, where it runs over one axis."""
    axis = call.get("axis", -1 if call.opset >= 13 else 1)
    return nn.Softmax(axis) if call.opset >= 13 or axis == -1 else None


@layer("Clip")
def relu6(call: Call) -> nn.Module | None:
    """nn.ReLU6, or nn.Hardtanh between other constants."""
    if not call.fixed(1, 2):
        return None
    low, high = call.get("min", call.constants.get(1)), call.get("max", call.constants.get(2))
    if low is None or high is None:
        return None
    low, high = float(low), float(high)
    if (low, high) == (0.0, 6.0):
        return nn.ReLU6()
    return nn.Hardtanh(low, high) if low < high else None


@layer("HardSigmoid")
def hard_sigmoid(call: Call) -> nn.Module | None:
    """nn.Hardsigmoid, which has these two numbers."""
    usual = abs(call.get("alpha", 0.2) - 1 / 6) < 1e-6 and call.get("beta", 0.5) == 0.5
    return nn.Hardsigmoid() if usual else None


@layer("Flatten")
def flatten(call: Call) -> nn.Module | None:
    """nn.Flatten, where the batch stays."""
    return nn.Flatten(1) if call.get("axis", 1) == 1 else None
