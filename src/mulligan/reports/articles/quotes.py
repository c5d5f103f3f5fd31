"""`[15.9]{units: seen.cards['blocks.5:12'].portraits[0].reached}`: a number in the prose, bound to where it came from.

A reader of the raw text sees the number; `mulligan article check` derives it again. `[1,000]{given}` and
`[1,000]{given: WHY}` say that a number is not from data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

from ...records import BadInput
from .numbers import Stated, stated
from .places import on_line

GIVEN = re.compile(r"given(?:\s*:\s*(?P<why>.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Quote:
    """One bound number.

    Attributes:
        number: from 1, in the order of the text. line: of article.md. says: what the prose says.
        bound: the expression, or "" where the number is given. why: what the author says of a given one.
    """

    number: int
    line: int
    says: Stated
    bound: str
    why: str = ""


def quotes_plugin(markdown: MarkdownIt) -> None:
    """Let Markdown know quoted numbers. `env["quotes"]` is the list of those that were found."""
    markdown.inline.ruler.before("link", "quote", _quote)


def _quote(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] != "[" or state.src[state.pos + 1 : state.pos + 2] in ("^", "@"):
        return False
    end = _closing(state.src, state.pos, state.posMax)
    if end is None or state.src[end + 1 : end + 2] != "{":
        return False
    line = state.env["line"] + state.src[: state.pos].count("\n")
    with on_line(line):
        close = _brace(state.src, end + 1, state.posMax)
        if close is None:
            raise BadInput("a quoted number's { is not closed", fix="write [NUMBER]{RUN: PATH}")
        if not silent:
            text, bound = state.src[state.pos + 1 : end], state.src[end + 2 : close]
            quote = _read(len(state.env["quotes"]) + 1, line, text, bound)
            state.env["quotes"].append(quote)
            state.push("quote", "", 0).meta = {"quote": quote}
    state.pos = close + 1
    return True


def _read(number: int, line: int, text: str, bound: str) -> Quote:
    text, bound = text.strip(), " ".join(bound.split())
    if not text or not bound:
        raise BadInput("a quoted number is empty", fix="write [NUMBER]{RUN: PATH}, or [NUMBER]{given}")
    given = GIVEN.fullmatch(bound)
    if given:
        return Quote(number, line, stated(text), "", given["why"] or "")
    return Quote(number, line, stated(text), bound)


def _closing(text: str, start: int, end: int) -> int | None:
    """Where the bracket that opens at `start` closes."""
    depth, at = 0, start
    while at < end:
        if text[at] == "\\":
            at += 1
        elif text[at] in "[]":
            depth += 1 if text[at] == "[" else -1
            if depth == 0:
                return at
        at += 1
    return None


def _brace(text: str, start: int, end: int) -> int | None:
    """Where the brace that opens at `start` closes. Braces within quotation marks, names of records, do not count; what
    is said of a given number is prose, where an apostrophe is no such mark.
    """
    if text[start + 1 : end].lstrip().startswith("given"):
        close = text.find("}", start, end)
        return close if close >= 0 else None
    quoted = ""
    for at in range(start + 1, end):
        if quoted:
            quoted = "" if text[at] == quoted else quoted
        elif text[at] in "'\"":
            quoted = text[at]
        elif text[at] == "}":
            return at
    return None
