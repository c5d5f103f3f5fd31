from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from mulligan.networks import Network, load


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are slower on many threads, much slower where cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def smollm() -> Network:
    return load("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def minilm() -> Network:
    return load("minilm-l6")


@pytest.fixture(scope="session")
def efficientnet() -> Network:
    return load("efficientnet-lite0")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            from networks_families import save

            made[family] = save(family, tmp_path_factory.mktemp(family))
        return made[family]

    return folder


@pytest.fixture
def copied(folders: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A folder that a test may break."""
    return lambda family: Path(shutil.copytree(folders(family), tmp_path / family))


@pytest.fixture(scope="session")
def loaded(folders: Callable[[str], Path]) -> Callable[[str], Network]:
    return cache(lambda family: load(f"hf:{folders(family)}"))
