"""What one page holds, before it is packed: `docs/design/report.md` has the format, `web/src/book/format.ts` its types.

Sources (one module a kind of run) add to a `Book`; cards of the same feature of the same network are joined, whichever
run they come from. Everything in a book is plain data that becomes JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from ...records import NetworkRecord, Site
from ..pictures import Folder
from .pictures import PictureStore

Card = dict[str, Any]
ColumnKind = Literal["text", "number", "quantity", "feature", "class", "picture"]
#: Fields of records that hold the path of a picture; in a page they hold its number.
_PATHS = frozenset({"image", "mask", "alpha", "crop", "heat", "overlay"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; cells of kind "feature" and "class" hold keys, of "quantity" what `Quantity` writes."""

    key: str
    title: str
    kind: ColumnKind = "text"
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that a reader can open, sort and search; `keys` address its rows, `file` says where all of it lies."""

    id: str
    title: str
    file: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Any]]
    keys: Sequence[str]


@dataclass(slots=True)
class Book:
    """What a page holds.

    Attributes:
        series: further lists that are decoded on demand, by name ("map:m0").
        scores: names of numbers that features can be sorted by, in the order of first use.
        terms: words of this page alone with their meaning, beside those of the glossary.
    """

    title: str = ""
    created: str = ""
    networks: list[NetworkRecord] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    sites: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    features: dict[str, Card] = field(default_factory=dict)
    classes: dict[str, Card] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    maps: list[dict[str, Any]] = field(default_factory=list)
    atlases: list[dict[str, Any]] = field(default_factory=list)
    factors: list[dict[str, Any]] = field(default_factory=list)
    series: dict[str, Sequence[Any]] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    terms: dict[str, str] = field(default_factory=dict)
    pictures: PictureStore = field(default_factory=PictureStore)

    def network(self, record: NetworkRecord) -> int:
        """The number of a network on this page: the same weights and architecture have one."""
        for number, known in enumerate(self.networks):
            if known.identity == record.identity:
                return number
        self.networks.append(record)
        return len(self.networks) - 1

    def run(
        self, folder: Path, manifest: Mapping[str, Any], network: int | None, *, created: str, command: str,
        problems: Iterable[str] = (),
    ) -> int:  # fmt: skip
        """Enter a run; returns its number."""
        self.runs.append({
            "id": f"r{len(self.runs)}", "procedure": str(manifest.get("procedure", "")), "folder": folder.name,
            "network": network, "created": created, "command": command, "problems": list(problems), "audit": None,
        })  # fmt: skip
        return len(self.runs) - 1

    def site(self, network: int, name: str, *, meaning: str = "", units: int | None = None) -> None:
        """Enter a site, or add what is now known of it."""
        entry = self.sites.setdefault((network, name), {"meaning": "", "units": None})
        entry["meaning"] = entry["meaning"] or meaning
        entry["units"] = entry["units"] or units

    def feature(self, network: int, name: str, *, meaning: str = "") -> Card:
        """The card of a feature by its alias, begun if it is new."""
        key = keyed(network, name)
        if key not in self.features:
            site, unit = split(name)
            self.site(network, site, meaning=meaning)
            self.features[key] = {
                "key": key, "site": site, "unit": unit, "meaning": meaning, "network": network, "figures": [],
                "range": None, "selective": None, "labels": [], "portraits": [],
                "sightings": {"top": [], "levels": [], "bottom": []}, "heat": None, "classes": [], "strongest": 0,
                "drives": [], "notes": [], "sources": [],
            }  # fmt: skip
        card = self.features[key]
        card["meaning"] = card["meaning"] or meaning
        return card

    def output(self, network: int, name: str) -> Card:
        """The card of a class or another output by its name, begun if it is new."""
        key = keyed(network, name)
        return self.classes.setdefault(key, {
            "key": key, "name": name, "network": network, "n": None, "figures": [], "confused": [], "drives": [],
            "portraits": [], "sightings": [], "examples": [], "notes": [], "sources": [],
        })  # fmt: skip

    def score(self, name: str, key: str, value: float | None) -> None:
        """A number that features can be sorted by."""
        if value is not None:
            self.scores.setdefault(name, {})[key] = value

    def placed(self, record: Any, folder: Folder) -> Any:
        """A record as plain data, its paths of pictures replaced by the numbers of pictures that the page holds."""
        return self._placed(msgspec.to_builtins(record), folder)

    def _placed(self, value: Any, folder: Folder) -> Any:
        if isinstance(value, dict):
            return {
                key: self.pictures.number(folder, item)
                if key in _PATHS and isinstance(item, str)
                else self._placed(item, folder)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self._placed(item, folder) for item in value]
        return value


def keyed(network: int, name: str) -> str:
    """The key of something of a network: of the page's first, its name alone."""
    return f"{network}~{name}" if network else name


def split(name: str) -> tuple[str, int | None]:
    """`blocks.5:12` as ("blocks.5", 12); `blocks.5@NAME:12` belongs to the site "blocks.5@NAME"."""
    site, colon, unit = name.rpartition(":")
    return (site, int(unit)) if colon and unit.isdecimal() and len(unit) < 10 else (name, None)


def alias(site: Site | str, unit: int) -> str:
    """A unit's alias."""
    return f"{site if isinstance(site, str) else site.alias}:{unit}"
