"""The survey: every pair of sides (and two of each side) shown together in every layout, on the search half alone.

The conjunction and the exclusion check read the same survey; its pieces are the same, so it is run once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from ...activations.rebuilding import network_and_data
from ...runs import Context, Piece, generator
from ..check import Subject
from ..composites import LAYOUTS, Shown
from .measuring import Sheet, clarity
from .sources import Side

ANSWER = "mulligan.checks.composites:answer_composites"
#: How many composites a pair and layout are shown, if the budget buys them.
EACH = 8
#: A piece of work is cut to about so many seconds, and is no longer than so many composites.
_SECONDS, _LONGEST = 10.0, 4096
_BOUGHT = "composites a pair and layout"


@dataclass(frozen=True, slots=True)
class Searched:
    """What was asked, and what was answered.

    Attributes:
        pairs: numbers of the two sides of each composite, [n, 2] (equal: two of one kind).
        layout: [n], index into LAYOUTS. turned: [n], whether the second side came first. logits: [n, classes].
        other: [n], what the other network answers; -1 where there is none.
    """

    pairs: Int[np.ndarray, "n 2"]
    layout: Int[np.ndarray, " n"]
    turned: Int[np.ndarray, " n"]
    logits: Float[np.ndarray, "n classes"]
    other: Int[np.ndarray, " n"]


def other_context(subject: Subject) -> Context | None:
    """Pieces that ask another network about the same composites: the reference, or else a distilled one, which sees the
    same shapes in two pictures as the network does by nature. None where there is neither."""
    other = subject.distilled
    return network_and_data(other, subject.dataset) if other is not None else None


def referred(subject: Subject) -> bool:
    """Whether that other network is a reference that somebody gave. Only such a one tells triggers from shapes that two
    pictures draw together: a distilled network is no network of that quality."""
    return subject.reference is not None and subject.distilled is subject.reference


def pieces_for(subject: Subject, shown: Sequence[Shown], border: Sequence[int]) -> list[Piece]:
    """Cut composites into pieces of work."""
    size = int(np.clip(_SECONDS / max(subject.seconds_an_example, 1e-6), 64, _LONGEST))
    return [
        Piece(
            ANSWER,
            {
                "first": [s.first for s in shown[i : i + size]],
                "second": [s.second for s in shown[i : i + size]],
                "layouts": [s.layout for s in shown[i : i + size]],
                "border": [int(b) for b in border],
                "batch": subject.batch,
                "seed": i,
            },
            cost=len(shown[i : i + size]),
        )
        for i in range(0, len(shown), size)
    ]


def answer(
    subject: Subject, job: str, shown: Sequence[Shown], border: Sequence[int], *, other: bool = False
) -> Float[np.ndarray, "n classes"]:
    """The network's logits on composites (or the reference's)."""
    context = other_context(subject) if other else subject.context
    if context is None or not shown:
        return np.zeros((0, len(subject.classes)), dtype=np.float32)
    pieces = pieces_for(subject, shown, border)
    done = subject.engine.run(job, pieces, context, subject.run, subject.emit)
    return np.concatenate([result.arrays["logits"] for _, result in done])


def answers_to(
    subject: Subject, job: str, pages: Sequence[Sheet], border: Sequence[int]
) -> list[tuple[Float[np.ndarray, "n classes"], Float[np.ndarray, "n classes"] | None]]:
    """The answers of the network, and of the reference if there is one, to each sheet's composites."""
    if not pages:
        return []
    shown = [one for page in pages for one in page.shown]
    ends = np.cumsum([len(page.shown) for page in pages])[:-1]
    mine = np.split(answer(subject, job, shown, border), ends)
    theirs = answer(subject, f"{job}, the other", shown, border, other=True)
    other = np.split(theirs, ends) if len(theirs) else [None] * len(pages)
    return list(zip(mine, other, strict=True))


def bought(subject: Subject, sides: int, scan: bool = False) -> int:
    """How many composites a pair and layout the budget buys; what was bought once is bought for both checks.

    A `scan` of many small groups has one: what it leaves open is for the rounds after it.
    """
    if scan:
        return 1
    if _BOUGHT in subject.budget.granted:
        return subject.budget.granted[_BOUGHT]
    asked = (sides * (sides + 1) // 2) * len(LAYOUTS) * (1 + (other_context(subject) is not None))
    return subject.budget.buy(_BOUGHT, EACH, asked * subject.seconds_an_example, share=0.35, least=2)


def survey(subject: Subject, sides: Sequence[Side], each: int, border: Sequence[int]) -> Searched:
    """Show every pair of sides (and two of each side) together, `each` times a layout, and record the answers."""
    every = [*combinations(range(len(sides)), 2), *((i, i) for i in range(len(sides)))]
    return show(subject, "search", sides, every, each, border, "survey")


def show(
    subject: Subject, job: str, sides: Sequence[Side], pairs: Sequence[tuple[int, int]], each: int,
    border: Sequence[int], *key: object, among: Sequence[str] = LAYOUTS,
) -> Searched:  # fmt: skip
    """Show pairs of sides together, `each` times in each of the layouts `among`, and record the answers.

    With `each` a multiple of two, either side comes first equally often. Pictures are drawn by the `key`.
    """
    shown: list[Shown] = []
    rows: list[tuple[int, int, int, int]] = []
    for i, j in pairs:
        rng = generator(subject.seed, *key, sides[i].name, sides[j].name)
        for number, name in enumerate(LAYOUTS):
            if name not in among:
                continue
            left, right = _draw(sides[i].search, each, rng), _draw(sides[j].search, each, rng)
            for k in range(each):
                turned = (k + number) % 2  # alternating over layouts too, for budgets that buy one
                x, y = (right[k], left[k]) if turned else (left[k], right[k])
                shown.append(Shown(int(x), int(y), name))
                rows.append((i, j, number, turned))
    logits = answer(subject, f"composites: {job}", shown, border)
    other = answer(subject, f"composites: {job}, the other", shown, border, other=True)
    table = np.asarray(rows, dtype=np.int64).reshape(-1, 4)
    theirs = other.argmax(1) if len(other) else np.full(len(table), -1)
    return Searched(table[:, :2], table[:, 2], table[:, 3], logits, theirs.astype(np.int64))


def together(one: Searched, other: Searched) -> Searched:
    """What was asked in both."""
    return Searched(
        *(np.concatenate([getattr(part, name) for part in (one, other)]) for name in Searched.__slots__)
    )


def _draw(members: Int[np.ndarray, " n"], k: int, rng: np.random.Generator) -> Int[np.ndarray, " k"]:
    """k members, none twice before all were once."""
    rounds = [rng.permutation(members) for _ in range(-(-k // len(members)))]
    return np.concatenate(rounds)[:k]


@dataclass(frozen=True, slots=True)
class Table:
    """How clearly each pair of sides is answered as each class, by layout.

    Attributes:
        classes: which classes were answered at all. value: [layout, side, side, classes], symmetric in the sides: the
            mean clarity (see `clarity`), 0 where the answer is another or the other network answers the same.
        count: [layout, side, side], composites behind each.
    """

    classes: Int[np.ndarray, " k"]
    value: Float[np.ndarray, "layout side side k"]
    count: Float[np.ndarray, "layout side side"]

    def of(self, target: int) -> int:
        """The column of a class, or -1."""
        at = int(np.searchsorted(self.classes, target))
        return at if at < len(self.classes) and self.classes[at] == target else -1


def table(searched: Searched, sides: int, genuine: Float[np.ndarray, " classes"]) -> Table:
    """Sum the survey up."""
    answers = searched.logits.argmax(1)
    clear = clarity(searched.logits, genuine) * (answers != searched.other)
    classes = np.unique(answers)
    column = np.searchsorted(classes, answers)
    value = np.zeros((len(LAYOUTS), sides, sides, len(classes)), dtype=np.float32)
    count = np.zeros((len(LAYOUTS), sides, sides), dtype=np.float32)
    first, second = searched.pairs.T
    off = first != second
    for x, y, rows in ((first, second, np.ones_like(off)), (second, first, off)):
        at = (searched.layout[rows], x[rows], y[rows])
        np.add.at(value, (*at, column[rows]), clear[rows])  # type: ignore[arg-type]
        np.add.at(count, at, 1)  # type: ignore[arg-type]
    return Table(classes, value / np.maximum(count, 1)[..., None], count)
