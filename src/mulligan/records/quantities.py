"""A number that may be shown: never without its unit, its interval and how many it rests on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A measured value.

    Attributes:
        value: the estimate.
        unit: what it counts, in words ("fraction of images", "nats per token").
        low, high: the confidence interval at `level`; None where only the value exists.
        level: the interval's nominal coverage.
        n: how many independent observations it rests on.
    """

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    n: int | None = None

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" [{self.low:.3g}, {self.high:.3g}]"
        count = "" if self.n is None else f", n = {self.n}"
        return f"{self.value:.3g}{interval} {self.unit}{count}"
