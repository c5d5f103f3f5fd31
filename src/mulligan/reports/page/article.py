"""Runs to one HTML file: the prose of each, elements between them, and the data that these draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...runs import Run, mulligan_version
from ..pages import environment
from ..remote import copied, is_remote
from ..shell import embedded
from ..writing import write_atomically
from .book import Book
from .packing import pack
from .prose import Entry, Prose
from .sources import add_run, name_book, open_runs

PAGE = "report.html"
_LEARNED = "What the network learned"
_USUAL = {"Left out", "How to reproduce", "How to read this"}


def render_page(runs: Sequence[Path | str], *, title: str = "") -> str:
    """One page about these runs, as it is opened from disk.

    Raises:
        BadInput: if there is no run at all.
    """
    book, parts = open_runs(runs, title=title)
    return html(book, parts, data=embedded(pack(book)))


def write_html(run: Path | str) -> Path | str:
    """Render one finished run as RUN/report.html and return its path, or its URL if the run lies elsewhere.

    The page depends on the run's files only.

    Raises:
        BadInput: if the run cannot be read, or its folder cannot be written to.
    """
    if not is_remote(run):
        return write_atomically(Path(run) / PAGE, _of_one(Path(run)))
    opened = Run.open(run)
    with copied(opened) as folder:
        opened.write_bytes(PAGE, _of_one(folder).encode("utf-8"))
    return opened.store.where(PAGE)


def _of_one(folder: Path) -> str:
    book = Book()
    parts = add_run(book, folder, "")
    name_book(book)
    return html(book, parts, data=embedded(pack(book)))


def html(book: Book, parts: Sequence[Prose], *, data: Markup, base: str = "") -> str:
    """The page of a book. `data`: what carries its data, or, where a server at `base` has them, the code alone."""
    return environment().get_template("page.html.j2").render(_told(book, parts), data=data, base=base)


def body(book: Book, parts: Sequence[Prose]) -> str:
    """What stands within `<mg-page>`, for those that build the element themselves."""
    return environment().get_template("page_body.html.j2").render(_told(book, parts), base="")


def _told(book: Book, parts: Sequence[Prose]) -> dict[str, Any]:
    title = parts[0].title if len(parts) == 1 and parts[0].title else book.title
    return {
        "title": title, "book": book, "parts": parts, "contents": _contents(book, parts),
        "problems": [(run["folder"], problem) for run in book.runs for problem in run["problems"]],
        "linked": any(card["drives"] for card in (*book.features.values(), *book.classes.values())),
        "outputs": _outputs(book), "mulligan": mulligan_version(),
    }  # fmt: skip


def _outputs(book: Book) -> str:
    """What answers are called: those of a network without class names are tokens, or numbers."""
    return "Classes" if any(network.classes for network in book.networks) else "Outputs"


def _contents(book: Book, parts: Sequence[Prose]) -> list[Entry]:
    first, others = parts[:1], parts[1:]
    entries = [entry for part in first for entry in part.contents_before]
    if any(run["problems"] for run in book.runs):
        entries.append(Entry(href="#problems", text="What is missing here"))
    # What stands at the end of every run is listed once: of those after the first, what is their own.
    usual = {entry.text for part in first for entry in part.contents_after}
    entries += [
        Entry(
            href=f"#{part.pre}run", text=title,
            inner=tuple(e for e in (*part.contents_before, *part.contents_after) if e.text not in usual | _USUAL),
        )
        for part, title in zip(others, told_apart([part.title for part in others]), strict=True)
    ]  # fmt: skip
    inner: list[Entry] = []
    if book.features:
        inner.append(Entry(href="#/features", text="Features", note=str(len(book.features))))
    if book.classes:
        inner.append(Entry(href="#/classes", text=_outputs(book), note=str(len(book.classes))))
    if book.tables:
        inner.append(Entry(href="#/tables", text="Tables", note=str(len(book.tables))))
    if book.features or book.classes:
        entries.append(Entry(href="#learned", text=_LEARNED, inner=tuple(inner)))
    else:
        entries += inner
    if len(book.networks) > 1:
        entries.append(Entry(href="#compared", text="Side by side"))
    entries += [entry for part in first for entry in part.contents_after]
    return [*entries, Entry(href="#/glossary", text="Glossary")]


def told_apart(titles: Sequence[str]) -> list[str]:
    """Titles, those that are alike numbered."""
    return [
        title if titles.count(title) == 1 else f"{title} ({titles[: at + 1].count(title)})"
        for at, title in enumerate(titles)
    ]
