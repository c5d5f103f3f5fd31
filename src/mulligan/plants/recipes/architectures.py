"""Which architectures the game draws, what they cost, and the files from which an entry builds one without us."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import torch

from . import small_cnn
from .small_cnn import Architecture, SmallCNN

#: What a drawn network may cost: parameters, lowest and highest, and multiply-adds of one picture.
PARAMETERS = (20_000, 300_000)
MULTIPLY_ADDS = 3_000_000

_FACTORY = '''

# What is built here is said in config.json, beside this file.
_CONFIG = json.loads((Path(__file__).resolve().parent / "config.json").read_text(encoding="utf-8"))
INPUT: str = _CONFIG["input"]
CLASSES: list[str] = _CONFIG["classes"]


def factory() -> nn.Module:
    """The untrained network of config.json, in evaluation mode."""
    return SmallCNN(Architecture(**_CONFIG["architecture"])).eval()
'''


def build(architecture: Architecture, seed: int) -> SmallCNN:
    """An untrained network, its weights drawn from `seed` alone; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SmallCNN(architecture)


def entry_source() -> str:
    """The text of an entry's model.py, which needs torch alone; `factory`, INPUT, CLASSES are read from config.json."""
    text = inspect.getsource(small_cnn)
    imports = "import math\n"
    if text.count(imports) != 1:
        raise AssertionError("the source of small_cnn imports in another way than is expected here")
    text = text.replace(imports, "import json\nimport math\n").replace(
        "from dataclasses import dataclass\n", "from dataclasses import dataclass\nfrom pathlib import Path\n"
    )
    return text.rstrip() + "\n" + _FACTORY


def entry_config(architecture: Architecture, input: str, classes: Sequence[str]) -> str:
    """The text of an entry's config.json; `input` as `--input` takes it."""
    content = {"architecture": asdict(architecture), "input": input, "classes": list(classes)}
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a network: numbers that are trained, and multiply-adds of its convolutions and linear layers for a picture."""

    parameters: int
    multiply_adds: int


def cost(architecture: Architecture) -> Cost:
    """What a network costs, without building it."""
    a = architecture
    numbers = multiplied = 0

    def convolution(inputs: int, outputs: int, kernel: int, side: int, *, norm: bool = True) -> None:
        nonlocal numbers, multiplied
        weights = inputs * outputs * kernel**2
        # A bias where there is no norm; a norm has a scale and a shift.
        numbers += weights + outputs * (a.norm == "none") + 2 * outputs * (norm and a.norm != "none")
        multiplied += weights * side**2

    side = -(-a.size // a.strides[0])
    convolution(a.channels, a.widths[0], a.kernel, side)
    for inputs, outputs, stride in zip(a.widths[:-1], a.widths[1:], a.strides[1:], strict=True):
        side = -(-side // stride)
        if a.shape == "plain":
            convolution(inputs, outputs, 3, side)
        elif a.shape == "depthwise":
            convolution(1, inputs, 3, side)
            convolution(inputs, outputs, 1, side)
        else:
            convolution(inputs, outputs, 3, side)
            convolution(outputs, outputs, 3, side)
            if inputs != outputs or stride != 1:
                convolution(inputs, outputs, 1, side, norm=False)
    widths = [a.widths[-1] * (side**2 if a.head == "flat" else 1), *([a.hidden] if a.hidden else []), a.classes]
    for inputs, outputs in pairwise(widths):
        numbers += (inputs + 1) * outputs
        multiplied += inputs * outputs
    return Cost(numbers, multiplied)
