"""What can be said of units from their activations on data: dead, saturated, duplicated, selective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from ..evidence import bootstrap
from ..records import Quantity
from ..runs import generator

#: Units whose correlation reaches this are called duplicates.
DUPLICATE = 0.99
#: A unit at one bound in this share of examples is called saturated.
SATURATED = 0.95
#: A class needs so many examples in either half to be what a unit is selective for.
FEWEST = 5


def dead_units(values: Float[np.ndarray, "n units"]) -> list[int]:
    """Units that have one value on all examples (up to rounding, on the scale of the site)."""
    scale = float(np.abs(values).max()) or 1.0
    return [int(u) for u in np.flatnonzero(np.ptp(values, axis=0) <= 1e-6 * scale)]


def saturated_units(values: Float[np.ndarray, "n units"]) -> list[int]:
    """Units that sit at the site's upper bound in at least 95 % of examples, and do leave it."""
    top = float(values.max())
    at = (values >= top - 1e-6 * max(abs(top), 1.0)).mean(0)
    return [int(u) for u in np.flatnonzero((at >= SATURATED) & (at < 1.0))]


def duplicates(values: Float[np.ndarray, "n units"], most: int = 50) -> list[tuple[int, int, float]]:
    """Pairs of units that are nearly the same on this data: correlation at least 0.99, strongest first.

    Needs 20 examples; dead units are left out.
    """
    n, units = values.shape
    if n < 20:
        return []
    live = np.setdiff1d(np.arange(units), dead_units(values))
    centred = values[:, live].astype(np.float64)
    centred -= centred.mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=0), 1e-30)
    found: list[tuple[int, int, float]] = []
    for begin in range(0, len(live), 1024):
        block = centred[:, begin : begin + 1024].T @ centred
        for i, j in np.argwhere(block >= DUPLICATE):
            if j > i + begin:
                found.append((int(live[i + begin]), int(live[j]), float(min(block[i, j], 1.0))))
    return sorted(found, key=lambda pair: -pair[2])[:most]


@dataclass(frozen=True, slots=True)
class Selectivity:
    """For each unit: the group that it prefers, and how well its activation tells that group from the rest.

    Attributes:
        group: [units], chosen on one half of the examples; -1 where none has enough.
        auc: [units], on the other half: 0.5 is chance, 1 is perfect. low, high: its 95 % interval.
    """

    group: Int[np.ndarray, " units"]
    auc: Float[np.ndarray, " units"]
    low: Float[np.ndarray, " units"]
    high: Float[np.ndarray, " units"]
    n: Int[np.ndarray, " units"]

    def quantity(self, unit: int) -> Quantity | None:
        """One unit's figure, with the number of preferred examples that it rests on."""
        if self.group[unit] < 0:
            return None
        return Quantity(value=float(self.auc[unit]), unit="AUC on held-out examples", low=float(self.low[unit]), high=float(self.high[unit]), n=int(self.n[unit]))

    def median(self, seed: int) -> Quantity | None:
        """The median over units, with an interval over units."""
        known = self.auc[self.group >= 0]
        if not len(known):
            return None
        return bootstrap(known, "AUC on held-out examples, median over units", lambda v: float(np.median(v)), generator(seed, "selectivity"), repeats=300)


def selectivity(values: Float[np.ndarray, "n units"], groups: Int[np.ndarray, " n"], seed: int) -> Selectivity:
    """Choose each unit's preferred group on one half, measure the area under its ROC curve on the other.

    Choosing and measuring on the same examples would make noise look selective. The interval is Hanley & McNeil's
    (1982, Radiology 143:29).
    """
    n, units = values.shape
    rng = generator(seed, "halves")
    half = np.zeros(n, dtype=bool)
    for group in np.unique(groups[groups >= 0]):
        members = rng.permutation(np.flatnonzero(groups == group))
        half[members[: len(members) // 2]] = True
    able = [int(g) for g in np.unique(groups[groups >= 0]) if (half & (groups == g)).sum() >= FEWEST and (~half & (groups == g)).sum() >= FEWEST]
    if len(able) < 2:
        empty = np.full(units, np.nan)
        return Selectivity(np.full(units, -1), empty, empty, empty, np.zeros(units, dtype=np.int64))
    known = groups >= 0
    best_auc = np.full(units, -1.0)
    best = np.full(units, -1)
    first = rankdata(values[half & known], axis=0)
    for group in able:
        area = _auc(first, groups[half & known] == group)
        better = area > best_auc
        best[better], best_auc[better] = group, area[better]
    second = rankdata(values[~half & known], axis=0)
    labels = groups[~half & known]
    auc, low, high, count = (np.full(units, np.nan) for _ in range(4))
    for group in able:
        mine = best == group
        if mine.any():
            positive = labels == group
            auc[mine] = _auc(second[:, mine], positive)
            p, m = int(positive.sum()), int((~positive).sum())
            a = auc[mine]
            variance = (a * (1 - a) + (p - 1) * (a / (2 - a) - a**2) + (m - 1) * (2 * a**2 / (1 + a) - a**2)) / (p * m)
            error = 1.96 * np.sqrt(np.maximum(variance, 0))
            low[mine], high[mine], count[mine] = np.maximum(a - error, 0), np.minimum(a + error, 1), p
    return Selectivity(best, auc, low, high, np.nan_to_num(count).astype(np.int64))


def _auc(ranks: Float[np.ndarray, "n units"], positive: np.ndarray) -> Float[np.ndarray, " units"]:
    p, m = int(positive.sum()), int((~positive).sum())
    return (ranks[positive].sum(0) - p * (p + 1) / 2) / max(p * m, 1)
