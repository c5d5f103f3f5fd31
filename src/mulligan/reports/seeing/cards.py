"""The page of a run that holds cards of features (seen.json): pictures, examples, names. No script, no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...records import HEAT_COLOURS, BadInput, FeatureCard, Seen
from ...records.seeing import SCHEMA
from ...runs import Run
from ..pages import environment
from ..phrases import LIMITS, captions, command_of, shades
from ..pictures import Pictures
from ..reading import decode, inside, references
from ..remote import copied, is_remote
from ..writing import write_atomically

SEEN = "seen.json"
PAGE = "report.html"
_LIMITS = LIMITS | {
    "cards": 400, "contents": 60, "portraits": 24, "sightings": 24, "classes": 30, "labels": 12, "left_out": 200,
}  # fmt: skip


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


def write_cards(run: Path | str) -> Path | str:
    """Render the cards of a run as RUN/report.html; returns its path, or its URL if the run lies elsewhere.

    Raises:
        BadInput: if the run cannot be read, or its folder cannot be written to.
    """
    if not is_remote(run):
        stored = read_seen(run)
        return write_atomically(stored.folder / PAGE, render_cards(stored))
    opened = Run.open(run)
    with copied(opened) as folder:
        opened.write_bytes(PAGE, render_cards(read_seen(folder)).encode("utf-8"))
    return opened.store.where(PAGE)


def render_cards(stored: StoredSeen) -> str:
    """The page of a run that was read."""
    cards = stored.seen.cards
    return environment().get_template("seeing/cards.html.j2").render(
        seen=stored.seen,
        pictures=Pictures(stored),
        captions=captions,
        shades=shades,
        colours=HEAT_COLOURS,
        command=command_of(stored.manifest),
        shows=shows(cards),
        limit=_LIMITS,
    )  # fmt: skip


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
