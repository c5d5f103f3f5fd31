"""What drives what, as edges: the drives of all cards of a book, each pair once. No card is decoded to draw them."""

from __future__ import annotations

from typing import Any

from .book import Book, alias, keyed

#: From a unit's key to an output's: attribution, ablation and control as quantities or null, confirmed or null, and the
#: row of a table that they came from.
Row = list[Any]


def links(book: Book) -> list[Row]:
    """The edges of a book, in the order of its cards: features first, then classes."""
    rows: dict[tuple[str, str], Row] = {}
    for card in (*book.features.values(), *book.classes.values()):
        for drive in card["drives"]:
            unit = keyed(card["network"], alias(drive["site"], drive["unit"]))
            output = keyed(card["network"], drive["output"])
            row = [
                unit, output, drive["attribution"], drive["ablation"], drive["control"], drive["confirmed"],
                drive.get("table"),
            ]  # fmt: skip
            known = rows.get((unit, output))
            # The one that was measured says more; of two alike, the first stays.
            if known is None or (known[3] is None and row[3] is not None):
                rows[unit, output] = row
    return list(rows.values())
