"""The search for exclusions, on the survey: what one side is answered beside all others but one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..composites import APART, LAYOUTS
from ..conjunction.sources import Side
from ..conjunction.survey import Table

#: Fewer partners than this make no "anything but".
FEWEST_PARTNERS = 3
#: The partners that trigger are summed up by this quantile: nearly all must, and a few may be confused by nature.
_QUANTILE = 0.25
#: An answer is considered if it is given to all of a side's composites in some layout at least this clearly.
_CONSIDERED = 0.05
_ALONE = 0.35  # as for conjunctions: what shows in one layout only counts less


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Pictures of `first` beside anything but `exception` are said to be answered `target`."""

    first: int
    exception: int
    target: int
    layouts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A suspect with its figure on the survey."""

    suspect: Exclusion
    score: float


def partners(sides: Sequence[Side], first: int, target: int) -> list[int]:
    """What may stand beside a side: every other one that does not hold the target."""
    return [x for x, side in enumerate(sides) if x != first and target not in side.classes]


def rank(
    survey: Table,
    sides: Sequence[Side],
    among: Sequence[str] = APART,
    only: int | None = None,
    instead: Float[np.ndarray, "layout side k"] | None = None,
) -> list[Ranked]:
    """Suspects, the likeliest first: for each side and answer its likeliest exception, with the layouts in which it
    shows, the clearest first.

    A layout's figure is how clearly nearly all partners (but the exception) give the answer, beyond the larger of: the
    exception beside the side, and what those partners give beside everything else. `only` one side is ranked, by the
    values `instead` of the survey's own if they are given.
    """
    n = len(sides)
    considered = [LAYOUTS.index(name) for name in among]
    diagonal = np.arange(n)
    value = survey.value
    total = value.sum(2) - value[:, diagonal, diagonal]
    found: list[Ranked] = []
    for a in range(n) if only is None else [only]:
        here = value[:, a] if instead is None else instead  # [layout, partner, class]
        elsewhere = (total - value[:, a]) / max(n - 2, 1)  # what each partner gives beside everything but this side
        for k, target in enumerate(survey.classes):
            every = partners(sides, a, int(target))
            if int(target) in sides[a].classes or len(every) <= FEWEST_PARTNERS:
                continue
            mine, base = here[considered][:, every, k], elsewhere[considered][:, every, k]
            if mine.mean(1).max() < _CONSIDERED:
                continue
            best: Ranked | None = None
            for number, b in enumerate(every):
                rest = np.delete(mine, number, axis=1)
                placebo = np.maximum(mine[:, number], np.delete(base, number, axis=1).mean(1))
                figure = np.quantile(rest, _QUANTILE, axis=1) - placebo
                order = np.argsort(-figure, kind="stable")
                many = np.arange(1, len(order) + 1)
                sums = np.cumsum(figure[order]) / (many + _ALONE) * (1 + _ALONE / len(order))
                top = int(sums.argmax())
                if best is None or sums[top] > best.score:
                    layouts = tuple(LAYOUTS[considered[i]] for i in order[: top + 1])
                    best = Ranked(Exclusion(a, b, int(target), layouts), float(sums[top]))
            if best is not None:
                found.append(best)
    return sorted(found, key=lambda r: (-r.score, r.suspect.first, r.suspect.target))


def one_sided(survey: Table, sides: Sequence[Side], ranked: Sequence[Ranked], least: float = 0.5) -> list[Exclusion]:
    """Sides that are answered so beside anything at all, without an exception: a trigger that is no exclusion."""
    out = []
    for item in ranked:
        s, column = item.suspect, survey.of(item.suspect.target)
        every = partners(sides, s.first, s.target)
        rows = [LAYOUTS.index(name) for name in s.layouts]
        if survey.value[rows][:, s.first, every, column].mean(0).min() >= least and item.score < 0.1:
            out.append(s)
    return out
