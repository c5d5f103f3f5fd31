"""`[@olah2017]`, `[@olah2017; @carter2019]`: who said it first; `[@fig:cat]`: the figure called "cat"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

_CITED = re.compile(r"\[@(?P<keys>[^\[\]]+)\]")
_KEY = re.compile(r"@(?P<key>[\w:.+/-]+)")
FIGURE = "fig:"


@dataclass(frozen=True, slots=True)
class Citation:
    """References, or figures, that the text points at; `line` of article.md."""

    keys: tuple[str, ...]
    line: int


def citations_plugin(markdown: MarkdownIt) -> None:
    """Let Markdown know citations. `env["citations"]` is the list of those that were found."""
    markdown.inline.ruler.before("link", "citation", _citation)


def _citation(state: StateInline, silent: bool) -> bool:
    match = _CITED.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    keys = [_KEY.fullmatch(part.strip()) for part in f"@{match['keys']}".split(";")]
    if not all(keys):
        return False
    if not silent:
        line = state.env["line"] + state.src[: state.pos].count("\n")
        cited = Citation(tuple(key["key"] for key in keys if key), line)
        state.env["citations"].append(cited)
        state.push("citation", "", 0).meta = {"citation": cited}
    state.pos = match.end()
    return True
