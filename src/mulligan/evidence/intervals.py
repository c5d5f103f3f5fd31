"""Intervals: no number leaves without one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import stats

from ..records import Quantity
from .testing import betting_p


def fraction(successes: int, n: int, unit: str, *, level: float = 0.95) -> Quantity:
    """A proportion with its exact interval (Clopper & Pearson 1934). With n = 0 the interval is [0, 1]."""
    alpha = 1 - level
    low = 0.0 if successes == 0 or n == 0 else float(stats.beta.ppf(alpha / 2, successes, n - successes + 1))
    high = 1.0 if successes == n or n == 0 else float(stats.beta.ppf(1 - alpha / 2, successes + 1, n - successes))
    return Quantity(value=successes / n if n else 0.0, unit=unit, low=low, high=high, level=level, n=n)


def bootstrap(
    values: Float[np.ndarray, "n ..."],
    unit: str,
    statistic: Callable[[np.ndarray], float],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    repeats: int = 1000,
    value: float | None = None,
) -> Quantity:
    """A statistic of independent rows with the percentile bootstrap's interval (Efron 1979)."""
    n = len(values)
    point = statistic(values) if value is None else value
    if n < 2:
        return Quantity(value=point, unit=unit, n=n, level=level)
    draws = np.array([statistic(values[rng.integers(0, n, n)]) for _ in range(repeats)])
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Quantity(
        value=float(point), unit=unit, low=float(min(low, point)), high=float(max(high, point)), level=level, n=n
    )


def mean(values: Float[np.ndarray, " n"], unit: str, *, level: float = 0.95) -> Quantity:
    """A mean of independent values with Student's interval."""
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    centre = float(values.mean()) if n else 0.0
    if n < 2:
        return Quantity(value=centre, unit=unit, n=n, level=level)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return Quantity(value=centre, unit=unit, low=centre - half, high=centre + half, level=level, n=n)


def bounded_mean(
    values: Float[np.ndarray, " n"], unit: str, low: float, high: float, *, level: float = 0.95
) -> Quantity:
    """A mean of independent values in [low, high], with an interval that holds for any distribution and any n.

    The interval inverts `betting_p` on either side (Waudby-Smith & Ramdas 2024, JRSS B 86:1, section 4). Without values
    it is all of [low, high].
    """
    values = np.asarray(values, dtype=np.float64)
    alpha = (1 - level) / 2
    centre = float(values.mean()) if len(values) else (low + high) / 2
    left = _last_rejected(lambda m: betting_p(values, m, low, high), low, centre, alpha)
    right = -_last_rejected(lambda m: betting_p(-values, m, -high, -low), -high, -centre, alpha)
    return Quantity(value=centre, unit=unit, low=left, high=right, level=level, n=len(values))


def _last_rejected(p: Callable[[float], float], low: float, centre: float, alpha: float) -> float:
    """The largest m in [low, centre] with p(m) <= alpha, or `low`.

    Halving finds it because p rises with m: each stake is a fixed share of 1 / (m - low), and wins less as m rises.
    """
    if p(low) > alpha:
        return low
    inside = centre
    while inside - low > 1e-6 * max(abs(inside), abs(low), 1e-6):
        middle = (low + inside) / 2
        if not low < middle < inside:
            break
        if p(middle) <= alpha:
            low = middle
        else:
            inside = middle
    return low
