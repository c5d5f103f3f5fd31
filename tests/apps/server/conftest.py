"""Fixtures of the tests of `mulligan serve`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "reports")]

from serve_samples import Client, client, seen_run  # noqa: E402

from conftest_browser import chromium, open_page  # noqa: E402

__all__ = ["chromium", "open_page", "reviewing", "runs"]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with two runs of different networks."""
    seen_run(tmp_path / "runs" / "first")
    seen_run(tmp_path / "runs" / "second", network="net-b", created="2026-02-01T12:00:00+00:00")
    return tmp_path / "runs"


@pytest.fixture
def reviewing(runs: Path, tmp_path: Path) -> Iterator[Client]:
    """A client of a server of these runs."""
    with client([runs], tmp_path / "reviews.sqlite") as found:
        yield found
