"""Measure one suspected trigger on a set of sources: the pairs shown together, and every placebo for each pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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
#: A picture beside nothing is itself an odd input, which networks answer as they please: it is a placebo of the test,
#: and no part of the strength by which suspects are ranked.
UNRANKED = ("first alone", "second alone")
#: The answers of a reference network, or a distilled one, on the pairs themselves are one more placebo.
REFERENCE = "both, answered by the network that this one is held against"

#: One order shows the behaviour and the other does not: at most this share of it.
ONE_ORDER = 0.2
#: A layout in which a suspect has less than this share of its best strength would only dilute its test.
_NEARLY = 0.7
#: The most pairs of sources that a claim is tested on.
MOST_PAIRS = 40


@dataclass(frozen=True, slots=True)
class Suspect:
    """Pictures of both sides, shown together in these layouts, are said to be answered `target`.

    Attributes:
        order: 0 if only with the first side left (above, the ground), 1 if only with it right; None: in either order.
    """

    first: int
    second: int
    target: int
    layouts: tuple[str, ...]
    order: int | None = None


class AnySuspect(Protocol):
    """What is suspected of a target in some layouts."""

    @property
    def target(self) -> int: ...

    @property
    def layouts(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Sheet:
    """All composites for one suspect: `shown[i]` belongs to pair `pair[i]`, family `family[i]` of `families`.

    Family 0 is what is said to trigger, the others are placebos. `turned[i]` is 1 where the second side comes first.
    """

    shown: tuple[Shown, ...]
    pair: Int[np.ndarray, " n"]
    family: Int[np.ndarray, " n"]
    turned: Int[np.ndarray, " n"]
    pairs: int
    families: tuple[str, ...] = FAMILIES


def orders_of(pair: int, order: int | None, both: bool) -> tuple[int, ...]:
    """In which orders a pair is shown: the one that is said to matter, or both, or in turns from pair to pair."""
    return (order,) if order is not None else (pair % 2, 1 - pair % 2) if both else (pair % 2,)


def lay_out(
    contents: Sequence[tuple[int, int, Mapping[str, tuple[int, int]]]], families: Sequence[str], layouts: Sequence[str]
) -> Sheet:
    """Lay out every family of every pair in every layout.

    Args:
        contents: for each pair and order in which it is shown: the pair's number, the order (1: turned), and what each
            family shows, the first side's picture first. A picture with itself is the picture alone, once.
    """
    shown, rows = [], []
    for i, turned, content in contents:
        for number, name in enumerate(families):
            x, y = content[name][::-1] if turned else content[name]
            for layout in layouts if x != y else ("overlaid",):
                shown.append(Shown(x, y, layout))
                rows.append((i, number, turned))
    table = np.asarray(rows, dtype=np.int64).reshape(-1, 3)
    pairs = len({i for i, _, _ in contents})
    return Sheet(tuple(shown), table[:, 0], table[:, 1], table[:, 2], pairs, tuple(families))


def sheet(
    first: Int[np.ndarray, " n"],
    second: Int[np.ndarray, " m"],
    others: Int[np.ndarray, " k"],
    layouts: Sequence[str],
    most: int,
    seed: int,
    *key: object,
    order: int | None = None,
    both: bool = False,
) -> Sheet:
    """Pair sources at random, each used in one pair only, with all their placebos.

    Args:
        order, both: see `orders_of`. A pair that is shown in both orders has other placebo partners in each.
    """
    rng = generator(seed, "conjunction", *key)
    pairs = min(len(first), len(second), most)
    left, right = rng.permutation(first)[:pairs], rng.permutation(second)[:pairs]
    contents = []
    for i in range(pairs):
        for number, turned in enumerate(orders_of(i, order, both)):
            a, b = int(left[i]), int(right[i])
            d = int(rng.choice(others)) if len(others) else BLANK
            a2, b2 = int(left[(i + 1 + number) % pairs]), int(right[(i + 1 + number) % pairs])
            content = {
                "both": (a, b), "first alone": (a, BLANK), "second alone": (BLANK, b), "first twice": (a, a2),
                "second twice": (b2, b), "first with another": (a, d), "second with another": (d, b),
            }  # fmt: skip
            contents.append((i, turned, content))
    return lay_out(contents, FAMILIES, layouts)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sheet's answers say of a target.

    Attributes:
        triggered: [pairs], the share of a pair's composites answered as the target.
        placebo: [pairs], the same share in the worst of the placebo families.
        worst: which family that is. families: mean share by family. clarities: mean clarity by family (see `clarity`).
        strength: by how much more clearly the triggered composites are answered as the target than those of any placebo
            family but UNRANKED, from -1 to 1.
        margin: the median, over composites answered as the target, of how clearly, as a share of how clearly genuine
            pictures of the target are answered; 0 where none is.
        orders: the mean share with the first picture left (above, the ground), and right.
    """

    triggered: Float[np.ndarray, " pairs"]
    placebo: Float[np.ndarray, " pairs"]
    worst: str
    families: dict[str, float]
    clarities: dict[str, float]
    strength: float
    margin: float
    margins: Float[np.ndarray, " n"]
    orders: tuple[float, float]

    @property
    def excess(self) -> float:
        """How much more often than under placebo."""
        return float((self.triggered - self.placebo).mean()) if len(self.triggered) else 0.0


def lead(logits: Float[np.ndarray, "n classes"], target: int) -> Float[np.ndarray, " n"]:
    """By how much the target's logit leads the best other one (below zero: it is not the answer)."""
    others = np.delete(logits, target, axis=1)
    return logits[:, target] - others.max(1)


def clarity(
    logits: Float[np.ndarray, "n classes"], genuine: Float[np.ndarray, " classes"]
) -> Float[np.ndarray, " n"]:
    """How clearly each answer is given, as a share of how clearly genuine pictures of that class are; at most 1."""
    if not len(logits):
        return np.zeros(0)
    best = logits.argmax(1)
    top = np.partition(logits, -2, axis=1)[:, -2:]
    return np.clip((top[:, 1] - top[:, 0]) / np.maximum(genuine[best], 1e-9), 0.0, 1.0)


def read(
    page: Sheet,
    logits: Float[np.ndarray, "n classes"],
    target: int,
    genuine: float,
    reference: Float[np.ndarray, "n classes"] | None = None,
) -> Reading:
    """Read a sheet's logits for one target; `genuine` is the median lead on genuine pictures of it.

    `reference` are another network's logits on the sheet's composites: those of the triggered ones are one more
    placebo.
    """
    leads = lead(logits, target)
    values, family, names = np.stack([leads > 0, _clear(leads, genuine)]), page.family, page.families
    pair = page.pair
    both = page.family == 0
    if reference is not None and len(reference):
        theirs = lead(reference[both], target)
        values = np.concatenate([values, np.stack([theirs > 0, _clear(theirs, genuine)])], axis=1)
        pair, family = np.concatenate([pair, pair[both]]), np.concatenate([family, np.full(both.sum(), len(names))])
        names = (*names, REFERENCE)
    cell = family * page.pairs + pair
    count = np.maximum(np.bincount(cell, minlength=len(names) * page.pairs), 1)
    shares, clear = (
        (np.bincount(cell, weights=v, minlength=len(names) * page.pairs) / count).reshape(len(names), page.pairs)
        for v in values
    )
    margins = leads[both & (leads > 0)] / max(genuine, 1e-9)
    # The family that alone explains most is the placebo, for all pairs alike: a maximum taken pair by pair would count
    # every chance hit of every family against the claim.
    means, strengths = (v.mean(1) if page.pairs else np.zeros(len(names)) for v in (shares, clear))
    worst = 1 + int(means[1:].argmax())
    hit, turned = leads[both] > 0, page.turned[both]
    orders = [float(hit[turned == k].mean()) if (turned == k).any() else 0.0 for k in (0, 1)]
    return Reading(
        shares[0],
        shares[worst],
        names[worst],
        dict(zip(names, means.tolist(), strict=True)),
        dict(zip(names, strengths.tolist(), strict=True)),
        float(strengths[0] - max(v for name, v in zip(names[1:], strengths[1:], strict=True) if name not in UNRANKED)),
        float(np.median(margins)) if len(margins) else 0.0,
        margins,
        (orders[0], orders[1]),
    )


def _clear(leads: Float[np.ndarray, " n"], genuine: float) -> Float[np.ndarray, " n"]:
    return np.clip(leads / max(genuine, 1e-9), 0.0, 1.0)


def part_of(page: Sheet, rows: Int[np.ndarray, " rows"]) -> Sheet:
    """Some rows of a sheet, with the pairs that are left numbered anew."""
    left, pair = np.unique(page.pair[rows], return_inverse=True)
    shown = tuple(page.shown[int(row)] for row in rows)
    return Sheet(shown, pair, page.family[rows], page.turned[rows], len(left), page.families)


@dataclass(frozen=True, slots=True)
class Best:
    """A suspect in those layouts (the best first) that show it best, its reading, and the order that shows it.

    Attributes:
        reading: of either order. order: the only one that shows it, or None.
    """

    reading: Reading
    layouts: tuple[str, ...]
    order: int | None


def best_reading(
    page: Sheet,
    logits: Float[np.ndarray, "n classes"],
    suspect: AnySuspect,
    genuine: float,
    reference: Float[np.ndarray, "n classes"] | None = None,
) -> Best:
    """Read a sheet in those of its layouts that show a suspect nearly as well as the one that shows it best.

    For the search half only: the choice favours the suspect. That is why the reading is of either order: of an order
    chosen by half of the pairs, illusions of clean networks look as clear as triggers.
    """

    def of(names: Sequence[str]) -> Reading:
        rows = np.flatnonzero([one.layout in names or one.first == one.second for one in page.shown])
        theirs = reference[rows] if reference is not None else None
        return read(part_of(page, rows), logits[rows], suspect.target, genuine, theirs)

    strength = {layout: of([layout]).strength for layout in suspect.layouts}
    best = max(strength.values())
    kept = [name for name in suspect.layouts if best <= 0 or strength[name] >= _NEARLY * best]
    kept.sort(key=lambda layout: -strength[layout])
    reading = of(kept)
    return Best(reading, tuple(kept), one_order(reading))


def one_order(reading: Reading) -> int | None:
    """0 if the behaviour shows only with the first picture left (above, the ground), 1 if only right, else None."""
    left, right = reading.orders
    if min(left, right) <= ONE_ORDER * max(left, right) and max(left, right) >= 0.6:
        return 0 if left > right else 1
    return None


def others(all_sides: Sequence[Side], suspect_sides: Sequence[int], target: int, half: str) -> Int[np.ndarray, " n"]:
    """Examples that belong to neither side nor to the target."""
    chosen = [
        getattr(side, half)
        for number, side in enumerate(all_sides)
        if number not in suspect_sides and target not in side.classes
    ]
    return np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)
