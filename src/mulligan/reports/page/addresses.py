"""Addresses of the page's views ("#/unit/blocks.5:12"), as `web/src/router.ts` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from .book import Book, alias, keyed

_PLAIN = "!*'()~:/,@"


def to(view: str, of: str = "", **query: str) -> str:
    """The address of a view; empty fields of the query are left out."""
    # A lone surrogate, which file systems and JSON can bring, has no bytes of its own.
    tail = f"/{quote(of, safe=_PLAIN, errors='replace')}" if of else ""
    asked = urlencode({key: value for key, value in query.items() if value}, errors="replace")
    return f"#/{view}{tail}{f'?{asked}' if asked else ''}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the names and numbers of one run lead on its page; "" where the page has nothing to lead to."""

    book: Book
    network: int
    run: int

    def unit(self, site: str, unit: int) -> str:
        """Of a unit's card."""
        key = keyed(self.network, alias(site, unit))
        return to("unit", key) if key in self.book.features else ""

    def output(self, name: str) -> str:
        """Of a class's card."""
        key = keyed(self.network, name)
        return to("class", key) if key in self.book.classes else ""

    def row(self, kind: str, key: str) -> str:
        """Of a row in one of the run's tables."""
        table = f"{self.book.runs[self.run]['id']}-{kind}"
        return to("table", table, row=key) if any(known.id == table for known in self.book.tables) else ""

    def class_row(self, name: str) -> str:
        """Of a class's row in the run's table of classes."""
        return self.row("classes", keyed(self.network, name))

    def finding(self, id: str) -> str:
        """Of a finding with all of its evidence."""
        return to("finding", id, run=str(self.run) if self.run else "")
