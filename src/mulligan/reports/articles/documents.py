"""What an article may quote: a run's JSON documents and Parquet tables, and paths that lead into them.

`seen.cards['blocks.5:12'].portraits[0].reached` starts at RUN/seen.json; `tables.units['blocks.5:12'].auc` at
RUN/tables/units.parquet. A path that leads nowhere is answered with the nearest that exists.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...records import Atlas, BadInput, Description, Factored, Findings, Maps, Seen
from ...records.atlas import ATLAS_SCHEMA, MAPS_SCHEMA
from ...records.descriptions import SCHEMA as DESCRIPTION
from ...records.factors import SCHEMA as FACTORS
from ...records.findings import SCHEMA as FINDINGS
from ...records.seeing import SCHEMA as SEEN
from ...runs import Run
from ..reading import decode, inside

#: What each document must be, and the newest schema of it that this version reads; a run has some of them.
DOCUMENTS: dict[str, tuple[type, str]] = {
    "findings": (Findings, FINDINGS), "description": (Description, DESCRIPTION), "seen": (Seen, SEEN),
    "factors": (Factored, FACTORS), "atlas": (Atlas, ATLAS_SCHEMA), "maps": (Maps, MAPS_SCHEMA),
}  # fmt: skip
TABLES = "tables"
#: What names a record among others of its list, the first that it has.
_NAMES = ("key", "feature", "id", "name", "site", "output", "what", "number", "side")
#: What Mulligan writes again from the rest, and pieces of work, which nothing quotes: no part of a run's identity.
_DERIVED = ("report.html", "findings.sarif", "findings.junit.xml")

Step = str | int | None  # a field or a record's name, a position, or None for every one ("[*]")


class Many(list[Any]):
    """What a path with `[*]`, or with `*` in a name, leads to: one value a record."""


@dataclass(slots=True)
class RunDocuments:
    """One run that an article names.

    Attributes:
        name: what the article calls it. folder: where it lies.
    """

    name: str
    folder: Path
    _loaded: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, name: str, folder: Path) -> RunDocuments:
        """Raises BadInput if there is no run, or a newer Mulligan wrote it, or its manifest is broken."""
        Run.open(folder)
        return cls(name, folder)

    @property
    def documents(self) -> tuple[str, ...]:
        """The documents that this run has, and "tables"."""
        found = tuple(name for name in DOCUMENTS if (self.folder / f"{name}.json").is_file())
        return (*found, "manifest", TABLES) if self.tables else (*found, "manifest")

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of its tables."""
        return tuple(sorted(path.stem for path in (self.folder / TABLES).glob("*.parquet")))

    def file(self, steps: tuple[Step, ...]) -> str:
        """The file that a path starts in, by its name in the run's folder."""
        head, *rest = steps
        return f"{TABLES}/{rest[0]}.parquet" if head == TABLES and rest else f"{head}.json"

    def get(self, steps: tuple[Step, ...]) -> Any:
        """What a path leads to.

        Raises:
            BadInput: if it leads nowhere, with the nearest that exists; if the document is missing, newer or broken.
        """
        value: Any = self._root(steps)
        start = 2 if steps[0] == TABLES else 1
        for at in range(start, len(steps)):
            value = _step(value, steps[at], steps[:at], self.name)
        return value

    def _root(self, steps: tuple[Step, ...]) -> Any:
        head = str(steps[0])
        if head == TABLES:
            if len(steps) < 2 or steps[1] not in self.tables:
                asked = steps[1] if len(steps) > 1 else "none"
                raise _nowhere(f"run {self.name} has no such table", asked, self.tables, f"{TABLES}.")
            return self._once(f"{TABLES}.{steps[1]}", lambda: self._rows(str(steps[1])))
        if head not in self.documents:
            raise _nowhere(f"run {self.name} has no such document", head, self.documents)
        return self._once(head, lambda: self._json(head))

    def _once(self, name: str, read: Any) -> Any:
        if name not in self._loaded:
            self._loaded[name] = read()
        return self._loaded[name]

    def _json(self, name: str) -> Any:
        path = inside(self.folder, f"{name}.json")
        if name in DOCUMENTS:
            decode(path, *DOCUMENTS[name])  # refused where it is broken, or newer than this version
        return decode(path, dict[str, Any], None)

    def _rows(self, name: str) -> list[dict[str, Any]]:
        path = inside(self.folder, f"{TABLES}/{name}.parquet")
        try:
            return pq.read_table(path).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise BadInput(
                f"a table of run {self.name} cannot be read", where=path, fix="make the run again"
            ) from error

    def features(self) -> set[str]:
        """The features that its documents speak of: `blocks.5:12`, `class tabby`."""
        found: set[str] = set()
        if "seen" in self.documents:
            found |= {str(card["feature"]) for card in self.get(("seen", "cards"))}
        if "factors" in self.documents:
            found |= {str(card["feature"]) for card in self.get(("factors", "cards"))}
        if "description" in self.documents:
            for site in self.get(("description", "inventory")):
                found |= {f"{site['site']}:{unit}" for unit in range(int(site["units"]))}
            found |= {f"class {card['output']}" for card in self.get(("description", "cards"))}
        return found

    def identity(self) -> str:
        """sha256 over the names and contents of its files, but for those that Mulligan writes again from the rest."""
        sha = hashlib.sha256()
        for path in sorted(self._files(), key=lambda path: path.relative_to(self.folder).as_posix()):
            name, data = path.relative_to(self.folder).as_posix().encode(), path.read_bytes()
            sha.update(len(name).to_bytes(8, "big") + name + len(data).to_bytes(8, "big") + data)
        return sha.hexdigest()

    def _files(self) -> Iterator[Path]:
        for path in self.folder.rglob("*"):
            relative = path.relative_to(self.folder)
            hidden = any(part.startswith(".") for part in relative.parts)
            if path.is_file() and not hidden and relative.parts[0] != "pieces" and relative.name not in _DERIVED:
                yield path


def _step(value: Any, step: Step, before: tuple[Step, ...], run: str) -> Any:
    if isinstance(value, Many):
        inner = [_step(one, step, before, run) for one in value]
        return Many(x for one in inner for x in one) if step is None else Many(inner)
    if step is None:
        if isinstance(value, (list, dict)):
            return Many(value.values() if isinstance(value, dict) else value)
        raise BadInput(f"{written(before)} of run {run} is one value", fix="leave [*] out")
    place = f"{written(before)} of run {run}"
    if isinstance(value, dict):
        if step in value:
            return value[step]
        raise _nowhere(f"{place} has no such field", step, list(value), f"{written(before)}.")
    if isinstance(value, list) and isinstance(step, int):
        if -len(value) <= step < len(value):
            return value[step]
        raise BadInput(f"{place} has {len(value)} entries and no [{step}]", fix="count from 0")
    if isinstance(value, list):
        return _named(value, str(step), place)
    if value is None:
        raise BadInput(f"{place} is null: it was not measured", fix="quote a value that is there")
    raise BadInput(f"{place} is a value and has nothing called {step!r}", fix="end the path before it")


def _named(records: list[Any], name: str, place: str) -> Any:
    found = [(names_of(record), record) for record in records]
    matches = [record for names, record in found if name in names]
    if "*" in name and not matches:
        pattern = re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)
        matches = [record for names, record in found if any(map(pattern.fullmatch, names))]
        if matches:
            return Many(record[1] if isinstance(record, list) else record for record in matches)
    if len(matches) > 1:
        raise BadInput(f"{place} has {len(matches)} entries called {name!r}", fix="give a position, [0]")
    if not matches:
        raise _nowhere(f"{place} has no such entry", name, [names[0] for names, _ in found if names], quoted=True)
    (record,) = matches
    return record[1] if isinstance(record, list) else record


def names_of(record: Any) -> tuple[str, ...]:
    """By what a record of a list may be asked for, the best first: its name, SITE:UNIT, or the first of a pair."""
    if isinstance(record, list):
        return (record[0],) if len(record) == 2 and isinstance(record[0], str) else ()
    if not isinstance(record, dict):
        return ()
    unit = (f"{record['site']}:{record['unit']}",) if {"site", "unit"} <= record.keys() else ()
    return (*unit, *(str(record[key]) for key in _NAMES if isinstance(record.get(key), (str, int))))


def _nowhere(what: str, asked: Step, there: Any, prefix: str = "", *, quoted: bool = False) -> BadInput:
    """A path that leads nowhere, and the nearest that exists."""
    names = [str(name) for name in there]
    near = difflib.get_close_matches(str(asked), names, n=1, cutoff=0.0)
    if not near:
        return BadInput(f"{what}, {asked!r}", fix="it is empty; quote something else")
    several = f" (there are {len(names)})" if len(names) > 1 else ""
    shown = repr(near[0]) if quoted else f"{prefix}{near[0]}"
    return BadInput(f"{what}, {asked!r}", fix=f"the nearest is {shown}{several}")


def written(steps: tuple[Step, ...]) -> str:
    """A path as an article writes it."""
    text = ""
    for step in steps:
        if step is None:
            text += "[*]"
        elif isinstance(step, int):
            text += f"[{step}]"
        elif step.isidentifier():
            text += f".{step}" if text else step
        else:
            text += "[" + repr(step) + "]"
    return text
