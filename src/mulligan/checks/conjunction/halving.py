"""Of the many pairs of groups that a scan shows a few composites each, the few that a second look is worth.

Successive halving (Karnin, Koren & Somekh 2013, "Almost Optimal Exploration in Multi-Armed Bandits"): many suspects are
shown few composites each, the better half of them twice as many, and so on. Each round costs the same, and most of the
work goes to those that are hard to tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ..check import Subject
from ..composites import APART
from .search import Scored, rank
from .sources import Side
from .survey import Searched, other_context, show, table, together

#: So many times more suspects than are kept enter the first round.
ENTER = 16
#: Composites a suspect and layout in the first round.
FIRST = 2


def halve(
    subject: Subject, sides: Sequence[Side], searched: Searched, ranked: Sequence[Scored], keep: int,
    genuine: Float[np.ndarray, " classes"], border: Sequence[int], among: Sequence[str] = APART,
) -> tuple[list[Scored], Searched]:  # fmt: skip
    """The `keep` best of `ranked`, the likeliest first, by all that the scan and the rounds showed; and all of that.

    Args:
        searched: the scan. among: the layouts that count, and that are shown.
    """
    wanted = min(ENTER * keep, len(ranked))
    rounds = math.ceil(math.log2(max(wanted / keep, 1)))
    networks = 1 + (other_context(subject) is not None)
    price = FIRST * max(rounds, 1) * len(among) * subject.seconds_an_example * networks
    what = "conjunction/suspects halved" + ("" if among == APART else ", lying over each other")
    left = list(ranked[: subject.budget.buy(what, wanted, price, share=0.3, least=min(keep, wanted))])
    each = FIRST
    while len(left) > keep:
        pairs = [(one.suspect.first, one.suspect.second) for one in left]
        more = show(subject, f"halving {len(left)}", sides, pairs, each, border, "halving", each, among=among)
        searched = together(searched, more)
        left = rank(table(searched, len(sides), genuine), sides, among, only=pairs)[: max(keep, len(left) // 2)]
        each *= 2
    return left, searched
