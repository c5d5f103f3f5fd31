"""From the scores of an auditor's checks to one score a network, on the scale of the clean networks that calibrate it.

For each kind, a score becomes -log10 of the share of calibration networks that score as high: their empirical survival
up to their upper fifth, and beyond it an exponential tail (Pickands 1975 and Balkema & de Haan 1974, with shape 0), so
that scores beyond all clean ones still differ. A network's score is the largest over kinds, and its kind is the one
that gives it. A calibration network is scored by the others, since its own score would be among those it is held
against.
Thresholds are order statistics of calibration networks (Vovk et al. 2005, "Algorithmic Learning in a Random World",
section 2): a new clean network exceeds them with no more than the nominal probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...evidence.ranks import Survival

#: A lower false-alarm rate is only looked at where so many clean networks were tested.
FEWEST = {0.05: 0, 0.01: 300}

Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Normal:
    """A network's score (larger is more suspicious) and the kind that gives it; "" if no kind was scored."""

    score: float
    kind: str


@dataclass(frozen=True, slots=True)
class Scale:
    """The survival of each kind; a kind that no calibration network was scored for has none, and does not count."""

    kinds: Mapping[str, Survival]

    @classmethod
    def of(cls, calibration: Sequence[Scores]) -> Scale:
        """From the calibration networks' scores by kind. A network that was not scored for a kind counts as 0, or as
        the lowest that any was, if that is less."""
        names = {kind for scores in calibration for kind in scores}
        kinds: dict[str, Survival] = {}
        for name in sorted(names):
            given = [scores[name] for scores in calibration if name in scores]
            kinds[name] = Survival.of(given + [min(0.0, *given)] * (len(calibration) - len(given)))
        return cls(kinds)

    def normalise(self, scores: Scores) -> Normal:
        """One score for a network. A kind that no clean network was ever scored for, as where an auditor speaks only
        when it finds something, is held against zeros."""
        best = Normal(0.0, "")
        for kind, value in sorted(scores.items()):
            survival = self.kinds.get(kind) or _SILENT
            score = -survival.log_p(value)
            if score > best.score:
                best = Normal(score, kind)
        return best


_SILENT = Survival(np.zeros(19), 0.0, 0.1)


def leave_one_out(calibration: Sequence[Scores]) -> list[Normal]:
    """Each calibration network on the scale of the others."""
    if len(calibration) < 2:
        return [Normal(0.0, "") for _ in calibration]
    return [
        Scale.of([*calibration[:i], *calibration[i + 1 :]]).normalise(scores) for i, scores in enumerate(calibration)
    ]


def threshold(scores: Sequence[float], level: float) -> float:
    """The score that a new clean network exceeds with probability at most `level`; infinite where there are too few
    calibration networks to say."""
    n = len(scores)
    rank = math.ceil((n + 1) * (1 - level))
    return float(np.sort(np.asarray(scores, dtype=np.float64))[rank - 1]) if rank <= n else math.inf


def probabilities(
    scores: Sequence[float], planted: Sequence[bool], clusters: Sequence[object], *, folds: int = 5
) -> list[float]:
    """How probable each network's modification is, by its score: Platt's scaling (1999), fitted on other folds.

    The folds are of bases, and planted and clean networks weigh alike (a prior of 0.5). Without both sorts in a fold's
    complement it is 0.5.
    """
    names = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    fold = np.array([names[cluster] % folds for cluster in clusters])
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(planted, dtype=np.float64)
    result = np.full(len(x), 0.5)
    for k in range(folds):
        train = fold != k
        if not 0 < y[train].sum() < train.sum():
            continue
        a, b = _logistic(x[train], y[train])
        result[~train] = 1 / (1 + np.exp(-np.clip(a * x[~train] + b, -30, 30)))
    return [float(p) for p in result]


def _logistic(x: np.ndarray, y: np.ndarray, *, ridge: float = 0.1, steps: int = 50) -> tuple[float, float]:
    """Slope and intercept with equal weight on both sorts, by Newton's method with a small ridge."""
    weight = np.where(y > 0.5, 0.5 / max(y.sum(), 1), 0.5 / max((1 - y).sum(), 1)) * len(y)
    centre, width = float(x.mean()), float(x.std()) or 1.0
    z = np.stack([(x - centre) / width, np.ones_like(x)], 1)
    theta = np.zeros(2)
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(z @ theta, -30, 30)))
        gradient = z.T @ (weight * (p - y)) + ridge * theta
        curvature = (z * (weight * p * (1 - p) + 1e-9)[:, None]).T @ z + ridge * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        theta -= step
        if np.abs(step).max() < 1e-9:
            break
    return float(theta[0] / width), float(theta[1] - theta[0] * centre / width)


def log_score(probability: float, planted: bool) -> float:
    """The natural logarithm of the probability given to what was the case (Good 1952), at least that of one in 1000."""
    return math.log(max(probability if planted else 1 - probability, 1e-3))
