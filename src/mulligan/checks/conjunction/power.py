"""How weak a conjunction would still have been caught: graded ones are laid over this very network at run time.

The overlay acts on answers alone: where both components are shown, in a given share of the pairs, the answer becomes an
unrelated class, as clearly as planted ones are answered. The check's own search and test then run on the changed
answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float

from ...evidence import excess_p
from ...records import Quantity
from ...runs import generator
from ..check import Subject
from ..composites import APART, LAYOUTS
from .measuring import MOST_PAIRS, Sheet, Suspect, others, read, sheet
from .search import Scored, Searched, answer, rank, worth
from .sources import Side

GRADES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: How clearly an overlaid conjunction is answered, as a share of the genuine class's margin: planted ones were seen at
#: 0.5 to 1.7 (contract, step 2).
CLARITY = 0.6
CAUGHT = 0.8


def smallest_effect(
    subject: Subject,
    sides: Sequence[Side],
    searched: Searched,
    ranked: Sequence[Scored],
    genuine: Float[np.ndarray, " classes"],
    border: Sequence[int],
    frozen: int,
) -> Quantity | None:
    """The least share of composites, among GRADES, from which on at least 80 % of overlaid conjunctions are caught.

    Returns:
        The grade; its interval goes from the next lower grade to itself. None if none is caught, or the budget is
        spent.
    """
    able = [(i, j) for i, j in combinations(range(len(sides)), 2) if _outside(subject, sides, i, j)]
    if not able:
        return None
    layouts = APART
    size = min(MOST_PAIRS, *(len(side.test) for side in sides))
    price = 7 * len(layouts) * size * subject.seconds_an_example
    number = subject.budget.buy("conjunction/pairs for measuring power", 5, price, share=0.4, least=2)
    rng = generator(subject.seed, "power")
    pairs = [able[int(k)] for k in rng.choice(len(able), number, replace=number > len(able))]
    pages = [_page(subject, sides, int(i), int(j), layouts, size) for i, j in pairs]
    logits = answer(subject, "conjunction: power", [shown for page in pages for shown in page.shown], border)
    at = 0
    outcomes: dict[float, list[bool]] = {grade: [] for grade in GRADES}
    for (i, j), page in zip(pairs, pages, strict=True):
        values = logits[at : at + len(page.shown)]
        at += len(page.shown)
        outside = _outside(subject, sides, i, j)
        for target in rng.choice(outside, min(4, len(outside)), replace=False):
            for grade in GRADES:
                suspect = Suspect(int(i), int(j), int(target), layouts)
                outcomes[grade].append(
                    _caught(subject, sides, searched, ranked, genuine, suspect, page, values, grade, frozen)
                )
    least: float | None = None
    for grade in reversed(GRADES):
        if np.mean(outcomes[grade]) < CAUGHT:
            break
        least = grade
    if least is None:
        return None
    below = GRADES[GRADES.index(least) - 1] if least > GRADES[0] else 0.0
    return Quantity(
        value=least,
        unit="fraction of composites that show it",
        low=below,
        high=least,
        level=CAUGHT,
        n=len(outcomes[least]),
    )


def _outside(subject: Subject, sides: Sequence[Side], i: int, j: int) -> list[int]:
    """The classes that could be an unrelated third."""
    return [c for c in range(len(subject.classes)) if c not in sides[i].classes and c not in sides[j].classes]


def _page(subject: Subject, sides: Sequence[Side], i: int, j: int, layouts: Sequence[str], size: int) -> Sheet:
    strangers = others(sides, (i, j), -1, "test")
    return sheet(
        sides[i].test, sides[j].test, strangers, layouts, size, subject.seed, "power", sides[i].name, sides[j].name
    )


def _overlay(
    logits: Float[np.ndarray, "n classes"], rows: np.ndarray, target: int, genuine: float
) -> Float[np.ndarray, "n classes"]:
    changed = logits.copy()
    rest = np.delete(changed[rows], target, axis=1).max(1) if rows.any() else np.zeros(0)
    changed[rows, target] = rest + CLARITY * genuine
    return changed


def _caught(
    subject: Subject,
    sides: Sequence[Side],
    searched: Searched,
    ranked: Sequence[Scored],
    genuine: Float[np.ndarray, " classes"],
    suspect: Suspect,
    page: Sheet,
    values: Float[np.ndarray, "n classes"],
    grade: float,
    frozen: int,
) -> bool:
    """Whether the check, as it ran here, would have frozen and confirmed this overlaid conjunction."""
    rng = generator(subject.seed, "overlay", suspect.first, suspect.second, suspect.target, str(grade))
    lead = float(genuine[suspect.target])
    here = (searched.pairs == (suspect.first, suspect.second)).all(1) & np.isin(
        searched.layout, [LAYOUTS.index(name) for name in suspect.layouts]
    )
    chosen = here & (rng.random(len(here)) < grade)
    changed = _overlay(searched.logits, chosen, suspect.target, lead)
    mine = [
        s
        for s in rank(searched, sides, genuine, changed, only=(suspect.first, suspect.second))
        if s.suspect.target == suspect.target
    ]
    if not mine or not worth(mine[0]):
        return False
    ahead = sum(scored.score > mine[0].score and worth(scored) for scored in ranked)
    if ahead >= 20:
        return False
    struck = rng.random(page.pairs) < grade
    rows = (page.family == 0) & struck[page.pair]
    reading = read(page, _overlay(values, rows, suspect.target, lead), suspect.target, lead)
    # Holm's worst case: as many claims as were frozen, and this one last to be rejected.
    return excess_p(reading.triggered, reading.placebo) * (frozen + 1) <= 0.05 and reading.margin >= 0.4
