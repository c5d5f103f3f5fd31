"""GNU Backgammon's evaluation networks: text files that hold several, read without running anything.

A file begins with "GNU Backgammon VERSION". Each network in it is a line with its name ("race", "contact contact250",
"prune crashed": the word after the name is the set of inputs), a line "inputs hidden outputs trained beta beta", then
one number a line: the hidden layer's weights [inputs, hidden], the output layer's [outputs, hidden], the hidden biases,
the output biases. A layer answers sigmoid(beta * (x W + b)). Source: gnubg's `lib/neuralnet.c`, `lib/sigmoid.h`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ...records import BadInput
from ..inputs import ArrayInput
from ..network import Network
from .packages import shipped_file

OUTPUTS = ("win", "win gammon", "win backgammon", "lose gammon", "lose backgammon")

_WHOLE = ("race", "contact", "crashed")
_LEAST = 1 / 19931.370438230298  # what the sigmoid answers below -10
_WIDEST = 1 << 14  # units of a layer: more is a damaged line
_LAYERS = {
    "": "the logits of win, win gammon, win backgammon, lose gammon, lose backgammon",
    "[probabilities]": "the five probabilities",
    "hidden": "the hidden layer before its sigmoid (the file's beta is multiplied into the weights)",
    "hidden_act": "the hidden units, after the sigmoid",
    "output": "the logits of win, win gammon, win backgammon, lose gammon, lose backgammon",
    "probabilities": "the five probabilities, each a sigmoid of its own: a backgammon is a gammon is a win",
}


class TableSigmoid(nn.Module):
    """gnubg's sigmoid: the exponential is a table in steps of 0.1 with straight lines between, and ends at 10.

    The networks were trained with it. Under the smooth sigmoid their answers differ by up to 0.01, since the last layer
    reads hundreds of times what a unit that is all but silent still says.
    """

    def forward(self, x: Tensor) -> Tensor:
        tenths = torch.where(x < 0, -x, x) * 10
        step = tenths.floor().clamp(max=99)
        grown = torch.exp(step / 10) * (1 + (tenths - step) / 10)
        low = torch.where(tenths < 100, 1 / (1 + grown), _LEAST)
        return torch.where(x < 0, low, 1 - low)


class Evaluator(nn.Module):
    """One hidden layer of sigmoid units, and sigmoid outputs.

    Its output holds "logits" and "probabilities", [batch, 5] each.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.hidden, self.hidden_act = nn.Linear(inputs, hidden), TableSigmoid()
        self.output, self.probabilities = nn.Linear(hidden, outputs), TableSigmoid()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.output(self.hidden_act(self.hidden(x)))
        return {"logits": logits, "probabilities": self.probabilities(logits)}


@dataclass(frozen=True, slots=True)
class _Header:
    """A network's second line."""

    inputs: int
    hidden: int
    outputs: int
    betas: tuple[float, float]

    @property
    def numbers(self) -> int:
        return (self.inputs + 1 + self.outputs) * self.hidden + self.outputs


def read_evaluators(file: Path) -> dict[str, Evaluator]:
    """Every network in a file, by its name ("contact", "prune-contact").

    Raises:
        BadInput: if the file is missing, is of another kind, cut short, or holds what is no number.
    """
    found: dict[str, Evaluator] = {}
    if not file.is_file():
        raise BadInput("there is no such file", where=file, fix="check the path")
    try:
        with file.open(encoding="ascii") as lines:
            if not next(lines, "").startswith("GNU Backgammon"):
                raise BadInput(
                    "this is not a text file of GNU Backgammon's networks",
                    where=file,
                    fix="give gnubg.weights, the text that a binary gnubg.wd is made from",
                )
            for name in lines:
                if name.strip():
                    words = name.split()
                    key = "-".join(words[:2] if words[0] == "prune" else words[:1])
                    found[key] = _evaluator(key, lines, file)
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not plain text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise BadInput(f"the networks cannot be read: {reason}", where=file, fix="give gnubg.weights") from error
    if not found:
        raise _damaged(file, "it holds no network")
    return found


def _evaluator(name: str, lines: Iterator[str], file: Path) -> Evaluator:
    header = _header(name, next(lines, ""), file)
    # No more is taken from the file than there is, whatever the header says.
    texts = list(itertools.islice(lines, header.numbers))
    try:
        numbers = torch.tensor([float(text) for text in texts], dtype=torch.float64)
    except ValueError:
        raise _damaged(file, f"a weight of the network {name!r} is no number") from None
    if len(numbers) != header.numbers:
        raise _damaged(file, f"the network {name!r} has {len(numbers)} of {header.numbers} numbers")
    if not torch.isfinite(numbers).all():
        raise _damaged(file, f"the network {name!r} holds NaN or infinity")
    first, last = header.betas
    sizes = [header.inputs * header.hidden, header.outputs * header.hidden, header.hidden, header.outputs]
    into, out, hidden_bias, output_bias = numbers.split(sizes)
    network = Evaluator(header.inputs, header.hidden, header.outputs)
    network.load_state_dict(
        {
            "hidden.weight": into.reshape(header.inputs, header.hidden).T * first,
            "hidden.bias": hidden_bias * first,
            "output.weight": out.reshape(header.outputs, header.hidden) * last,
            "output.bias": output_bias * last,
        }
    )
    return network


def _header(name: str, line: str, file: Path) -> _Header:
    words = line.split()
    try:
        inputs, hidden, outputs = (int(word) for word in words[:3])
        first, last = (float(word) for word in words[4:6])
    except ValueError:
        raise _damaged(file, f"the network {name!r} does not say its sizes") from None
    if not all(0 < size <= _WIDEST for size in (inputs, hidden, outputs)) or not (0 < first < 1e3 and 0 < last < 1e3):
        raise _damaged(file, f"the network {name!r} has sizes that cannot be: {line.strip()}")
    return _Header(inputs, hidden, outputs, (first, last))


def _damaged(file: Path, what: str) -> BadInput:
    return BadInput(f"this file of networks is damaged: {what}", where=file, fix="copy or download it again")


class Gnubg:
    """`gnubg:contact`, `gnubg:race`, `gnubg:crashed`; `gnubg:prune-contact` and so on, which prune the search.

    The file is the one that the package gnubg-nn ships, or another of its kind given as weights. A network takes
    positions as gnubg encodes them (214, 250 or 200 numbers), and its answers are no classes: each is a probability of
    its own.
    """

    forms = ("gnubg:contact", "gnubg:race", "gnubg:crashed")

    def accepts(self, spec: str) -> bool:
        return spec == "gnubg" or spec.startswith("gnubg:")

    def load(self, spec: str, weights: Path | None) -> Network:
        file = weights or shipped_file("gnubg_nn", "data/gnubg.weights")
        found = read_evaluators(file)
        name = spec.removeprefix("gnubg").removeprefix(":")
        names = ", ".join(f"gnubg:{name}" for name in sorted(found, key=lambda name: (name not in _WHOLE, name)))
        if not name:
            raise BadInput("this file holds several networks", where=file, fix=f"name one of them: {names}")
        if name not in found:
            raise BadInput("this file holds no network of this name", where=spec, fix=f"name one of {names}")
        module = found[name]
        return Network(
            module,
            name=spec,
            input=ArrayInput(shape=(module.hidden.in_features,)),
            classes=OUTPUTS if module.output.out_features == len(OUTPUTS) else None,
            meanings=_LAYERS,
            answer=lambda out: out["logits"],
            head="output",
            task="other",
        )


ADAPTER = Gnubg()
