"""ONNX files written by hand, and what onnxruntime and onnx's own reference say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from mulligan.networks.adapters.onnx_graph.converting import Converter
from mulligan.networks.adapters.onnx_graph.reading import read_graph
from mulligan.networks.adapters.recorded import modules

OPSET = 21


def draw(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Random numbers in float32."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """One operator with its inputs.

    Attributes:
        inputs: what it is given, in its own order: None where one is left out.
        fixed: numbers of the inputs that stand in the file as constants.
        kind: class name of the module that it must become; "" if nothing is said of it.
        reference: whether onnx's reference is asked as well (it does not know everything as the standard says it).
    """

    op: str
    inputs: tuple[Any, ...]
    fixed: tuple[int, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = OPSET
    kind: str = ""
    reference: bool = True

    @property
    def name(self) -> str:
        told = "-".join(f"{key}={value}" for key, value in self.attributes.items())
        return f"{self.op}-{self.opset}-{'x'.join(map(str, self.inputs[0].shape))}-{self.fixed}-{told}"[:110]


def value(name: str, array: np.ndarray | None, shape: Sequence[Any] | None = None) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype) if array is not None else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, shape if shape is not None or array is None else array.shape)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Any],
    outputs: Sequence[Any],
    constants: Mapping[str, np.ndarray] | None = None,
    opset: int = OPSET,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """A model. `inputs` is name to sizes of floats, or to an array like the one that will be given."""
    taken = [
        value(name, given) if isinstance(given, np.ndarray) else value(name, None, given)
        for name, given in inputs.items()
    ]
    given = [one if isinstance(one, onnx.ValueInfoProto) else onnx.ValueInfoProto(name=one) for one in outputs]
    for one in given:
        if not one.type.WhichOneof("value"):
            one.type.tensor_type.elem_type = TensorProto.FLOAT
    held = [numpy_helper.from_array(np.array(array), name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "graph", taken, given, held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    helper.set_model_props(made, dict(metadata or {}))
    return made


def of_case(case: Case) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    names = [f"i{number}" if one is not None else "" for number, one in enumerate(case.inputs)]
    outputs = [f"o{number}" for number in range(case.outputs)]
    node = helper.make_node(case.op, names, outputs, name="node", **case.attributes)
    fixed = {names[number]: np.asarray(case.inputs[number]) for number in case.fixed}
    given = {n: np.asarray(one) for n, one in zip(names, case.inputs, strict=True) if n and n not in fixed}
    made = model([node], given, outputs, fixed, case.opset)
    made = onnx.shape_inference.infer_shapes(made)
    kinds = {one.name: one for one in made.graph.output}
    for one in made.graph.output:  # the element type is inferred only where nothing is said
        one.type.CopyFrom(_inferred(made, one.name, kinds[one.name].type))
    return made, given


def _inferred(made: onnx.ModelProto, name: str, default: onnx.TypeProto) -> onnx.TypeProto:
    bare = onnx.ModelProto()
    bare.CopyFrom(made)
    for one in bare.graph.output:
        one.ClearField("type")
    found = {one.name: one.type for one in onnx.shape_inference.infer_shapes(bare).graph.output}
    return found[name] if found[name].WhichOneof("value") else default


def runtime(made: onnx.ModelProto, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What onnxruntime answers, without its optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(given)))


def reference(made: onnx.ModelProto, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What onnx's own slow evaluator answers."""
    return list(ReferenceEvaluator(made).run(None, dict(given)))


def converted(made: onnx.ModelProto, folder: Path) -> torch.nn.Module:
    """The model as our modules."""
    file = folder / "model.onnx"
    file.write_bytes(made.SerializeToString())
    graph = read_graph(file)
    return modules(Converter(graph, file).program(False)).eval()


def ours(module: torch.nn.Module, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    with torch.no_grad():
        out = module(*[torch.from_numpy(np.array(one)) for one in given.values()])
    return [one.numpy() for name, one in out.items() if "softmax)" not in name]


def assert_equal(left: Sequence[np.ndarray], right: Sequence[np.ndarray], tolerance: float = 1e-5) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        other = np.asarray(other)
        assert one.shape == other.shape, (one.shape, other.shape)
        size = float(np.abs(other[np.isfinite(other)]).max(initial=0.0)) if other.dtype.kind == "f" else 0.0
        if other.dtype.kind == "f":
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(size, 1e-6), equal_nan=True)
        else:
            np.testing.assert_array_equal(one, other)
