"""Runs to one page that opens from disk and can be explored: `open_book`, `pack`, `write_html`."""

from __future__ import annotations

from ..shell import embedded, served
from .article import body, html, render_page, write_html
from .book import Book, Column, Table
from .packing import Packed, pack
from .prose import Entry, Prose
from .sources import open_book, open_runs

__all__ = [
    "Book", "Column", "Entry", "Packed", "Prose", "Table", "body", "embedded", "html", "open_book", "open_runs", "pack",
    "render_page", "served", "write_html",
]  # fmt: skip
