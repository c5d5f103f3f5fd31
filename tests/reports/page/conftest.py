"""Fixtures of the tests of pages: a complete run made by hand, and a browser."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import reports_builder

from conftest_browser import chromium, open_page

__all__ = ["chromium", "open_page", "run"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run that failed, in a folder of its own."""
    return reports_builder.build(tmp_path / "run")
