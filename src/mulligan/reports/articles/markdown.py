"""An article's text to Markdown tokens, with everything that is ours found in it, each with its line.

CommonMark with tables, footnotes (`[^1]`), formulas (`$x^2$`, `$$...$$`), quoted numbers, citations and diagrams. Other
HTML is shown as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin

from ...records import BadInput
from .citations import FIGURE, Citation, citations_plugin
from .diagrams import Diagram, diagrams_plugin
from .maths import mathml
from .numbers import NUMBER
from .places import on_line
from .quotes import Quote, quotes_plugin

_MATHS = ("math_inline", "math_block")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: a diagram or a picture. `label`: what the text calls it, or ""."""

    number: int
    line: int
    label: str


@dataclass(frozen=True, slots=True)
class Unbound:
    """A number in the prose that is bound to nothing, and the words around it."""

    line: int
    text: str
    around: str


@dataclass(frozen=True, slots=True)
class Text:
    """An article's text, read.

    Attributes:
        tokens: of markdown-it, formulas turned to MathML (`meta["mathml"]`), figures numbered (`meta["figure"]`).
        pictures: address and line of each picture.
    """

    tokens: list[Token]
    quotes: tuple[Quote, ...]
    citations: tuple[Citation, ...]
    diagrams: tuple[Diagram, ...]
    figures: tuple[Figure, ...]
    pictures: tuple[tuple[str, int], ...]
    unbound: tuple[Unbound, ...]


def reader() -> MarkdownIt:
    """The one Markdown reader of articles."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    markdown.use(footnote_plugin)
    markdown.use(dollarmath_plugin, allow_labels=False, allow_space=False, allow_digits=False)
    markdown.use(citations_plugin).use(quotes_plugin).use(diagrams_plugin)
    markdown.core.ruler.at("inline", _inline)
    return markdown


def read_text(text: str, markdown: MarkdownIt | None = None) -> Text:
    """Read an article's text; lines are counted from its first.

    Raises:
        BadInput: at the first formula, quoted number, diagram or link that cannot be read, with its line.
    """
    env = {"line": 1, "quotes": [], "citations": [], "diagrams": []}
    tokens = (markdown or reader()).parse(text, env)
    figures: list[Figure] = []
    pictures: list[tuple[str, int]] = []
    unbound: list[Unbound] = []
    for token, line in _lines(tokens):
        with on_line(line):
            _formula(token)
            _link(token)
            if token.type == "image":
                pictures.append((str(token.attrs["src"]), line))
            elif token.type == "text":
                unbound += _unbound(token.content, line)
    for at, token in enumerate(tokens):
        if (label := _figure(tokens, at)) is not None:
            line = token.map[0] + 1 if token.map else token.meta["diagram"].line
            figures.append(Figure(len(figures) + 1, line, label))
            token.meta["figure"] = figures[-1]
    _once(figures)
    return Text(
        tokens, tuple(env["quotes"]), tuple(env["citations"]), tuple(env["diagrams"]), tuple(figures), tuple(pictures),
        tuple(sorted(unbound, key=lambda one: one.line)),
    )  # fmt: skip


def _inline(state: StateCore) -> None:
    """markdown-it's own rule, which also tells our rules on which line they are."""
    for token in state.tokens:
        if token.map:
            state.env["line"] = token.map[0] + 1
        if token.type == "inline":
            token.children = []
            state.md.inline.parse(token.content, state.md, state.env, token.children)
            for child, line in _children(token, state.env["line"]):
                with on_line(line):
                    _unclosed(child)


def _unclosed(token: Token) -> None:
    """A dollar sign that is left in the text opened a formula; one that was written \\$ did not."""
    if token.type == "text" and "$" in token.content:
        raise BadInput("a formula is opened with $ and not closed", fix=r"close it, or write \$ for a dollar sign")


def _lines(tokens: Sequence[Token]) -> Iterator[tuple[Token, int]]:
    """Every token, those within lines too, with its line."""
    line = 1
    for token in tokens:
        line = token.map[0] + 1 if token.map else line
        yield token, line
        if token.type == "inline":
            yield from _children(token, line)


def _children(token: Token, line: int) -> Iterator[tuple[Token, int]]:
    for child in token.children or ():
        yield child, line
        if child.type in ("softbreak", "hardbreak"):
            line += 1
        elif child.type == "quote":
            line = child.meta["quote"].line + child.content.count("\n")


def _formula(token: Token) -> None:
    if token.type in _MATHS:
        token.meta["mathml"] = mathml(token.content, block=token.type == "math_block")


def _link(token: Token) -> None:
    if token.type == "link_open":
        address = str(token.attrs.get("href", ""))
        if not re.match(r"(https?://|mailto:|#)", address):
            raise BadInput(f"a link leads to {address!r}", fix="a page is one file: link to https://... or #heading")
    if token.type == "image" and any(child.type != "text" for child in token.children or ()):
        raise BadInput("a picture's description is not plain", fix="leave marks out of it")


def _figure(tokens: Sequence[Token], at: int) -> str | None:
    """The label of the figure that begins here: "" if it has none, None if none begins."""
    if tokens[at].type == "diagram_open":
        return tokens[at].meta["diagram"].label
    if tokens[at].type != "paragraph_open" or at + 1 >= len(tokens):
        return None
    children = tokens[at + 1].children or []
    if len(children) == 1 and children[0].type == "image":
        return str(children[0].attrs["src"]).rpartition("/")[2].partition(".")[0]
    return None


def _once(figures: Sequence[Figure]) -> None:
    labels = [figure.label for figure in figures if figure.label]
    for figure in figures:
        if labels.count(figure.label) > 1:
            with on_line(figure.line):
                raise BadInput(f"two figures are called {figure.label!r}", fix=f"{FIGURE}NAME means one")


def _unbound(text: str, line: int) -> Iterator[Unbound]:
    for match in NUMBER.finditer(text):
        around = text[max(0, match.start() - 24) : match.end() + 24].strip()
        yield Unbound(line, match[0], around)
