"""`<mg-factors run="cat">A caption.</mg-factors>`: diagrams that the page draws from the runs that the article names.

No other HTML is markup in an article. A diagram stands on lines of its own; what stands between its tags is its
caption.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

from ...records import BadInput
from .places import on_line

_OPEN = re.compile(r"<mg-(?P<name>[A-Za-z0-9-]*)(?P<attributes>(?:[^<>\"]|\"[^\"]*\")*)>")
_ATTRIBUTE = re.compile(r'\s+(?P<name>[A-Za-z][\w-]*)\s*=\s*"(?P<value>[^"]*)"')


@dataclass(frozen=True, slots=True)
class Kind:
    """What a diagram may be told. `needed`: attributes that it cannot do without. `document`: what its run must have.

    Every diagram may also have `label`, by which the text points at it.
    """

    needed: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    document: str = ""


KINDS = {
    "unit": Kind(needed=("key",), allowed=("run",)),
    "card": Kind(needed=("key",), allowed=("run",)),
    "features": Kind(allowed=("run", "site", "search", "sort", "only", "as")),
    "factors": Kind(needed=("run",), document="factors"),
    "atlas": Kind(needed=("run",), allowed=("level", "of-class", "x", "y", "z"), document="atlas"),
    "map": Kind(needed=("run",), allowed=("at",), document="maps"),
    "links": Kind(),
    "compare": Kind(),
}


@dataclass(frozen=True, slots=True)
class Diagram:
    """One diagram of an article.

    Attributes:
        line: of article.md. name: without "mg-". attributes: as the author wrote them.
    """

    line: int
    name: str
    attributes: dict[str, str]

    @property
    def label(self) -> str:
        """What the text calls it."""
        return self.attributes.get("label", "")

    @property
    def keys(self) -> tuple[str, ...]:
        """The features that it names; several are separated by spaces, a class with its spaces is one."""
        return tuple(key.strip() for key in self.attributes.get("key", "").split(";") if key.strip())


def diagrams_plugin(markdown: MarkdownIt) -> None:
    """Let Markdown know diagrams. `env["diagrams"]` is the list of those that were found."""
    interrupts: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    markdown.block.ruler.before("fence", "diagram", _diagram, interrupts)
    markdown.inline.ruler.before("link", "misplaced_diagram", _misplaced)


def _diagram(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    at = state.bMarks[start] + state.tShift[start]
    if not state.src.startswith("<mg-", at) or state.is_code_block(start):
        return False
    if silent:
        return True
    last = state.eMarks[end - 1]
    with on_line(start + 1):
        opened = _OPEN.match(state.src, at, last)
        if opened is None:
            raise BadInput("this tag is not closed", fix='write <mg-NAME attribute="value">caption</mg-NAME>')
        name, attributes = _read(opened)
        closing = f"</mg-{name}>"
        close = state.src.find(closing, opened.end(), last)
        if close < 0:
            raise BadInput(f"<mg-{name}> has no closing tag", fix=f"end it with {closing}")
        after = close + len(closing)
        if state.src[after:].partition("\n")[0].strip():
            raise BadInput(f"text follows {closing} on its line", fix="begin a new line after it")
    _push(state, start, name, attributes, opened.end(), close)
    state.line = start + state.src.count("\n", at, after) + 1
    return True


def _push(state: StateBlock, start: int, name: str, attributes: dict[str, str], begin: int, close: int) -> None:
    diagram = Diagram(start + 1, name, attributes)
    state.env["diagrams"].append(diagram)
    state.push("diagram_open", "figure", 1).meta = {"diagram": diagram}
    caption = state.src[begin:close]
    if caption.strip():
        blank = len(caption) - len(caption.lstrip())
        line = start + state.src.count("\n", state.bMarks[start], begin + blank)
        inline = state.push("inline", "", 0)
        inline.content, inline.map, inline.children = caption.strip(), [line, line + 1], []
    state.push("diagram_close", "figure", -1).meta = {"diagram": diagram}


def _read(opened: re.Match[str]) -> tuple[str, dict[str, str]]:
    name, text = opened["name"], opened["attributes"]
    if name not in KINDS:
        there = ", ".join(f"mg-{kind}" for kind in KINDS)
        raise BadInput(f"there is no diagram <mg-{name}>", fix=f"use one of {there}")
    kind, found, at = KINDS[name], {}, 0
    known = ("label", *kind.needed, *kind.allowed)
    while match := _ATTRIBUTE.match(text, at):
        if match["name"] not in known:
            fix = f"it knows {', '.join(known)}"
            raise BadInput(f"<mg-{name}> has no attribute {match['name']!r}", fix=fix)
        if match["name"] in found:
            raise BadInput(f"<mg-{name}> has {match['name']!r} twice", fix="give it once")
        found[match["name"]] = match["value"].strip("; \n\t")
        at = match.end()
    if text[at:].strip():
        raise BadInput(f"<mg-{name}> cannot be read at {text[at:].strip()[:20]!r}", fix='write attribute="value"')
    if name == "card" and ";" in found.get("key", ""):
        raise BadInput("<mg-card> shows one feature", fix="use <mg-unit>, or a card for each")
    missing = [attribute for attribute in kind.needed if not found.get(attribute)]
    if missing:
        raise BadInput(f"<mg-{name}> is bound to nothing", fix=f'say what it shows: {missing[0]}="..."')
    return name, found


def _misplaced(state: StateInline, silent: bool) -> bool:
    if not re.match(r"</?mg-[A-Za-z]", state.src[state.pos : state.pos + 6]):
        return False
    line = state.env["line"] + state.src[: state.pos].count("\n")
    with on_line(line):
        raise BadInput("a diagram stands within a line of text", fix="let its tag begin a line of its own")
