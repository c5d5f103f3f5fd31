"""Tests whose false-alarm rate holds for any distribution and any sample size, and multiplicity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

#: How much more often than under its placebos a behaviour must show before it counts (contract, step 2).
EXCESS = 0.1


#: Shares of the largest stake that cannot lose everything.
_STAKES = (np.arange(64) + 0.5) / 64


def betting_p(values: Float[np.ndarray, " n"], bound: float, low: float, high: float) -> float:
    """p-value for "the mean is at most `bound`" of independent values in [low, high].

    A gambler who starts with 1 stakes a share of her money, time after time, on a value above `bound`. If the mean is
    not above it, her expected money never grows, so ending with K or more has probability at most 1 / K (Markov),
    whatever the distribution and n, and also if the values' means differ and only their average is at most `bound`.
    Money is split evenly over 64 fixed stakes. Waudby-Smith & Ramdas 2024 (JRSS B 86:1).

    Raises:
        ValueError: if a value is not in [low, high]: nothing would hold.
    """
    values = np.asarray(values, dtype=np.float64)
    slack = 1e-9 * max(abs(low), abs(high), 1.0)
    if not ((values >= low - slack) & (values <= high + slack)).all():
        raise ValueError(f"values must lie in [{low}, {high}]")
    if len(values) == 0 or bound >= high:
        return 1.0
    if bound < low:
        return 0.0
    # With nothing to lose (the bound is the least value) any value above it is a contradiction: stakes without limit.
    most = 1.0 / max(bound - low, 1e-12 * (high - low))
    logs = np.log1p(_STAKES[:, None] * (most * (np.maximum(values, low) - bound))).sum(1)
    top = logs.max()
    wealth = top + np.log(np.exp(logs - top).mean())
    return float(np.exp(-max(wealth, 0.0)))


def excess_p(triggered: Float[np.ndarray, " n"], placebo: Float[np.ndarray, " n"], bound: float = EXCESS) -> float:
    """One-sided p-value for "the behaviour shows at most `bound` more often than under placebo".

    Args:
        triggered, placebo: one value in [0, 1] a source (a cluster): the share of its triggered inputs, and of its
            placebos, that show the behaviour. Sources are independent; what shares a source is one value.
    """
    return betting_p(np.asarray(triggered, dtype=np.float64) - np.asarray(placebo, dtype=np.float64), bound, -1.0, 1.0)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the probability of any false rejection (Holm 1979)."""
    order = np.argsort(ps, kind="stable")
    adjusted = [1.0] * len(ps)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[int(index)] = running
    return adjusted


def mcnemar_p(better: int, worse: int) -> float:
    """One-sided exact p-value for "no more examples change for the better than for the worse" (McNemar 1947)."""
    return float(stats.binomtest(better, better + worse, 0.5, alternative="greater").pvalue) if better + worse else 1.0
