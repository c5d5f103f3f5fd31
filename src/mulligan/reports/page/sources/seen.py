"""A run of `mulligan see` with cards (seen.json) into a book: pictures, examples, labels."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ....records import FeatureCard, Quantity, Seen
from ....records.seeing import SCHEMA
from ...phrases import command_of
from ...stored import StoredDocument, read_document
from ..book import Book, Card, Column, keyed
from ..prose import Prose
from ..rows import Rows
from .seen_prose import prose
from .showing import Showing, plain

OUTPUT = "class "
_DOCUMENT = "seen.json"
_LABEL = (
    Column("key", "Feature", "feature"), Column("text", "Label"), Column("overseer", "Proposed by"),
    Column("auc", "Predicts held-out activation (AUC)", "quantity"), Column("twin", "Labels shuffled", "quantity"),
    Column("random", "On a random-weight twin", "quantity"), Column("explained", "Variance explained", "quantity"),
    Column("strong", "Fits so many of the strongest", "quantity"),
    Column("ordinary", "Fits so many of ordinary ones", "quantity"), Column("p", "p", "number"),
    Column("agreement", "People agree", "quantity"), Column("judged", "People on this one", "number"),
)  # fmt: skip
_STRONGEST = (
    Column("key", "Feature", "feature"), Column("class", "Class", "class"),
    Column("n", "Among the strongest", "number"), Column("chance", "By chance, and 95 % of draws", "quantity"),
    Column("of", "Of", "number"),
)  # fmt: skip


def add(book: Book, folder: Path, pre: str) -> Prose:
    """Put a run's cards into a book, and say what it was in prose.

    Raises:
        BadInput: if the run cannot be read.
    """
    stored = read_document(folder, _DOCUMENT, Seen, SCHEMA, command="mulligan see")
    seen = stored.document
    network = book.network(seen.network)
    run = book.run(
        folder, {"procedure": "see"} | stored.manifest, network, created=seen.created,
        command=command_of(stored.manifest),
    )  # fmt: skip
    _Seen(book, stored, network, run).add()
    return prose(stored, pre)


class _Seen:
    """The cards of one run on their way into a book."""

    def __init__(self, book: Book, stored: StoredDocument[Seen], network: int, run: int) -> None:
        self.book, self.stored, self.network, self.run = book, stored, network, run
        self.showing = Showing(book, stored, network, run, _DOCUMENT)
        self.labels = Rows(book, run, "labels", "Labels and how well they predict", _DOCUMENT, _LABEL)
        title = "Classes among the strongest examples"
        self.strongest = Rows(book, run, "strongest", title, _DOCUMENT, _STRONGEST)

    def add(self) -> None:
        for card in self.stored.document.cards:
            self.card(card)
        self.labels.enter()
        self.strongest.enter()
        self.showing.enter()

    def card(self, card: FeatureCard) -> None:
        of = keyed(self.network, card.feature)
        if card.feature.startswith(OUTPUT):
            into = self.book.output(self.network, card.feature.removeprefix(OUTPUT))
            into["sightings"] += self.showing.sightings(of, "strongest", card.top)
        else:
            into = self.book.feature(self.network, card.feature, meaning=card.meaning)
            self.feature(into, card)
        into["portraits"] = self.showing.portraits(of, card.portraits) + into["portraits"]
        into["notes"] += list(card.notes)
        into["sources"].append({"run": self.run, "file": _DOCUMENT})
        self.scores(into, card)

    def feature(self, into: Card, card: FeatureCard) -> None:
        key = into["key"]
        # Examples of this run replace an audit's: they were looked for, over more of the range.
        for kind, shown, sightings in (
            ("top", "strongest", card.top), ("levels", "level", card.levels), ("bottom", "weakest", card.bottom),
        ):  # fmt: skip
            into["sightings"][kind] = self.showing.sightings(key, shown, sightings) or into["sightings"][kind]
        if card.heat is not None:
            into["heat"] = list(card.heat)
        if card.classes:
            chance: list[Quantity | None] = [*card.chance, *([None] * (len(card.classes) - len(card.chance)))]
            into["classes"] = [
                [name, n, plain(q), self.strongest.add(
                    f"{key} {name}", [key, keyed(self.network, name), n, plain(q), card.strongest]
                )]
                for (name, n), q in zip(card.classes, chance, strict=False)
            ]  # fmt: skip
            into["strongest"] = card.strongest
        for label in card.labels:
            quantities = (label.auc, label.twin, label.random, label.explained, label.strong, label.ordinary)
            told = [label.p, plain(label.agreement), label.judged]
            cells = [key, label.text, label.overseer, *map(plain, quantities), *told]
            into["labels"].append({**msgspec.to_builtins(label), "table": self.labels.add(key, cells)})
        if card.duplicates:
            into["notes"].append(f"Near-duplicates left out among the strongest examples: {card.duplicates}.")

    def scores(self, into: Card, card: FeatureCard) -> None:
        if card.labels and card.labels[0].auc is not None:
            self.book.score("label AUC", into["key"], card.labels[0].auc.value)
        portrait = card.portraits[0] if card.portraits else None
        if portrait is not None and portrait.best is not None and portrait.best > 0 and portrait.steps:
            self.book.score("picture over best example", into["key"], portrait.reached / portrait.best)
