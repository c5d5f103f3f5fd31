"""The search for conjunctions, on the search half alone: every pair of sides, every layout, every answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from ...runs import Piece, generator
from ..check import Subject
from ..composites import APART, LAYOUTS, Shown
from .measuring import Suspect, lead
from .sources import Side

ANSWER = "mulligan.checks.composites:answer_composites"

#: A suspect is worth freezing if, on the search half, it exceeds its placebos by this much and is this clear.
LEAST_EXCESS, LEAST_MARGIN = 0.2, 0.25


@dataclass(frozen=True, slots=True)
class Scored:
    """A suspect with its figures on the search half."""

    suspect: Suspect
    excess: float
    margin: float

    @property
    def score(self) -> float:
        """How it ranks: how often, times how clearly (which counts up to the genuine class's own clarity)."""
        return max(self.excess, 0.0) * min(max(self.margin, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Searched:
    """What was asked, and what was answered.

    Attributes:
        pairs: numbers of the two sides of each composite, [n, 2] (equal: two of one kind).
        layout: [n], index into LAYOUTS. logits: [n, classes].
    """

    pairs: Int[np.ndarray, "n 2"]
    layout: Int[np.ndarray, " n"]
    logits: Float[np.ndarray, "n classes"]


def pieces_for(subject: Subject, shown: Sequence[Shown], border: Sequence[int], size: int = 256) -> list[Piece]:
    """Cut composites into pieces of work."""
    return [
        Piece(
            ANSWER,
            {
                "first": [s.first for s in shown[i : i + size]],
                "second": [s.second for s in shown[i : i + size]],
                "layouts": [s.layout for s in shown[i : i + size]],
                "border": [int(b) for b in border],
                "batch": subject.batch,
            },
            cost=len(shown[i : i + size]),
        )
        for i in range(0, len(shown), size)
    ]


def answer(subject: Subject, job: str, shown: Sequence[Shown], border: Sequence[int]) -> Float[np.ndarray, "n classes"]:
    """The network's logits on composites."""
    pieces = pieces_for(subject, shown, border)
    parts = [
        result.arrays["logits"]
        for _, result in subject.engine.run(job, pieces, subject.context, subject.run, subject.emit)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, len(subject.classes)), dtype=np.float32)


def survey(subject: Subject, sides: Sequence[Side], each: int, border: Sequence[int]) -> Searched:
    """Show every pair of sides (and two of each side) together, `each` times a layout, and record the answers."""
    shown: list[Shown] = []
    pairs: list[tuple[int, int]] = []
    layout: list[int] = []
    every = [*combinations(range(len(sides)), 2), *((i, i) for i in range(len(sides)))]
    for i, j in every:
        rng = generator(subject.seed, "survey", sides[i].name, sides[j].name)
        for number, name in enumerate(LAYOUTS):
            left = _draw(sides[i].search, each, rng)
            right = _draw(sides[j].search, each, rng)
            for k in range(each):
                x, y = (left[k], right[k]) if k % 2 == 0 else (right[k], left[k])
                shown.append(Shown(int(x), int(y), name))
                pairs.append((i, j))
                layout.append(number)
    logits = answer(subject, "conjunction: search", shown, border)
    return Searched(np.asarray(pairs, dtype=np.int64), np.asarray(layout, dtype=np.int64), logits)


def _draw(members: Int[np.ndarray, " n"], k: int, rng: np.random.Generator) -> Int[np.ndarray, " k"]:
    """k members, none twice before all were once."""
    rounds = [rng.permutation(members) for _ in range(-(-k // len(members)))]
    return np.concatenate(rounds)[:k]


def rank(
    searched: Searched,
    sides: Sequence[Side],
    genuine: Float[np.ndarray, " classes"],
    logits: Float[np.ndarray, "n classes"] | None = None,
    among: Sequence[str] = APART,
    only: tuple[int, int] | None = None,
) -> list[Scored]:
    """Suspects, the likeliest first: one for each pair of sides and answer, with the layouts in which it shows.

    The placebo of a pair is the most frequent of: two of the first side, two of the second, the first with everything
    else, the second with everything else. `logits` stand in for the recorded ones; only the layouts `among` count;
    `only` one pair is ranked.
    """
    values = searched.logits if logits is None else logits
    classes = values.shape[1]
    answers = values.argmax(1)
    n = len(sides)
    counts = np.zeros((len(LAYOUTS), n, n, classes), dtype=np.float32)
    totals = np.zeros((len(LAYOUTS), n, n, 1), dtype=np.float32)
    first, second = searched.pairs.T
    off = first != second
    for x, y, rows in ((first, second, np.ones_like(off)), (second, first, off)):
        np.add.at(counts, (searched.layout[rows], x[rows], y[rows], answers[rows]), 1)  # type: ignore[arg-type]
        np.add.at(totals, (searched.layout[rows], x[rows], y[rows], np.zeros(rows.sum(), int)), 1)  # type: ignore[arg-type]
    share = counts / np.maximum(totals, 1)
    diagonal = np.arange(n)
    twice = share[:, diagonal, diagonal]
    total = share.sum(2) - twice  # [layout, side, class], over all partners of another kind
    found: list[Scored] = []
    for i, j in combinations(range(n), 2) if only is None else [only]:
        own = set(sides[i].classes) | set(sides[j].classes)
        apart = max(n - 2, 1)
        with_others = np.maximum((total[:, i] - share[:, i, j]) / apart, (total[:, j] - share[:, i, j]) / apart)
        excess = share[:, i, j] - np.maximum(np.maximum(twice[:, i], twice[:, j]), with_others)
        excess[:, list(own)] = -1
        considered = [LAYOUTS.index(name) for name in among]
        for target in np.flatnonzero(excess[considered].max(0) > 0):
            best = excess[considered, target].max()
            layouts = [k for k in considered if excess[k, target] >= 0.5 * best]
            rows = np.isin(searched.layout, layouts) & (searched.pairs == (i, j)).all(1) & (answers == target)
            margin = (
                float(np.median(lead(values[rows], int(target)))) / max(float(genuine[target]), 1e-9)
                if rows.any()
                else 0.0
            )
            suspect = Suspect(i, j, int(target), tuple(LAYOUTS[k] for k in layouts))
            found.append(Scored(suspect, float(excess[layouts, target].mean()), margin))
    return sorted(found, key=lambda s: (-s.score, s.suspect.first, s.suspect.second, s.suspect.target))


def worth(scored: Scored) -> bool:
    """Whether a suspect is strong enough on the search half to be frozen as a claim."""
    return scored.excess >= LEAST_EXCESS and scored.margin >= LEAST_MARGIN
