"""A row of the head fitted anew, all others held: what that changes, and how small an edit would be noticed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize, special

from ...evidence import EXCESS, FEWEST_SOURCES, betting_p
from ...networks import Network
from ...records import BadInput
from ...runs import generator
from ..clean import Seen
from ..power import Power, weakest
from .rows import (
    ALPHA,
    FEWEST_ROWS,
    MOST_ROWS,
    OUTRUN,
    Half,
    Head,
    Oddity,
    apart_in,
    beyond_direction,
    joined,
    lopsided,
    oddities,
    oddness,
    partners,
    row_figures,
    sizes,
)  # fmt: skip

FACTORS = (1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
#: So many rows that do not stand apart are refitted for control.
PLACEBO_ROWS = 5
#: Of a large head, so many of the oddest rows are refitted for the score.
MOST_UNDONE = 12
#: A row is named as a lead from this score on; 33 clean networks (of digits and of Fashion-MNIST) reached 0.01.
LEAD = 0.12
#: A row is odd from the first on, and surely from the second (-log10 of a p-value over no more than the row itself).
#: Of 28 clean networks the oddest row reached 3.4, so that oddness alone says nothing: it only weighs what is gained.
ODD, SURELY_ODD = 1.3, 2.2
#: A row that draws fewer wrong pictures than this in a half is not refitted.
FEWEST_DRAWN = 2
#: An oddness of weights that counts without any behaviour: beyond what 46 clean networks reached (4.6).
BY_ITSELF = 5.0


@dataclass(frozen=True, slots=True)
class Repair:
    """A row fitted anew on the search half: the head `before` and `after`."""

    row: int
    before: Head
    after: Head


@dataclass(frozen=True, slots=True)
class Shown:
    """What a repair does on the test half, for the images that the row concerns.

    Attributes:
        gain: [sources], right after the repair minus right before. placebo: the same of the best-gaining control row.
        was, now, control: right answers among the images concerned: before, after, with a control row refitted instead.
        n, everywhere: how many images are concerned, and right answers (before, after) and number of all test images.
    """

    p: float
    gain: Float[np.ndarray, " sources"]
    placebo: Float[np.ndarray, " others"]
    was: int
    now: int
    control: int | None
    n: int
    everywhere: tuple[int, int, int]


def spanned(known: Half) -> Float[np.ndarray, "features k"]:
    """A basis of the features that occur: with a round prior, no fit leaves it."""
    return np.linalg.qr(known.features.T)[0] if known.features.shape[1] > len(known.features) else np.eye(
        known.features.shape[1]
    )


def refitted(head: Head, row: int, known: Half, span: Float[np.ndarray, "features k"] | None = None) -> Head:
    """The head with one row fitted anew to labelled examples, all others held.

    With the others held, softmax regression is a logistic regression of "is this class" with their log-sum-exp as
    offset. The prior is normal, with the mean and the spread of the other rows (and of their biases).
    """
    others = np.delete(head.weight, row, 0)
    levels = np.zeros(1) if head.bias is None else np.delete(head.bias, row)
    centre, level = others.mean(0), float(levels.mean())
    scale = float(np.sqrt(((others - centre) ** 2).mean() + 1e-12))
    shift = 0.0 if head.bias is None else float(levels.std()) + 1e-3
    basis = spanned(known) if span is None else span
    # Steps are counted in deviations of the prior, so that one size of step suits all entries.
    x = np.concatenate([known.features @ basis * scale, np.full((len(known.features), 1), shift)], axis=1)
    rest = special.logsumexp(np.delete(head.logits(known.features), row, 1), axis=1)
    offset = np.asarray(rest) - known.features @ centre - level
    sign = np.where(known.labels == row, 1.0, -1.0)

    def loss(step: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ step - offset)
        slope = (-sign * special.expit(-margin)) @ x
        return float(np.logaddexp(0, -margin).sum() + 0.5 * step @ step), slope + step

    best = optimize.minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    fitted = np.append(centre + scale * (basis @ best.x[:-1]), level + shift * best.x[-1])
    weight, bias = head.weight.copy(), None if head.bias is None else head.bias.copy()
    weight[row] = fitted[:-1]
    if bias is not None:
        bias[row] = fitted[-1]
    return Head(weight, bias)


@dataclass(frozen=True, slots=True)
class Undone:
    """What a refit of one row gives back.

    Attributes:
        gain: of pictures that the row draws, right after minus right before, as a share of a class's pictures. (Those
            of its own class that it misses tell nothing: a class that was forgotten in training is missed as well.)
        beyond: the gain beyond that of the next row: an edit of the head sits in one row, where labels that were
            changed in training show in several. odd: how odd the row's weights are, see `oddness`. alone: how odd it
            is that the row answers to another class as it does, see `lopsided`.
    """

    row: int
    gain: float
    beyond: float
    odd: float
    alone: float = 0.0

    @property
    def score(self) -> float:
        """What is gained, as far as the row is odd; it is near 0 for every row of a clean network."""
        surely = min(max((max(self.odd, self.alone) - ODD) / (SURELY_ODD - ODD), 0.0), 1.0)
        return max(self.beyond, 0.0) * surely + 0.1 * max(self.odd - BY_ITSELF, 0.0)


def undone(head: Head, search: Half | None, test: Half | None) -> list[Undone]:
    """Each row (of a large head, the oddest), refitted on either half and read on the other; the best first.

    Without labels nothing is gained, and what is left is how odd the weights are.
    """
    figures = {name: values for name, values in row_figures(head, search).items() if name != OUTRUN}
    odd = oddness(figures, partners(head))
    halves = [half.known() for half in (search, test) if half is not None]
    alone = lopsided(head, joined(halves)) if halves else np.zeros(len(odd))
    rows = np.argsort(-np.maximum(odd, alone), kind="stable")[:MOST_UNDONE]
    gain = np.zeros(len(rows))
    if len(halves) == 2 and min(len(half.labels) for half in halves) >= FEWEST_SOURCES:
        for fit, read in (halves, halves[::-1]):
            each = max(len(read.labels) / max(len(np.unique(read.labels)), 1), 1.0)
            first, span = head.logits(read.features).argmax(1), spanned(fit)
            for k, row in enumerate(rows):
                drawn = first == row
                if (drawn & (read.labels != row)).sum() < FEWEST_DRAWN:
                    continue
                second = refitted(head, int(row), fit, span).logits(read.features).argmax(1)
                change = (second == read.labels).astype(float) - (first == read.labels)
                gain[k] += 0.5 * float(change[drawn].sum()) / each
    out = []
    for k, row in enumerate(rows):
        others = np.delete(gain, k)
        beyond = float(gain[k] - max(float(others.max()) if len(others) else 0.0, 0.0))
        out.append(Undone(int(row), float(gain[k]), beyond, float(odd[row]), float(alone[row])))
    return sorted(out, key=lambda one: -one.score)


def told_by_head(network: Network, seen: Seen) -> dict[int, float]:
    """For each row of the head, how much of what its class loses or draws an edit of that row explains, from 0 to 1."""
    try:
        weight, bias = network.head_weights
    except BadInput:
        return {}
    if tuple(weight.shape) != (seen.logits.shape[1], seen.late.shape[1]):
        return {}
    head = Head(*(None if t is None else t.to("cpu").double().numpy() for t in (weight, bias)))  # type: ignore[arg-type]
    if (head.logits(seen.late).argmax(1) == seen.logits.argmax(1)).mean() < 0.99:  # something follows the head
        return {}
    search, test = (Half(seen.late[part], seen.labels[part], seen.rows[part]) for part in (~seen.test, seen.test))
    return {one.row: min(one.score / LEAD, 1.0) for one in undone(head, search, test) if one.score > 0}


def repaired(head: Head, odd: Sequence[Oddity], search: Half) -> list[Repair]:
    """Rows that stand apart, fitted anew one after another: each time the one that gains most on the search half.

    With the changed row repaired, one that stood apart only beside it (which it was copied from) does so no more.
    """
    known = search.known()
    repairs: list[Repair] = []
    current, left = head, list(odd)
    able = {r for o in odd for r in (o.row, o.other) if r is not None}
    while left and able and len(repairs) < MOST_ROWS:
        rows = sorted(able & {r for o in left for r in (o.row, o.other)})
        before = int(current.right(known).sum())
        tried = [Repair(row, current, refitted(current, row, known)) for row in rows]
        best = max(tried, key=lambda repair: int(repair.after.right(known).sum()), default=None)
        if best is None or int(best.after.right(known).sum()) <= before:
            break
        repairs.append(best)
        able.discard(best.row)
        current = best.after
        left = oddities(row_figures(current, search), partners(current))
    return repairs


def without(head: Head, repairs: Sequence[Repair]) -> Head:
    """The head with just these rows as their repairs left them."""
    weight, bias = head.weight.copy(), None if head.bias is None else head.bias.copy()
    for repair in repairs:
        weight[repair.row] = repair.after.weight[repair.row]
        if bias is not None and repair.after.bias is not None:
            bias[repair.row] = repair.after.bias[repair.row]
    return Head(weight, bias)


def demonstrated(
    head: Head, repairs: Sequence[Repair], odd: Sequence[Oddity], search: Half, test: Half, seed: int
) -> dict[int, Shown]:
    """Open the test half, once: what each repair changes for the images that its row concerns, beside control rows.

    Control rows are refitted in the repaired head: in the one as it is, the row of a class whose images were taken away
    gains as much by shouting louder. (`Shown.control` is the median of them in the head as it is.)
    """
    if not repairs:
        return {}
    final = repairs[-1].after
    apart = {r for o in odd for r in (o.row, o.other)} | {repair.row for repair in repairs}
    plain = [int(r) for r in generator(seed, "control rows").permutation(len(head)) if r not in apart][:PLACEBO_ROWS]
    worst = np.zeros(0)
    for row in plain:
        gain = gain_of(final, refitted(final, row, search), row, test)[0]
        if len(gain) and (not len(worst) or gain.mean() > worst.mean()):
            worst = gain
    bound = EXCESS + max(float(worst.mean()) if len(worst) else 0.0, 0.0)
    out: dict[int, Shown] = {}
    for repair in repairs:
        gain, concerned = gain_of(repair.before, repair.after, repair.row, test)
        if len(gain) < FEWEST_SOURCES:
            continue
        was, now = repair.before.right(test), repair.after.right(test)
        instead = [int(refitted(repair.before, row, search).right(test)[concerned].sum()) for row in plain]
        control = int(np.median(instead)) if instead else None
        out[repair.row] = Shown(
            p=betting_p(gain, bound, -1.0, 1.0), gain=gain, placebo=worst, was=int(was[concerned].sum()),
            now=int(now[concerned].sum()), control=control, n=int(concerned.sum()),
            everywhere=(int(was.sum()), int(now.sum()), len(was)),
        )  # fmt: skip
    return out


def gain_of(before: Head, after: Head, row: int, test: Half) -> tuple[np.ndarray, Bool[np.ndarray, " n"]]:
    """Right after minus right before, a value a source, for images of the class or answered so; and which these are."""
    first, second = (h.logits(test.features).argmax(1) for h in (before, after))
    concerned = (test.labels == row) | (first == row) | (second == row)
    change = ((second == test.labels).astype(float) - (first == test.labels))[concerned]
    _, cluster, count = np.unique(test.source[concerned], return_inverse=True, return_counts=True)
    return np.bincount(cluster, weights=change, minlength=len(count)) / np.maximum(count, 1), concerned


def smallest_factor(head: Head, figures: int, seed: int, apart: Sequence[int] = ()) -> Power | None:
    """The least factor among FACTORS from which on a row scaled by it is noticed, in at least 80 % of rows tried.

    Args:
        figures: how many the check compares; scaling is looked for in those of size.
        apart: rows that stand apart already: how the others would fare is asked.
    """
    beyond = beyond_direction(head)
    others = np.setdiff1d(np.arange(len(head)), apart)
    head = Head(head.weight[others], None)
    if len(head) < FEWEST_ROWS:
        return None
    rng = generator(seed, "head power")
    rows = rng.choice(len(head), min(20, len(head)), replace=False)
    plain, about = sizes(head)
    centre = head.weight.mean(0, dtype=np.float64)

    def caught(factor: float) -> list[bool]:
        out = []
        for row in rows:
            moved = float(np.linalg.norm(head.weight[row].astype(np.float64) * factor - centre))
            grown = np.log(moved / max(about[row], 1e-12))  # a head of zeros has no size
            steps = [(np.log(plain + 1e-12), np.log(factor)), (np.log(about + 1e-12), grown)]
            if beyond is not None:  # one row among so many does not move the fit
                steps.append((beyond[others], np.log(factor)))
            changed = [values + step * (np.arange(len(head)) == row) for values, step in steps]
            out.append(any(int(row) in [r for r, _ in apart_in(values, ALPHA / figures)] for values in changed))
        return out

    return weakest(FACTORS, caught, "times a row's own size, noticed", nothing=1.0)
