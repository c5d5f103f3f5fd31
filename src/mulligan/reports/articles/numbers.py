"""Numbers as an author writes them, and whether data agree with them to the last digit that was written."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from ...records import BadInput
from .expressions import Derived

_SCALES = {"thousand": 3, "million": 6, "billion": 9}
_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
_PLAIN = r"[-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-−+]?\d+)?"
_PERCENT = r"%|per cent|percent"
_STATED = re.compile(
    rf"(?P<value>{_PLAIN})(?:\s*(?P<scale>{'|'.join(_SCALES)}))?(?P<first>\s*(?:{_PERCENT}))?"
    rf"(?:\s*\[\s*(?P<low>{_PLAIN}),\s*(?P<high>{_PLAIN})\s*\])?(?P<last>\s*(?:{_PERCENT}))?"
)
#: A number in running text; digits that are part of a name, such as those of lite0 or B4, are none.
NUMBER = re.compile(rf"(?<![\w.]){_PLAIN}(?:\s*%)?(?!\w)")
#: A sliver of the last digit's half, so that a value which binary fractions cannot hold is not a disagreement.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Rounded:
    """A number to the last digit written: it says that the value lies within `half` of `value`."""

    value: Decimal
    half: Decimal

    def holds(self, data: float) -> bool:
        """Whether `data`, rounded as the author did, is this number."""
        return math.isfinite(data) and abs(Decimal(data) - self.value) <= self.half * Decimal(1 + _SLACK)

    def __str__(self) -> str:
        return f"[{self.value - self.half}, {self.value + self.half}]"


@dataclass(frozen=True, slots=True)
class Stated:
    """What an author says: a number, perhaps with an interval, or a text.

    Attributes:
        per_cent: whether the prose counts in hundredths of what data hold.
    """

    text: str
    value: Rounded | None
    low: Rounded | None = None
    high: Rounded | None = None
    per_cent: bool = False

    def agrees(self, found: Derived) -> bool:
        """Whether data say the same, to the last digit written.

        Raises:
            BadInput: if the prose gives an interval and the data have none.
        """
        if self.value is None or isinstance(found.value, str):
            return self.text == found.value
        times = 100 if self.per_cent else 1
        if not self.value.holds(times * found.value):
            return False
        if self.low is None or self.high is None:
            return True
        if found.low is None or found.high is None:
            raise BadInput(
                "the prose gives an interval, and what it is bound to has none", fix="leave the interval out"
            )
        return self.low.holds(times * found.low) and self.high.holds(times * found.high)


def stated(text: str) -> Stated:
    """What stands between the brackets of a quoted number: 15.9, 1,000, 85 % [83, 87], 4.65 million, three.

    Whatever is no number is a text, which must equal the data's.
    """
    plain = " ".join(text.split())
    if plain.lower() in _WORDS:
        return Stated(plain, Rounded(Decimal(_WORDS.index(plain.lower())), Decimal("0.5")))
    match = _STATED.fullmatch(plain)
    if match is None:
        return Stated(plain, None)
    scale = _SCALES.get(match["scale"] or "", 0)
    low, high = (_rounded(match[name], scale) if match[name] else None for name in ("low", "high"))
    return Stated(plain, _rounded(match["value"], scale), low, high, bool(match["first"] or match["last"]))


def _rounded(digits: str, scale: int) -> Rounded:
    mantissa, _, power = digits.replace("−", "-").replace(",", "").lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    shift = scale + int(power or 0)
    if abs(shift) > 300:
        raise BadInput(f"{digits} is beyond what a number can hold", fix="write it otherwise")
    return Rounded(Decimal(mantissa).scaleb(shift), Decimal(5).scaleb(shift - decimals - 1))
