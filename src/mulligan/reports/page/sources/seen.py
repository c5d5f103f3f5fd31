"""A run of `mulligan see` with cards (seen.json) into a book: pictures, examples, labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup

from ....records import FeatureCard, Seen
from ...pages import environment
from ...phrases import LIMITS, command_of
from ...seeing.cards import StoredSeen, read_seen, shows
from ..book import Book, Card, Column, Table, keyed
from ..prose import Entry, Prose

OUTPUT = "class "
_PORTRAIT = (
    Column("key", "Feature", "feature"), Column("objective", "Climbed"), Column("reached", "Reaches", "number"),
    Column("best", "Best example", "number"), Column("twin", "On a random-weight twin", "number"),
    Column("twin_best", "Best example on it", "number"), Column("natural", "By natural ways", "quantity"),
    Column("steps", "Steps", "number"), Column("marks", "Marks"),
)  # fmt: skip
_LABEL = (
    Column("key", "Feature", "feature"), Column("text", "Label"), Column("overseer", "Proposed by"),
    Column("auc", "Predicts held-out activation (AUC)", "quantity"), Column("twin", "Labels shuffled", "quantity"),
    Column("random", "On a random-weight twin", "quantity"), Column("explained", "Variance explained", "quantity"),
    Column("p", "p", "number"), Column("agreement", "People agree", "quantity"),
)  # fmt: skip


def add(book: Book, folder: Path, pre: str) -> Prose:
    """Put a run's cards into a book, and say what it was in prose.

    Raises:
        BadInput: if the run cannot be read.
    """
    stored = read_seen(folder)
    seen = stored.seen
    network = book.network(seen.network)
    problems = [f"Left out: {left.what}: {left.why}" for left in seen.left_out]
    run = book.run(
        folder, {"procedure": "see"} | stored.manifest, network, created=seen.created,
        command=command_of(stored.manifest), problems=problems,
    )  # fmt: skip
    for card in seen.cards:
        _card(book, stored, card, network, run)
    _tables(book, seen, network, run)
    return _prose(stored, pre)


def _prose(stored: StoredSeen, pre: str) -> Prose:
    told: dict[str, Any] = {
        "seen": stored.seen, "command": command_of(stored.manifest), "shows": shows(stored.seen.cards), "pre": pre,
        "limit": LIMITS | {"left_out": 200},
    }  # fmt: skip
    page = environment()
    return Prose(
        before=Markup(page.get_template("parts/seen_before.html.j2").render(told)),
        after=Markup(page.get_template("parts/seen_after.html.j2").render(told)),
        contents_after=(
            Entry(href=f"#{pre}left-out", text="Left out", count=len(stored.seen.left_out)),
            Entry(href=f"#{pre}reproduce", text="How to reproduce"),
            Entry(href=f"#{pre}reading", text="How to read this"),
        ),
        title=f"Seeing {stored.seen.network.name}",
    )


def _card(book: Book, stored: StoredSeen, card: FeatureCard, network: int, run: int) -> None:
    if card.feature.startswith(OUTPUT):
        into = book.output(network, card.feature.removeprefix(OUTPUT))
        into["sightings"] += [book.placed(s, stored) for s in card.top]
    else:
        into = book.feature(network, card.feature, meaning=card.meaning)
        # Examples of this run replace an audit's: they were looked for, over more of the range.
        for kind in ("top", "levels", "bottom"):
            found = [book.placed(s, stored) for s in getattr(card, kind)]
            into["sightings"][kind] = found or into["sightings"][kind]
        into["heat"] = None if card.heat is None else list(card.heat)
        chance: list[Any] = [msgspec.to_builtins(q) for q in card.chance]
        chance += [None] * (len(card.classes) - len(chance))
        into["classes"] = [[name, n, q] for (name, n), q in zip(card.classes, chance, strict=False)]
        into["strongest"] = card.strongest
        into["labels"] += [msgspec.to_builtins(label) for label in card.labels]
        if card.duplicates:
            into["notes"].append(f"Near-duplicates left out among the strongest examples: {card.duplicates}.")
    into["portraits"] = [book.placed(p, stored) for p in card.portraits] + into["portraits"]
    into["notes"] += list(card.notes)
    into["sources"].append({"run": run, "file": "seen.json"})
    _scores(book, into, card)


def _scores(book: Book, into: Card, card: FeatureCard) -> None:
    if card.labels and card.labels[0].auc is not None:
        book.score("label AUC", into["key"], card.labels[0].auc.value)
    portrait = card.portraits[0] if card.portraits else None
    if portrait is not None and portrait.best is not None and portrait.best > 0 and portrait.steps:
        book.score("picture over best example", into["key"], portrait.reached / portrait.best)


def _tables(book: Book, seen: Seen, network: int, run: int) -> None:
    name = book.runs[run]["id"]
    portraits: dict[str, list[Any]] = {}
    labels: dict[str, list[Any]] = {}
    for card in seen.cards:
        key = keyed(network, card.feature)
        for number, p in enumerate(card.portraits):
            portraits[f"{key} {number}" if number else key] = [
                key, p.objective, p.reached, p.best, p.twin, p.twin_best, msgspec.to_builtins(p.natural), p.steps,
                "; ".join(p.marks),
            ]  # fmt: skip
        for number, label in enumerate(card.labels):
            labels[f"{key} {number}" if number else key] = [
                key, label.text, label.overseer, *(msgspec.to_builtins(q) for q in (
                    label.auc, label.twin, label.random, label.explained)), label.p,
                msgspec.to_builtins(label.agreement),
            ]  # fmt: skip
    for kind, title, columns, rows in (
        ("pictures", "What optimized pictures reach", _PORTRAIT, portraits),
        ("labels", "Labels and how well they predict", _LABEL, labels),
    ):
        if rows:
            book.tables.append(Table(
                id=f"{name}-{kind}", title=title, file="seen.json", columns=columns, rows=list(rows.values()),
                keys=list(rows),
            ))  # fmt: skip
