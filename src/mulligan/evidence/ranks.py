"""How far one network's score lies beyond those of clean networks, on a scale that does not end at the largest of
them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

#: From this quantile on, the tail is taken to fall off exponentially.
TAIL = 0.9


def survival(score: float, clean: Sequence[float]) -> float:
    """The estimated share of clean networks that score at least `score`; never zero.

    Below the 0.9 quantile it is the smoothed count (1 + how many score as high) / (1 + n); beyond, it falls
    exponentially by the mean excess over that quantile (the peaks-over-threshold estimate with shape 0; Pickands 1975),
    so that two scores above every clean one can still be told apart.

    Args:
        clean: scores of clean networks; without any, every score is as good as another (1.0).
    """
    values = np.sort(np.asarray(clean, dtype=np.float64))
    n = len(values)
    if n == 0 or math.isnan(score):
        return 1.0
    edge = float(np.quantile(values, TAIL))
    excess = values[values > edge] - edge
    # Where the tail is flat, its scale is a hundredth of the spread: any score beyond is far out, and still finite.
    spread = max(float(values[-1] - values[0]), abs(edge) * 1e-3, 1e-9)
    scale = max(float(excess.mean()) if len(excess) else 0.0, spread / 100)
    if score > edge:
        return (1 - TAIL) * math.exp(-min((score - edge) / scale, 600.0))
    above = n - int(np.searchsorted(values, score, side="left"))
    return max((1 + above) / (1 + n), 1 - TAIL)


def surprise(score: float, clean: Sequence[float]) -> float:
    """-log10 of `survival`: 1.3 is reached by one clean network in twenty, 2 by one in a hundred."""
    return -math.log10(survival(score, clean))


def network_score(scores: Mapping[str, float], clean: Mapping[str, Sequence[float]]) -> tuple[float, str | None]:
    """One score a network, the largest surprise over kinds, and the kind that reaches it.

    Args:
        scores: a score for each kind. clean: for each kind, the scores of clean networks; kinds without are left out.
    """
    found = [(surprise(score, clean[kind]), kind) for kind, score in scores.items() if len(clean.get(kind, ()))]
    return max(found, default=(0.0, None), key=lambda item: item[0])


def probability(p: float, prior: float) -> float:
    """The largest probability that a p-value can lend a hypothesis: the bound -e p ln p on the Bayes factor (Sellke,
    Bayarri & Berger 2001, The American Statistician 55:62)."""
    factor = -math.e * p * math.log(p) if p < 1 / math.e else 1.0
    odds = prior / (1 - prior) / max(factor, 1e-12)
    return odds / (1 + odds)
