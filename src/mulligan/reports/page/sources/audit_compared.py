"""What of an audit is laid beside another's: the verdict, the data, and the figures of behaviour with their twin's."""

from __future__ import annotations

import msgspec

from ....records import Beside
from ...reading import Stored
from ...wording import decide
from ..book import Book
from .figures import Figures

TWIN = "random-weight twin"


def add_compared(book: Book, stored: Stored, run: int) -> None:
    """Enter these into the run's own entry, and the figures as a table of it."""
    decision = decide(stored.findings, stored.fail_on)
    figures = Figures(book, run, "description.json")
    behaviour = stored.description.behaviour
    shown = [] if behaviour is None else figures.add([
        Beside(name=name, shown=quantity, controls=((TWIN, behaviour.twin[name]),) if name in behaviour.twin else ())
        for name, quantity in behaviour.figures.items()
    ])  # fmt: skip
    figures.enter()
    book.runs[run]["audit"] = {
        "verdict": decision.verdict, "word": decision.word, "headline": decision.headline,
        "data": msgspec.to_builtins(stored.findings.data), "figures": shown,
    }  # fmt: skip
