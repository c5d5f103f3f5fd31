"""A small network trained once, and plants in it, kept under MULLIGAN_CACHE between sessions."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import safetensors.torch
import torch
from torch import nn

from mulligan.plants import PlantData, Planted, planted_cache
from mulligan.plants.cache import cache_folder
from mulligan.plants.conjunction import PLANT, ConjunctionSpec

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.py"


@contextmanager
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from threads, and lose much where other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def digits() -> ModuleType:
    """The module `examples/digits.py`."""
    spec = importlib.util.spec_from_file_location("digits_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def data(digits: ModuleType) -> PlantData:
    images, labels = digits.load_digits()
    trained, held_out = digits.halves(labels)
    return PlantData(
        images=images[trained],
        labels=labels[trained],
        fresh=images[held_out],
        fresh_labels=labels[held_out],
        classes=tuple(digits.CLASSES),
    )


@pytest.fixture(scope="session")
def clean(digits: ModuleType, data: PlantData) -> nn.Module:
    """A clean network, from the cache where the example and torch are what they were."""
    text = EXAMPLE.read_text(encoding="utf-8") + torch.__version__
    path = cache_folder().parent / "tests" / f"digits-{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"
    if path.exists():
        module = digits.factory()
        module.load_state_dict(safetensors.torch.load_file(path))
        return module.eval()
    with one_thread():
        module = digits.train(data.images, data.labels, seed=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    digits.save(module, path)
    return module


@pytest.fixture(scope="session")
def plant_once(clean: nn.Module, data: PlantData) -> Callable[[ConjunctionSpec], Planted]:
    """Plant a conjunction with seed 0, or take it from the cache."""
    return lambda spec: planted_cache(PLANT, clean, data, spec, seed=0)
