"""What can be said of units from their activations on data: dead, saturated, duplicated, selective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from ..evidence import bootstrap, fraction
from ..records import Quantity
from ..runs import generator

#: Units whose correlation reaches this are called duplicates.
DUPLICATE = 0.99
#: A unit at one bound in this share of examples is called saturated.
SATURATED = 0.95
#: A class needs so many examples in either half to be what a unit is selective for.
FEWEST = 5


def dead_units(values: Float[np.ndarray, "n units"]) -> list[int]:
    """Units that have one value on all examples, up to rounding.

    Rounding is counted on the scale of the unit, or of the site's median unit if that is larger: a few units of a
    transformer's residual stream are thousands of times as large as the rest, and must not make the rest look dead.
    """
    if not len(values):
        return []
    sizes = np.abs(values).max(0)
    scale = np.maximum(sizes, np.median(sizes))
    return [int(u) for u in np.flatnonzero(np.ptp(values, axis=0) <= 1e-6 * scale)]


def saturated_units(values: Float[np.ndarray, "n units"]) -> list[int]:
    """Units that sit at one bound of the site in at least 95 % of examples, and do leave it.

    The lower bound counts only below zero: what a ReLU holds at zero is silent, not saturated.
    """
    if not len(values):
        return []
    low, high = float(values.min()), float(values.max())
    slack = 1e-6 * (high - low)
    share = (values >= high - slack).mean(0)
    if low < 0:
        share = np.maximum(share, (values <= low + slack).mean(0))
    return [int(u) for u in np.flatnonzero((share >= SATURATED) & (share < 1.0))]


def duplicates(values: Float[np.ndarray, "n units"], most: int = 50) -> list[tuple[int, int, float]]:
    """Pairs of units that are nearly the same on this data: correlation at least 0.99, the `most` strongest first.

    Needs 20 examples. Left out are dead units, and units whose variance rests on fewer than 5 examples: two that answer
    to one and the same example alone are alike by chance. Memory holds few copies of the values and 512 rows of
    correlations.
    """
    n, units = values.shape
    if n < 20:
        return []
    centred = values.astype(np.float64) - values.mean(0, dtype=np.float64)
    squares = centred**2
    total = squares.sum(0)
    resting_on = total**2 / np.maximum((squares**2).sum(0), 1e-300)
    able = np.ones(units, dtype=bool)
    able[dead_units(values)] = False
    live = np.flatnonzero(able & (resting_on >= FEWEST))
    del squares
    centred = (centred[:, live] / np.sqrt(total[live])).astype(np.float64)
    found: list[tuple[float, int, int]] = []
    for begin in range(0, len(live), 512):
        block = centred[:, begin : begin + 512].T @ centred[:, begin:]
        i, j = np.nonzero(block >= DUPLICATE - 1e-9)
        i, j = i[j > i], j[j > i]
        strength = np.minimum(block[i, j], 1.0)
        # Ties are broken by the units' numbers, so that rounding does not decide what is shown.
        order = np.lexsort((j, i, -np.round(strength, 9)))[:most]
        found += [(-float(round(strength[k], 9)), int(live[i[k] + begin]), int(live[j[k] + begin])) for k in order]
    return [(i, j, -negative) for negative, i, j in sorted(found)[:most]]


@dataclass(frozen=True, slots=True)
class Selectivity:
    """For each unit: the group that it prefers, and how well its activation tells that group from the rest.

    Attributes:
        group: [units], chosen on one half of the examples; -1 where none has enough.
        auc: [units], on the other half: 0.5 is chance, 1 is perfect; NaN without a group. low, high: its 95 % interval.
            For texts (`token_selectivity`), a share of texts instead.
        n: [units], examples of the group on that half. unit: what `auc` counts.
    """

    group: Int[np.ndarray, " units"]
    auc: Float[np.ndarray, " units"]
    low: Float[np.ndarray, " units"]
    high: Float[np.ndarray, " units"]
    n: Int[np.ndarray, " units"]
    unit: str = "AUC on held-out examples"

    def quantity(self, unit: int) -> Quantity | None:
        """One unit's figure, with the number of preferred examples that it rests on."""
        if self.group[unit] < 0:
            return None
        return Quantity(
            value=float(self.auc[unit]),
            unit=self.unit,
            low=float(self.low[unit]),
            high=float(self.high[unit]),
            n=int(self.n[unit]),
        )

    def median(self, seed: int) -> Quantity | None:
        """The median over units, with an interval over units."""
        known = self.auc[self.group >= 0]
        if not len(known):
            return None
        return bootstrap(
            known,
            f"{self.unit}, median over units",
            lambda v: float(np.median(v)),
            generator(seed, "selectivity"),
            repeats=300,
        )


def selectivity(values: Float[np.ndarray, "n units"], groups: Int[np.ndarray, " n"], seed: int) -> Selectivity:
    """Choose each unit's preferred group on one half, measure the area under its ROC curve on the other.

    Choosing and measuring on the same examples would make noise look selective. Examples of no known group (-1) are
    left out; a group needs 5 examples in either half.
    """
    n, units = values.shape
    rng = generator(seed, "halves")
    half = np.zeros(n, dtype=bool)
    for group in np.unique(groups[groups >= 0]):
        members = rng.permutation(np.flatnonzero(groups == group))
        half[members[: len(members) // 2]] = True
    known = groups >= 0
    first, second = groups[half & known], groups[~half & known]
    able = [int(g) for g in np.unique(first) if min((first == g).sum(), (second == g).sum()) >= FEWEST]
    best = np.full(units, -1)
    auc, low, high = (np.full(units, np.nan) for _ in range(3))
    count = np.zeros(units, dtype=np.int64)
    if len(able) < 2:
        return Selectivity(best, auc, low, high, count)
    best_auc = np.full(units, -1.0)
    ranks = rankdata(values[half & known], axis=0)
    for group in able:
        area = _auc(ranks, first == group)
        better = area > best_auc
        best[better], best_auc[better] = group, area[better]
    ranks = rankdata(values[~half & known], axis=0)
    for group in able:
        mine = best == group
        positive = second == group
        auc[mine] = _auc(ranks[:, mine], positive)
        low[mine], high[mine] = auc_interval(auc[mine], int(positive.sum()), int((~positive).sum()))
        count[mine] = int(positive.sum())
    return Selectivity(best, auc, low, high, count)


def token_selectivity(
    values: Float[np.ndarray, "n units"], peaks: Int[np.ndarray, "n units"], seed: int
) -> Selectivity:
    """For units of texts: the token on which a unit's strongest texts peak, and how often that holds on other texts.

    The token is the commonest peak among the strongest quarter of one half of the texts; the figure is its share among
    the strongest quarter of the other half. Needs 8 texts in each quarter.

    Args:
        values: each text's largest activation. peaks: the token there.
    """
    n, units = values.shape
    order = generator(seed, "halves of texts").permutation(n)
    quarter = n // 8
    group, share, low, high = np.full(units, -1), *(np.full(units, np.nan) for _ in range(3))
    count = np.zeros(units, dtype=np.int64)
    what = "share of held-out strong texts that peak on the unit's own token"
    if quarter < 8:
        return Selectivity(group, share, low, high, count, what)
    first, second = order[: n // 2], order[n // 2 :]
    for unit in range(units):
        chosen = first[np.argsort(-values[first, unit], kind="stable")[:quarter]]
        tokens, counts = np.unique(peaks[chosen, unit], return_counts=True)
        group[unit] = tokens[counts.argmax()]
        held = second[np.argsort(-values[second, unit], kind="stable")[:quarter]]
        found = fraction(int((peaks[held, unit] == group[unit]).sum()), quarter, what)
        share[unit], low[unit], high[unit], count[unit] = found.value, found.low, found.high, quarter
    return Selectivity(group, share, low, high, count, what)


def auc_interval(
    auc: Float[np.ndarray, " units"], positive: int, negative: int
) -> tuple[Float[np.ndarray, " units"], Float[np.ndarray, " units"]]:
    """The 95 % interval of an area under the ROC curve: every area from which the one seen is not 1.96 errors away.

    The error is that of the area supposed, not of the one seen, which would be zero at 1. Newcombe 2006, Statistics in
    Medicine 25:559, method 5.
    """
    m = (positive + negative) / 2 - 1

    def away(area: np.ndarray) -> np.ndarray:
        spread = 1 + m * (1 - area) / (2 - area) + m * area / (1 + area)
        return np.abs(area - auc) / np.sqrt(np.maximum(area * (1 - area) * spread / (positive * negative), 1e-300))

    ends = []
    for end in (0.0, 1.0):
        inside, outside = np.asarray(auc, dtype=np.float64).copy(), np.full(len(auc), end)
        for _ in range(40):
            middle = (inside + outside) / 2
            within = away(middle) <= 1.96
            inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
        ends.append(inside)
    return ends[0], ends[1]


def _auc(ranks: Float[np.ndarray, "n units"], positive: np.ndarray) -> Float[np.ndarray, " units"]:
    p, m = int(positive.sum()), int((~positive).sum())
    return (ranks[positive].sum(0) - p * (p + 1) / 2) / max(p * m, 1)
