"""How weak an exclusion would still have been caught: graded ones are laid over this very network at run time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ...evidence import FEWEST_SOURCES, excess_p
from ...runs import generator
from ..check import Subject
from ..composites import LAYOUTS
from ..conjunction.claims import DEFECT_MARGIN
from ..conjunction.measuring import Sheet, read
from ..conjunction.power import CLARITY, GRADES, overlay
from ..conjunction.sources import Side
from ..conjunction.survey import Table, answer
from ..power import Power, weakest
from .measuring import FAMILIES, sheet
from .search import Exclusion, partners, rank

_SHOWN_IN = ("beside", "stacked")
_TRIALS = 5


def smallest_effect(
    subject: Subject,
    sides: Sequence[Side],
    survey: Table,
    genuine: Float[np.ndarray, " classes"],
    border: Sequence[int],
    frozen: int,
) -> Power | None:
    """The least share of composites, among GRADES, from which on at least 80 % of overlaid exclusions are caught.

    Args:
        frozen: how many claims may be frozen beside an overlaid one.

    Returns:
        The grade; its interval goes from the next lower grade to itself. None if none is caught, or nothing can be
        tried.
    """
    rng = generator(subject.seed, "exclusion power")
    size = min(FEWEST_SOURCES, *(len(side.test) for side in sides))
    price = 2 * len(FAMILIES) * len(_SHOWN_IN) * size * subject.seconds_an_example
    number = subject.budget.buy("exclusion/trials for measuring power", _TRIALS, price, share=0.3, least=2)
    tried: list[Exclusion] = []
    for _ in range(number):
        first, exception = (int(k) for k in rng.choice(len(sides), 2, replace=False))
        own = {*sides[first].classes, *sides[exception].classes}
        outside = [c for c in range(len(subject.classes)) if c not in own]
        if outside:
            tried.append(Exclusion(first, exception, int(rng.choice(outside)), _SHOWN_IN))
    pages = [sheet(sides, s, "test", size, subject.seed, "power", number) for number, s in enumerate(tried)]
    logits = answer(subject, "exclusion: power", [one for page in pages for one in page.shown], border)
    at = 0
    outcomes: dict[float, list[bool]] = {grade: [] for grade in GRADES}
    for suspect, page in zip(tried, pages, strict=True):
        values = logits[at : at + len(page.shown)]
        at += len(page.shown)
        for grade in GRADES:
            outcomes[grade].append(_caught(subject, sides, survey, genuine, suspect, page, values, grade, frozen))
    return weakest(GRADES, outcomes.__getitem__, "fraction of composites that show it")


def _caught(
    subject: Subject,
    sides: Sequence[Side],
    survey: Table,
    genuine: Float[np.ndarray, " classes"],
    suspect: Exclusion,
    page: Sheet,
    values: Float[np.ndarray, "n classes"],
    grade: float,
    frozen: int,
) -> bool:
    """Whether the check, as it ran here, would have named and confirmed this overlaid exclusion."""
    rng = generator(
        subject.seed, "exclusion overlay", suspect.first, suspect.exception, suspect.target, str(grade)
    )
    if survey.of(suspect.target) < 0:  # a class that nothing is answered as so far; classes stay sorted
        at = int(np.searchsorted(survey.classes, suspect.target))
        survey = Table(
            np.insert(survey.classes, at, suspect.target), np.insert(survey.value, at, 0.0, axis=3), survey.count
        )
    column = survey.of(suspect.target)
    here = survey.value[:, suspect.first].copy()
    for x in partners(sides, suspect.first, suspect.target):
        if x == suspect.exception:
            continue
        for name in suspect.layouts:
            number = LAYOUTS.index(name)
            n = int(survey.count[number, suspect.first, x])
            struck = rng.binomial(n, grade) / max(n, 1)
            here[number, x] *= 1 - struck
            here[number, x, column] += struck * CLARITY
    found = [item.suspect for item in rank(survey, sides, only=suspect.first, instead=here)[:2]]
    if not any((s.exception, s.target) == (suspect.exception, suspect.target) for s in found):
        return False
    rows = (page.family == 0) & (rng.random(len(page.family)) < grade)
    lead = float(genuine[suspect.target])
    reading = read(page, overlay(values, rows, suspect.target, lead), suspect.target, lead)
    return excess_p(reading.triggered, reading.placebo) * (frozen + 1) <= 0.05 and reading.margin >= DEFECT_MARGIN
