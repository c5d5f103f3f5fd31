"""Folders outside any run for what is dear to make and may be made again, under MULLIGAN_CACHE; kept below a limit."""

from __future__ import annotations

import os
import shutil
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import platformdirs

from ..records import BadInput

_DAY = 86_400.0
LIMIT_GB = 10.0  # of each folder, unless MULLIGAN_CACHE_GB says otherwise


def cache_folder(kind: str) -> Path:
    """Where things of one kind are cached: `MULLIGAN_CACHE/kind`, or in the platform's cache folder."""
    root = os.environ.get("MULLIGAN_CACHE") or platformdirs.user_cache_dir("mulligan")
    return Path(root) / kind


def trim(folder: Path, limit: int | None = None) -> None:
    """Remove what was not used for longest until at most `limit` bytes are left. Nothing fails if another does so too.

    Files whose names differ in their suffix alone are one entry, which was used when the newest of them was.

    Args:
        limit: in bytes; None: MULLIGAN_CACHE_GB, or else 10 GB.

    Raises:
        BadInput: if MULLIGAN_CACHE_GB is no number.
    """
    for path in folder.glob("tmp*") if folder.is_dir() else ():
        with suppress(OSError):
            # What a killed process was building.
            if path.is_dir() and time.time() - path.stat().st_mtime > _DAY:
                shutil.rmtree(path, ignore_errors=True)
    entries: dict[str, list[tuple[float, int, Path]]] = defaultdict(list)
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):
            if path.is_file():
                stat = path.stat()
                entries[path.name.split(".")[0] or path.name].append((stat.st_mtime, stat.st_size, path))
    total = sum(size for files in entries.values() for _, size, _ in files)
    allowed = _limit() if limit is None else limit
    for files in sorted(entries.values(), key=lambda files: max(used for used, _, _ in files)):
        if total <= allowed:
            return
        for _, size, path in files:
            with suppress(OSError):
                path.unlink()
            total -= size


def _limit() -> int:
    text = os.environ.get("MULLIGAN_CACHE_GB", str(LIMIT_GB))
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError):
        raise BadInput("this is not a number of gigabytes", where=f"MULLIGAN_CACHE_GB={text}", fix="write 10") from None
