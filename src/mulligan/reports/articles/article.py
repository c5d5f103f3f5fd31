"""An article is a folder: article.md, references.bib, reviews.toml, pictures, and runs that its front matter names.

    +++
    title = "What does EfficientNet-lite0 see?"
    published = 2026-11-26

    [[authors]]
    name = "Ada Lovelace"
    affiliations = ["Analytical Engines"]

    [runs]
    units = "runs/units"
    atlas = { folder = "runs/atlas", sha256 = "..." }
    +++

    The first paragraph.

Everything is read and checked here before anything is made of it; runs are read when the article is checked.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from ...records import BadInput
from .bibliography import FILE as REFERENCES
from .bibliography import Reference, read_bibliography
from .markdown import Text, read_text
from .places import TEXT, place

REVIEWS = "reviews.toml"
_FENCE = "+++"


class Author(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Who wrote it. `orcid`: 0000-0002-1825-0097, say."""

    name: str
    affiliations: list[str] = []
    orcid: str = ""


class RunOf(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A run that the article speaks of: its folder beside article.md, and its identity if that is pinned."""

    folder: str
    sha256: str = ""


class Front(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What stands between the lines of +++.

    Attributes:
        summary: one or two sentences that stand under the title, as Markdown has them.
        published, updated: dates. doi: empty until there is one. url: where it can be read. journal: where it appeared.
        licence: of text and pictures, in words.
    """

    title: str
    published: date
    authors: list[Author]
    summary: str = ""
    updated: date | None = None
    doi: str = ""
    url: str = ""
    journal: str = ""
    licence: str = ""
    runs: dict[str, RunOf] = {}


class Review(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One comment of a reviewer, and what became of it; an empty `resolution` is an open one."""

    reviewer: str
    comment: str
    resolution: str = ""
    date: date | None = None


class Reviews(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """reviews.toml."""

    review: list[Review] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """An article, read; nothing of its runs is read yet. `run_lines`: where the front matter names each run."""

    folder: Path
    front: Front
    text: Text
    references: dict[str, Reference]
    reviews: tuple[Review, ...]
    run_lines: dict[str, int]


def read_article(folder: Path) -> Article:
    """Read an article's folder.

    Raises:
        BadInput: if there is no article, or something in it cannot be read, with its line.
    """
    if not (folder / TEXT).is_file():
        raise BadInput("there is no article here", where=folder / TEXT, fix="write one with mulligan article init")
    source = _utf8(folder / TEXT)
    front, length = _front(source)
    lines = source.split("\n")
    # Blank lines in the front matter's place keep the numbers of all others.
    text = read_text("\n" * length + "\n".join(lines[length:]))
    found = _utf8(folder / REFERENCES) if (folder / REFERENCES).is_file() else ""
    return Article(
        folder=folder, front=front, text=text, references=read_bibliography(found), reviews=_reviews(folder / REVIEWS),
        run_lines={name: _line(name, lines[:length]) for name in front.runs},
    )  # fmt: skip


def _utf8(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("this file cannot be read as UTF-8 text", where=path, fix="save it as UTF-8") from error


def _front(source: str) -> tuple[Front, int]:
    """The front matter, and how many lines it takes."""
    lines = source.split("\n")
    if lines[0].rstrip() != _FENCE:
        yaml = "; this begins with YAML" if lines[0].rstrip() == "---" else ""
        raise BadInput(
            f"the article has no front matter{yaml}",
            where=place(1),
            fix=f"begin with TOML between two lines of {_FENCE}",
        )
    end = next((at for at, line in enumerate(lines[1:], 1) if line.rstrip() == _FENCE), None)
    if end is None:
        raise BadInput("the front matter is not closed", where=place(1), fix=f"end it with a line of {_FENCE}")
    table = _toml("\n".join(["", *lines[1:end]]), TEXT)
    runs = table.get("runs")
    if isinstance(runs, dict):
        table["runs"] = {name: {"folder": run} if isinstance(run, str) else run for name, run in runs.items()}
    front = _convert(table, Front, TEXT, lines[:end])
    for name in front.runs:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise BadInput(
                f"a run is called {name!r}", where=_where(TEXT, name, lines), fix="use letters, digits and _"
            )
    if front.doi and not re.fullmatch(r"10\.\d{4,9}/\S+", front.doi):
        raise BadInput(
            f"{front.doi!r} is no DOI", where=_where(TEXT, "doi", lines), fix="write 10.NNNN/SUFFIX, or leave it out"
        )
    if front.url and not re.fullmatch(r"https?://\S+", front.url):
        raise BadInput(f"{front.url!r} is no address", where=_where(TEXT, "url", lines), fix="write https://...")
    return front, end + 1


def _reviews(path: Path) -> tuple[Review, ...]:
    if not path.is_file():
        return ()
    source = _utf8(path)
    return tuple(_convert(_toml(source, REVIEWS), Reviews, REVIEWS, source.split("\n")).review)


def _toml(source: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        why = str(error).partition(" (at ")[0].lower()
        where = place(int(line[1]), file) if line else file
        raise BadInput(f"this is not TOML: {why}", where=where, fix='mend it, for example name = "value"') from error


def _convert(table: dict[str, Any], kind: Any, file: str, lines: list[str]) -> Any:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at ")
        field = re.search(r"`(\w+)`", what if "field" in what else path.strip("`$."))
        name = field[1] if field else path.strip("`$.").partition(".")[0].partition("[")[0]
        raise BadInput(
            f"{'the front matter' if file == TEXT else file}: {what}{f' (in {path.strip(chr(96))})' if path else ''}",
            where=_where(file, name, lines), fix="see docs/articles.md for its fields",
        ) from error  # fmt: skip


def _where(file: str, name: str, lines: list[str]) -> str:
    """The line that sets `name`, or the first."""
    return place(_line(name, lines), file)


def _line(name: str, lines: list[str]) -> int:
    return next((at for at, line in enumerate(lines, 1) if re.match(rf"\s*\[*{re.escape(name)}\b", line)), 1)
