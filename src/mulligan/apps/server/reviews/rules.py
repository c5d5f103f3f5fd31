"""What may be written, and when. Each rule looks at what stands, and adds entries or says why not.

A write names the revision that its author saw: of a label, their own last one; of a verdict, the same; of a
resolution, the last label or resolution of the feature. If something newer is there, nothing is written, and the author
is shown it. Assignments need none: assigning twice is assigning once, and releasing loses nobody's label.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ....records import BadInput
from .entries import LONGEST_LABEL, LONGEST_NAME, LONGEST_NOTE, VERDICTS, Entry, lines, one_line, sense
from .log import Writing


class Stale(Exception):
    """Something newer than what the author saw is there."""


class Refused(Exception):
    """The rules of reviewing do not allow this; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """A feature of a network: the network's identity, the feature's alias."""

    network: str
    alias: str


def now() -> str:
    """The time that an entry written now bears, to the millisecond: 2026-01-31T12:00:00.000+00:00."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def name_of(writing: Writing, name: str) -> str:
    """A reader's name as it is known, or as it will be.

    Raises:
        BadInput: if it is none.
    """
    return writing.ledger.known_as(one_line(name, "the reader's name", LONGEST_NAME))


def assign(writing: Writing, author: str, reader: str, places: Iterable[Place], *, release: bool = False) -> int:
    """Assign a reader to features, or release them from those; returns how many assignments changed."""
    author, reader = name_of(writing, author), name_of(writing, reader)
    author = reader if sense(author) == sense(reader) else author
    changed = 0
    for place in places:
        reading = writing.ledger.feature(place.network, place.alias)
        there = reader in reading.assigned
        # Who has labelled a feature has nothing left to do with it.
        if there != release or (not release and reader in reading.labels):
            continue
        writing.add(
            Entry(
                kind="release" if release else "assign", network=place.network, subject=place.alias, author=author,
                reader=reader, at=now(),
            )
        )  # fmt: skip
        changed += 1
    return changed


def to_take(writing: Writing, reader: str, places: Sequence[Place], count: int, *, second: bool) -> list[Place]:
    """Which features a reader takes next: those that the fewest readers have or are to have, in the page's order.

    Args:
        second: only such as exactly one other reader has labelled or is to label.
    """
    reader = name_of(writing, reader)
    ranked: list[tuple[int, int]] = []
    for number, place in enumerate(places):
        reading = writing.ledger.feature(place.network, place.alias)
        readers = {*reading.labels, *reading.assigned}
        if reader not in readers and (not second or len(readers) == 1):
            ranked.append((len(readers), number))
    return [places[number] for _, number in sorted(ranked)[:count]]


def label(writing: Writing, author: str, place: Place, text: str, note: str, seen: int) -> None:
    """Say what a feature is: "" means that the author looked and cannot tell.

    Raises:
        Stale: if the author has given another label since `seen`, in another window, say.
    """
    author = name_of(writing, author)
    reading = writing.ledger.feature(place.network, place.alias)
    own = reading.own(author)
    if (own.id if own else 0) != seen:
        raise Stale
    alone = not any(reader != author for reader in reading.labels)
    writing.add(
        Entry(
            kind="label", network=place.network, subject=place.alias, author=author, at=now(), supersedes=seen,
            text=one_line(text, "the label", LONGEST_LABEL, empty=True), note=lines(note, "the note", LONGEST_NOTE),
            blind=own is None and (alone or reading.hidden_from(author)),
        )
    )  # fmt: skip


def resolve(writing: Writing, author: str, place: Place, text: str, note: str, seen: int, *, same: bool) -> None:
    """Settle a dispute: a third reader says which wording stands, or that the labels say the same.

    Raises:
        Stale: if a label or a resolution is newer than `seen`. Refused: if there is no dispute, or the author is no
            third reader.
    """
    author = name_of(writing, author)
    reading = writing.ledger.feature(place.network, place.alias)
    if reading.hidden_from(author):
        raise Refused("You are to read this feature yourself: label it first, then you see the others' labels.")
    if author in reading.labels:
        raise Refused("You gave one of these labels. To agree, change yours; a third reader may settle it otherwise.")
    if reading.settled_by != seen:
        raise Stale
    if reading.state not in ("disputed", "resolved"):
        raise Refused("There is nothing to settle: two readers must have given different labels.")
    writing.add(
        Entry(
            kind="resolve", network=place.network, subject=place.alias, author=author, at=now(), supersedes=seen,
            text=one_line(text, "the wording that stands", LONGEST_LABEL, empty=True),
            note=lines(note, "the note", LONGEST_NOTE), same=same,
        )
    )  # fmt: skip


def verdict(
    writing: Writing, author: str, run: str, finding: str, claim: str, word: str, reason: str, seen: int
) -> None:
    """Say of a finding whether it is right, and why.

    Raises:
        BadInput: if the word is no verdict, or the reason is missing. Stale: if the author has said something else
            since `seen`.
    """
    author = name_of(writing, author)
    if word not in VERDICTS:
        raise BadInput(f"{word!r} is no verdict", fix=f"write {', '.join(VERDICTS)}")
    reason = lines(reason, "the reason", LONGEST_NOTE)
    if not reason:
        raise BadInput("a verdict needs a reason", fix="write what you looked at, in a sentence")
    own = writing.ledger.verdicts.get((run, finding), {}).get(author, [])
    if (own[-1].id if own else 0) != seen:
        raise Stale
    writing.add(
        Entry(
            kind="verdict", run=run, subject=finding, author=author, at=now(), text=word, note=reason, about=claim,
            supersedes=seen,
        )
    )  # fmt: skip
