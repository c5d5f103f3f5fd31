"""How far one network's score lies beyond those of clean networks, on a scale that does not end at the largest of
them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

#: The share of clean scores above which the tail is exponential.
TAIL = 0.2


@dataclass(frozen=True, slots=True)
class Survival:
    """How likely a clean network scores at least `x`, for one kind.

    Attributes:
        values: the calibration networks' scores in ascending order. knee: where the tail begins.
        scale: the tail's mean excess.
    """

    values: Float[np.ndarray, " n"]
    knee: float
    scale: float

    @classmethod
    def of(cls, scores: Sequence[float]) -> Survival:
        """Fit one to calibration scores.

        Raises:
            ValueError: if there are none.
        """
        values = np.sort(np.asarray(scores, dtype=np.float64))
        if not len(values):
            raise ValueError("no calibration scores")
        above = max(1, math.ceil(TAIL * len(values)))
        knee = float(values[-above])
        # The mean excess over the knee; where all are alike, a small part of what is usual of such scores.
        excess = float((values[-above:] - knee).mean())
        spread = float(values.std())
        scale = max(excess, 0.1 * spread, 1e-3 * max(abs(knee), 1e-3))
        return cls(values, knee, scale)

    def log_p(self, x: float) -> float:
        """log10 of the probability, at most 0; it falls strictly beyond the knee."""
        n = len(self.values)
        if x <= self.knee:
            # Interpolated between order statistics, so that a small step in the score is a small step here.
            below = np.interp(x, *_steps(self.values))
            return math.log10(max(1 - float(below), 1 / (n + 1)))
        at = 1 - float(np.interp(self.knee, *_steps(self.values)))
        return math.log10(max(at, 1 / (n + 1))) - (x - self.knee) / self.scale / math.log(10)


def _steps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and the share of calibration networks (with the new one) below each, for interpolation."""
    unique, first = np.unique(values, return_index=True)
    return unique, first / (len(values) + 1)


def survival(score: float, clean: Sequence[float]) -> float:
    """The estimated share of clean networks that score at least `score`; never zero. Without clean networks, every
    score is as good as another (1.0)."""
    if not len(clean) or math.isnan(score):
        return 1.0
    return max(10 ** Survival.of(clean).log_p(score), 1e-300)


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
