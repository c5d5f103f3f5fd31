"""Which runs there are: those named, and those in the folders named, each under an id that an address can hold.

Addresses name runs by these ids alone, and no part of an address is ever joined to a path.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...records import BadInput
from ...runs import inside

#: What makes a folder a run, or the rest of one.
MARKS = ("manifest.json", "findings.json", "seen.json", "atlas.json", "maps.json", "factors.json", "description.json")
_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """A run's folder and its id."""

    id: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Found:
    """The runs, and what looks like one but is not shown, with the reason."""

    runs: tuple[Place, ...]
    refused: tuple[tuple[str, str], ...]


class Shelf:
    """The folders named on the command line.

    Raises:
        BadInput: if one does not exist, or is no folder.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not folder.is_dir():
                what = "this is no folder" if folder.exists() else "there is no such folder"
                raise BadInput(what, where=folder, fix="give the folder of a run, or one that runs lie in")
        self.folders = tuple(dict.fromkeys(folder.resolve() for folder in folders))

    @property
    def home(self) -> Path:
        """Where what is kept beside the runs lies: the folder that the first runs lie in."""
        first = self.folders[0]
        return first.parent if is_run(first) else first

    def look(self) -> Found:
        """The runs that are there now, those named first, then by their folders' names."""
        folders: dict[Path, None] = {}
        refused: list[tuple[str, str]] = []
        for folder in self.folders:
            if is_run(folder):
                folders[folder] = None
                continue
            for child in _children(folder):
                try:
                    path = inside(folder, child)
                except BadInput:
                    refused.append((child, "is a link that leads out of the folder of runs; name its folder itself"))
                    continue
                if path.is_dir() and is_run(path):
                    folders[path] = None
        names = Counter(_slug(folder.name) for folder in folders)
        runs = (Place(_id(folder, alone=names[_slug(folder.name)] == 1), folder) for folder in folders)
        return Found(tuple(runs), tuple(refused))


def is_run(folder: Path) -> bool:
    """Whether a run lies here, finished or not."""
    return any((folder / name).is_file() for name in MARKS)


def _children(folder: Path) -> Iterator[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    yield from (name for name in names if not name.startswith(".") and (folder / name).is_dir())


def _slug(name: str) -> str:
    return _UNFIT.sub("-", name).strip("-")[:80]


def _id(folder: Path, *, alone: bool) -> str:
    """The folder's name where that can stand in an address and no other run has it; else with a digest of the path."""
    slug = _slug(folder.name)
    if alone and slug == folder.name:
        return slug
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
    return f"{slug}-{digest}" if slug else digest
