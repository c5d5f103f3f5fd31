"""What each kind of run adds to a page. One module a kind, named by the document that its folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ....records import BadInput
from ..book import Book
from ..prose import Prose
from . import atlas, audit, factors, maps, seen

#: The document of a run, and what puts it into a book and says its prose.
SOURCES = {
    "findings.json": audit.add, "seen.json": seen.add, "factors.json": factors.add, "atlas.json": atlas.add,
    "maps.json": maps.add,
}  # fmt: skip


def open_book(runs: Sequence[Path | str], *, title: str = "") -> Book:
    """What one page about these runs holds. A run that cannot be read becomes a problem that the page tells.

    Raises:
        BadInput: if there is no run at all.
    """
    return open_runs(runs, title=title)[0]


def open_runs(
    runs: Sequence[Path | str], *, title: str = "", book: Book | None = None
) -> tuple[Book, list[Prose]]:
    """The same, and the prose of each run that could be read; `book`: one that was begun, with a budget of its own.

    Raises:
        BadInput: if there is no run at all.
    """
    if not runs:
        raise BadInput("no run was given", fix="name the folder of at least one run")
    book = Book() if book is None else book
    book.title = title
    parts: list[Prose] = []
    for number, run in enumerate(map(Path, runs)):
        try:
            parts += add_run(book, run, f"r{number}-" if number else "")
        except BadInput as error:
            book.run(run, {}, None, created="", command="", problems=[str(error)])
    name_book(book)
    return book, parts


def add_run(book: Book, folder: Path, pre: str) -> list[Prose]:
    """Put one run into a book; `pre` begins each anchor of its prose.

    Raises:
        BadInput: if it cannot be read.
    """
    if not folder.is_dir():
        raise BadInput("there is no run's folder here", where=folder, fix="give the folder that a command wrote")
    found = [add for document, add in SOURCES.items() if (folder / document).is_file()]
    if not found:
        documents = ", ".join(SOURCES)
        raise BadInput(
            f"this run has no {next(iter(SOURCES))}, nor any other of {documents}", where=folder,
            fix="give the folder of a finished run, or resume this one to its end",
        )  # fmt: skip
    return [replace(add(book, folder, pre), pre=pre) for add in found]


def name_book(book: Book) -> None:
    """Give a book its title and date, from its runs."""
    book.title = book.title or _title(book)
    book.created = max((str(run["created"]) for run in book.runs), default="")


def _title(book: Book) -> str:
    names = list(dict.fromkeys(network.name for network in book.networks))
    return " and ".join(names) if names else "No run could be read"
