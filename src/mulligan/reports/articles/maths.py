"""Formulas, from TeX to MathML when the page is built: a browser draws them without a script.

latex2mathml reads the TeX. It passes commands that it does not know through as names, does not mind a missing brace,
turns character references in its output back into markup, and lets a formula set links: so its tree is checked here,
element by element, and written by our own hand.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from latex2mathml.converter import Converter

from ...records import BadInput

LONGEST = 2000  # characters of a formula

#: Elements of MathML Core, and how many parts each needs (None: any number).
_PARTS: dict[str, int | None] = {
    "math": None, "mrow": None, "mi": None, "mn": None, "mo": None, "mtext": None, "mspace": None, "mstyle": None,
    "mpadded": None, "mphantom": None, "mtable": None, "mtr": None, "mtd": None, "msqrt": None, "menclose": None,
    "mfrac": 2, "msub": 2, "msup": 2, "mover": 2, "munder": 2, "mroot": 2, "msubsup": 3, "munderover": 3,
}  # fmt: skip
_ATTRIBUTES = frozenset(
    ("display", "displaystyle", "scriptlevel", "mathvariant", "stretchy", "fence", "form", "accent", "accentunder",
     "movablelimits", "linethickness", "width", "height", "depth", "lspace", "rspace", "minsize", "maxsize",
     "symmetric", "separator", "columnalign", "rowspacing", "columnspacing", "columnlines", "rowlines", "notation",
     "largeop"),
)  # fmt: skip
#: A macro can grow without bound; links, classes and colours are the page's own affair.
_REFUSED = re.compile(
    r"\\(newcommand|renewcommand|def|href|url|class|cssId|style|color|textcolor|tag|label|ref)(?![A-Za-z])"
)


def mathml(tex: str, *, block: bool) -> str:
    """A formula as a `<math>` element. `block`: on a line of its own.

    Raises:
        BadInput: if a command is not known, a brace or a part is missing, or it does something that is not maths.
    """
    if len(tex) > LONGEST:
        raise BadInput(f"this formula has {len(tex)} characters", fix=f"cut it into several of at most {LONGEST}")
    refused = _REFUSED.search(tex)
    if refused:
        raise BadInput(f"{refused[0]} is not for formulas here", fix="write the formula without it")
    _balanced(tex)
    try:
        tree = Converter(display="block" if block else "inline").convert_to_element(tex)
    except Exception as error:  # latex2mathml raises some of its own, and whatever Python does where it is surprised
        why = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__.removesuffix("Error")).lower()
        raise BadInput(f"this formula cannot be read ({why}): {_brief(tex)}", fix="mend its TeX") from error
    return "".join(_written(tree, tex))


def _balanced(tex: str) -> None:
    depth = 0
    for sign in re.findall(r"\\.|[{}]", tex, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if depth < 0:
            break
    if depth:
        brace = "{" if depth > 0 else "}"
        raise BadInput(f"a {brace} has no partner in this formula: {_brief(tex)}", fix="close what is opened")


def _written(element: Element, tex: str) -> Iterator[str]:
    tag, parts = element.tag, list(element)
    if tag not in _PARTS:
        raise BadInput(f"this formula needs <{tag}>, which is not for formulas here: {_brief(tex)}", fix="simplify it")
    wanted = _PARTS[tag]
    if wanted is not None and len(parts) != wanted:
        raise BadInput(
            f"a part is missing in this formula: {_brief(tex)}", fix="give fractions and indices their parts"
        )
    text = html.unescape(element.text or "")
    unknown = re.match(r"\\[A-Za-z]+", text)
    if unknown and tag != "mtext":
        raise BadInput(f"{unknown[0]} is no command that is known here", fix="write it otherwise, or mend its name")
    kept = {name: value for name, value in element.attrib.items() if name in _ATTRIBUTES}
    attributes = "".join(f' {name}="{html.escape(value)}"' for name, value in kept.items())
    yield f"<{tag}{attributes}>"
    yield html.escape(text, quote=False)
    for part in parts:
        yield from _written(part, tex)
    yield f"</{tag}>"


def _brief(tex: str) -> str:
    plain = " ".join(tex.split())
    return plain if len(plain) <= 60 else f"{plain[:60]}…"
