"""Does a label predict activation? Measured on examples, and beside controls, that had no part in choosing it.

The label's figure is the area under the ROC curve: how often the feature answers more strongly to an example that the
label fits than to one that it does not. Two more say how much of the feature the label covers: the share of the
variance that it explains on strong and random examples together (the "top-and-random" score of Bills et al. 2023,
"Language models can explain neurons in language models"), and the share of strong and of random examples that it fits
("detection" in Paulo et al. 2024, arXiv:2410.13928). A name that is too narrow has a high area and explains little.

A label must beat two controls. Labels shuffled among features: one-sided rank test of its area against the larger of
one half and theirs, by Holm over the features. Random-weight twins: random filters answer to colour, brightness and
ink, and predict classes by them, so that "better than chance" is not enough. Units of twins are named and scored in the
same way; a feature's p-value is the share of them that do as well as it, the area for each label taken in spreads of
that label's areas over all twins' units; by Benjamini & Hochberg (1995) over the features. Weights shuffled within each
tensor are exchangeable with those of a network that was never trained, so that the units of such a network are some
more of the twins' (conformal p-values: Bates et al. 2023, Annals of Statistics 51:149).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import norm, rankdata

from ...activations import top
from ...evidence import fraction
from ...records import Quantity
from ...runs import generator
from ..units import FEWEST, auc_interval

UNIT = "AUC on held-out examples"
#: At most so many of the strongest examples, and as many random ones, are what a label must explain.
STRONGEST = 50


@dataclass(frozen=True, slots=True)
class Scored:
    """A label's figures on held-out examples.

    Attributes:
        auc, explained, strong, ordinary: see `records.Label`. fitting, others: how many examples the label fits, and
            does not. shuffled: the area of other features' labels. p: one-sided, against them, not yet adjusted.
    """

    auc: Quantity
    explained: Quantity
    strong: Quantity
    ordinary: Quantity
    fitting: int
    others: int
    shuffled: Quantity | None
    p: float


def fits(judged: Float[np.ndarray, "*n"]) -> Bool[np.ndarray, "*n"]:
    """Whether a label fits, from what an overseer judged."""
    return judged >= 0.5


def areas(values: Float[np.ndarray, "n units"], fit: Bool[np.ndarray, "n labels"]) -> Float[np.ndarray, "units labels"]:
    """The area of every unit for every label; NaN where a label fits all or none."""
    ranks = rankdata(values, axis=0)
    positive = fit.sum(0)
    pairs = positive * (len(fit) - positive)
    sums = ranks.T @ fit.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(pairs > 0, (sums - positive * (positive + 1) / 2) / pairs, np.nan)


def score(
    values: Float[np.ndarray, " n"],
    judged: Float[np.ndarray, " n"],
    others: Sequence[Float[np.ndarray, " n"]],
    seed: int,
    fewest: int = FEWEST,
) -> Scored | None:
    """Score one label of one feature; None where it fits, or does not fit, fewer than `fewest` examples.

    Args:
        values: the feature's activation on held-out examples. judged: what the overseer says of the label on them, NaN
            where nothing. others: the same of labels of other features.
    """
    known = np.isfinite(judged)
    v, fit = values[known].astype(np.float64), fits(judged[known])
    m, n = int(fit.sum()), int((~fit).sum())
    if min(m, n) < fewest:
        return None
    area = float(areas(v[:, None], fit[:, None])[0, 0])
    low, high = (float(end[0]) for end in auc_interval(np.array([area]), m, n))
    shuffled = _shuffled(values, others)
    against = max(0.5, shuffled.value if shuffled is not None else 0.5)
    return Scored(
        auc=Quantity(value=area, unit=UNIT, low=low, high=high, n=m + n),
        **_coverage(v, fit, seed),
        fitting=m,
        others=n,
        shuffled=shuffled,
        p=_above(area, against, m, n),
    )


def _shuffled(values: np.ndarray, others: Sequence[np.ndarray]) -> Quantity | None:
    """The mean area of other features' labels, with the range of 95 % of them."""
    found = []
    for judged in others:
        known = np.isfinite(judged)
        fit = fits(judged[known])
        if min(fit.sum(), (~fit).sum()) > 0:
            found.append(float(areas(values[known][:, None], fit[:, None])[0, 0]))
    if not found:
        return None
    low, high = (float(end) for end in np.quantile(found, [0.025, 0.975])) if len(found) > 1 else (None, None)
    return Quantity(
        value=float(np.mean(found)), unit="AUC of other features' labels (mean, range of 95 % of them)", low=low,
        high=high, n=len(found),
    )  # fmt: skip


def _above(area: float, against: float, m: int, n: int) -> float:
    """One-sided p-value for "the area is at most `against`"; the error is that of the area supposed (see units.py)."""
    if against >= 1:
        return 1.0
    half = (m + n) / 2 - 1
    spread = 1 + half * (1 - against) / (2 - against) + half * against / (1 + against)
    error = np.sqrt(against * (1 - against) * spread / (m * n))
    return float(norm.sf((area - against) / error))


def _coverage(values: np.ndarray, fit: np.ndarray, seed: int) -> dict[str, Quantity]:
    """Explained variance, and shares of strong and random examples that fit."""
    k = max(1, min(STRONGEST, len(values) // 4))
    rng = generator(seed, "top and random", len(values))
    strong = top(values, k)
    ordinary = rng.permutation(np.setdiff1d(np.arange(len(values)), strong))[:k]
    rows = np.concatenate([strong, ordinary])
    x, y = fit[rows].astype(np.float64), values[rows]
    # Strong and random examples are drawn again apart, as they were chosen apart.
    draws = np.concatenate([rng.integers(0, k, (300, k)), k + rng.integers(0, len(ordinary), (300, len(ordinary)))], 1)
    again = _explained(x[draws], y[draws])
    value = float(_explained(x[None], y[None])[0])
    low, high = np.quantile(again, [0.025, 0.975])
    explained = Quantity(
        value=value, unit="share of variance explained, strong and random examples",
        low=float(min(low, value)), high=float(max(high, value)), n=len(rows),
    )  # fmt: skip
    return {
        "explained": explained,
        "strong": fraction(int(fit[strong].sum()), k, "fraction of the strongest held-out examples that it fits"),
        "ordinary": fraction(int(fit[ordinary].sum()), len(ordinary), "fraction of random held-out examples"),
    }


def _explained(x: Float[np.ndarray, "draws n"], y: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, " draws"]:
    """Squared correlation of each row; 0 where it is negative, or one of the two never changes."""
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    together = (x * y).sum(1)
    scale = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.where(scale > 0, np.maximum(together, 0) / np.where(scale > 0, scale, 1), 0.0) ** 2


# Random-weight twins
def best_of_units(
    values: Float[np.ndarray, "n units"], judged: Float[np.ndarray, "n labels"]
) -> Float[np.ndarray, " labels"]:
    """The largest area that any unit reaches for each label, over the examples where the label is judged."""
    known = np.isfinite(judged)
    best = np.full(judged.shape[1], np.nan)
    if known.all():
        return areas(values, fits(judged)).max(0) if values.shape[1] else best
    for label in range(judged.shape[1]):
        rows = known[:, label]
        if rows.any():
            best[label] = areas(values[rows], fits(judged[rows, label : label + 1])).max()
    return best


def against_twins(
    area: Float[np.ndarray, " features"],
    label: Int[np.ndarray, " features"],
    twins: Float[np.ndarray, "units labels"],
    chosen: Int[np.ndarray, " units"],
    pairs: Float[np.ndarray, " labels"],
) -> Float[np.ndarray, " features"]:
    """For each feature a p-value for "a unit with random weights has a label as good", not adjusted yet.

    Args:
        area: of each feature for its label, whose number is `label`. twins: the areas of all twins' units for every
            label. chosen: the label that each of those units was given.
        pairs: how many pairs of a fitting and another example each label's area counts.
    """
    odds = _odds(np.where(np.isfinite(twins), twins, 0.5), pairs)
    spread = np.sqrt((odds**2).mean(0) + 1e-12)
    theirs = (odds / spread)[np.arange(len(chosen)), chosen]
    mine = _odds(area, pairs[label]) / spread[label]
    return (1 + (theirs[None] >= mine[:, None]).sum(1)) / (len(theirs) + 1)


def false_discoveries(ps: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Adjusted p-values: those at most q hold a share of false ones of at most q, on average (Benjamini & Hochberg)."""
    n = len(ps)
    order = np.argsort(ps, kind="stable")[::-1]
    adjusted = np.minimum.accumulate(ps[order] * n / np.arange(n, 0, -1))
    found = np.empty(n)
    found[order] = np.minimum(adjusted, 1.0)
    return found


def _odds(area: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Log odds of an area, finite at 0 and 1."""
    pulled = (area * pairs + 0.5) / (pairs + 1)
    return np.log(pulled) - np.log1p(-pulled)
