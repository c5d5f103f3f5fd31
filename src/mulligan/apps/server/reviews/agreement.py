"""How far two readers agree, as a share of the features that both labelled blind, with Wilson's interval.

Two labels agree if they are equal but for case, white space and Unicode composition (`entries.sense`), or if a third
reader judged that they say the same. Each reader's first label counts, and only if it was given blind: what is changed
after having seen the other's label agrees by design. Two readers who both say "I cannot tell" agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import NormalDist

from ....records import Quantity
from .entries import sense
from .ledger import Reading

UNIT = "share of the features that both labelled blind"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Of one pair of readers, in the order of their names. `judged`: how many agree by a third reader's word only."""

    readers: tuple[str, str]
    share: Quantity
    judged: int


def wilson(successes: int, n: int, unit: str, *, level: float = 0.95) -> Quantity:
    """A proportion with the score interval (Wilson 1927, JASA 22:209), which is sound for few observations, too."""
    if n == 0:
        return Quantity(value=0.0, unit=unit, low=0.0, high=1.0, level=level, n=0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, scale = successes / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    # At the ends the bound is exact; rounding must not move it past the value.
    return Quantity(value=share, unit=unit, low=min(low, share), high=max(high, share), level=level, n=n)


class Counts:
    """Of each pair of readers: how many features both labelled blind, on how many they agree, on how many by a third's
    word only.
    """

    def __init__(self) -> None:
        self.pairs: dict[tuple[str, str], list[int]] = {}

    def add(self, pairs: Mapping[tuple[str, str], tuple[bool, bool]], times: int) -> None:
        """Count a feature's pairs, or with -1 no longer count them."""
        for pair, (agree, judged) in pairs.items():
            count = self.pairs.setdefault(pair, [0, 0, 0])
            count[0] += times
            count[1] += times * agree
            count[2] += times * judged


def agreements(readings: Iterable[Reading]) -> list[Agreement]:
    """Of every pair of readers who labelled a feature in common."""
    counts = Counts()
    for reading in readings:
        counts.add(pairs_of(reading), 1)
    return agreements_of(counts)


def agreements_of(counts: Counts) -> list[Agreement]:
    """The same, from what was counted."""
    return [
        Agreement(readers=pair, share=wilson(agreed, n, UNIT), judged=judged)
        for pair, (n, agreed, judged) in sorted(counts.pairs.items())
        if n
    ]


def pairs_of(reading: Reading) -> dict[tuple[str, str], tuple[bool, bool]]:
    """Of each pair of readers who labelled it blind: whether they agree, and whether by a third reader's word only."""
    return dict(_pairs(reading))


def _pairs(reading: Reading) -> Iterator[tuple[tuple[str, str], tuple[bool, bool]]]:
    first = {reader: labels[0] for reader, labels in reading.labels.items() if labels[0].blind}
    last = reading.resolutions[-1] if reading.resolutions else None
    for one, other in combinations(sorted(first), 2):
        equal = sense(first[one].text) == sense(first[other].text)
        # The judge saw these labels only if none of the two has changed theirs in between.
        judged = not equal and last is not None and last.same and not any(
            first[reader].id < label.id < last.id for reader in (one, other) for label in reading.labels[reader]
        )  # fmt: skip
        yield (one, other), (equal or judged, judged)
