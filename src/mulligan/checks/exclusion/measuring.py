"""Measure one suspected exclusion on a set of sources, with every placebo for each picture of the first class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ...runs import generator
from ..check import Subject
from ..conjunction.measuring import Sheet, lay_out, lead, orders_of
from ..conjunction.sources import Side
from .search import Exclusion, partners

#: What pictures of the first class beside anything else are held against: beside the exception, by themselves, and what
#: the others give without the first class.
FAMILIES = ("beside another", "beside the exception", "alone", "the exception beside another", "two others")
EXCEPTION = FAMILIES[1]


def sheet(
    sides: Sequence[Side],
    suspect: Exclusion,
    half: str,
    most: int,
    seed: int,
    *key: object,
    order: int | None = None,
    both: bool = True,
) -> Sheet:
    """One picture of the first class a pair, each in one pair only, shown with partners of all other classes in turn.

    A picture with itself is the picture alone (see `lay_out`).
    """
    rng = generator(seed, "exclusion", half, *key)
    mine = rng.permutation(getattr(sides[suspect.first], half))[:most]
    exception = rng.permutation(getattr(sides[suspect.exception], half))
    usable = [x for x in partners(sides, suspect.first, suspect.target) if x != suspect.exception]
    turn = rng.permutation(len(usable))
    contents, drawn = [], 0

    def another() -> int:
        nonlocal drawn
        side = sides[usable[int(turn[drawn % len(usable)])]]
        drawn += 1
        return int(rng.choice(getattr(side, half)))

    for i, a in enumerate(mine):
        for number, turned in enumerate(orders_of(i, order, both)):
            b = int(exception[(2 * i + number) % len(exception)])
            x, y, z = another(), another(), another()
            content = {
                "beside another": (int(a), x), "beside the exception": (int(a), b), "alone": (int(a), int(a)),
                "the exception beside another": (b, y), "two others": (z, y),
            }  # fmt: skip
            contents.append((i, turned, content))
    return lay_out(contents, FAMILIES, suspect.layouts)


def that_trigger(
    subject: Subject, page: Sheet, logits: Float[np.ndarray, "n classes"], sides: Sequence[Side], suspect: Exclusion
) -> list[int]:
    """The partners beside which the first class is answered so at least half as often as beside most."""
    hit = lead(logits, suspect.target) > 0
    shown: dict[int, list[bool]] = {}
    side_of = {int(e): x for x, side in enumerate(sides) for e in (*side.search, *side.test)}
    for row in np.flatnonzero(page.family == 0):
        one = page.shown[row]
        partner = one.first if page.turned[row] else one.second
        shown.setdefault(side_of[partner], []).append(bool(hit[row]))
    share = {x: float(np.mean(hits)) for x, hits in shown.items()}
    usual = float(np.median(list(share.values()))) if share else 0.0
    return sorted(x for x, value in share.items() if value >= 0.5 * usual)

