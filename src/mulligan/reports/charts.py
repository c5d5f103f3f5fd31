"""The geometry of the page's charts. Templates draw; nothing here knows markup.

Horizontal positions are percentages of the drawing's width, so that a chart follows the page's width while its lines
and letters keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..records import Beside, Quantity, ReliabilityBin
from .text import number

# Room at both ends of an axis for half a dot and half a tick's label, in per cent of the width.
_MARGIN = 4.0
_SHARES = ("fraction", "share", "probability", "proportion", "accuracy", "recall")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One row of a chart: a dot at `x` with a whisker from `low` to `high` (None: no interval), all in per cent."""

    label: str
    role: str
    quantity: Quantity
    x: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Rows that share a unit, and so an axis: `ticks` are (position in per cent, label); `zero` is where 0 lies."""

    unit: str
    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]
    zero: float | None


def beside_rows(figures: Sequence[Beside]) -> list[tuple[str, str, Quantity | None]]:
    """Figures as rows of a chart: what is shown, then its controls."""
    found: list[tuple[str, str, Quantity | None]] = []
    for figure in figures:
        found.append((figure.name, "main", figure.shown))
        found += [(name, "control", quantity) for name, quantity in figure.controls]
    return found


def panels(rows: Sequence[tuple[str, str, Quantity | None]]) -> tuple[Panel, ...]:
    """Dot-and-whisker panels of (label, role, quantity) rows, one for each unit in the order of first use.

    Quantities of different units never share an axis. Rows without a finite value are not drawn: the caller says so.
    """
    groups: dict[str, list[tuple[str, str, Quantity]]] = {}
    for label, role, quantity in rows:
        if quantity is not None and math.isfinite(quantity.value):
            groups.setdefault(quantity.unit, []).append((label, role, quantity))
    return tuple(_panel(unit, group) for unit, group in groups.items())


def _panel(unit: str, rows: Sequence[tuple[str, str, Quantity]]) -> Panel:
    points = [p for _, _, q in rows for p in (q.value, q.low, q.high) if p is not None and math.isfinite(p)]
    share = any(unit.lower().startswith(word) for word in _SHARES)
    if share and min(points) >= 0 and max(points) <= 1:
        steps = (0.0, 0.25, 0.5, 0.75, 1.0)
    else:
        steps = nice_ticks(min(0.0, *points), max(0.0, *points))
    first, span = steps[0], steps[-1] - steps[0]

    def at(value: float | None) -> float | None:
        if value is None or math.isnan(value):
            return None
        share_of_axis = min(1.0, max(0.0, (value - first) / span))
        return round(_MARGIN + (100 - 2 * _MARGIN) * share_of_axis, 2)

    marks = tuple(
        Mark(label=label, role=role, quantity=q, x=at(q.value) or 0.0, low=at(q.low), high=at(q.high))
        for label, role, q in rows
    )
    ticks = tuple((at(step) or 0.0, number(step)) for step in steps)
    return Panel(unit=unit, marks=marks, ticks=ticks, zero=at(0.0))


def nice_ticks(low: float, high: float, wanted: int = 4) -> tuple[float, ...]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten apart) that cover [low, high] in about `wanted` steps."""
    if not high - low > max(1e-9 * max(abs(low), abs(high)), 1e-300):
        around = max(abs(low), abs(high))
        low, high = (low - around / 2, high + around / 2) if around > 1e-300 else (-0.5, 0.5)
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(float(f"{i * step:.12g}") for i in range(first, last + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One bin of a reliability diagram in its drawing's units (y grows downwards); `r` is the dot's radius."""

    x: float
    y: float
    low: float | None
    high: float | None
    r: float


def reliability_points(bins: Sequence[ReliabilityBin], side: float) -> tuple[Point, ...]:
    """The non-empty bins as points in a square of `side`: confidence to the right, accuracy upwards, area by n."""
    filled = [b for b in bins if b.n > 0 and math.isfinite(b.confidence) and math.isfinite(b.accuracy.value)]
    most = max((b.n for b in filled), default=1)

    def up(value: float | None) -> float | None:
        return None if value is None else round(side * (1 - min(1.0, max(0.0, value))), 2)

    return tuple(
        Point(
            x=round(side * min(1.0, max(0.0, b.confidence)), 2), y=up(b.accuracy.value) or 0.0,
            low=up(b.accuracy.low), high=up(b.accuracy.high), r=round(2.5 + 4.5 * math.sqrt(b.n / most), 2),
        )
        for b in filled
    )  # fmt: skip
