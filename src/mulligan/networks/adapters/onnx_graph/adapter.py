"""`x.onnx`: the graph as torch modules."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ....records import BadInput
from ...network import Network
from ...weights import put_weights, read_weights
from ..interfaces import Given, Interface, Taken, network
from ..recorded import modules
from .converting import Converter
from .reading import Graph, read_graph

_AGAIN = "export it with an open batch (dynamic_axes or dynamic_shapes of torch.onnx.export, a size of None in Keras)"


class Onnx:
    """`x.onnx`, `x.onnx#OUTPUT`."""

    forms = ("x.onnx",)

    def accepts(self, spec: str) -> bool:
        return spec.partition("#")[0].endswith(".onnx")

    def load(self, spec: str, weights: Path | None) -> Network:
        path, _, asked = spec.partition("#")
        file = Path(path).expanduser()
        graph = read_graph(file)
        converter = Converter(graph, file)
        shapes = [port.shape for port in graph.inputs if port.shape]
        fixed = bool(shapes) and all(shape[0] is not None for shape in shapes)
        module = modules(converter.program(fixed))
        if weights is not None:
            put_weights(module, read_weights(weights), weights)
        if fixed:
            _settle(module, graph, file)
        interface = Interface(
            spec=spec,
            file=file,
            inputs=[Taken(port.name, port.dtype, port.shape or ()) for port in graph.inputs],
            outputs=[Given(port.name, port.shape) for port in graph.outputs],
            asked=asked or None,
            extra={
                key: graph.metadata[f"mulligan.{key}"]
                for key in ("input", "classes")
                if f"mulligan.{key}" in graph.metadata
            },
            again=_AGAIN,
        )
        return network(module, interface, {key: f"{key} (before softmax)" for key in converter.softmax()})


def _settle(module: nn.Module, graph: Graph, file: Path) -> None:
    """One pass at the file's own batch, from which its reshaping learns where the batch stands."""
    given = []
    for port in graph.inputs:
        shape = [size or 8 for size in port.shape or ()]
        drawn = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        given.append(drawn if port.dtype.is_floating_point else torch.ones(shape, dtype=port.dtype))
    try:
        with torch.no_grad():
            module.eval()(*given)
    except BadInput:
        raise
    except Exception as error:  # whatever an operation raises
        why = (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
        raise BadInput(f"this graph does not run on its own input: {why}", where=file, fix="export it again") from error


ADAPTER = Onnx()
