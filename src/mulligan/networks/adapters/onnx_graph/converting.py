"""From the nodes of an ONNX graph to a program of modules: fold what is constant, make layers, name the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ....records import BadInput, MulliganError
from ..recorded import Program, Scope, Step, Value
from . import computing, recurrent, shaping  # noqa: F401 - they fill the tables
from .layers import LAYERS, Call, linear
from .naming import Named, places
from .reading import Graph, Node
from .reshaping import Concat, Reshape
from .table import OPERATORS, Function, Plain, as_numbers, function, run

_LARGEST = 1 << 24  # numbers of a folded constant that was made out of smaller ones
#: They give what they take, in a network that does not train.
_NOTHING = ("Identity", "Dropout")
_SEVERAL = ("LSTM", "GRU", "RNN", "TopK", "Split")
#: What they make of trained numbers are the same numbers.
_MOVES = ("Cast", "Expand", "Flatten", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
#: In a file that is fixed to one batch, these learn to take another.
_REBATCHED = {"Reshape": Reshape, "Flatten": Reshape, "Concat": Concat}


class Converter:
    """One graph on its way.

    Raises:
        BadInput: naming every operator that is not known, before anything is computed.
    """

    def __init__(self, graph: Graph, file: Path) -> None:
        self.graph, self.file = graph, file
        self._expect_known()
        # What was trained: numbers that the file holds as such, single ones aside.
        self.constants: dict[str, Tensor] = {
            name: nn.Parameter(tensor) if tensor.is_floating_point() and tensor.numel() > 1 else tensor
            for name, tensor in graph.tensors.items()
        }
        self.same: dict[str, str] = {}
        self.nodes = self._joined(self._live(self._folded()))
        self.shapes = self._shapes()
        self.read = {name for node in self.nodes for name in node.inputs}
        self.read |= {self.name(port.name) for port in graph.outputs}

    def _expect_known(self) -> None:
        unknown = [node for node in self.graph.nodes if node.op not in OPERATORS and node.op not in LAYERS]
        unknown = [node for node in unknown if node.op != "Constant"]
        if unknown:
            kinds = ", ".join(f"{op} ({number})" for op, number in sorted(Counter(n.op for n in unknown).items()))
            raise BadInput(
                f"operators that are not known here: {kinds}, first {unknown[0].place}",
                where=self.file,
                fix="export the network without them, or load it by a factory of your own: file.py:factory",
            )

    def _folded(self) -> list[Node]:
        """The nodes that depend on the input, names of what only passes replaced."""
        live: list[Node] = []
        known = {"", *self.constants, *(port.name for port in self.graph.inputs)}
        for node in self.graph.nodes:
            node = replace(node, inputs=tuple(self.same.get(name, name) for name in node.inputs))
            absent = [name for name in node.inputs if name not in known]
            twice = [name for name in node.outputs if name and (name in known)]
            if absent or twice:
                what = f"reads {absent[0]!r}, which nothing gives" if absent else f"gives {twice[0]!r} a second time"
                raise BadInput(f"{node.place} {what}", where=self.file, fix="copy or export it again")
            if node.op == "Constant":
                self.constants[node.outputs[0]] = self._constant(node)
            elif node.op in _NOTHING:
                self.same[node.outputs[0]] = node.inputs[0]
                continue
            elif not self._fold(node):
                live.append(node)
            known.update(node.outputs)
        self.same = {name: to for name, to in self.same.items() if name}
        return live

    def _constant(self, node: Node) -> Tensor:
        (name, value), *more = node.attributes.items()
        if more or name not in ("value", "value_float", "value_int", "value_floats", "value_ints"):
            raise BadInput(f"{node.place} holds {name}", where=self.file, fix="export it with tensors alone")
        return value if isinstance(value, Tensor) else torch.tensor(value)

    def _fold(self, node: Node) -> bool:
        if not all(name in self.constants or not name for name in node.inputs) or not node.inputs:
            return False
        if node.op not in OPERATORS:
            return False
        given = [self.constants[name].detach() if name else None for name in node.inputs]
        try:
            with torch.no_grad():
                result = run(OPERATORS[node.op], given, self._settings(node))
        except MulliganError as error:
            raise BadInput(f"{node.place}: {error}", where=self.file, fix="export it again") from error
        except Exception as error:  # whatever torch says of sizes that do not fit
            raise BadInput(
                f"{node.place} cannot be computed: {_first_line(error)}", where=self.file, fix="export it again"
            ) from error
        results = result if isinstance(result, tuple) else (result,)
        if sum(one.numel() for one in results) > max(_LARGEST, *(one.numel() for one in given if one is not None)):
            return False
        if (
            node.op in _MOVES
            and isinstance(self.constants[node.inputs[0]], nn.Parameter)
            and results[0].is_floating_point()
        ):
            results = (nn.Parameter(results[0].clone()),)
        self.constants.update({name: one for name, one in zip(node.outputs, results, strict=False) if name})
        return True

    def _settings(self, node: Node) -> dict[str, Any]:
        spec = OPERATORS[node.op]
        unknown = sorted(set(node.attributes) - spec.settings | set(node.attributes) & {"opset", "outputs"})
        if unknown:
            raise BadInput(
                f"{node.place} has the attribute {unknown[0]!r}, which is not known here",
                where=self.file,
                fix="export it with another opset",
            )
        # Before opset 18 only the number of outputs says into how many parts a Split cuts.
        told = {"opset": self.graph.opset, "outputs": len(node.outputs)}
        return {**node.attributes, **{key: value for key, value in told.items() if key in spec.settings}}

    def _live(self, nodes: Sequence[Node]) -> list[Node]:
        """Those that an output needs."""
        needed = {self.name(port.name) for port in self.graph.outputs}
        live: list[Node] = []
        for node in reversed(nodes):
            if needed & set(node.outputs):
                live.append(node)
                needed |= set(node.inputs)
        return live[::-1]

    def name(self, name: str) -> str:
        """The name under which a value is known after what only passes was taken out."""
        return self.same.get(name, name)

    def _joined(self, nodes: Sequence[Node]) -> list[Node]:
        """A product with a constant and the addition of a constant row, as the one linear layer that they were."""
        readers = Counter(name for node in nodes for name in set(node.inputs))
        readers.update(self.name(port.name) for port in self.graph.outputs)
        products = {node.outputs[0]: node for node in nodes if node.op == "MatMul" and self._is_linear(node)}
        joined: dict[str, Node] = {}
        gone: set[str] = set()
        for node in nodes:
            if node.op != "Add":
                continue
            for one, other in (node.inputs, node.inputs[::-1]):
                product = products.get(one)
                bias = self.constants.get(other)
                if product is None or bias is None or readers[one] != 1:
                    continue
                if bias.shape == self.constants[product.inputs[1]].shape[1:]:
                    joined[one] = replace(product, op="Linear", inputs=(*product.inputs, other), outputs=node.outputs)
                    gone.add(node.outputs[0])
        kept = [node for node in nodes if node.outputs[0] not in gone]
        return [joined.get(node.outputs[0], node) for node in kept]

    def _is_linear(self, node: Node) -> bool:
        weight = self.constants.get(node.inputs[1])
        return weight is not None and weight.dim() == 2 and node.inputs[0] not in self.constants

    def _shapes(self) -> set[str]:
        """Values that are numbers of shapes: computed from sizes alone."""
        found: set[str] = set()
        for node in self.nodes:
            values = [name for name in node.inputs if name and name not in self.constants]
            trained = any(isinstance(self.constants.get(name), nn.Parameter) for name in node.inputs)
            if node.op in ("Shape", "Size") or (
                values and set(values) <= found and not trained and node.op in OPERATORS
            ):
                found.update(node.outputs)
        return found

    def program(self, fixed_batch: bool) -> Program:
        """The steps, with their modules at their paths.

        Args:
            fixed_batch: the file says how many examples there are; reshaping learns to take others.

        Raises:
            BadInput: if an answer does not depend on the input, or a layer cannot be made.
        """
        seen = [node for node in self.nodes if node.outputs[0] not in self.shapes]
        found = dict(zip((id(node) for node in seen), places([self._named(node) for node in seen]), strict=True))
        steps = [self._step(node, *found.get(id(node), ((), "")), fixed_batch) for node in self.nodes]
        answers: dict[str, Value] = {}
        for port in self.graph.outputs:
            if self.name(port.name) in self.constants:
                raise BadInput(
                    f"the output {port.name} does not depend on the input", where=self.file, fix="export it again"
                )
            answers[port.name] = Value(self.name(port.name))
        answers.update({f"{key} (before softmax)": Value(value) for key, value in self.softmax().items()})
        return Program(steps, tuple(port.name for port in self.graph.inputs), answers, {})

    def softmax(self) -> dict[str, str]:
        """Outputs that are a softmax over their last axis, to the name of what went into it."""
        made = {name: node for node in self.nodes for name in node.outputs}
        found: dict[str, str] = {}
        for port in self.graph.outputs:
            node = made.get(self.name(port.name))
            if node is None or node.op != "Softmax" or port.shape is None or len(port.shape) != 2:
                continue
            if node.attributes.get("axis", -1 if self.graph.opset >= 13 else 1) in (1, -1):
                found[port.name] = node.inputs[0]
        return found

    def _named(self, node: Node) -> Named:
        weight = next((n for n in node.inputs if isinstance(self.constants.get(n), nn.Parameter)), "")
        return Named(node.op, node.name, node.scopes, weight if node.op == "Conv" else "")

    def _step(self, node: Node, scopes: tuple[str, ...], path: str, fixed_batch: bool) -> Step:
        constants = {number: self.constants[name] for number, name in enumerate(node.inputs) if name in self.constants}
        values = tuple(Value(name) for name in node.inputs if name and name not in self.constants)
        # A name for each output, also for those that nobody reads.
        outputs = tuple(name or f"{node.outputs[0]}/{number}" for number, name in enumerate(node.outputs))
        if node.op not in _SEVERAL:
            more = [name for name in outputs[1:] if name in self.read]
            if more:
                raise BadInput(f"{node.place} gives {more[0]} too", where=self.file, fix="export it without")
            outputs = outputs[:1]
        floating = node.outputs[0] in self.shapes
        try:
            what: Any = self._plain(node, constants) if floating else self._module(node, constants, fixed_batch)
        except BadInput as error:
            raise BadInput(error.what, where=self.file, fix=error.fix) from error
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise BadInput(
                f"{node.place} does not say what it needs: {type(error).__name__}: {_first_line(error)}",
                where=self.file,
                fix="export it again",
            ) from error
        if node.op in _SEVERAL and len(outputs) == 1:
            outputs += (f"{outputs[0]}/1",)  # it answers with a tuple all the same
        return Step(
            run=what,
            args=values,
            outputs=outputs,
            said=f"{node.op}{_told(node, constants)}",
            scopes=tuple(Scope(scope, scope) for scope in scopes),
            path=path,
            floating=floating,
        )

    def _module(self, node: Node, constants: Mapping[int, Tensor], fixed_batch: bool) -> nn.Module:
        if node.op == "Linear":
            made = linear(constants[1].T, constants[2])
        elif node.op in LAYERS:
            made = LAYERS[node.op](Call(node, constants, self.graph.opset))
        else:
            made = None
        if made is not None:
            return made
        if node.op not in OPERATORS:
            raise BadInput(f"{node.place} computes its weights", fix="export it with constant weights")
        spec, settings = OPERATORS[node.op], self._settings(node)
        module: Function = function(node.op)
        if fixed_batch and node.op in _REBATCHED and (node.op != "Reshape" or 1 in constants):
            module = _REBATCHED[node.op]()
        slots, tensors = [], {}
        for number, name in enumerate(node.inputs):
            constant = constants.get(number)
            if constant is not None and number not in spec.numbers:
                tensors[number] = constant
            slots.append(None if not name else ... if constant is None else as_numbers(constant.detach())
                         if number in spec.numbers else None)  # fmt: skip
        module.set(spec, slots, settings, tensors)
        return module

    def _plain(self, node: Node, constants: Mapping[int, Tensor]) -> Plain:
        slots = [
            None if not name else constants[number].detach() if number in constants else ...
            for number, name in enumerate(node.inputs)
        ]
        return Plain(OPERATORS[node.op], slots, self._settings(node))


def _told(node: Node, constants: Mapping[int, Tensor]) -> str:
    """Attributes and the small constants, for the network's identity."""
    told = {key: value.tolist() if isinstance(value, Tensor) else value for key, value in node.attributes.items()}
    small = {
        number: one.tolist()
        for number, one in constants.items()
        if one.numel() <= 16 and not isinstance(one, nn.Parameter)
    }
    return f"{sorted(told.items(), key=str)} {small}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
