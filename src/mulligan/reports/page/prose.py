"""The prose that a run adds to a page: HTML that is there before any script runs."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the page's contents: where it leads, its text, a count or a note beside it, lines below it."""

    href: str
    text: str
    count: int | None = None
    note: str = ""
    inner: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prose:
    """What one run says: `before` what the network learned, and `after` it, with the contents of both.

    `pre` begins each of its anchors: nothing for the first run of a page.
    """

    before: Markup
    after: Markup
    contents_before: tuple[Entry, ...] = ()
    contents_after: tuple[Entry, ...] = ()
    title: str = ""
    pre: str = ""
