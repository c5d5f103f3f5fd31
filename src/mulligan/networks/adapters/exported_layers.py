"""torch's own modules for modules of an exported program that were a single operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...records import BadInput
from .recorded import Step, Value, Weight

_CONVOLUTIONS: dict[str, type[nn.Module]] = {"conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d}
#: Gates of recurrent operations.
_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
#: Where operations are told the size of what they make.
_SIZED = {"zeros": 0, "ones": 0, "full": 0, "empty": 0, "new_zeros": 1, "new_ones": 1, "new_full": 1, "new_empty": 1}
_LARGEST = 1 << 31
_WITHOUT_SETTINGS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "relu_": lambda: nn.ReLU(inplace=True), "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "silu": nn.SiLU,
    "silu_": lambda: nn.SiLU(inplace=True), "hardswish": nn.Hardswish, "hardswish_": lambda: nn.Hardswish(inplace=True),
    "hardsigmoid": nn.Hardsigmoid, "relu6": nn.ReLU6, "relu6_": lambda: nn.ReLU6(inplace=True), "mish": nn.Mish,
}  # fmt: skip


def restore(step: Step, path: str, tensors: Mapping[str, Tensor]) -> tuple[nn.Module, Value] | None:
    """The torch module that does what this one step does with its module's own tensors; None: there is none."""
    schema = getattr(step.run, "_schema", None)
    if schema is None or step.gradient is not None:
        return None
    given: dict[str, Any] = {one.name: one.default_value for one in schema.arguments if one.has_default_value()}
    given |= dict(zip((one.name for one in schema.arguments), step.args, strict=False)) | dict(step.kwargs)
    name, overload = schema.name.removeprefix("aten::"), schema.overload_name
    make = _MAKERS.get(name)
    taken = next(iter(given.values()), None)
    taken = given.get("input", given.get("self", taken))
    if name == "embedding":
        taken = given["indices"]
    if not isinstance(taken, Value) or list(step.reads()) != [taken.name]:
        return None
    if name in _WITHOUT_SETTINGS and not overload:
        return _WITHOUT_SETTINGS[name](), taken
    if make is None or overload not in ("", "vec", "padding"):
        return None
    own = {key: value for key, value in given.items() if isinstance(value, Weight)}
    if any(not weight.name.startswith(f"{path}.") or "." in weight.name[len(path) + 1 :] for weight in own.values()):
        return None  # tied to another module's, or not this module's alone
    module = make(given, {key: tensors[weight.name] for key, weight in own.items()}, name)
    if module is None or {w.name.rpartition(".")[2] for w in own.values()} - set(module.state_dict()):
        return None
    return module, taken


def guarded(run: Any) -> Any:
    """The operation itself; a recurrent one only after its sizes were checked: ATen's own reads past the end of a state
    that is too small, as a program has that was exported for another batch. What makes numbers out of nothing makes no
    absurd number of them.
    """
    name, overload = run._schema.name.removeprefix("aten::"), run._schema.overload_name
    if name in _SIZED:
        return _Sized(run, _SIZED[name])
    if name not in _GATES:
        return run
    return _Recurrent(run, _GATES[name]) if overload == "input" else _refused


class _Sized:
    """An operation that makes a tensor of a size it is told."""

    def __init__(self, run: Any, place: int) -> None:
        self.run, self.place = run, place

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        sizes = args[self.place] if len(args) > self.place else kwargs["size"]
        if math.prod(sizes) > _LARGEST:
            raise ValueError(f"a value of {tuple(sizes)} numbers")
        return self.run(*args, **kwargs)


def _refused(*args: Any, **kwargs: Any) -> Any:
    raise BadInput("packed sequences are not known here", where="torch.export", fix="export the network on padded ones")


class _Recurrent:
    """`aten.lstm.input` and its like, with their sizes checked."""

    def __init__(self, run: Any, gates: int) -> None:
        self.run, self.gates = run, gates

    def __call__(
        self, x: Tensor, states: Any, weights: list[Tensor], has_biases: bool, num_layers: int, dropout: float,
        train: bool, bidirectional: bool, batch_first: bool,
    ) -> Any:  # fmt: skip
        both = 2 if bidirectional else 1
        each = len(weights) // max(num_layers * both, 1)
        hidden, out = weights[0].shape[0] // self.gates, weights[1].shape[1]
        into = x.shape[-1]
        wanted: list[tuple[int, ...]] = []
        for _ in range(num_layers):
            rows = hidden * self.gates
            one = [(rows, into), (rows, out), *([(rows,), (rows,)] if has_biases else ())]
            wanted += [*one, *([(out, hidden)] if each > len(one) else ())] * both
            into = out * both
        batch = x.shape[0] if batch_first else x.shape[1]
        given = list(states) if isinstance(states, list | tuple) else [states]
        sizes = [out, hidden][: len(given)]
        fit = x.dim() == 3 and [tuple(weight.shape) for weight in weights] == wanted
        if not fit or any(
            tuple(state.shape) != (num_layers * both, batch, size) for state, size in zip(given, sizes, strict=True)
        ):
            shapes = ", ".join(str(tuple(state.shape)) for state in given)
            raise ValueError(f"a recurrent layer on {tuple(x.shape)} has states of {shapes}")
        return self.run(x, states, weights, has_biases, num_layers, dropout, train, bidirectional, batch_first)


def _put(module: nn.Module, **tensors: Tensor | None) -> nn.Module:
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if name in module._buffers:
            module._buffers[name] = tensor
        elif isinstance(tensor, nn.Parameter):
            module._parameters[name] = tensor
        else:
            raise ValueError(f"{name} is no parameter")
    return module


def _empty(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):  # its own first weights are thrown away
        return make()


def _linear(given: Mapping[str, Any], own: Mapping[str, Tensor], name: str) -> nn.Module | None:
    weight = own.get("weight")
    if weight is None or weight.dim() != 2:
        return None
    out, into = weight.shape
    return _put(_empty(lambda: nn.Linear(into, out, bias="bias" in own)), weight=weight, bias=own.get("bias"))


def _convolution(given: Mapping[str, Any], own: Mapping[str, Tensor], name: str) -> nn.Module | None:
    weight, kind = own.get("weight"), _CONVOLUTIONS[name]
    if weight is None:
        return None
    space = weight.dim() - 2

    def each(key: str) -> tuple[int, ...]:
        value = given[key] if isinstance(given[key], list | tuple) else [given[key]]
        return tuple(value) * (space if len(value) == 1 else 1)

    padding = given["padding"] if isinstance(given["padding"], str) else each("padding")
    groups = given["groups"]
    make = _empty(
        lambda: kind(
            weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), stride=each("stride"), padding=padding,
            dilation=each("dilation"), groups=groups, bias="bias" in own,
        )
    )  # fmt: skip
    return _put(make, weight=weight, bias=own.get("bias"))


def _layer_norm(given: Mapping[str, Any], own: Mapping[str, Tensor], name: str) -> nn.Module | None:
    shape, affine, bias = given["normalized_shape"], "weight" in own, "bias" in own
    if bias and not affine:
        return None
    made = _empty(lambda: nn.LayerNorm(shape, eps=given["eps"], elementwise_affine=affine, bias=bias))
    return _put(made, weight=own.get("weight"), bias=own.get("bias"))


def _group_norm(given: Mapping[str, Any], own: Mapping[str, Tensor], name: str) -> nn.Module | None:
    weight = own.get("weight")
    if weight is None or "bias" not in own:
        return None
    made = _empty(lambda: nn.GroupNorm(given["num_groups"], weight.shape[0], eps=given["eps"]))
    return _put(made, weight=weight, bias=own["bias"])


def _batch_norm(given: Mapping[str, Any], own: Mapping[str, Tensor], name: str) -> nn.Module | None:
    mean, variance = own.get("running_mean"), own.get("running_var")
    if mean is None or variance is None or ("weight" in own) != ("bias" in own):
        return None
    affine = "weight" in own
    made = _empty(lambda: BatchNorm(mean.shape[0], eps=given["eps"], momentum=given["momentum"], affine=affine))
    made._buffers["num_batches_tracked"] = torch.tensor(0)
    return _put(made, weight=own.get("weight"), bias=own.get("bias"), running_mean=mean, running_var=variance)


class BatchNorm(nn.BatchNorm2d):
    """Batch norm of tensors of any number of axes: the program does not say how many the module expected."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def _embedding(given: Mapping[str, Any], own: Mapping[str, Tensor], name: str) -> nn.Module | None:
    weight = own.get("weight")
    if weight is None:
        return None
    padding = given["padding_idx"]
    made = _empty(lambda: nn.Embedding(*weight.shape, padding_idx=padding if padding >= 0 else None))
    return _put(made, weight=weight)


def _pool(kind: Callable[..., nn.Module], *keys: str) -> Callable[..., nn.Module | None]:
    def make(given: Mapping[str, Any], own: Mapping[str, Tensor], name: str) -> nn.Module | None:
        settings = {key: _plain(given[key]) for key in keys}
        if settings.get("stride") in ([], ()):
            settings["stride"] = settings["kernel_size"]
        return kind(**settings)

    return make


def _plain(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and len(set(value)) == 1 else value


def _adaptive(kind: Callable[..., nn.Module]) -> Callable[..., nn.Module | None]:
    return lambda given, own, name: kind(tuple(given["output_size"]))


def _hardtanh(given: Mapping[str, Any], own: Mapping[str, Tensor], name: str) -> nn.Module | None:
    low, high, inplace = given["min_val"], given["max_val"], name.endswith("_")
    return nn.ReLU6(inplace) if (low, high) == (0, 6) else nn.Hardtanh(low, high, inplace)


_MAKERS: dict[str, Callable[..., nn.Module | None]] = {
    "linear": _linear,
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "batch_norm": _batch_norm,
    "embedding": _embedding,
    "max_pool2d": _pool(nn.MaxPool2d, "kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "avg_pool2d": _pool(nn.AvgPool2d, "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    "adaptive_avg_pool2d": _adaptive(nn.AdaptiveAvgPool2d),
    **dict.fromkeys(("hardtanh", "hardtanh_"), _hardtanh),
    "dropout": lambda given, own, name: nn.Dropout(given["p"]),
    "softmax": lambda given, own, name: nn.Softmax(given["dim"]) if given["dtype"] is None else None,
    "gelu": lambda given, own, name: nn.GELU(given["approximate"]),
    "leaky_relu": lambda given, own, name: nn.LeakyReLU(given["negative_slope"]),
    "elu": lambda given, own, name: nn.ELU(given["alpha"]) if given["scale"] == given["input_scale"] == 1 else None,
}
