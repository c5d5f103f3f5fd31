"""Formulas become MathML and nothing else: every hostile one is refused, or shown as what it is."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulligan.records import BadInput
from mulligan.reports.articles.maths import mathml


@pytest.mark.parametrize(
    "tex",
    [
        r"x^2",
        r"\frac{1}{n}\sum_{i=1}^n \mathbf{x}_i \cdot \hat{y}",
        r"\argmax_x \; \frac{1}{|P|} \sum_{p \in P} a_u(p; x)",
        r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}",
        r"\sqrt[3]{x} \le \lVert x \rVert_2 \in \mathbb{R}^{320}",
        r"\text{logit of } c < 3 \,\&\, x > 2",
        r"f(x) = \begin{cases} 1 & x > 0 \\ 0 & \text{else} \end{cases}",
    ],
)
def test_a_formula_is_well_formed_maths(tex: str) -> None:
    tree = ElementTree.fromstring(mathml(tex, block=True))
    assert tree.tag == "math"
    assert tree.attrib == {"display": "block"}
    assert all(element.tag.startswith("m") for element in tree.iter())
    assert "\\" not in "".join(tree.itertext())


@pytest.mark.parametrize(
    ("tex", "says"),
    [
        (r"\foo{x}", r"\foo is no command"),
        (r"x + \unknowncommand", r"\unknowncommand is no command"),
        (r"\frac{a", "a { has no partner"),
        (r"a}", "a } has no partner"),
        (r"\frac{a}", "a part is missing"),
        (r"x_", "cannot be read"),
        (r"\left( x", "cannot be read"),
        (r"x^2^3", "cannot be read (double superscripts)"),
        (r"\begin{matrix} a", "cannot be read (missing end)"),
        (r"\href{javascript:alert(1)}{x}", r"\href is not for formulas"),
        (r"\newcommand{\a}{\a\a}\a", r"\newcommand is not for formulas"),
        (r"\def\a{\a}\a", r"\def is not for formulas"),
        (r"\color{red}{x}", r"\color is not for formulas"),
        ("x" * 3000, "3000 characters"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tex: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        mathml(tex, block=False)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "tex", ["<script>alert(1)</script>", "&lt;b&gt;", r"\text{<img src=x onerror=alert(1)>}", "&#60;i&#62;", '"\'&']
)
def test_markup_in_a_formula_is_text(tex: str) -> None:
    written = mathml(tex, block=False)
    tree = ElementTree.fromstring(written)
    assert {element.tag for element in tree.iter()} <= {"math", "mrow", "mi", "mo", "mn", "mtext", "msup"}


@given(st.text(alphabet=r"\{}[]^_&<>#;'xab12 ", max_size=30))
def test_whatever_is_typed_is_maths_or_one_sentence(tex: str) -> None:
    try:
        written = mathml(tex, block=False)
    except BadInput:
        return
    assert all(element.tag.startswith("m") for element in ElementTree.fromstring(written).iter())
