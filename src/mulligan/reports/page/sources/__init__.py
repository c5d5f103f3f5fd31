"""What each kind of run adds to a page. One module a kind, named by the document that its folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....records import BadInput
from ..book import Book
from ..prose import Prose
from . import audit, seen

#: The document of a run, and what puts it into a book and says its prose.
SOURCES = {"findings.json": audit.add, "seen.json": seen.add}


def open_book(runs: Sequence[Path | str], *, title: str = "") -> Book:
    """What one page about these runs holds. A run that cannot be read becomes a problem that the page tells.

    Raises:
        BadInput: if there is no run at all.
    """
    return open_runs(runs, title=title)[0]


def open_runs(runs: Sequence[Path | str], *, title: str = "") -> tuple[Book, list[Prose]]:
    """The same, and the prose of each run that could be read.

    Raises:
        BadInput: if there is no run at all.
    """
    if not runs:
        raise BadInput("no run was given", fix="name the folder of at least one run")
    book = Book(title=title)
    parts = [part for number, run in enumerate(runs) for part in add_run(book, Path(run), f"r{number}-" * (number > 0))]
    book.title = title or _title(book)
    book.created = max((str(run["created"]) for run in book.runs), default="")
    return book, parts


def add_run(book: Book, folder: Path, pre: str) -> list[Prose]:
    """Put one run into a book; `pre` begins each anchor of its prose."""
    found = [add for document, add in SOURCES.items() if (folder / document).is_file()]
    try:
        if not found:
            documents = ", ".join(SOURCES)
            raise BadInput(
                f"this folder holds none of {documents}", where=folder, fix="finish the run, or name another folder"
            )
        return [add(book, folder, pre) for add in found]
    except BadInput as error:
        book.run(folder, {}, None, created="", command="", problems=[str(error)])
        return []


def _title(book: Book) -> str:
    names = list(dict.fromkeys(network.name for network in book.networks))
    return " and ".join(names) if names else "No run could be read"
