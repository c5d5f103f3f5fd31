"""The page docs/networks-families.md says what the code says today.

`MULLIGAN_WRITE_DOCS=1 pytest tests/networks/test_networks_table.py` writes it anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from networks_families import ZOO
from networks_table import GROUPS, page

from mulligan.networks import Network

PAGE = Path(__file__).parents[2] / "docs" / "networks-families.md"


def test_the_page_is_what_the_networks_say(loaded: Callable[[str], Network]) -> None:
    written = page(loaded)
    if os.environ.get("MULLIGAN_WRITE_DOCS"):
        PAGE.write_text(written, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == written, "run it with MULLIGAN_WRITE_DOCS=1, and read what changed"


def test_each_family_stands_in_one_table() -> None:
    for name, family in ZOO.items():
        assert sum(belongs(family) for belongs in GROUPS.values()) == 1, name
