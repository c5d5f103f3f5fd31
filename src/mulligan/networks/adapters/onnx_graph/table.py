"""The table of operators, and the module that runs one: each file of operators fills the table."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ....records import BadInput

_LARGEST = 1 << 31  # numbers of one value: what a file may make out of nothing


@dataclass(frozen=True)
class Operator:
    """How one operator is computed.

    Attributes:
        run: takes the inputs in ONNX's order, None where one is left out, and the attributes by keyword.
        numbers: inputs that are read as whole numbers or floats, not as tensors.
        settings: what `run` may be told by keyword: attributes, and `opset` and `outputs` (how many), if it wants them.
    """

    name: str
    run: Callable[..., Any]
    numbers: frozenset[int]
    settings: frozenset[str]


OPERATORS: dict[str, Operator] = {}


def operator(*names: str, numbers: Sequence[int] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put a function into the table, under one or several names."""

    def put(run: Callable[..., Any]) -> Callable[..., Any]:
        parameters = inspect.signature(run).parameters
        settings = frozenset(
            name for name, one in parameters.items() if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)
        )
        for name in names:
            OPERATORS[name] = Operator(name, run, frozenset(numbers), settings)
        return run

    return put


class Function(nn.Module):
    """One ONNX operator that torch has no module for; constants among its inputs are its own."""

    def set(
        self, spec: Operator, slots: Sequence[Any], settings: Mapping[str, Any], tensors: Mapping[int, Tensor]
    ) -> None:
        """Say what is run.

        Args:
            slots: one an input: `...` for one that is given at run time, else what it is; ignored where `tensors` has
                the input. settings: attributes. tensors: constants, by number of the input.
        """
        self._spec, self._slots, self._settings = spec, tuple(slots), dict(settings)
        self._constants = {}
        for number, tensor in tensors.items():
            name = {0: "first", 1: "second"}.get(number, f"input{number}")
            self._constants[number] = name
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)

    def forward(self, *args: Any) -> Any:
        """The operator's output, or several."""
        given = iter(args)
        full: list[Any] = []
        for number, slot in enumerate(self._slots):
            if number in self._constants:
                full.append(getattr(self, self._constants[number]))
            else:
                full.append(next(given) if slot is ... else slot)
        return run(self._spec, full, self._settings)

    def extra_repr(self) -> str:
        """Attributes and small constants."""
        told = [f"{key}={value}" for key, value in sorted(self._settings.items())]
        fixed = [f"input{number}={slot}" for number, slot in enumerate(self._slots) if slot is not ...]
        return ", ".join([*told, *fixed])


class Plain:
    """The same for what is no site: numbers of shapes. Not a module: its constants stay on the CPU."""

    def __init__(self, spec: Operator, slots: Sequence[Any], settings: Mapping[str, Any]) -> None:
        self.spec, self.slots, self.settings = spec, tuple(slots), dict(settings)

    def __call__(self, *args: Any) -> Any:
        given = iter(args)
        return run(self.spec, [next(given) if slot is ... else slot for slot in self.slots], self.settings)


_KINDS: dict[str, type[Function]] = {}


def function(name: str) -> Function:
    """An empty module of the class of this operator, so that people read its name."""
    if name not in _KINDS:
        _KINDS[name] = type(name, (Function,), {"__doc__": f"ONNX's operator {name}."})
    return _KINDS[name]()


def run(spec: Operator, inputs: Sequence[Any], settings: Mapping[str, Any]) -> Any:
    """Compute one operator.

    Raises:
        BadInput: if it would make more numbers than a network ever does.
    """
    given = [as_numbers(one) if number in spec.numbers else one for number, one in enumerate(inputs)]
    # Numbers of shapes are on the CPU; where they meet activations they follow them.
    device = next((one.device for one in given if isinstance(one, Tensor) and one.device.type != "cpu"), None)
    if device is not None:
        given = [one.to(device) if isinstance(one, Tensor) else one for one in given]
    return spec.run(*given, **settings)


def as_numbers(value: Any) -> Any:
    """A tensor of numbers as a tuple, or as one number if it has no axis."""
    if not isinstance(value, Tensor):
        return value
    listed = value.tolist()
    return tuple(listed) if isinstance(listed, list) else listed


def affordable(shape: Sequence[int], what: str) -> None:
    """Refuse to make an absurdly large value.

    Raises:
        BadInput: if it has more than 2**31 numbers.
    """
    if any(side < 0 for side in shape) or math.prod(shape) > _LARGEST:
        raise BadInput(f"{what} would make a value of {tuple(shape)}", where="ONNX", fix="do not trust this file")


def common(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors of one type: ONNX wants them so, and files in half precision may mix after all is single."""
    kinds = {one.dtype for one in tensors}
    if len(kinds) == 1:
        return tensors
    wide = tensors[0].dtype
    for one in tensors[1:]:
        wide = torch.promote_types(wide, one.dtype)
    return tuple(one.to(wide) for one in tensors)
