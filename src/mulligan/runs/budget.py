"""A budget is wall time that buys pieces; the list is recorded, and a replay follows the list and not the clock."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping

from ..records import BadInput


def parse_duration(text: str) -> float:
    """Seconds from "90s", "10m", "1h30m" or "45" (seconds).

    Raises:
        BadInput: if the text is not a duration above zero.
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    seconds = (
        sum(float(part or 0) * scale for part, scale in zip(match.groups(), (3600, 60, 1), strict=True))
        if match
        else 0.0
    )
    if not 0 < seconds < math.inf:
        raise BadInput("this is not a duration", where=text, fix="write for example 90s, 10m or 1h30m")
    return seconds


class Budget:
    """Grants work by price, and remembers what it granted.

    Args:
        seconds: the whole budget, from now.
        recorded: the grants of an earlier run, to be repeated whatever the clock says.
    """

    def __init__(self, seconds: float, recorded: Mapping[str, int] | None = None) -> None:
        self.seconds, self.began = seconds, time.monotonic()
        self.recorded = dict(recorded) if recorded is not None else None
        self.granted: dict[str, int] = {}
        self.wanted: dict[str, int] = {}

    @property
    def left(self) -> float:
        """Seconds left; below zero when overdrawn."""
        return self.seconds - (time.monotonic() - self.began)

    def buy(self, what: str, wanted: int, each: float, *, share: float = 1.0, least: int = 0) -> int:
        """How many of `wanted` things at `each` seconds may be done, out of `share` of the time left.

        `least` are granted even if there is no time left. In a replay, the recorded number is given.
        """
        self.wanted[what] = wanted
        if self.recorded is not None and what in self.recorded:
            number = self.recorded[what]
        else:
            affordable = max(self.left, 0.0) * share / each if each > 0 else math.inf
            number = min(wanted, max(least, int(min(affordable, wanted))))
        self.granted[what] = min(number, wanted)
        return self.granted[what]

    @property
    def short(self) -> dict[str, tuple[int, int]]:
        """What was not granted in full: name to (granted, wanted)."""
        return {what: (n, self.wanted[what]) for what, n in self.granted.items() if n < self.wanted[what]}
