"""The elements' code in the package: built from these sources, small, and safe within a script tag."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

from mulligan.reports.shell import bundle

WEB = Path(__file__).parents[3] / "web"


def digest() -> str:
    """What `web/build.mjs` writes into the first line: of every source by its path."""
    paths = [path for path in (WEB / "src").rglob("*") if path.is_file()]
    paths += [WEB / "package-lock.json", WEB / "build.mjs"]
    found = hashlib.sha256()
    for name, path in sorted((path.relative_to(WEB).as_posix(), path) for path in paths):
        found.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def test_the_bundle_is_of_these_sources() -> None:
    assert bundle().startswith(f"/* sources {digest()} */"), "run `make web` and commit what it builds"


def test_it_is_small_and_stays_within_its_tag() -> None:
    code = bundle()
    assert len(gzip.compress(code.encode(), 9)) <= 120 * 1024
    assert "</script" not in code
    assert "<!--" not in code


def test_it_ships_only_what_may_be_shipped() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text())
    shipped = {
        name: entry["license"]
        for name, entry in lock["packages"].items()
        if name and not entry.get("dev") and not entry.get("devOptional")
    }
    assert shipped
    assert set(shipped.values()) <= {"MIT", "ISC", "BSD-3-Clause", "BSD-2-Clause", "Apache-2.0"}, shipped
