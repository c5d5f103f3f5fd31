from __future__ import annotations

import pytest
from mulligan.networks import Network, load


@pytest.fixture(scope="session")
def smollm() -> Network:
    return load("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def minilm() -> Network:
    return load("minilm-l6")


@pytest.fixture(scope="session")
def efficientnet() -> Network:
    return load("efficientnet-lite0")
