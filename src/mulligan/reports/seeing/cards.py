"""A run that holds cards of features (seen.json): pictures, examples, names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...records import BadInput, FeatureCard, Seen
from ...records.seeing import SCHEMA
from ..reading import decode, inside, references

SEEN = "seen.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSeen:
    """A run of `mulligan see` as read from its folder."""

    folder: Path
    seen: Seen
    manifest: dict[str, Any]

    def inside(self, relative: str) -> Path:
        """The path of a file that the run refers to. Raises BadInput if it would leave the run's folder."""
        return inside(self.folder, relative)


def read_seen(path: Path | str) -> StoredSeen:
    """Read the cards of a run.

    Raises:
        BadInput: if the folder or a file is missing, broken or of a newer Mulligan, or a path in it leads out of it.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise BadInput("there is no run's folder here", where=folder, fix="give the folder that `mulligan see` wrote")
    seen = decode(folder / SEEN, Seen, SCHEMA)
    for reference in sorted(set(references(seen))):
        inside(folder, reference)
    return StoredSeen(folder=folder, seen=seen, manifest=decode(folder / "manifest.json", dict[str, Any], None))


def shows(cards: tuple[FeatureCard, ...]) -> dict[str, bool]:
    """Of what the page must explain how to read it."""
    sightings = [sighting for card in cards for sighting in (*card.top, *card.levels, *card.bottom)]
    return {
        "portraits": any(card.portraits for card in cards),
        "examples": bool(sightings),
        "regions": any(sighting.heat or sighting.crop for sighting in sightings),
        "classes": any(card.classes for card in cards),
        "labels": any(card.labels for card in cards),
    }
