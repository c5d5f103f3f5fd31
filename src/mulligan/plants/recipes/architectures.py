"""Which architectures the game draws, what they cost, and the files from which an entry builds one without us."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import nn

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


def parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def multiply_adds(architecture: Architecture) -> int:
    """Of the convolutions and linear layers, for one picture."""
    with torch.device("meta"):
        module = SmallCNN(architecture).eval()
    total = 0

    def count(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += layer.weight[0].numel() * output[0].numel()
        elif isinstance(layer, nn.Linear):
            total += layer.weight.numel()

    for layer in module.modules():
        layer.register_forward_hook(count)
    module(torch.zeros(1, architecture.channels, architecture.size, architecture.size, device="meta"))
    return total
