"""`x.pt2`: what torch.export saved, refused before loading if any member is pickled.

The file's JSON lists operations of ATen with the modules in which they ran; see `recorded` for how they become modules
again, by the paths of the original. A module that was a single known operation becomes torch's own class (`nn.Linear`,
`nn.Conv2d`...). Only operations on tensors and numbers are run, each looked up by its exact name.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...records import BadInput
from ..network import Network
from ..weights import put_weights, read_weights
from .exported_layers import guarded, restore
from .interfaces import Given, Interface, Taken, network
from .pt2_archive import DTYPES, read_archive
from .recorded import Device, Program, Scope, Step, Value, Weight, modules

_OPERATION = re.compile(r"torch\.ops\.aten\.([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)")
_PATH = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
#: On sizes, which are whole numbers here.
_NUMBERS: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": getattr(operator, name) for name in (
        "add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "neg", "pos", "eq", "ne", "lt", "le", "gt", "ge",
        "and_", "or_", "not_",
    )},
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc")},
    "torch.sym_max": max, "torch.sym_min": min, "torch.sym_float": float, "torch.sym_int": int,
    "torch.sym_not": operator.not_, "torch.sym_sum": sum,
}  # fmt: skip
#: These only say what is true of sizes.
_CHECKS = (
    "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range", "sym_constrain_range_for_size", "_assert_async",
)  # fmt: skip
#: Those that trust their arguments: others of ATen's inner operations read and write wherever they are told.
_INNER = (
    "_adaptive_avg_pool2d", "_log_softmax", "_native_batch_norm_legit_no_training", "_softmax", "_to_copy",
    "_unsafe_view", "_weight_norm",
)  # fmt: skip
_OUTER = re.compile(
    r"(?!.*(backward|sparse|csr|cudnn|miopen|mkldnn|fbgemm|quantize|embedding_bag|segment|nested|resize|geqrf))"
    r"[a-zA-Z].*"
)
#: Types of arguments and answers of an operation that can do nothing but compute.
_PLAIN = re.compile(
    r"(Optional\[|List\[)*(Tensor|int|SymInt|float|bool|number|Scalar|ScalarType|Layout|MemoryFormat|Device|complex|Generator)\]*"
)
_WITH_TEXT = (
    "einsum", "gelu", "gelu_", "div", "div_", "pad", "meshgrid", "scatter_reduce", "index_reduce", "searchsorted",
    "conv1d", "conv2d", "conv3d", "linalg_norm", "linalg_matrix_norm", "scatter", "quantile",
)  # fmt: skip
_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format}
_AGAIN = (
    "export it with an open batch: torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},)), "
    "with an x of at least two examples"
)


class Exported:
    """`x.pt2`, `x.pt2#OUTPUT`."""

    forms = ("x.pt2",)

    def accepts(self, spec: str) -> bool:
        return spec.partition("#")[0].endswith(".pt2")

    def load(self, spec: str, weights: Path | None) -> Network:
        path, _, asked = spec.partition("#")
        file = Path(path).expanduser()
        archive = read_archive(file)
        try:
            graph = _Graph(archive.program, archive.tensors, file)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
            raise BadInput(
                f"the program does not say what torch.export writes: {type(error).__name__}: {error}",
                where=file,
                fix="export it again",
            ) from error
        module = modules(graph.program(), restore)
        if weights is not None:
            put_weights(module, read_weights(weights), weights)
        interface = Interface(
            spec=spec,
            file=file,
            inputs=graph.taken,
            outputs=graph.given,
            asked=asked or None,
            extra=archive.extra,
            again=_AGAIN,
        )
        return network(module, interface)


class _Graph:
    """The steps of a program's JSON.

    Raises:
        BadInput: for what cannot be run, by its name.
    """

    def __init__(self, said: Mapping[str, Any], tensors: Mapping[str, Tensor], file: Path) -> None:
        self.file = file
        self.graph: dict[str, Any] = said["graph_module"]["graph"]
        self.weights: dict[str, str] = {}
        self.constants: dict[str, Any] = {}
        self.inputs: list[str] = []
        signature = said["graph_module"]["signature"]
        for spec in signature["input_specs"]:
            self._input(*next(iter(spec.items())))
        absent = sorted(set(self.weights.values()) - set(tensors))
        if absent:
            raise BadInput(f"{len(absent)} tensors are missing, first {absent[0]}", where=file, fix="export it again")
        strange = sorted(name for name in self.weights.values() if not _PATH.fullmatch(name))
        if strange:
            raise BadInput(f"a tensor is named {strange[0]!r}", where=file, fix="do not trust this file")
        # What the program does not read is left out.
        self.tensors = {name: tensors[name] for name in dict.fromkeys(self.weights.values())}
        self.steps = list(_steps(self.graph, self, {}, None, ""))
        self.taken = [self._taken(name) for name in self.inputs]
        outputs = [self._output(*next(iter(spec.items()))) for spec in signature["output_specs"]]
        names = _names(said["graph_module"]["module_call_graph"], len(outputs))
        found = {name: value for name, value in zip(names, outputs, strict=True) if value is not None}
        self.answers = {name: Value(value) for name, value in found.items()}
        self.given = [Given(name, self._shape(value)) for name, value in found.items()]

    def program(self) -> Program:
        return Program(self.steps, tuple(self.inputs), self.answers, self.tensors)

    def refuse(self, what: str, fix: str) -> BadInput:
        return BadInput(what, where=self.file, fix=fix)

    def _input(self, kind: str, spec: Mapping[str, Any]) -> None:
        match kind:
            case "parameter":
                self.weights[spec["arg"]["name"]] = spec["parameter_name"]
            case "buffer":
                self.weights[spec["arg"]["name"]] = spec["buffer_name"]
            case "tensor_constant":
                self.weights[spec["arg"]["name"]] = spec["tensor_constant_name"]
            case "user_input" if "as_tensor" in spec["arg"]:
                self.inputs.append(spec["arg"]["as_tensor"]["name"])
            case "user_input" | "constant_input":  # a number or None that was fixed when it was exported
                pass
            case _:
                raise self.refuse(f"the program takes a {kind}", "export a network that takes and holds tensors alone")

    def _output(self, kind: str, spec: Mapping[str, Any]) -> str | None:
        if kind != "user_output":
            raise self.refuse(f"the program has an output of kind {kind}", "call model.eval() before exporting it")
        if "as_tensor" not in spec["arg"]:
            return None
        name: str = spec["arg"]["as_tensor"]["name"]
        if name in self.weights:
            raise self.refuse(f"the program answers with its own {name}", "export a network that computes its answer")
        return name

    def _shape(self, name: str) -> tuple[int | None, ...]:
        return tuple(size.get("as_int") for size in self.graph["tensor_values"][name]["sizes"])

    def _taken(self, name: str) -> Taken:
        return Taken(name, DTYPES[self.graph["tensor_values"][name]["dtype"]], self._shape(name))

    def value(self, name: str, renamed: Mapping[str, Any]) -> Any:
        """What a name stands for: a weight, or a value (of the graph around, for the inputs of one within)."""
        if name in renamed:
            return renamed[name]
        return Weight(self.weights[name]) if name in self.weights else Value(name)


def _steps(
    graph: Mapping[str, Any], whole: _Graph, renamed: dict[str, Any], gradient: bool | None, prefix: str
) -> Iterator[Step]:
    """The steps of a graph; one within another (under `torch.no_grad`) is laid into it."""
    for node in graph["nodes"]:
        target = str(node["target"])
        if target == "torch.ops.higher_order.wrap_with_set_grad_enabled":
            flag, inner, *given = (item["arg"] for item in node["inputs"])
            within = inner["as_graph"]["graph"]
            deeper = f"{prefix}{inner['as_graph']['name']}/"
            names = [_only(item)["name"] for item in within["inputs"]]
            passed = {name: _argument(arg, whole, renamed) for name, arg in zip(names, given, strict=True)}
            yield from _steps(within, whole, passed, bool(flag["as_bool"]), deeper)
            outputs = [_only(item)["name"] for item in within["outputs"]]
            for name, inside in zip(_outputs(node, whole), outputs, strict=True):
                renamed[name] = passed[inside]
            continue
        step = _step(node, target, whole, renamed, gradient, prefix)
        if step is not None:
            yield step


def _step(
    node: Mapping[str, Any], target: str, whole: _Graph, renamed: dict[str, Any], gradient: bool | None, prefix: str
) -> Step | None:
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    named = {item["name"]: _argument(item["arg"], whole, renamed) for item in node["inputs"]}
    if target in _NUMBERS:
        run, args = _NUMBERS[target], [_argument(item["arg"], whole, renamed) for item in node["inputs"]]
    else:
        run = _operation(target, whole)
        if run is None:
            return None
        for argument in run._schema.arguments:
            if argument.name not in named:
                continue
            if argument.kwarg_only or len(args) < list(run._schema.arguments).index(argument):
                kwargs[argument.name] = named[argument.name]
            else:
                args.append(named[argument.name])
        unknown = set(named) - {argument.name for argument in run._schema.arguments}
        if unknown:
            raise whole.refuse(f"{target} has no argument {min(unknown)!r}", "export it with an older torch")
        _expect_at_rest(run, named, whole)
        run = guarded(run)
    outputs = _outputs(node, whole)
    for name in outputs:
        renamed[name] = Value(prefix + name)
    return Step(
        run=run,
        args=tuple(args),
        kwargs=kwargs,
        outputs=tuple(prefix + name for name in outputs),
        said=target,
        scopes=_scopes(node, whole),
        floating=not any("as_tensor" in item or "as_tensors" in item for item in node["outputs"]),
        gradient=gradient,
    )


def _operation(target: str, whole: _Graph) -> Any:
    """The operation of ATen that a target names; None for mere checks.

    Raises:
        BadInput: if it is none, or can do more than compute.
    """
    fits = _OPERATION.fullmatch(target)
    fix = "export a network of plain operations (see torch.export's run_decompositions)"
    if fits is None:
        raise whole.refuse(f"the operation {target!r} is not known here", fix)
    if fits[1] in _CHECKS:
        return None
    packet = getattr(torch.ops.aten, fits[1], None)
    found = getattr(packet, fits[2], None) if packet is not None else None
    if not isinstance(found, torch._ops.OpOverload):
        raise whole.refuse(f"the installed torch has no operation {target}", "install the torch that exported it")
    types = [str(one.type) for one in (*found._schema.arguments, *found._schema.returns)]
    strange = [t for t in types if not _PLAIN.fullmatch(t) and not ("str" in t and fits[1] in _WITH_TEXT)]
    trusted = _OUTER.fullmatch(fits[1]) or fits[1] in _INNER
    if strange or not found._schema.returns or not trusted or any(a.is_out for a in found._schema.arguments):
        raise whole.refuse(f"the operation {target} is not one that Mulligan runs", fix)
    return found


def _expect_at_rest(run: Any, named: Mapping[str, Any], whole: _Graph) -> None:
    """Refuse a program that draws random numbers, or trains, or changes its own weights."""
    name = run._schema.name.removeprefix("aten::")
    fix = "call model.eval() before exporting it"
    if named.get("train") is True or named.get("training") is True:
        raise whole.refuse(f"the network was exported while training ({name})", fix)
    arguments = {argument.name for argument in run._schema.arguments}
    if torch.Tag.nondeterministic_seeded in run.tags and not {"train", "training", "dropout_p"} & arguments:
        raise whole.refuse(f"the network draws random numbers ({name})", fix)
    if named.get("dropout_p"):
        raise whole.refuse(f"the network was exported while training ({name})", fix)
    for argument in run._schema.arguments:
        writes = argument.alias_info is not None and argument.alias_info.is_write
        if writes and isinstance(named.get(argument.name), Weight):
            raise whole.refuse(f"the network changes its own {named[argument.name].name} while it runs", fix)


def _outputs(node: Mapping[str, Any], whole: _Graph) -> list[str]:
    names: list[str] = []
    for item in node["outputs"]:
        kind, value = next(iter(item.items()))
        if kind == "as_tensor":
            names.append(value["name"])
        elif kind == "as_tensors":
            names += [one["name"] for one in value]
        elif kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
            names.append(value["as_name"])
        elif kind == "as_none":
            names.append(f"none/{len(names)}")
        else:
            raise whole.refuse(f"an operation answers with {kind}", "export a network of plain operations")
    return names


def _argument(arg: Mapping[str, Any], whole: _Graph, renamed: Mapping[str, Any]) -> Any:
    kind, value = next(iter(arg.items()))
    match kind:
        case "as_tensor":
            return whole.value(value["name"], renamed)
        case "as_tensors":
            return [whole.value(one["name"], renamed) for one in value]
        case "as_optional_tensors":
            return [None if "as_none" in one else whole.value(one["as_tensor"]["name"], renamed) for one in value]
        case "as_none":
            return None
        case "as_int" | "as_bool" | "as_string":
            return value
        case "as_float":
            return float(value)
        case "as_ints" | "as_bools":
            return list(value)
        case "as_floats":
            return [float(one) for one in value]
        case "as_sym_int" | "as_sym_float" | "as_sym_bool":
            return _size(value, whole, renamed)
        case "as_sym_ints" | "as_sym_floats" | "as_sym_bools":
            return [_size(one, whole, renamed) for one in value]
        case "as_scalar_type":
            return DTYPES[value]
        case "as_memory_format":
            return _FORMATS[value]
        case "as_layout" if value == 7:
            return torch.strided
        case "as_device":
            return Device()
    raise whole.refuse(f"an argument of kind {kind} is not known here", "export a network of plain operations")


def _size(item: Mapping[str, Any], whole: _Graph, renamed: Mapping[str, Any]) -> Any:
    kind, value = next(iter(item.items()))
    return whole.value(value, renamed) if kind == "as_name" else value


def _only(item: Mapping[str, Any]) -> Any:
    return next(iter(item.values()))


def _scopes(node: Mapping[str, Any], whole: _Graph) -> tuple[Scope, ...]:
    """The modules in which a node ran, the network itself left out."""
    scopes: list[Scope] = []
    for item in str(node["metadata"].get("nn_module_stack", "")).split(";"):
        key, _, rest = item.partition(",")
        path, _, kind = rest.partition(",")
        path = path.partition("@")[0]
        if not path or path.startswith("_empty_nn_module_stack"):
            continue
        if not _PATH.fullmatch(path):
            raise whole.refuse(f"a module is named {path!r}", "do not trust this file")
        scopes.append(Scope(key, path, kind))
    return tuple(scopes)


def _names(calls: Sequence[Mapping[str, Any]], number: int) -> list[str]:
    """Names of the outputs: a dictionary's keys; "output" of a single one; else their numbers."""
    numbered = ["output"] if number == 1 else [str(index) for index in range(number)]
    said = next((call["signature"] for call in calls if call["fqn"] == "" and call["signature"]), None)
    if said is None:
        return numbered
    spec = json.loads(said["out_spec"])[1]
    try:
        keys = json.loads(spec["context"])
    except (TypeError, ValueError):
        return numbered
    keys = keys[0] if isinstance(keys, list) and keys and isinstance(keys[0], list) else keys
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    plain = all(not child["children_spec"] for child in spec["children_spec"])
    return keys if named and plain and len(keys) == number == len(set(keys)) else numbered


ADAPTER = Exported()
