"""Text and numbers as a reader sees them: hidden characters made visible, quantities with their interval, n and unit.

Class names, file names and tokens come from data, which may be hostile. Escaping keeps markup from running; this module
keeps characters that cannot be seen (controls, bidirectional overrides, zero widths) from making one text look like
another: each is written as its code point, such as [U+202E].
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass

from ..records import Quantity

NOT_MEASURED = "not measured"
LONGEST = 2000

# A space that neither breaks nor stretches, between groups of three digits.
_GROUP = "\u202f"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_JOINERS = ("\u200c", "\u200d")
_WHITE = ("\n", "\t")
# Whatever may need to be shown as a code point; most texts have none of it, and are returned as they are.
_SUSPECT = re.compile(r"[^\n\t\x20-\x7e\u00a1-\u00ac\u00ae-\u02ff\u0391-\u03ff\u0410-\u044f]")


def is_hidden(text: str, at: int) -> bool:
    """Whether the character at `at` is one that a reader would not see, or that changes how its neighbours are seen.

    Joiners are kept between characters beyond ASCII, where Persian, Indic scripts and emoji need them.
    """
    character = text[at]
    if character in _WHITE:
        return False
    if character in _JOINERS:
        return not (0 < at < len(text) - 1 and ord(text[at - 1]) > 0x2FF and ord(text[at + 1]) > 0x2FF)
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return True
    code = ord(character)
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def visible(text: str, limit: int | None = LONGEST) -> str:
    """`text` with every hidden character as its code point, cut after `limit` characters with a note that says so.

    The result is plain text: it still has to be escaped for the format that it goes into.
    """
    left = 0
    if limit is not None and len(text) > limit:
        left = len(text) - limit
        text = text[:limit]
    if _SUSPECT.search(text):
        text = "".join(f"[U+{ord(c):04X}]" if is_hidden(text, i) else c for i, c in enumerate(text))
    return f"{text}… ({left} more characters)" if left else text


def token(text: str) -> str:
    """A token as shown: line ends and tabs as signs, other hidden characters as code points."""
    if not text:
        return "(empty)"
    return visible(text, 200).replace("\n", "↵").replace("\t", "⇥")


def number(value: float | int | None, decimals: int | None = None) -> str:
    """A number for people: three significant digits or `decimals` places, digits grouped, a true minus sign."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOT_MEASURED
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    sign = "−" if value < 0 else ""
    size = abs(value)
    # A random network's perplexity, say: of a billion and more, digits that nobody measured are not written out.
    if size >= 1e9 and (decimals is not None or not float(size).is_integer()):
        digits = _powers(size)
    elif decimals is not None:
        digits = f"{size:,.{decimals}f}"
    elif isinstance(value, int) or size >= 999.5 or size == 0:
        digits = f"{size:,.0f}" if size < 1e15 else _powers(size)
    elif size < 1e-4:
        digits = _powers(size)
    else:
        digits = f"{size:.3g}"
    if not any(c in "123456789" for c in digits):
        sign = ""
    return sign + digits.replace(",", _GROUP)


def _powers(size: float) -> str:
    mantissa, exponent = f"{size:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}"


@dataclass(frozen=True, slots=True)
class Shown:
    """A quantity in words: `value`, `interval` ("[0.88, 0.96]" or "no interval"), `unit`, and `n` ("n = 150")."""

    value: str
    interval: str
    unit: str
    n: str

    def __str__(self) -> str:
        return f"{self.value} {self.interval} {self.unit}, {self.n}"


def shown(quantity: Quantity) -> Shown:
    """A quantity with as many decimals as its interval deserves, so that no digit is pretended."""
    low, high = quantity.low, quantity.high
    decimals: int | None = None
    if low is not None and high is not None:
        width = high - low
        if math.isfinite(width) and width > 0:
            wanted = 1 - math.floor(math.log10(width))
            decimals = max(0, wanted) if wanted <= 6 else None
        level = "" if quantity.level == 0.95 else f" at {100 * quantity.level:.3g} %"
        interval = f"[{number(low, decimals)}, {number(high, decimals)}]{level}"
    else:
        interval = "no interval"
    n = "n not recorded" if quantity.n is None else f"n = {number(quantity.n)}"
    return Shown(number(quantity.value, decimals), interval, visible(quantity.unit, 200), n)


def quantity_text(quantity: Quantity | None) -> str:
    """A quantity as plain text, for formats without typography."""
    return NOT_MEASURED if quantity is None else str(shown(quantity))


def plural(n: int, one: str, many: str | None = None) -> str:
    """`1 check`, `3 checks`, `4 652 008 parameters`."""
    return f"{number(n)} {one if n == 1 else many or one + 's'}"
