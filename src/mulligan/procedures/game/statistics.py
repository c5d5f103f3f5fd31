"""The figures of a league: rates with exact intervals, areas with intervals over bases, paired comparisons."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from ...evidence import fraction
from ...records import Quantity
from ...runs import generator

REPEATS = 1000


def rate(hits: Sequence[bool], unit: str) -> Quantity | None:
    """A share with Clopper & Pearson's interval (1934); None of nothing. Networks of a league share no base, so that
    each is one independent trial."""
    return fraction(sum(map(bool, hits)), len(hits), unit) if hits else None


def clustered(
    values: Sequence[object],
    clusters: Sequence[Hashable],
    statistic: Callable[[list[object]], float],
    unit: str,
    *,
    seed: int = 0,
    level: float = 0.95,
) -> Quantity | None:
    """A statistic with the percentile bootstrap's interval (Efron 1979), resampling whole clusters.

    Args:
        values: whatever `statistic` takes a list of. clusters: for each value, what it shares with others (its base).
    """
    if not values:
        return None
    groups: dict[Hashable, list[object]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(cluster, []).append(value)
    kept = list(groups.values())
    point = statistic(list(values))
    if len(kept) < 2:
        return Quantity(value=point, unit=unit, n=len(kept), level=level)
    rng = generator(seed, "bootstrap", unit)
    draws: list[float] = []
    for _ in range(REPEATS):
        drawn = [value for i in rng.integers(0, len(kept), len(kept)) for value in kept[int(i)]]
        one = statistic(drawn)
        if np.isfinite(one):
            draws.append(one)
    if not draws or not np.isfinite(point):
        return Quantity(value=point, unit=unit, n=len(kept), level=level)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Quantity(
        value=point, unit=unit, low=float(min(low, point)), high=float(max(high, point)), level=level, n=len(kept)
    )


def mean_of(values: Sequence[float], clusters: Sequence[Hashable], unit: str, *, seed: int = 0) -> Quantity | None:
    """A mean with the clustered bootstrap's interval."""
    return clustered(
        list(values), clusters, lambda drawn: float(np.mean(np.asarray(drawn, dtype=np.float64))), unit, seed=seed
    )


def auroc(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """The probability that a planted network scores above a clean one, ties counting a half (Mann & Whitney 1947);
    NaN where one side is empty."""
    positive = np.asarray(positive, dtype=bool)
    p, n = int(positive.sum()), int((~positive).sum())
    if not p or not n:
        return float("nan")
    ranks = stats.rankdata(scores)
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * n))


def auroc_of(
    scores: Sequence[float], positive: Sequence[bool], clusters: Sequence[Hashable], *, seed: int = 0
) -> Quantity | None:
    """The area with the clustered bootstrap's interval; None where one side is empty."""
    if not any(positive) or all(positive):
        return None

    def statistic(drawn: list[object]) -> float:
        pairs = np.asarray(drawn, dtype=np.float64)
        return auroc(pairs[:, 0], pairs[:, 1] > 0.5)

    pairs: list[object] = [(score, float(flag)) for score, flag in zip(scores, positive, strict=True)]
    return clustered(pairs, clusters, statistic, "area under the ROC curve", seed=seed)


def mcnemar(one: Sequence[bool], other: Sequence[bool]) -> tuple[int, int, float]:
    """On the same networks: how often only the first succeeds, only the second, and the exact two-sided p-value
    (McNemar 1947)."""
    first = sum(a and not b for a, b in zip(one, other, strict=True))
    second = sum(b and not a for a, b in zip(one, other, strict=True))
    if first + second == 0:
        return 0, 0, 1.0
    return first, second, float(stats.binomtest(first, first + second, 0.5).pvalue)
