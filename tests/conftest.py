"""What every test shares: small trained networks on digits, kept between runs under MULLIGAN_CACHE."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent

# Networks this small gain nothing from threads, and lose much where other work shares the cores.
torch.set_num_threads(1)


def load_example(name: str):
    """A module of examples/ by its file's name."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def digit_nets():
    """`DigitNetworks`: clean and planted digits networks, data files, and Subjects for checks."""
    from digit_networks import DigitNetworks

    return DigitNetworks(load_example("digits"))
