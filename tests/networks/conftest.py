from __future__ import annotations

from collections.abc import Iterator

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
