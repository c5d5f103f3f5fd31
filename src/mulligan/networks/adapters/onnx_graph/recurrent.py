"""LSTM, GRU and RNN: torch's own layers inside, with ONNX's order of gates turned into torch's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....records import BadInput
from .layers import Call, empty, layer

# The parts of ONNX's gates in the order in which torch has them: i o f c to i f g o, z r h to r z n.
_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_KINDS: dict[str, Any] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
_USUAL = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}


class Recurrent(nn.Module):
    """An ONNX recurrent node: Y [position, direction, batch, feature], the last state, and an LSTM's last cell.

    `layer` is torch's own: its output is [position, batch, direction * feature].
    """

    def __init__(self, layer: nn.Module, order: tuple[int, ...], reverse: bool, batch_first: bool) -> None:
        super().__init__()
        self.layer, self.order, self.reverse, self.batch_first = layer, order, reverse, batch_first

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Args: x: [position, batch, feature]; states: those of the initial ones that the file computes."""
        layer: Any = self.layer
        x = x.transpose(0, 1) if self.batch_first else x
        given: list[Tensor | None] = [None, None]
        for number, state in zip(self.order, states, strict=True):
            state = state.to(x.device, x.dtype)
            given[number] = state.transpose(0, 1) if self.batch_first else state
        x = x.flip(0) if self.reverse else x
        zero = x.new_zeros(2 if layer.bidirectional else 1, x.shape[1], layer.hidden_size)
        hidden = given[0] if given[0] is not None else zero
        # A constant first state is one for all examples.
        hidden = hidden.expand(zero.shape).contiguous()
        if isinstance(layer, nn.LSTM):
            cell = (given[1] if given[1] is not None else zero).expand(zero.shape).contiguous()
            out, (last, memory) = layer(x, (hidden, cell))
            lasts = (last, memory)
        else:
            out, last = layer(x, hidden)
            lasts = (last,)
        out = out.flip(0) if self.reverse else out
        out = out.reshape(*out.shape[:2], zero.shape[0], -1)
        if self.batch_first:
            return (out.transpose(0, 1), *(one.transpose(0, 1) for one in lasts))
        return (out.transpose(1, 2), *lasts)

    def extra_repr(self) -> str:
        """What the layer does not say."""
        return f"states={self.order}, reverse={self.reverse}, batch_first={self.batch_first}"


@layer("LSTM", "GRU", "RNN")
def recurrent(call: Call) -> nn.Module | None:
    """torch's own layer.

    Raises:
        BadInput: for what torch's layers do not have, by name.
    """
    op, node = call.node.op, call.node
    kinds = [one.lower() for one in call.get("activations", ())]
    direction = call.get("direction", "forward")
    both = direction == "bidirectional"
    nonlinear = "relu" if op == "RNN" and kinds and set(kinds) == {"relu"} else "tanh"
    usual = [nonlinear] if op == "RNN" else _USUAL[op]
    odd = [
        what
        for what, there in (
            ("activations of its own", bool(kinds) and kinds != usual * (2 if both else 1)),
            ("clipping", call.get("clip") is not None),
            ("coupled gates", bool(call.get("input_forget", 0))),
            ("peepholes", call.has(7)),
            ("lengths of sequences", call.has(4)),
            ("weights that are computed", not call.fixed(1, 2, 3)),
            ("a reset before the product", op == "GRU" and not call.get("linear_before_reset", 0)),
        )
        if there
    ]
    if odd:
        raise BadInput(f"{node.place} has {', '.join(odd)}", where="ONNX", fix="export torch's own nn.LSTM or nn.GRU")
    weight, back = call.constants[1], call.constants[2]
    bias = call.constants.get(3)
    gates = len(_ORDER[op])
    hidden = back.shape[-1]
    extra = {"nonlinearity": nonlinear} if op == "RNN" else {}
    made = empty(lambda: _KINDS[op](weight.shape[-1], hidden, bias=bias is not None, bidirectional=both, **extra))
    named: dict[str, Tensor] = {}
    for number, suffix in enumerate(("", "_reverse") if both else ("",)):
        named[f"weight_ih_l0{suffix}"] = _ordered(weight[number], op, gates)
        named[f"weight_hh_l0{suffix}"] = _ordered(back[number], op, gates)
        if bias is not None:
            one, other = bias[number].chunk(2)
            named[f"bias_ih_l0{suffix}"], named[f"bias_hh_l0{suffix}"] = (
                _ordered(one, op, gates),
                _ordered(other, op, gates),
            )
    made.to_empty(device="cpu")
    with torch.no_grad():
        for name, tensor in named.items():
            getattr(made, name).copy_(tensor)
    order = tuple(number - 5 for number in (5, 6) if call.has(number) and number not in call.constants)
    module = Recurrent(made, order, direction == "reverse", bool(call.get("layout", 0)))
    for number in (5, 6):
        if number in call.constants and bool(call.constants[number].any()):
            raise BadInput(f"{node.place} has a trained first state", where="ONNX", fix="give it as an input")
    return module


def _ordered(stacked: Tensor, op: str, gates: int) -> Tensor:
    parts = stacked.detach().chunk(gates)
    return torch.cat([parts[number] for number in _ORDER[op]])
