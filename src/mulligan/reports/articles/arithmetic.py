"""What an expression may do with the values that it reads: sums, ratios, comparisons, and functions of many values."""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Callable
from typing import Any

from ...records import BadInput
from .documents import Many

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def number(value: Any) -> float:
    """A number, or a quantity's value.

    Raises:
        BadInput: if it is neither.
    """
    if isinstance(value, dict) and "value" in value:
        value = value["value"]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if value is None:
        raise BadInput("one of these is null: it was not measured", fix="drop such with known()")
    raise BadInput(f"one of these is no number: {str(value)[:40]!r}", fix="let the path end at a number")


def each(act: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """`act` on two values, record by record where either is one value a record."""
    if isinstance(left, Many) and isinstance(right, Many):
        if len(left) != len(right):
            raise BadInput(f"{len(left)} values meet {len(right)}", fix="let both paths go over the same records")
        return Many(map(act, left, right))
    if isinstance(left, Many):
        return Many(act(one, right) for one in left)
    if isinstance(right, Many):
        return Many(act(left, one) for one in right)
    return act(left, right)


def arithmetic(sign: str, left: Any, right: Any) -> float:
    """ "+", "-", "*" or "/" of two numbers."""
    a, b = number(left), number(right)
    if sign == "/" and b == 0:
        raise BadInput("this divides by zero", fix="quote another ratio")
    return a + b if sign == "+" else a - b if sign == "-" else a * b if sign == "*" else a / b


def compare(sign: str, left: Any, right: Any) -> bool:
    """A comparison of two numbers; texts are equal or not."""
    if isinstance(left, str) and isinstance(right, str) and sign in ("==", "!="):
        return COMPARE[sign](left, right)
    return COMPARE[sign](number(left), number(right))


def _listed(found: Any) -> list[Any]:
    if isinstance(found, dict) and "value" not in found:
        return list(found.values())
    if isinstance(found, list):
        return found
    raise BadInput("this is one value and no list", fix="write a path with [*], or leave the function out")


def _numbers(found: Any) -> list[float]:
    values = [number(one) for one in _listed(found)]
    if not values:
        raise BadInput("there is nothing to take this of", fix="quote another list")
    return values


def _count(found: Any) -> int:
    """How many there are; of comparisons, how many hold."""
    values = _listed(found)
    return sum(values) if values and all(isinstance(one, bool) for one in values) else len(values)


def _share(found: Any) -> float:
    values = _listed(found)
    if not values or not all(isinstance(one, bool) for one in values):
        raise BadInput("share() is of comparisons", fix="write share(PATH[*] > 0), say")
    return sum(values) / len(values)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "median": lambda found: statistics.median(_numbers(found)),
    "mean": lambda found: math.fsum(_numbers(found)) / len(_numbers(found)),
    "min": lambda found: min(_numbers(found)),
    "max": lambda found: max(_numbers(found)),
    "sum": lambda found: math.fsum(_numbers(found)),
    "count": _count,
    "share": _share,
    "known": lambda found: Many(one for one in _listed(found) if one is not None),
    "abs": lambda found: each(lambda a, _: abs(number(a)), found, None),
}
