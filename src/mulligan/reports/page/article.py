"""Runs to one HTML file: the prose of each, elements between them, and the data that these draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from ...records import BadInput
from ...runs import mulligan_version
from ..pages import environment
from ..shell import embedded
from ..writing import write_atomically
from .book import Book
from .packing import pack
from .prose import Entry, Prose
from .sources import open_runs

_LEARNED = "What the network learned"


def render_page(runs: Sequence[Path | str], *, title: str = "") -> str:
    """One page about these runs, as it is opened from disk.

    Raises:
        BadInput: if there is no run at all.
    """
    book, parts = open_runs(runs, title=title)
    packed = pack(book)
    return html(book, parts, data=embedded(packed))


def write_html(run: Path | str) -> Path:
    """Render one finished run as RUN/report.html and return its path. The page depends on the run's files only.

    Raises:
        BadInput: if the run cannot be read, or its folder cannot be written to.
    """
    folder = Path(run)
    book, parts = open_runs([folder])
    if not parts:
        raise BadInput(book.runs[0]["problems"][0], where=folder)
    return write_atomically(folder / "report.html", html(book, parts, data=embedded(pack(book))))


def html(book: Book, parts: Sequence[Prose], *, data: Markup, base: str = "") -> str:
    """The page of a book. `data`: what carries its data, or, where a server at `base` has them, the code alone."""
    problems = [(run["folder"], problem) for run in book.runs for problem in run["problems"]]
    title = parts[0].title if len(parts) == 1 and parts[0].title else book.title
    return environment().get_template("page.html.j2").render(
        title=title, book=book, parts=parts, base=base, problems=problems, contents=_contents(book, parts),
        linked=any(card["drives"] for card in (*book.features.values(), *book.classes.values())), data=data,
        mulligan=mulligan_version(),
    )  # fmt: skip


def _contents(book: Book, parts: Sequence[Prose]) -> list[Entry]:
    entries = [entry for part in parts for entry in part.contents_before]
    inner: list[Entry] = []
    if book.features:
        inner.append(Entry(href="#/features", text="Features", note=str(len(book.features))))
    if book.classes:
        inner.append(Entry(href="#/classes", text="Classes", note=str(len(book.classes))))
    if book.tables:
        inner.append(Entry(href="#/tables", text="Tables", note=str(len(book.tables))))
    if inner:
        entries.append(Entry(href="#learned", text=_LEARNED, inner=tuple(inner)))
    if len(book.networks) > 1:
        entries.append(Entry(href="#compared", text="Side by side"))
    return entries + [entry for part in parts for entry in part.contents_after]
