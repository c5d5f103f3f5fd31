"""An article's text: what is found in it, on which line, and what is refused."""

from __future__ import annotations

import pytest
from markdown_it.token import Token

from mulligan.records import BadInput
from mulligan.reports.articles.markdown import read_text

BODY = """\
# One

A paragraph with [15.9]{net: a.b[0]} and
a second line, [85 % [83,
87]]{net: c['x}y']} and more
[1,000]{given: a round number} here [@olah2017; @carter].

| a | b |
|---|---|
| 1 | [2]{net: d} |

- item
- [3]{net: e} $x^2$, see [@fig:cat].[^note]

![A cat](pictures/cat.jpg "Chelsea, CC0")

<mg-unit key="a.1:0; class big cat"
  label="units">
Both, [4]{net: f}.
</mg-unit>

<mg-factors run="net"></mg-factors>

$$
\\sum_i x_i
$$

[^note]: A note with [5]{net: g}, in which 77 is bound to nothing.

`[6]{net: not.a.quote}` and \\[7\\]{no}, 8 ms.
"""


def test_everything_is_found_with_its_line() -> None:
    text = read_text(BODY)
    assert [(q.line, q.says.text, q.bound) for q in text.quotes] == [
        (3, "15.9", "net: a.b[0]"), (4, "85 % [83, 87]", "net: c['x}y']"), (6, "1,000", ""), (10, "2", "net: d"),
        (13, "3", "net: e"), (19, "4", "net: f"), (28, "5", "net: g"),
    ]  # fmt: skip
    assert text.quotes[2].why == "a round number"
    assert [(c.line, c.keys) for c in text.citations] == [(6, ("olah2017", "carter")), (13, ("fig:cat",))]
    assert [(d.line, d.name, d.attributes) for d in text.diagrams] == [
        (17, "unit", {"key": "a.1:0; class big cat", "label": "units"}), (22, "factors", {"run": "net"}),
    ]  # fmt: skip
    assert text.diagrams[0].keys == ("a.1:0", "class big cat")
    assert [(f.number, f.line, f.label) for f in text.figures] == [(1, 15, "cat"), (2, 17, "units"), (3, 22, "")]
    assert text.pictures == (("pictures/cat.jpg", 15),)
    assert [(u.line, u.text) for u in text.unbound] == [(10, "1"), (28, "77"), (30, "7"), (30, "8")]
    assert [token.meta["mathml"][:5] for token in every(text.tokens) if "mathml" in token.meta] == ["<math"] * 2


def every(tokens: list[Token]) -> list[Token]:
    return [one for token in tokens for one in (token, *(token.children or ()))]


@pytest.mark.parametrize(
    ("body", "line", "says"),
    [
        ("x\n\nA $x^2 that goes on", 3, "opened with $ and not closed"),
        ("x\n\n$$\nx^2\n\nmore", 3, "opened with $ and not closed"),
        ("It costs $5.", 1, "write \\$"),
        ("x\n$\\foo$", 2, "\\foo is no command"),
        ("x\ny [5]{net: a", 2, "{ is not closed"),
        ("[]{net: a}", 1, "is empty"),
        ("[5]{}", 1, "is empty"),
        ("x\n\n<mg-nothing></mg-nothing>", 3, "there is no diagram <mg-nothing>"),
        ('<mg-unit key="a:1" sise="3"></mg-unit>', 1, "no attribute 'sise'"),
        ('<mg-unit key="a:1" key="b:1"></mg-unit>', 1, "twice"),
        ("x\n\n<mg-unit></mg-unit>", 3, "<mg-unit> is bound to nothing"),
        ('<mg-unit key=""></mg-unit>', 1, "<mg-unit> is bound to nothing"),
        ('<mg-unit key=" ; "></mg-unit>', 1, "<mg-unit> is bound to nothing"),
        ('<mg-card key="a:1; b:2"></mg-card>', 1, "shows one feature"),
        ("<mg-unit key=5></mg-unit>", 1, "cannot be read"),
        ('<mg-unit key="a:1">', 1, "no closing tag"),
        ('<mg-unit key="a:1"', 1, "not closed"),
        ('<mg-unit key="a:1"></mg-unit> more', 1, "text follows"),
        ('x\ny <mg-unit key="a:1"></mg-unit>', 2, "within a line of text"),
        ("x\n\n</mg-unit>", 3, "within a line of text"),
        ("[a](other.md)", 1, "a link leads to 'other.md'"),
        ('<mg-atlas run="a" label="x"></mg-atlas>\n\n<mg-map run="a" label="x"></mg-map>', 1, "two figures are called"),
        ("![a *b*](x.png)", 1, "description is not plain"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(body: str, line: int, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_text(body)
    assert says in str(caught.value)
    assert f"article.md, line {line})" in str(caught.value)


def test_a_dollar_that_is_meant_is_text() -> None:
    (token,) = [token for token in every(read_text(r"It costs \$5 or US\$ 6.").tokens) if token.type == "text"]
    assert token.content == "It costs $5 or US$ 6."


def test_other_markup_is_text() -> None:
    tokens = every(read_text("<b>bold</b> <script>alert(1)</script>\n\n<div>\n\n[x](javascript:alert(1))").tokens)
    assert not [token for token in tokens if token.type in ("html_inline", "html_block", "link_open")]
