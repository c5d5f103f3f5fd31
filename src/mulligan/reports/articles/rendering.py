"""An article's text as HTML: what Markdown makes of it, and our own numbers, citations, formulas and figures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markdown_it.token import Token
from markupsafe import Markup

from ..text import number, visible
from .article import Article
from .binding import element
from .checking import Checked, Outcome
from .citations import FIGURE
from .illustrations import picture
from .markdown import reader

if TYPE_CHECKING:
    from ..page import Book


@dataclass(slots=True)
class Rendering:
    """What the text is rendered with.

    Attributes:
        cited: the number of each reference, in the order of first citation.
    """

    article: Article
    checked: Checked
    book: Book
    cited: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for citation in self.article.text.citations:
            for key in citation.keys:
                if key in self.article.references:
                    self.cited.setdefault(key, len(self.cited) + 1)

    def text(self) -> Markup:
        """The article's text."""
        markdown = reader()
        for kind, rule in _RULES.items():
            markdown.add_render_rule(kind, rule)
        _anchor(self.article.text.tokens)
        env = {"rendering": self}
        return Markup(markdown.renderer.render(self.article.text.tokens, markdown.options, env))

    def summary(self) -> Markup:
        """The front matter's summary, as Markdown has it within a line."""
        return Markup(reader().renderInline(self.article.front.summary, {"line": 1, "quotes": [], "citations": []}))


def contents(tokens: Sequence[Token]) -> list[tuple[str, str]]:
    """Anchor and words of each heading of the second level, once the text is rendered."""
    found: list[tuple[str, str]] = []
    for at, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            found.append((str(token.attrs["id"]), _plain(tokens[at + 1])))
    return found


def _anchor(tokens: Sequence[Token]) -> None:
    """Give every heading an anchor made of its words, which no other has."""
    taken: set[str] = set()
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            words = "".join(c if c.isalnum() else "-" for c in _plain(tokens[at + 1]).lower())
            anchor = base = "text-" + "-".join(part for part in words.split("-") if part)
            count = 1
            while anchor in taken:
                count += 1
                anchor = f"{base}-{count}"
            taken.add(anchor)
            token.attrs["id"] = anchor
            # The title of the page is the one heading of the first level.
            token.tag = tokens[at + 2].tag = f"h{max(2, int(token.tag[1]))}"


def _plain(token: Token) -> str:
    parts = [c.meta["quote"].says.text if c.type == "quote" else c.content for c in token.children or ()]
    return "".join(parts).strip()


def _quote(_: Any, tokens: Sequence[Token], at: int, __: Any, env: dict[str, Any]) -> Markup:
    quote = tokens[at].meta["quote"]
    outcome: Outcome = env["rendering"].checked.outcomes[quote.number - 1]
    text = visible(quote.says.text)
    if outcome.verdict == "not from data":
        return Markup('<span class="given" id="quote-{}"{}>{}</span>').format(quote.number, _title(quote.why), text)
    assert outcome.found is not None  # the page is not built where one cannot be derived
    says = f"{quote.bound} = {_value(outcome.found.value)}"
    if outcome.verdict == "disagrees":
        form = '<a class="quoted wrong" id="quote-{0}" href="#number-{0}"{1}>{2} <em>(the data say {3})</em></a>'
        return Markup(form).format(quote.number, _title(says), text, _value(outcome.found.value))
    return Markup('<a class="quoted" id="quote-{0}" href="#number-{0}"{1}>{2}</a>').format(
        quote.number, _title(says), text
    )


def _value(value: float | str) -> str:
    return visible(value, 200) if isinstance(value, str) else number(value)


def _title(text: str) -> Markup:
    return Markup(' title="{}"').format(visible(text)) if text else Markup("")


def _citation(_: Any, tokens: Sequence[Token], at: int, __: Any, env: dict[str, Any]) -> Markup:
    rendering: Rendering = env["rendering"]
    parts: list[Markup] = []
    for key in tokens[at].meta["citation"].keys:
        if key.startswith(FIGURE):
            label = key.removeprefix(FIGURE)
            figure = next(figure for figure in rendering.article.text.figures if figure.label == label)
            parts.append(Markup('<a href="#figure-{0}">Figure {0}</a>').format(figure.number))
        else:
            reference = rendering.article.references[key]
            form = Markup('<a class="cited" href="#reference-{0}"{1}>[{0}]</a>')
            parts.append(form.format(rendering.cited[key], _title(reference.fields.get("title", ""))))
    return Markup(", ").join(parts)


def _maths(_: Any, tokens: Sequence[Token], at: int, __: Any, ___: Any) -> Markup:
    block = tokens[at].type == "math_block"
    source = tokens[at].content.strip()
    form = '<div class="formula" role="math" title="{}">{}</div>\n' if block else '<span title="{}">{}</span>'
    return Markup(form).format(source, Markup(tokens[at].meta["mathml"]))


def _diagram_open(_: Any, tokens: Sequence[Token], at: int, __: Any, env: dict[str, Any]) -> Markup:
    rendering: Rendering = env["rendering"]
    diagram, figure = tokens[at].meta["diagram"], tokens[at].meta["figure"]
    folders = {name: bound.documents.folder.name for name, bound in rendering.checked.runs.items()}
    name, attributes = element(diagram, rendering.book, folders)
    given = Markup("").join(Markup(' {}="{}"').format(key, value) for key, value in attributes.items())
    form = Markup('<{0}{1}><p class="none">This is drawn by the page\'s script, which does not run here.</p></{0}>')
    drawn = form.format(Markup(name), given)
    return Markup('<figure class="diagram {}" id="figure-{}">\n{}\n<figcaption><b>Figure {}.</b> ').format(
        name, figure.number, drawn, figure.number
    )


def _diagram_close(_: Any, __: Any, ___: Any, ____: Any, _____: Any) -> Markup:
    return Markup("</figcaption>\n</figure>\n")


def _paragraph_open(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: dict[str, Any]) -> str:
    if tokens[at].meta and "figure" in tokens[at].meta:
        return Markup('<figure class="picture" id="figure-{}">\n').format(tokens[at].meta["figure"].number)
    return renderer.renderToken(tokens, at, options, env)


def _paragraph_close(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: dict[str, Any]) -> str:
    opened = tokens[at - 2]
    if opened.type == "paragraph_open" and opened.meta and "figure" in opened.meta:
        title = str((tokens[at - 1].children or [])[0].attrs.get("title", ""))
        figure = opened.meta["figure"].number
        return Markup("<figcaption><b>Figure {}.</b> {}</figcaption>\n</figure>\n").format(figure, visible(title))
    return renderer.renderToken(tokens, at, options, env)


def _image(_: Any, tokens: Sequence[Token], at: int, __: Any, env: dict[str, Any]) -> Markup:
    rendering: Rendering = env["rendering"]
    path, kind = picture(rendering.article.folder, str(tokens[at].attrs["src"]))
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return Markup('<img src="data:{};base64,{}" alt="{}">').format(kind, data, visible(tokens[at].content))


def _link_open(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: dict[str, Any]) -> str:
    if str(tokens[at].attrs["href"]).startswith("http"):
        tokens[at].attrs["rel"] = "noreferrer"
    return renderer.renderToken(tokens, at, options, env)


def _footnote_ref(_: Any, tokens: Sequence[Token], at: int, __: Any, ___: Any) -> Markup:
    number, again = tokens[at].meta["id"] + 1, tokens[at].meta["subId"]
    anchor = f"{number}:{again}" if again else str(number)
    return Markup('<sup class="noted"><a href="#note-{}" id="noted-{}">{}</a></sup>').format(number, anchor, number)


def _footnotes_open(*_: Any) -> Markup:
    return Markup('<section class="footnotes" aria-labelledby="notes">\n<h2 id="notes">Notes</h2>\n<ol>\n')


def _footnotes_close(*_: Any) -> Markup:
    return Markup("</ol>\n</section>\n")


def _footnote_open(_: Any, tokens: Sequence[Token], at: int, __: Any, ___: Any) -> Markup:
    return Markup('<li id="note-{}">').format(tokens[at].meta["id"] + 1)


def _footnote_close(*_: Any) -> Markup:
    return Markup("</li>\n")


def _footnote_anchor(_: Any, tokens: Sequence[Token], at: int, __: Any, ___: Any) -> Markup:
    number, again = tokens[at].meta["id"] + 1, tokens[at].meta["subId"]
    anchor = f"{number}:{again}" if again else str(number)
    return Markup(' <a href="#noted-{}" aria-label="Back to the text">↩</a>').format(anchor)


def _scrolled_open(*_: Any) -> Markup:
    return Markup('<div class="scroll"><table>\n')


def _scrolled_close(*_: Any) -> Markup:
    return Markup("</table></div>\n")


_RULES = {
    "quote": _quote, "citation": _citation, "math_inline": _maths, "math_block": _maths, "diagram_open": _diagram_open,
    "diagram_close": _diagram_close, "paragraph_open": _paragraph_open, "paragraph_close": _paragraph_close,
    "image": _image, "link_open": _link_open, "footnote_ref": _footnote_ref, "footnote_block_open": _footnotes_open,
    "footnote_block_close": _footnotes_close, "footnote_open": _footnote_open, "footnote_close": _footnote_close,
    "footnote_anchor": _footnote_anchor, "table_open": _scrolled_open, "table_close": _scrolled_close,
}  # fmt: skip
