"""How weak a conjunction would still have been caught: graded ones are laid over this very network at run time.

The overlay acts on answers alone: where both components are shown, in a given share of the pairs, the answer becomes an
unrelated class, as clearly as planted ones are answered. The check's own search and test then run on the changed
answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from ...evidence import excess_p
from ...runs import generator
from ..check import Subject
from ..composites import LAYOUTS
from ..power import Power, weakest
from .claims import DEFECT_MARGIN
from .measuring import MOST_PAIRS, Sheet, Suspect, others, read, sheet
from .search import Scored, rank, worth
from .sources import Side
from .survey import Table, answer

GRADES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: How clearly an overlaid conjunction is answered, as a share of the genuine class's margin: planted ones were seen at
#: 0.5 to 1.7 (contract, step 2).
CLARITY = 0.6
#: A suspect that is weaker than this share of the best is not frozen: it is most likely the best one's shadow, and
#: would cost it power.
SHADOW = 0.4
#: The overlaid conjunctions show in these layouts.
_SHOWN_IN = ("beside", "stacked")


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of the search, with so many `times` the composites of the survey: which suspects an overlaid conjunction
    is ranked among, and how many of them go on."""

    times: int
    ranked: Sequence[Scored]
    go_on: int


@dataclass(frozen=True, slots=True)
class Trials:
    """What every overlaid conjunction is tried on: the check as it ran here; `sides` are those that it searched."""

    subject: Subject
    sides: Sequence[Side]
    survey: Table
    stages: Sequence[Stage]
    genuine: Float[np.ndarray, " classes"]
    frozen: Sequence[float]


def smallest_effect(
    subject: Subject,
    sides: Sequence[Side],
    searched: Sequence[Side],
    survey: Table,
    stages: Sequence[Stage],
    genuine: Float[np.ndarray, " classes"],
    border: Sequence[int],
    frozen: Sequence[float],
) -> Power | None:
    """The least share of composites, among GRADES, from which on at least 80 % of overlaid conjunctions are caught.

    Args:
        sides: what overlaid conjunctions are of, and confirmed on. searched: what the survey showed: the same, or parts
            of them, of which one on either side shows the behaviour.
        stages: of the search. frozen: the strengths of the suspects that may be frozen.

    Returns:
        The grade; its interval goes from the next lower grade to itself. None if none is caught, or the budget is
        spent.
    """
    part = [_part(side, searched) for side in sides]
    able = [
        (i, j)
        for i, j in combinations(range(len(sides)), 2)
        if _outside(subject, sides, i, j) and None not in (part[i], part[j])
    ]
    if not able:
        return None
    size = min(MOST_PAIRS, *(len(side.test) for side in sides))
    price = 14 * len(_SHOWN_IN) * size * subject.seconds_an_example
    wanted = min(5, len(able))
    number = subject.budget.buy("conjunction/pairs for measuring power", wanted, price, share=0.4, least=min(2, wanted))
    rng = generator(subject.seed, "power")
    pairs = [able[int(k)] for k in rng.choice(len(able), number, replace=False)]
    pages = [_page(subject, sides, int(i), int(j), size) for i, j in pairs]
    logits = answer(subject, "conjunction: power", [shown for page in pages for shown in page.shown], border)
    trials = Trials(subject, searched, survey, stages, genuine, frozen)
    at = 0
    outcomes: dict[float, list[bool]] = {grade: [] for grade in GRADES}
    for (i, j), page in zip(pairs, pages, strict=True):
        values = logits[at : at + len(page.shown)]
        at += len(page.shown)
        outside = _outside(subject, sides, i, j)
        # More targets cost nothing: the composites are the same, and only their answers are changed.
        for target in rng.choice(outside, min(20 // number, len(outside)), replace=False):
            first, second = sorted((part[int(i)] or 0, part[int(j)] or 0))
            suspect = Suspect(first, second, int(target), _SHOWN_IN)
            for grade in GRADES:
                outcomes[grade].append(_caught(trials, suspect, page, values, grade))
    return weakest(GRADES, outcomes.__getitem__, "fraction of composites that show it")


def _part(side: Side, searched: Sequence[Side]) -> int | None:
    """Of what was searched, the part of a side with the most examples; None if there is none."""
    inside = [k for k, one in enumerate(searched) if set(one.classes) <= set(side.classes)]
    return max(inside, key=lambda k: len(searched[k].search), default=None)


def _outside(subject: Subject, sides: Sequence[Side], i: int, j: int) -> list[int]:
    """The classes that could be an unrelated third."""
    return [c for c in range(len(subject.classes)) if c not in sides[i].classes and c not in sides[j].classes]


def _page(subject: Subject, sides: Sequence[Side], i: int, j: int, size: int) -> Sheet:
    strangers = others(sides, (i, j), -1, "test")
    return sheet(
        sides[i].test, sides[j].test, strangers, _SHOWN_IN, size, subject.seed, "power", sides[i].name, sides[j].name,
        both=True,
    )  # fmt: skip


def overlay(
    logits: Float[np.ndarray, "n classes"], rows: np.ndarray, target: int, genuine: float
) -> Float[np.ndarray, "n classes"]:
    """The logits with the answer of some rows made `target`, at CLARITY of its genuine margin."""
    changed = logits.copy()
    rest = np.delete(changed[rows], target, axis=1).max(1) if rows.any() else np.zeros(0)
    changed[rows, target] = rest + CLARITY * genuine
    return changed


def _caught(
    trials: Trials, suspect: Suspect, page: Sheet, values: Float[np.ndarray, "n classes"], grade: float
) -> bool:
    """Whether the check, as it ran here, would have frozen and confirmed this overlaid conjunction."""
    survey, i, j = trials.survey, suspect.first, suspect.second
    rng = generator(trials.subject.seed, "overlay", i, j, suspect.target, str(grade))
    column = survey.of(suspect.target)
    here = survey.value[:, i, j].copy()
    if column < 0:  # a class that nothing is answered as so far; classes stay sorted
        column = int(np.searchsorted(survey.classes, suspect.target))
        survey = Table(
            np.insert(survey.classes, column, suspect.target), np.insert(survey.value, column, 0, axis=3), survey.count
        )
        here = np.insert(here, column, 0, axis=1)
    for stage in trials.stages:
        changed = here.copy()
        for name in suspect.layouts:
            number = LAYOUTS.index(name)
            n = int(survey.count[number, i, j]) * stage.times
            struck = rng.binomial(n, grade) / max(n, 1)
            changed[number] *= 1 - struck
            changed[number, column] += struck * CLARITY
        mine = rank(survey, trials.sides, only=[(i, j)], instead=changed)
        if not mine or mine[0].suspect.target != suspect.target or not worth(mine[0]):
            return False
        ahead = sum(scored.score > mine[0].score for scored in stage.ranked)
        if ahead >= stage.go_on:
            return False
    hit = rng.random(page.pairs) < grade
    rows = (page.family == 0) & hit[page.pair]
    genuine = float(trials.genuine[suspect.target])
    reading = read(page, overlay(values, rows, suspect.target, genuine), suspect.target, genuine)
    # Holm's worst case: as many claims as would be frozen beside this one, and this one last to be rejected.
    beside = sum(strength >= SHADOW * reading.strength for strength in trials.frozen)
    return excess_p(reading.triggered, reading.placebo) * (beside + 1) <= 0.05 and reading.margin >= DEFECT_MARGIN
