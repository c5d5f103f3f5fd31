"""The search for conjunctions, on the search half alone: every pair of sides, every layout, every answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from ..composites import APART, LAYOUTS
from .measuring import Suspect
from .sources import Side
from .survey import Table

#: A suspect is worth measuring again if the survey shows it this much more clearly than its placebos. The best few are
#: measured in any case: the score needs them.
LEAST_STRENGTH = 0.1
#: How much a layout that shows nothing counts against a suspect: one that shows in m layouts is m / (m + this) of one
#: that shows in all.
_ALONE = 0.35


@dataclass(frozen=True, slots=True)
class Scored:
    """A suspect with its figure on the survey: how much more clearly than under placebo, weighed by layouts."""

    suspect: Suspect
    score: float


def rank(
    survey: Table,
    sides: Sequence[Side],
    among: Sequence[str] = APART,
    only: Sequence[tuple[int, int]] | None = None,
    instead: Float[np.ndarray, "layout k"] | None = None,
) -> list[Scored]:
    """Suspects, the likeliest first: the likeliest answer of each pair of sides, with the layouts in which it shows,
    the clearest first.

    The placebo of a pair is the clearest of: two of the first side, two of the second, the first with everything else,
    the second with everything else. Only the layouts `among` count; `only` some pairs are ranked, by the values
    `instead` of the survey's own if they are given.
    """
    n = len(sides)
    value = survey.value
    diagonal = np.arange(n)
    twice = value[:, diagonal, diagonal]
    total = value.sum(2) - twice  # [layout, side, class], over all partners of another kind
    considered = [LAYOUTS.index(name) for name in among]
    found: list[Scored] = []
    for i, j in combinations(range(n), 2) if only is None else only:
        here = value[:, i, j]
        apart = max(n - 2, 1)
        with_others = np.maximum((total[:, i] - here) / apart, (total[:, j] - here) / apart)
        placebo = np.maximum(np.maximum(twice[:, i], twice[:, j]), with_others)
        excess = ((here if instead is None else instead) - placebo)[considered]
        own = set(sides[i].classes) | set(sides[j].classes)
        excess[:, [k for k, c in enumerate(survey.classes) if int(c) in own]] = -1
        if not excess.size:
            continue
        order = np.argsort(-excess, axis=0, kind="stable")
        ranked = np.take_along_axis(excess, order, 0)
        many = np.arange(1, len(considered) + 1)[:, None]
        score = np.cumsum(ranked, 0) / (many + _ALONE) * (1 + _ALONE / len(considered))
        best = score.max(0)
        target = int(best.argmax())
        if best[target] <= 0:
            continue
        number = int(score[:, target].argmax()) + 1
        layouts = [considered[k] for k in order[:number, target]]
        suspect = Suspect(i, j, int(survey.classes[target]), tuple(LAYOUTS[k] for k in layouts))
        found.append(Scored(suspect, float(best[target])))
    return sorted(found, key=lambda s: (-s.score, s.suspect.first, s.suspect.second, s.suspect.target))


def worth(scored: Scored) -> bool:
    """Whether the survey says enough of a suspect to freeze it as a claim, if a second look agrees."""
    return scored.score >= LEAST_STRENGTH
