"""An ONNX file as plain data: protobuf is parsed and nothing is run; sizes are checked before memory is taken."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....records import BadInput
from ..packages import require

OLDEST = 9
_AGAIN = "copy or export it again"
# ONNX's number of an element type: numpy's name, and the type that torch computes in. Half precision is computed in
# single, which every CPU does fast.
_TYPES: dict[int, tuple[str, torch.dtype]] = {
    1: ("float32", torch.float32), 2: ("uint8", torch.uint8), 3: ("int8", torch.int8), 4: ("uint16", torch.int32),
    5: ("int16", torch.int16), 6: ("int32", torch.int32), 7: ("int64", torch.int64), 9: ("bool", torch.bool),
    10: ("float16", torch.float32), 11: ("float64", torch.float64), 12: ("uint32", torch.int64),
    16: ("bfloat16", torch.float32),
}  # fmt: skip
#: Where a tensor's numbers stand if they are not raw bytes.
_FIELDS = {1: "float_data", 11: "double_data", 7: "int64_data", 12: "uint64_data"}
_LARGEST = 1 << 34  # bytes of one tensor


@dataclass(frozen=True)
class Node:
    """One operation. Attributes: inputs: "" where one is left out. scopes: modules, if the exporter noted them."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    scopes: tuple[str, ...] | None = None

    @property
    def place(self) -> str:
        """How messages call it."""
        return f"{self.op} {self.name or ', '.join(self.outputs)}"


@dataclass(frozen=True)
class Port:
    """An input or output: its type, and its sizes (None: open); sizes None if nothing is said of them."""

    name: str
    dtype: torch.dtype
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Graph:
    """All that a file says.

    Attributes:
        nodes: in an order in which they can run. tensors: constants that the file holds, by name.
        metadata: texts that the exporter left.
    """

    nodes: list[Node]
    tensors: dict[str, Tensor]
    inputs: list[Port]
    outputs: list[Port]
    opset: int
    metadata: dict[str, str] = field(default_factory=dict)


def read_graph(file: Path) -> Graph:
    """Read `x.onnx` and the data files that it names beside it.

    Raises:
        BadInput: if it is missing or damaged, says sizes that its bytes do not have, names a file elsewhere, holds
            operations of another domain, or is older or newer than what is known here.
    """
    require("onnx", what=str(file))
    if not file.is_file():
        raise BadInput("there is no such file", where=file, fix="check the path")
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(file.read_bytes())
    except (DecodeError, ValueError) as error:
        raise BadInput("this is no ONNX file, or it is damaged", where=file, fix=_AGAIN) from error
    graph = model.graph
    if not graph.node or not graph.output:
        raise BadInput("this is no ONNX file, or it is damaged", where=file, fix=_AGAIN)
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        fix = "run `pip install -U onnx`, or export it with an older opset" if opset > newest else "export it anew"
        raise BadInput(f"this file is of opset {opset}, and {OLDEST} to {newest} are known", where=file, fix=fix)
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in graph.node if node.domain not in ("", "ai.onnx")})
    if foreign:
        raise BadInput(
            f"operators of other domains are not known here: {', '.join(foreign)}",
            where=file,
            fix="export it with standard operators alone, without a runtime's own optimizations",
        )
    if graph.sparse_initializer:
        raise BadInput("the file holds sparse tensors", where=file, fix="export it with dense ones")
    size = file.stat().st_size
    tensors = {one.name: _tensor(one, file, size) for one in graph.initializer}
    inputs = [_port(one, file) for one in graph.input if one.name not in tensors]
    outputs = [_port(one, file) for one in graph.output]
    nodes = [_node(one, file, size) for one in graph.node]
    return Graph(nodes, tensors, inputs, outputs, opset, {one.key: one.value for one in model.metadata_props})


def _port(said: Any, file: Path) -> Port:
    kind = said.type.WhichOneof("value")
    if kind != "tensor_type" or said.type.tensor_type.elem_type not in _TYPES:
        raise BadInput(f"{said.name} is no tensor of numbers", where=file, fix="export a network that takes such")
    tensor = said.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        # 0 and -1 are how some exporters write an open size.
        sizes = [one.dim_value if one.WhichOneof("value") == "dim_value" else 0 for one in tensor.shape.dim]
        shape = tuple(one if one > 0 else None for one in sizes)
    return Port(said.name, _TYPES[tensor.elem_type][1], shape)


def _node(said: Any, file: Path, size: int) -> Node:
    attributes = {one.name: _attribute(one, said, file, size) for one in said.attribute}
    noted = {one.key: one.value for one in getattr(said, "metadata_props", ())}.get("pkg.torch.onnx.name_scopes")
    return Node(
        said.op_type, said.name, tuple(said.input), tuple(said.output), attributes, _scopes(noted) if noted else None
    )


def _scopes(noted: str) -> tuple[str, ...] | None:
    """The modules' paths in what torch's exporter notes: "['', 'layer1', 'layer1.0', 'add']"."""
    quoted = noted.strip("[]").split(", ")
    if not all(len(item) > 1 and item[0] == item[-1] == "'" for item in quoted):
        return None
    names = [item[1:-1] for item in quoted]
    return tuple(name for name in names[:-1] if name and not name.startswith("_empty_nn_module_stack"))


def _attribute(said: Any, node: Any, file: Path, size: int) -> Any:
    match said.type:
        case 1:
            return float(said.f)
        case 2:
            return int(said.i)
        case 3:
            return said.s.decode("utf-8", "replace")
        case 4:
            return _tensor(said.t, file, size)
        case 6:
            return tuple(float(one) for one in said.floats)
        case 7:
            return tuple(int(one) for one in said.ints)
        case 8:
            return tuple(one.decode("utf-8", "replace") for one in said.strings)
        case 5 | 10:
            return said.name  # a graph within: the operator is refused by its name
    raise BadInput(
        f"the attribute {said.name} of {node.op_type} {node.name} is of a kind that is not known here",
        where=file,
        fix=_AGAIN,
    )


def element(number: int) -> torch.dtype | None:
    """The type in which torch computes what ONNX numbers so."""
    return _TYPES[number][1] if number in _TYPES else None


def _tensor(said: Any, file: Path, size: int) -> Tensor:
    if said.data_type not in _TYPES:
        raise BadInput(
            f"the tensor {said.name} is of element type {said.data_type}, which is not known here",
            where=file,
            fix="export it with float32",
        )
    kind, dtype = _TYPES[said.data_type]
    shape = tuple(said.dims)
    if any(side < 0 for side in shape):
        raise BadInput(f"the tensor {said.name} has sizes {shape}", where=file, fix=_AGAIN)
    number = math.prod(shape)
    store = np.dtype("uint16" if kind == "bfloat16" else kind)
    wanted = number * store.itemsize
    if wanted > _LARGEST:
        raise BadInput(f"the tensor {said.name} would take {wanted:,} bytes", where=file, fix=_AGAIN)
    if said.data_location == 1:
        values = _beside(said, store, wanted, file)
    elif said.HasField("raw_data"):
        values = _fitting(np.frombuffer(said.raw_data, np.uint8), wanted, said.name, file).view(store)
    else:
        field = _FIELDS.get(said.data_type, "int32_data")
        listed = getattr(said, field)
        if len(listed) != number:
            raise _wrong(said.name, number, len(listed), file)
        given = np.array(listed, dtype=np.int64 if field == "int32_data" else None)
        # Halves stand as the bits of whole numbers.
        values = given.astype(np.uint16).view(store) if kind in ("float16", "bfloat16") else given.astype(store)
    if kind == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return (
        torch.from_numpy(values.reshape(shape).copy()).to(dtype)
        if kind not in ("uint16", "uint32")
        else _wide(values.reshape(shape), dtype)
    )


def _wide(values: np.ndarray, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(values.astype(np.int64)).to(dtype)


def _fitting(content: np.ndarray, wanted: int, name: str, file: Path) -> np.ndarray:
    if content.size != wanted:
        raise _wrong(name, wanted, content.size, file)
    return content


def _wrong(name: str, wanted: int, there: int, file: Path) -> BadInput:
    return BadInput(f"the tensor {name} should have {wanted:,} and has {there:,}", where=file, fix=_AGAIN)


def _beside(said: Any, store: np.dtype[Any], wanted: int, file: Path) -> np.ndarray:
    """Numbers from a file of their own, which must lie in the model's folder."""
    told = {one.key: one.value for one in said.external_data}
    location = told.get("location", "")
    folder = file.resolve().parent
    path = (folder / location).resolve()
    if not location or path == folder or not path.is_relative_to(folder):
        raise BadInput(
            f"the tensor {said.name} names a file outside of the model's folder ({location!r})",
            where=file,
            fix="do not trust this file",
        )
    if not path.is_file():
        raise BadInput(f"the data file {location} is missing", where=file, fix="copy it beside the .onnx file")
    try:
        offset, length = int(told.get("offset", 0)), int(told.get("length", wanted))
    except ValueError as error:
        raise BadInput(f"the place of {said.name} is no number", where=file, fix=_AGAIN) from error
    if length != wanted or offset < 0 or offset + length > path.stat().st_size:
        raise BadInput(
            f"the tensor {said.name} needs {wanted:,} bytes from {offset:,} on, and {location} has "
            f"{path.stat().st_size:,}",
            where=file,
            fix=_AGAIN,
        )
    with path.open("rb") as opened:
        opened.seek(offset)
        return np.frombuffer(opened.read(length), np.uint8).view(store)
