"""Fixtures of the tests of runs in notebooks: a browser."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from conftest_browser import chromium, open_page

__all__ = ["chromium", "open_page"]
