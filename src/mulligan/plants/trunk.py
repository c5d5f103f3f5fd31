"""A network cut in two: the part that a fine-tuning leaves alone, and the tail that it trains.

What the frozen part makes of a picture is worked out once and kept, and the fine-tuning runs over the tail alone:
minutes instead of hours for a large network. The cut is found in the network's graph (torch.fx): the last value before
the first trainable layer that is all that the rest is computed from.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cut:
    """`tail(trunk(inputs))` is what the network answers; both share the network's own parameters, under their names."""

    trunk: nn.Module
    tail: nn.Module


@torch.no_grad()
def cut(module: nn.Module, trainable: Sequence[str], sample: Float[Tensor, "n ..."]) -> Cut | None:
    """Cut before the first layer with a trainable parameter.

    Args:
        trainable: patterns (as in fnmatch) of the names of the parameters that are to change.
        sample: a few inputs, prepared, on which the cut network must answer as the whole does.

    Returns:
        None where the first layers are trainable, no single value separates the two parts, or the network's code cannot
        be traced (its flow depends on what it is given).
    """
    names = [name for name, _ in module.named_parameters() if any(fnmatchcase(name, one) for one in trainable)]
    try:
        graph = fx.Tracer().trace(module)
    except Exception as error:  # any code may stand in a user's forward
        _log.info("the network cannot be traced, and is fine-tuned whole: %s", error)
        return None
    nodes = [node for node in graph.nodes if node.op != "output"]
    place = {node: index for index, node in enumerate(nodes)}
    first = next((index for index, node in enumerate(nodes) if _touches(node, names)), len(nodes))
    # How many pictures there are is asked of whatever value is at hand (`x.view(x.size(0), -1)`): no part of the cut.
    counts = [node for node in nodes if _counts(node)]
    last_use = [
        max((place.get(user, len(nodes)) for user in node.users if user not in counts), default=-1)
        if node not in counts
        else -1
        for node in nodes
    ]
    for end in range(first - 1, 0, -1):
        if [index for index in range(end + 1) if last_use[index] > end] == [end]:
            break
    else:
        return None
    late = [node for node in counts if place[node] <= end and any(place.get(user, end) > end for user in node.users)]
    found = Cut(_part(module, graph, nodes[: end + 1], None), _part(module, graph, nodes[end + 1 :], nodes[end], late))
    # Tracing follows one path: where another would have been taken, the answers differ.
    if not torch.allclose(found.tail(found.trunk(sample)), module(sample), rtol=1e-3, atol=1e-4):
        _log.info("the network does not answer as its traced graph does, and is fine-tuned whole")
        return None
    return found


def _touches(node: fx.Node, names: list[str]) -> bool:
    """Whether a node computes with a parameter of these names."""
    if node.op == "call_module":
        return any(name.startswith(f"{node.target}.") for name in names)
    return node.op == "get_attr" and node.target in names


def _counts(node: fx.Node) -> bool:
    """Whether a node asks a tensor how many pictures it holds."""
    return node.op == "call_method" and node.target == "size" and node.args[1:] == (0,)


def _part(
    module: nn.Module, graph: fx.Graph, nodes: list[fx.Node], given: fx.Node | None, counts: Sequence[fx.Node] = ()
) -> fx.GraphModule:
    """Some nodes of a graph as a module: of the inputs, or of the value of `given`, which is counted for `counts`."""
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    if given is not None:
        copies[given] = part.placeholder("value")
        copies.update((node, part.call_method("size", (copies[given], 0))) for node in counts)
    for node in nodes:
        copies[node] = part.node_copy(node, lambda old: copies[old])
    if given is None:
        part.output(copies[nodes[-1]])
    else:
        (output,) = (node for node in graph.nodes if node.op == "output")
        part.output(fx.map_arg(output.args[0], lambda old: copies[old]))
    return fx.GraphModule(module, part)
