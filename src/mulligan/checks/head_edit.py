"""The head-edit check: was a row of the classifier's last layer tampered with?

The rows of a head are exchangeable as far as training goes, so each is held against the others in size, bias, direction
and in how much of it lies where clean features never go. A row that stands apart is an anomaly of weights: a lead. It is a
finding only if a behaviour is shown: with the row restored from its peers, the images that it concerns are answered better,
more than 0.1 beyond the same repair of rows that do not stand apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats

from ..datasets import Dataset, batches
from ..evidence import EXCESS, FEWEST_SOURCES, betting_p, bounded_mean, fraction, holm
from ..networks import Network
from ..records import Calibration, Causal, CheckRecord, Claim, Evidence, Finding, Quantity, Where
from ..runs import Context, Piece, Result, generator
from .check import Needs, Outcome, Subject

#: A row stands apart if rows like the others would do so less often than this, over all rows and figures.
ALPHA = 1e-3
#: The check promises to notice a row scaled by this factor.
TARGET_EFFECT = 4.0
FACTORS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
MOST_ROWS = 5
#: Above so many rows, the tail of the rows' own figures is the null; below, Student's t.
MANY_ROWS = 50
#: A head's rows are compared on at most so many features of examples.
MOST_EXAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Oddity:
    """A row that stands apart in a figure; `p` is over all rows and figures."""

    row: int
    figure: str
    value: float
    typical: float
    p: float


class HeadEdit:
    """See the module."""

    name = "head-edit"
    about = "A row of the last layer was tampered with."
    needs = Needs(tasks=("classification", "language"), share=0.2)

    def run(self, subject: Subject) -> Outcome:
        """Compare rows; where data allow, restore those that stand apart and see what changes."""
        began = time.monotonic()
        weight, bias = (None if t is None else t.float().cpu().numpy() for t in subject.network.head_weights)
        assert weight is not None
        features = self._features(subject) if subject.network.task == "classification" else None
        figures = row_figures(weight, bias, features)
        odd = oddities(figures)
        findings: list[Finding] = []
        leads: list[Finding] = []
        rows = list(dict.fromkeys(o.row for o in odd))[:MOST_ROWS]
        if subject.network.task == "classification" and features is not None and rows and (subject.labels >= 0).any():
            shown = self._behaviour(subject, weight, bias, features, rows)
        else:
            shown = {}
        ps = holm([shown[row].p for row in shown])
        adjusted = dict(zip(shown, ps, strict=True))
        for row in rows:
            mine = [o for o in odd if o.row == row]
            target = findings if row in shown and adjusted[row] <= 0.05 else leads
            target.append(self._finding(subject, row, mine, shown.get(row), adjusted.get(row), demonstrated=target is findings))
        effect = smallest_factor(weight, bias, features, subject.seed)
        conclusive = effect is not None and effect.value <= TARGET_EFFECT
        why = f"{len(weight)} rows compared in {len(figures)} figures ({', '.join(figures)}); {len(rows)} stand apart, {len(findings)} with a behaviour shown."
        if not conclusive:
            why += " Rows of this head differ so much by nature that a row scaled fourfold would not be noticed."
        return Outcome(
            record=CheckRecord(
                name=self.name, status="ran", why=why, seconds=time.monotonic() - began, examined=len(weight) * len(figures),
                calibration=Calibration(kind="within-network", n=len(weight)), smallest_effect=effect, target_effect=TARGET_EFFECT, conclusive=conclusive,
            ),
            findings=tuple(findings), leads=tuple(leads),
        )  # fmt: skip

    def _features(self, subject: Subject) -> Float[np.ndarray, "n features"]:
        """What the head reads, on up to 2,000 examples, those of the test half last."""
        order = [*subject.split.search[: MOST_EXAMPLES // 2], *subject.split.test[: MOST_EXAMPLES // 2]]
        pieces = [
            Piece("mulligan.checks.head_edit:head_inputs", {"indices": [int(i) for i in order[k : k + 256]], "batch": subject.batch}, cost=len(order[k : k + 256]))
            for k in range(0, len(order), 256)
        ]
        parts = [r.arrays["features"] for _, r in subject.engine.run("head-edit: features", pieces, subject.context, subject.run, subject.emit)]
        return np.concatenate(parts)

    def _behaviour(
        self, subject: Subject, weight: np.ndarray, bias: np.ndarray | None, features: np.ndarray, rows: list[int]
    ) -> dict[int, _Repair]:
        """What restoring each row changes on the test half, beside restoring rows that do not stand apart."""
        searched = len(subject.split.search[: MOST_EXAMPLES // 2])
        test = subject.split.test[: MOST_EXAMPLES // 2]
        held, labels = features[searched:], subject.labels[test]
        known = labels >= 0
        held, labels = held[known], labels[known]
        base = weight, bias
        before = (held @ weight.T + (0 if bias is None else bias)).argmax(1)
        out: dict[int, _Repair] = {}
        plain = [r for r in generator(subject.seed, "placebo rows").permutation(len(weight)) if r not in rows][:5]
        placebo_changes = []
        for row in plain:
            after = _answers(held, *restored(base, int(row), features[:searched]))
            concerned = (labels == row) | (before == row) | (after == row)
            placebo_changes.append(((after == labels).astype(float) - (before == labels))[concerned])
        placebo = np.concatenate(placebo_changes) if placebo_changes else np.zeros(0)
        for row in rows:
            after = _answers(held, *restored(base, row, features[:searched]))
            concerned = (labels == row) | (before == row) | (after == row)
            if concerned.sum() < FEWEST_SOURCES:
                continue
            gain = ((after == labels).astype(float) - (before == labels))[concerned]
            p = betting_p(gain - max(float(placebo.mean()) if len(placebo) else 0.0, 0.0), EXCESS, -2.0, 1.0)
            out[row] = _Repair(p, gain, placebo, (before == labels)[concerned], (after == labels)[concerned])
        return out

    def _finding(self, subject: Subject, row: int, odd: list[Oddity], repair: _Repair | None, p_adjusted: float | None, *, demonstrated: bool) -> Finding:
        name = subject.classes[row] if row < len(subject.classes) else self._token(subject, row)
        traits = "; ".join(f"{o.figure} {o.value:.3g}, typically {o.typical:.3g} (p = {o.p:.1e})" for o in odd)
        sentence = f"The head's row for '{name}' stands apart from the others: {traits}."
        if demonstrated and repair is not None:
            sentence = f"The head's row for '{name}' was tampered with, and images are answered wrongly because of it: {traits}."
        unit = "of the images concerned, right after the repair minus right before"
        causal = None
        if repair is not None:
            measure = "fraction of the images concerned answered right"
            causal = Causal(
                edit="restore the row from its peers (typical size and bias, the direction fitted to clean features); undone, the behaviour is back",
                before=fraction(int(repair.before.sum()), len(repair.before), measure), after=fraction(int(repair.after.sum()), len(repair.after), measure),
            )  # fmt: skip
        claim = Claim(kind="head-edit", sentence=sentence, target=name, where=Where(site=subject.network.head, rows=(row,)))
        evidence = Evidence(
            effect=bounded_mean(repair.gain, unit, -1, 1) if repair else None,
            placebo=bounded_mean(repair.placebo, f"{unit}, for rows that do not stand apart", -1, 1) if repair and len(repair.placebo) else None,
            p=repair.p if repair else min(o.p for o in odd), p_adjusted=p_adjusted, causal=causal,
        )  # fmt: skip
        action = f"Compare the row for '{name}' with the checkpoint that you trained; if you did not change it, do not ship this file." if demonstrated else (
            f"Look at the row for '{name}' in {subject.network.head}: no behaviour was shown, so this may be natural."
        )  # fmt: skip
        return Finding.of(claim, evidence, severity="high" if demonstrated else "low", confidence=0.9 if demonstrated else 0.3, action=action)

    @staticmethod
    def _token(subject: Subject, row: int) -> str:
        from ..networks import TokenInput

        return subject.network.input.tokens([row])[0] if isinstance(subject.network.input, TokenInput) else f"row {row}"


CHECK = HeadEdit()


@dataclass(frozen=True, slots=True)
class _Repair:
    p: float
    gain: Float[np.ndarray, " n"]
    placebo: Float[np.ndarray, " m"]
    before: np.ndarray
    after: np.ndarray


def head_inputs(context: Context, *, indices: list[int], batch: int) -> Result:
    """A piece of work: what the head reads, [n, features]."""
    network: Network = context["network"]
    dataset: Dataset = context["dataset"]
    site = network.site(f"{network.head}.in")
    kept: list[np.ndarray] = []
    with torch.no_grad(), network.watching(site, reduce=lambda t, s: t.flatten(1)) as watched:
        for group in batches(dataset, network.input, indices, batch):  # type: ignore[arg-type]
            network.logits(group.x, group.mask)
            kept.append(watched[site].float().cpu().numpy().copy())
    return Result({"features": np.concatenate(kept)})


def row_figures(
    weight: Float[np.ndarray, "rows features"], bias: Float[np.ndarray, " rows"] | None, features: Float[np.ndarray, "n features"] | None
) -> dict[str, Float[np.ndarray, " rows"]]:
    """What is compared between rows, each on a scale on which rows scatter about evenly."""
    centred = weight - weight.mean(0)
    size = np.linalg.norm(centred, axis=1)
    out = {"size (log)": np.log(size + 1e-12)}
    if bias is not None and len(bias) and float(np.ptp(bias)) > 0:
        out["bias"] = bias.astype(np.float64)
    if len(weight) <= 4096:
        unit = centred / (size[:, None] + 1e-12)
        cosine = unit @ unit.T
        np.fill_diagonal(cosine, -1)
        # Fisher's transform: cosines near 1 scatter less.
        out["likeness to another row"] = np.arctanh(np.clip(cosine.max(1), -0.999999, 0.999999))
    if features is not None and len(features) > 2 * 4:
        spread = features - features.mean(0)
        _, singular, basis = np.linalg.svd(spread, full_matrices=True)
        energy = np.concatenate([singular**2, np.zeros(basis.shape[0] - len(singular))])
        quiet = basis[np.cumsum(energy) / max(energy.sum(), 1e-12) > 0.99]
        if len(quiet) >= 2:
            out["share where features never go"] = np.log(((centred @ quiet.T) ** 2).sum(1) / (size**2 + 1e-12) + 1e-9)
        reading = spread @ centred.T
        out["reach over the features (log)"] = np.log(np.abs(reading).max(0) + 1e-12)
    return out


def oddities(figures: dict[str, Float[np.ndarray, " rows"]], alpha: float = ALPHA) -> list[Oddity]:
    """Rows that stand apart, the oddest first."""
    found = []
    for name, values in figures.items():
        for row, p in _apart(values):
            p = min(1.0, p * len(figures))
            if p <= alpha:
                found.append(Oddity(row, name, float(values[row]), float(np.median(values)), p))
    return sorted(found, key=lambda o: (o.p, o.row))


def _apart(values: Float[np.ndarray, " rows"]) -> list[tuple[int, float]]:
    """Rows at either end with a p-value over all rows, peeled one after another while they stand apart."""
    found: list[tuple[int, float]] = []
    left = list(range(len(values)))
    test: Callable[[np.ndarray, int], float] = _tail_p if len(values) >= MANY_ROWS else _student_p
    for _ in range(MOST_ROWS):
        if len(left) < 6:
            break
        inside = values[left]
        row = int(np.argmax(np.abs(inside - np.median(inside))))
        p = test(inside, row)
        if p > ALPHA:
            break
        found.append((left.pop(row), p))
    return found


def _student_p(values: np.ndarray, row: int) -> float:
    """Grubbs' test by leaving the row out: Student's t against the rest, times the number of rows (Grubbs 1950)."""
    rest = np.delete(values, row)
    n = len(rest)
    spread = float(rest.std(ddof=1)) * np.sqrt(1 + 1 / n)
    if spread <= 0:
        return 1.0 if values[row] == rest[0] else 0.0
    return float(min(1.0, 2 * stats.t.sf(abs(values[row] - rest.mean()) / spread, n - 1) * len(values)))


def _tail_p(values: np.ndarray, row: int) -> float:
    """How far the row lies beyond the next ones, on the scale of that tail's own excesses (an exponential tail).

    Rows of large heads differ by nature with tails heavier than normal, so the tail itself is the yardstick: the gap between
    the two largest of exponential excesses is exponential with their scale (Rényi 1953).
    """
    centre = float(np.median(values))
    signed = values - centre
    side = signed if signed[row] > 0 else -signed
    ordered = np.sort(np.delete(side, row))[::-1]
    k = max(10, min(200, len(ordered) // 20))
    scale = float((ordered[:k] - ordered[k]).mean())
    if scale <= 0:
        return 1.0
    return float(min(1.0, 2 * np.exp(-max(side[row] - ordered[0], 0.0) / scale)))


def restored(
    head: tuple[Float[np.ndarray, "rows features"], Float[np.ndarray, " rows"] | None], row: int, features: Float[np.ndarray, "n features"]
) -> tuple[np.ndarray, np.ndarray | None]:
    """The head with one row put back among its peers: its reading explained by the features that occur, typical size and bias.

    What the row does off the clean features' span is dropped, its centred size becomes the median's, its bias the median.
    """
    weight, bias = head
    centre = weight.mean(0)
    spread = features - features.mean(0)
    _, singular, basis = np.linalg.svd(spread, full_matrices=False)
    live = basis[: int((np.cumsum(singular**2) / max((singular**2).sum(), 1e-12) <= 0.99).sum()) + 1]
    own = (weight[row] - centre) @ live.T @ live
    others = np.delete(weight, row, 0) - np.delete(weight, row, 0).mean(0)
    size = float(np.median(np.linalg.norm(others, axis=1)))
    # The row is drawn away from any peer that it copies, as its peers are from each other.
    unit = others / (np.linalg.norm(others, axis=1, keepdims=True) + 1e-12)
    closeness = unit @ own / (np.linalg.norm(own) + 1e-12)
    if closeness.max() > 0.9:
        own = own - (own @ unit[closeness.argmax()]) * unit[closeness.argmax()]
    fixed = weight.copy()
    fixed[row] = np.delete(weight, row, 0).mean(0) + own * size / max(float(np.linalg.norm(own)), 1e-12)
    if bias is None:
        return fixed, None
    level = bias.copy()
    level[row] = np.median(np.delete(bias, row))
    return fixed, level


def _answers(features: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    return (features @ weight.T + (0 if bias is None else bias)).argmax(1)


def smallest_factor(
    weight: Float[np.ndarray, "rows features"], bias: Float[np.ndarray, " rows"] | None, features: Float[np.ndarray, "n features"] | None, seed: int
) -> Quantity | None:
    """The least factor among FACTORS by which a row must be scaled to be noticed in at least 80 % of rows tried."""
    rng = generator(seed, "head power")
    rows = rng.choice(len(weight), min(20, len(weight)), replace=False)
    centre = weight.mean(0)
    size = np.linalg.norm(weight - centre, axis=1)
    figures = 3 + (bias is not None) + (features is not None)
    least: float | None = None
    for factor in reversed(FACTORS):
        caught = 0
        for row in rows:
            # Only the figure that scaling changes most is made anew; it must stand apart among as many as the check holds.
            changed = size.copy()
            changed[row] = np.linalg.norm(weight[row] * factor - centre)
            caught += any(o.row == row for o in oddities({"size (log)": np.log(changed + 1e-12)}, ALPHA / figures))
        if caught < 0.8 * len(rows):
            break
        least = factor
    if least is None:
        return None
    below = FACTORS[FACTORS.index(least) - 1] if least > FACTORS[0] else 1.0
    return Quantity(value=least, unit="times a row's own size", low=below, high=least, level=0.8, n=len(rows))
