"""A network's forward pass, and what is computed from it as it passes the sites, as one graph.

The graph is made by running the pass once on a made-up input (torch.export, non-strict), hooks and all: what stands in
it is exactly what `watching` would have seen, and nothing of this module knows sites. What no output needs (the layers
after the last watched site) is not in it. A branch on a value is refused; one on a size is burnt in, and what was
assumed of sizes goes along with the graph.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn

from ...records import MulliganError
from ..inputs import ImageInput, TokenInput
from ..network import Network
from .shapes import ShapeRules

#: (x, mask) to named tensors, each batch first. Runs the network, under `watching` as it likes.
Compute = Callable[[Tensor, Tensor | None], dict[str, Tensor]]

_BATCH = 3  # of the made-up input: 0 and 1 are special to torch.export, and 2 is a common size of other things


class NotCompiled(MulliganError):
    """A pass cannot be compiled; the text says why, as a clause after "because"."""


@dataclass(frozen=True)
class Traced:
    """A pass as a graph.

    Attributes:
        program: of inputs x (and mask, for texts) and one output a name (and one more, for texts).
        names: of the outputs, in order.
        fixed_batch: the only batch size that it takes; None if any. rules: what was assumed of the inputs' sizes.
    """

    program: torch.export.ExportedProgram
    names: tuple[str, ...]
    fixed_batch: int | None
    rules: ShapeRules


class _Pass(nn.Module):
    """`compute` as a module whose parameters are the network's; `names` is filled as it runs."""

    def __init__(self, module: nn.Module, compute: Compute, names: list[str]) -> None:
        super().__init__()
        self.module, self.compute = module, compute
        # In a closure, since torch.export puts a module's own attributes back as they were.
        self.remember = lambda found: names.__setitem__(slice(None), found)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        found = self.compute(x, mask)
        self.remember(list(found))
        # Engines differ in what they make of 16 bits, and what is stored has 32.
        outputs = [t.float() if t.is_floating_point() and t.itemsize < 4 else t for t in found.values()]
        # A network that does not look at its mask would leave the graph without that input: one output more uses it.
        return (*outputs, mask.sum(1)) if mask is not None else tuple(outputs)


def trace(network: Network, compute: Compute) -> Traced:
    """The graph of `compute` on `network`.

    Raises:
        NotCompiled: if the pass cannot be a graph.
    """
    assert network.dry_run  # sites are learnt from it: now, and not within the graph
    names: list[str] = []
    wrapped = _Pass(network.module, compute, names).eval()
    x, mask = _made_up(network)
    free = torch.export.Dim.AUTO
    if isinstance(network.input, TokenInput):
        arguments: tuple[Tensor, ...] = (x, mask if mask is not None else torch.ones_like(x, dtype=torch.bool))
        dynamic: tuple[dict[int, Any], ...] = ({0: free, 1: free}, {0: free, 1: free})
    else:
        arguments, dynamic = (x,), ({0: free},)
    try:
        with torch.no_grad(), _quietly():
            program = torch.export.export(wrapped, arguments, dynamic_shapes=dynamic, strict=False)
    except Exception as error:  # whatever a stranger's forward may do that no graph can
        raise NotCompiled(f"torch.export cannot make a graph of this network ({_first_line(error)})") from error
    shape = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"][-len(arguments)].shape
    if isinstance(network.input, TokenInput) and _number(shape[1]) is not None:
        raise NotCompiled("its graph would hold for one length of texts only")
    return Traced(program, tuple(names), _number(shape[0]), _rules(program))


def _rules(program: torch.export.ExportedProgram) -> ShapeRules:
    texts = getattr(program, "_guards_code", None)
    if texts is None:
        raise NotCompiled("this torch does not say for which shapes its graph holds")
    try:
        return ShapeRules(texts)
    except ValueError as error:
        raise NotCompiled(
            f"its graph holds for some shapes only, by a rule that is not understood ({error})"
        ) from error


def _number(size: Any) -> int | None:
    """A size that the graph knows; None for one that is free."""
    # A symbol that was compared with a number while the graph was made stands for that number.
    return size if isinstance(size, int) else size.node.maybe_as_int()


@contextmanager
def _quietly() -> Iterator[None]:
    """Within the block torch neither warns nor prints the graph of what it refuses: the reason is told elsewhere."""
    loggers = [logging.getLogger(name) for name in ("torch.fx.experimental.symbolic_shapes", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _made_up(network: Network) -> tuple[Tensor, Tensor | None]:
    if network.input is None:
        raise NotCompiled("the network does not say what it takes")
    x, mask = network.example(_BATCH)
    # In 32 bits as batches are; the network casts them itself.
    x = x.to(network.device)
    return x, mask.to(network.device) if mask is not None else None


def of_pictures(network: Network) -> bool:
    """Whether the network takes pictures and holds a convolution, so that the order of axes in memory matters."""
    return isinstance(network.input, ImageInput) and any(isinstance(m, nn.Conv2d) for m in network.module.modules())


def _first_line(error: Exception) -> str:
    return (str(error).strip().split("\n")[0].rstrip(".:") or type(error).__name__)[:200]
