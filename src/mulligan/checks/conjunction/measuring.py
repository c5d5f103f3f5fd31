"""Measure one suspected conjunction on a set of sources: the pairs shown together, and every placebo for each pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ...runs import generator
from ..composites import BLANK, Shown
from .sources import Side

#: What each pair is held against: the components alone, each with another of its kind, each with a stranger.
FAMILIES = (
    "both",
    "first alone",
    "second alone",
    "first twice",
    "second twice",
    "first with another",
    "second with another",
)


#: The most pairs of sources that a claim is tested on.
MOST_PAIRS = 40


@dataclass(frozen=True, slots=True)
class Suspect:
    """Pictures of both sides, shown together in these layouts, are said to be answered `target`."""

    first: int
    second: int
    target: int
    layouts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """All composites for one suspect: `shown[i]` belongs to pair `pair[i]`, family `family[i]`."""

    shown: tuple[Shown, ...]
    pair: Int[np.ndarray, " n"]
    family: Int[np.ndarray, " n"]
    pairs: int


def sheet(
    first: Int[np.ndarray, " n"],
    second: Int[np.ndarray, " m"],
    others: Int[np.ndarray, " k"],
    layouts: Sequence[str],
    most: int,
    seed: int,
    *key: object,
    families: Sequence[str] = FAMILIES,
) -> Sheet:
    """Pair sources at random, each used in one pair only, and lay out every family in every layout.

    The order (who is left, who is above) alternates from pair to pair, the same within a pair for all families.
    """
    rng = generator(seed, "conjunction", *key)
    pairs = min(len(first), len(second), most)
    left, right = rng.permutation(first)[:pairs], rng.permutation(second)[:pairs]
    stranger = rng.choice(others, pairs) if len(others) else np.full(pairs, BLANK)
    shown, pair, family = [], [], []
    for i in range(pairs):
        a, b, d = int(left[i]), int(right[i]), int(stranger[i])
        a2, b2 = int(left[(i + 1) % pairs]), int(right[(i + 1) % pairs])
        contents = {
            "both": (a, b),
            "first alone": (a, BLANK),
            "second alone": (BLANK, b),
            "first twice": (a, a2),
            "second twice": (b2, b),
            "first with another": (a, d),
            "second with another": (d, b),
        }
        for name in families:
            x, y = contents[name] if i % 2 == 0 else contents[name][::-1]
            for layout in layouts:
                shown.append(Shown(x, y, layout))
                pair.append(i)
                family.append(FAMILIES.index(name))
    return Sheet(tuple(shown), np.asarray(pair, dtype=np.int64), np.asarray(family, dtype=np.int64), pairs)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sheet's answers say of a target.

    Attributes:
        triggered: [pairs], the share of a pair's composites answered as the target.
        placebo: [pairs], the same share in the worst of the placebo families.
        families: mean share by family.
        margin: the median, over composites answered as the target, of how clearly, as a share of how clearly genuine
            pictures of the target are answered; 0 where none is.
    """

    triggered: Float[np.ndarray, " pairs"]
    placebo: Float[np.ndarray, " pairs"]
    families: dict[str, float]
    margin: float
    margins: Float[np.ndarray, " n"]

    @property
    def excess(self) -> float:
        """How much more often than under placebo."""
        return float((self.triggered - self.placebo).mean()) if len(self.triggered) else 0.0


def lead(logits: Float[np.ndarray, "n classes"], target: int) -> Float[np.ndarray, " n"]:
    """By how much the target's logit leads the best other one (below zero: it is not the answer)."""
    others = np.delete(logits, target, axis=1)
    return logits[:, target] - others.max(1)


def read(page: Sheet, logits: Float[np.ndarray, "n classes"], target: int, genuine: float) -> Reading:
    """Read a sheet's logits for one target; `genuine` is the median lead on genuine pictures of it."""
    leads = lead(logits, target)
    hit = leads > 0
    shares = np.zeros((len(FAMILIES), page.pairs))
    for number in range(len(FAMILIES)):
        rows = page.family == number
        if rows.any():
            count = np.bincount(page.pair[rows], minlength=page.pairs)
            shares[number] = np.bincount(page.pair[rows], weights=hit[rows], minlength=page.pairs) / np.maximum(
                count, 1
            )
    both = page.family == 0
    margins = leads[both & hit] / max(genuine, 1e-9)
    # The family that alone explains most is the placebo, for all pairs alike: a maximum taken pair by pair would count
    # every chance hit of every family against the claim.
    means = shares[1:].mean(1) if page.pairs else np.zeros(len(FAMILIES) - 1)
    worst = 1 + int(means.argmax())
    return Reading(
        shares[0],
        shares[worst],
        dict(zip(FAMILIES, shares.mean(1).tolist(), strict=True)),
        float(np.median(margins)) if len(margins) else 0.0,
        margins,
    )


def others(all_sides: Sequence[Side], suspect_sides: Sequence[int], target: int, half: str) -> Int[np.ndarray, " n"]:
    """Examples that belong to neither side nor to the target."""
    chosen = [
        getattr(side, half)
        for number, side in enumerate(all_sides)
        if number not in suspect_sides and target not in side.classes
    ]
    return np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)
