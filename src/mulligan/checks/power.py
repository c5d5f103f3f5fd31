"""How weak a defect a check would still have caught: graded trials, from the strongest grade down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..evidence import fraction
from ..records import Quantity

#: A grade counts as caught if it is in this share of its trials.
CAUGHT = 0.8


@dataclass(frozen=True, slots=True)
class Power:
    """The weakest grade that was caught.

    Attributes:
        smallest: the grade; `low` is the next weaker one. caught: its share of trials, with the exact interval.
    """

    smallest: Quantity
    caught: Quantity

    @property
    def value(self) -> float:
        """The grade itself."""
        return self.smallest.value


def weakest(
    grades: Sequence[float], trials: Callable[[float], Sequence[bool]], unit: str, *, nothing: float = 0.0
) -> Power | None:
    """The least of the grades from which on all are caught; None if not even the strongest is, or nothing was tried.

    Args:
        trials: whether each trial at a grade was caught. nothing: the grade at which there is no defect.
    """
    found: Power | None = None
    ordered = sorted(grades)
    for number, grade in reversed(list(enumerate(ordered))):
        caught = [bool(one) for one in trials(grade)]
        if not caught or sum(caught) < CAUGHT * len(caught):
            break
        below, n = ordered[number - 1] if number else nothing, len(caught)
        smallest = Quantity(value=grade, unit=unit, low=below, high=grade, level=CAUGHT, n=n)
        found = Power(smallest, fraction(sum(caught), n, "of trials with a defect of this size"))
    return found
