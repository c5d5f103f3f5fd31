"""The head-edit check: was a row of the classifier's last layer tampered with?

The rows of a head are exchangeable as far as training goes, so each is held against the others: in size, in bias, in
how like it is to another row, in how much of it lies where features never go, and in how far it outruns another class's
own row on that class's images. A row that stands apart is an anomaly of weights: a lead.

It is a finding only if a behaviour is shown. The row is fitted anew on the search half, all others held (a logistic
regression whose prior is what its peers look like): a scaled, shifted, copied or bent row comes back from the data
alone. On the test half the images that it concerns must then be answered better, by more than 0.1 beyond what the same
refit gains for rows that do not stand apart.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import optimize, special, stats

from ..datasets import Dataset, batches
from ..evidence import EXCESS, FEWEST_SOURCES, betting_p, bounded_mean, fraction, holm, sources
from ..networks import Network, TokenInput
from ..records import BadInput, Calibration, Causal, CheckRecord, Claim, Evidence, Finding, Quantity, Where
from ..runs import Context, Piece, Result, generator
from .check import Needs, Outcome, Subject

#: A row stands apart if the oddest of rows like the others would be as odd less often than this, over all figures.
ALPHA = 0.005
#: The check promises to notice a row scaled by this factor.
TARGET_EFFECT = 3.0
FACTORS = (1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
#: At most so many rows stand apart in one figure, and are repaired; so many that do not are refitted for control.
MOST_ROWS, PLACEBO_ROWS = 5, 5
#: With so many rows or more, the tail of the rows' own figures is the null; with fewer, Student's t.
MANY_ROWS = 50
#: With fewer rows than this no row can stand apart.
FEWEST_ROWS = 6
#: Every row is held against every other up to this many rows: the product of all pairs is as large as its square.
MOST_PAIRED = 4096
#: A head with so many rows a feature tells the size of a row from its direction.
ROWS_A_FEATURE = 10
#: A head's rows are compared on at most so many examples, search and test half together.
MOST_EXAMPLES = 2000
#: A class's mean answer needs so many of its images.
FEWEST_IMAGES = 5


@dataclass(frozen=True, slots=True)
class Head:
    """A last layer: answers = features @ weight.T + bias."""

    weight: Float[np.ndarray, "rows features"]
    bias: Float[np.ndarray, " rows"] | None

    def __len__(self) -> int:
        return len(self.weight)

    def logits(self, features: Float[np.ndarray, "n features"]) -> Float[np.ndarray, "n rows"]:
        """What it answers."""
        return features @ self.weight.T + (0 if self.bias is None else self.bias)

    def right(self, data: Half) -> Bool[np.ndarray, " n"]:
        """Which of the examples it answers rightly."""
        return self.logits(data.features).argmax(1) == data.labels


@dataclass(frozen=True, slots=True)
class Half:
    """What the head reads of one half's examples. `labels`: -1 where unknown. `source`: equal for copies."""

    features: Float[np.ndarray, "n features"]
    labels: Int[np.ndarray, " n"]
    source: Int[np.ndarray, " n"]

    def known(self) -> Half:
        """Its labelled examples."""
        there = self.labels >= 0
        return Half(self.features[there], self.labels[there], self.source[there])


@dataclass(frozen=True, slots=True)
class Oddity:
    """A row that stands apart in a figure; `p` is over all rows and figures. `other`: the row that it is like."""

    row: int
    figure: str
    value: float
    typical: float
    p: float
    other: int | None = None


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


class HeadEdit:
    """See the module."""

    name = "head-edit"
    about = "A row of the last layer was tampered with."
    needs = Needs(tasks=("classification", "language"), share=0.2)

    def run(self, subject: Subject) -> Outcome:
        """Compare rows; where data allow, fit those that stand apart anew and see what changes."""
        began = time.monotonic()
        try:
            weight, bias = subject.network.head_weights
        except BadInput as error:
            record = CheckRecord(name=self.name, status="skipped", why=str(error), seconds=time.monotonic() - began)
            return Outcome(record=record)
        # The rows of a large vocabulary fill the memory in float64; their figures are summed in it all the same.
        wide = torch.float64 if len(weight) <= MOST_PAIRED else torch.float32
        head = Head(*(None if t is None else t.to("cpu", wide).numpy() for t in (weight, bias)))  # type: ignore[arg-type]
        search, test = self._seen(subject, head)
        figures = row_figures(head, search)
        odd = oddities(figures, partners(head))
        repairs: list[Repair] = []
        shown: dict[int, Shown] = {}
        if odd and search is not None and test is not None and len(search.known().labels) >= FEWEST_SOURCES:
            repairs = repaired(head, odd, search)
            shown = demonstrated(head, repairs, odd, search.known(), test.known(), subject.seed)
        adjusted = dict(zip(shown, holm([item.p for item in shown.values()]), strict=True))
        proven = [repair for repair in repairs if adjusted.get(repair.row, 1.0) <= 0.05]
        findings = [self._finding(subject, r.row, odd, shown[r.row], adjusted[r.row]) for r in proven]
        # What stands apart only because of a row that was proven to be wrong (the one it was copied from) is explained.
        sound = without(head, proven)
        left = oddities(row_figures(sound, search), partners(sound)) if proven else odd
        told = {repair.row for repair in proven}
        leads: list[Finding] = []
        for o in left:
            pair = {o.row} if o.other is None else {o.row, o.other}
            if not pair & told and o.row in {first.row for first in odd}:
                both = shown.get(o.row), adjusted.get(o.row)
                leads.append(self._finding(subject, o.row, left, *both, proven=False))
                told |= pair
        effect = smallest_factor(head, len(figures), subject.seed, [o.row for o in odd])
        conclusive = effect is not None and effect.value <= TARGET_EFFECT
        why = f"{len(head)} rows compared in {len(figures)} figures ({', '.join(figures)}); "
        why += f"{len(leads) + len(findings)} stand apart, {len(findings)} with a behaviour shown."
        if not conclusive:
            why += f" Its rows are too few or too unlike each other for one scaled by {TARGET_EFFECT:g} to be noticed."
        record = CheckRecord(
            name=self.name, status="ran", why=why, seconds=time.monotonic() - began, target_effect=TARGET_EFFECT,
            examined=len(head) * len(figures), calibration=Calibration(kind="within-network", n=len(head)),
            smallest_effect=effect, conclusive=conclusive, scores={self.name: oddness(figures)},
        )  # fmt: skip
        return Outcome(record=record, findings=tuple(findings), leads=tuple(leads))

    def _seen(self, subject: Subject, head: Head) -> tuple[Half | None, Half | None]:
        """What the head reads on either half; None where it cannot be read, or does not explain the answers."""
        if subject.network.task != "classification":
            return None, None
        rng = generator(subject.seed, "head-edit examples")  # data sorted by class must not be cut to some classes
        halves = [rng.permutation(h)[: MOST_EXAMPLES // 2] for h in (subject.split.search, subject.split.test)]
        wanted = sum(len(half) for half in halves)
        price = subject.seconds_an_example
        n = subject.budget.buy("head-edit/examples", wanted, price, share=self.needs.share, least=min(wanted, 64))
        halves = [np.sort(half[: -(-n * len(half) // max(wanted, 1))]) for half in halves]
        order = [int(i) for half in halves for i in half]
        if not order:
            return None, None
        parts = [{"indices": order[k : k + 256], "batch": subject.batch} for k in range(0, len(order), 256)]
        pieces = [Piece("mulligan.checks.head_edit:head_inputs", one, cost=len(one["indices"])) for one in parts]
        ran = subject.engine.run("head-edit: features", pieces, subject.context, subject.run, subject.emit)
        features = np.concatenate([result.arrays["features"] for _, result in ran]).astype(np.float64)
        if features.shape[1] != head.weight.shape[1]:
            return None, None
        if subject.answers is not None:
            explained = head.logits(features).argmax(1) == subject.answers[order].argmax(1)
            if explained.mean() < 0.99:  # something follows the head, and its rows are not the answers
                return None, None
        source = sources(subject.dataset.ids)
        values = np.split(features, [len(halves[0])])
        search, test = (Half(x, subject.labels[half], source[half]) for half, x in zip(halves, values, strict=True))
        return search, test

    def _finding(
        self, subject: Subject, row: int, odd: Sequence[Oddity], shown: Shown | None, p_adjusted: float | None, *,
        proven: bool = True,
    ) -> Finding:  # fmt: skip
        mine = [o for o in odd if row in (o.row, o.other)]
        name = _row_name(subject, row)
        twins = list(dict.fromkeys(x for o in mine if o.other is not None for x in (o.row, o.other) if x != row))
        traits = "; ".join(f"{o.figure} {o.value:.3g}, typically {o.typical:.3g} (p = {o.p:.1e})" for o in mine)
        if twins:
            traits += ". It is like the row for " + " and ".join(f"'{_row_name(subject, twin)}'" for twin in twins)
        sentence = f"The head's row for '{name}' stands apart from the others: {traits}."
        place = f"the row for '{name}' in {subject.network.head}"
        action = f"Look at {place}: no behaviour was shown, so this may be natural."
        if proven:
            sentence = f"The head's row for '{name}' makes images be answered wrongly, and stands apart: {traits}."
            action = f"Compare {place} with the checkpoint that you trained; if it changed unawares, do not ship this."
        where = Where(site=subject.network.head, rows=(row,) if proven else (row, *twins))
        claim = Claim(kind="head-edit", sentence=sentence, target=name, where=where)
        evidence = Evidence(p=min(o.p for o in mine)) if shown is None else _evidence(shown, p_adjusted)
        severity = "low" if not proven or shown is None else "high" if shown.gain.mean() >= 0.3 else "medium"
        return Finding.of(claim, evidence, severity=severity, confidence=0.9 if proven else 0.3, action=action)


CHECK = HeadEdit()


def _row_name(subject: Subject, row: int) -> str:
    if row < len(subject.classes):
        return subject.classes[row]
    return subject.network.input.tokens([row])[0] if isinstance(subject.network.input, TokenInput) else f"row {row}"


def _evidence(shown: Shown, p_adjusted: float | None) -> Evidence:
    unit = "of the images concerned, right after the repair minus right before"
    part, whole = "fraction of the images concerned answered right", "fraction of all test images answered right"
    before, after, n = shown.everywhere
    other = None
    if shown.control is not None:
        other = fraction(shown.control, shown.n, f"{part}, a row that does not stand apart fitted anew instead")
    causal = Causal(
        edit="fit the row anew on the search half, all others held; undone, the errors are back",
        before=fraction(shown.was, shown.n, part), after=fraction(shown.now, shown.n, part), control=other,
        clean_before=fraction(before, n, whole), clean_after=fraction(after, n, whole),
    )  # fmt: skip
    placebo = None
    if len(shown.placebo):
        placebo = bounded_mean(shown.placebo, f"{unit}, for the best of the rows that do not stand apart", -1, 1)
    return Evidence(
        effect=bounded_mean(shown.gain, unit, -1, 1), placebo=placebo, p=shown.p, p_adjusted=p_adjusted, causal=causal,
        baseline=fraction(n - before, n, "fraction of all test images answered wrongly: what accuracy alone shows"),
    )  # fmt: skip


def head_inputs(context: Context, *, indices: list[int], batch: int) -> Result:
    """A piece of work: what the head reads, [n, features]; of a convolution, the mean over space."""
    network: Network = context["network"]
    dataset: Dataset = context["dataset"]
    if network.input is None:
        raise BadInput("this network does not say what it takes", where=network.name, fix="pass --input")
    site = network.site(f"{network.head}.in")
    kept: list[np.ndarray] = []
    with (
        torch.no_grad(),
        network.watching(site, reduce=lambda t, s: t.flatten(2).mean(2) if t.dim() > 3 else t.flatten(1)) as watched,
    ):
        for group in batches(dataset, network.input, indices, batch):
            network.logits(group.x, group.mask)
            kept.append(watched[site].float().cpu().numpy().copy())
    return Result({"features": np.concatenate(kept)})


def partners(head: Head) -> Int[np.ndarray, " rows"] | None:
    """The row that each row is most like, by the cosine of what sets them apart; None for too many rows."""
    cosine = _cosines(head)
    return None if cosine is None else cosine.argmax(1)


def _cosines(head: Head) -> Float[np.ndarray, "rows rows"] | None:
    if len(head) > MOST_PAIRED or len(head) < 2:
        return None
    centred = head.weight - head.weight.mean(0)
    unit = centred / (np.linalg.norm(centred, axis=1, keepdims=True) + 1e-12)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    return cosine


def row_figures(head: Head, search: Half | None) -> dict[str, Float[np.ndarray, " rows"]]:
    """What is compared between rows, each on a scale on which rows scatter about evenly.

    Args:
        search: what the head reads on the search half; figures that need it, or its labels, are left out without.
    """
    bias = head.bias
    plain, size = _sizes(head)
    out = {"size (log)": np.log(plain + 1e-12), "size about the mean row (log)": np.log(size + 1e-12)}
    beyond = _beyond(head)
    if beyond is not None:
        out["size beyond what its direction foretells (log)"] = beyond
    if bias is not None and len(bias) and float(np.ptp(bias)) > 0:
        out["bias"] = bias
    cosine = _cosines(head)
    if cosine is not None:
        nearest, closeness = cosine.argmax(1), cosine.max(1)
        for row in np.flatnonzero((nearest[nearest] == np.arange(len(head))) & (nearest < np.arange(len(head)))):
            # Two rows that are like each other are one oddity, not two that hide each other.
            closeness[row] = np.delete(cosine[row], nearest[row]).max()
        # Fisher's transform: cosines near 1 scatter less.
        out["likeness to another row"] = np.arctanh(np.clip(closeness, -0.999999, 0.999999))
    if search is not None and len(search.features) >= FEWEST_SOURCES:
        quiet = _quiet(search.features)
        if quiet.shape[1] >= 2:
            lost = (((head.weight - head.weight.mean(0)) @ quiet) ** 2).sum(1)
            out["share where features never go (log)"] = np.log(lost / (size**2 + 1e-12) + 1e-9)
        outrun = _outrun(head, search)
        if outrun is not None:
            out["lead over another class's own row"] = outrun
    return out


def _sizes(head: Head) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """The norm of each row, and of what sets it apart from the mean row; nothing as large as the head is made."""
    mean = head.weight.mean(0, dtype=np.float64)
    squares = np.einsum("rf,rf->r", head.weight, head.weight, dtype=np.float64)
    about = squares - 2 * (head.weight @ mean.astype(head.weight.dtype)).astype(np.float64) + float(mean @ mean)
    return np.sqrt(squares), np.sqrt(np.maximum(about, 0))


def _beyond(head: Head) -> Float[np.ndarray, " rows"] | None:
    """What is left of each row's log size after a linear fit to its direction; None for a head with few rows.

    The rows of a vocabulary differ in size by nature, by how common and of what kind a token is, and the direction
    tells most of that. It says nothing of a scaling.
    """
    rows, features = head.weight.shape
    if rows < ROWS_A_FEATURE * features:
        return None
    plain, _ = _sizes(head)
    size = np.log(plain + 1e-12)
    gram, against = 1e-6 * np.eye(features + 1), np.zeros(features + 1)

    def direction(begin: int) -> np.ndarray:
        unit = head.weight[begin : begin + 8192] / (plain[begin : begin + 8192, None] + 1e-12)
        return np.concatenate([unit, np.ones((len(unit), 1))], axis=1)

    for begin in range(0, rows, 8192):
        part = direction(begin)
        gram += part.T @ part
        against += part.T @ size[begin : begin + 8192]
    fit = np.linalg.solve(gram, against)
    return size - np.concatenate([direction(begin) @ fit for begin in range(0, rows, 8192)])


def _quiet(features: Float[np.ndarray, "n features"]) -> Float[np.ndarray, "features k"]:
    """Directions beyond those that hold 99 % of the features' variance."""
    spread = features - features.mean(0)
    energy, basis = np.linalg.eigh(spread.T @ spread)
    energy, basis = np.maximum(energy[::-1], 0), basis[:, ::-1]
    return basis[:, np.cumsum(energy) > 0.99 * energy.sum()]


def _outrun(head: Head, search: Half) -> Float[np.ndarray, " rows"] | None:
    """How far each row's mean answer is above that of the own row, on the other class where it is most.

    None if fewer than three classes have images enough.
    """
    known = search.known()
    classes = [int(c) for c in np.unique(known.labels) if (known.labels == c).sum() >= FEWEST_IMAGES and c < len(head)]
    if len(classes) < 3:
        return None
    logits = head.logits(known.features)
    mean = np.stack([logits[known.labels == c].mean(0) for c in classes])  # [classes, rows]
    ahead = mean - mean[np.arange(len(classes)), classes][:, None]
    ahead[np.arange(len(classes)), classes] = -np.inf
    return ahead.max(0)


# Which rows stand apart


def oddities(
    figures: dict[str, Float[np.ndarray, " rows"]],
    partner: Int[np.ndarray, " rows"] | None = None,
    alpha: float = ALPHA,
) -> list[Oddity]:
    """Rows that stand apart, the oddest first."""
    found = []
    for name, values in figures.items():
        for row, p in _apart(values, alpha / len(figures)):
            other = int(partner[row]) if partner is not None and name.startswith("likeness") else None
            typical = float(np.median(values))
            if other is not None and values[row] < typical:
                other = None  # unlike all others, rather than like one
            found.append(Oddity(row, name, float(values[row]), typical, min(1.0, p * len(figures)), other))
    return sorted(found, key=lambda o: (o.p, o.row))


def oddness(figures: dict[str, Float[np.ndarray, " rows"]]) -> float:
    """How odd the oddest row is in any figure: -log10 of the p-value before any correction; 0 if it cannot be said."""
    worst = 0.0
    for values in figures.values():
        if len(values) < FEWEST_ROWS:
            continue
        if len(values) >= MANY_ROWS:
            worst = max(worst, _log_tail(values), _log_tail(-values))
            continue
        for row in range(len(values)):
            score = _studentised(values, row)
            if score is not None:
                worst = max(worst, -float(stats.t.logsf(score, len(values) - 2) + np.log(2)) / np.log(10))
    return worst


def _apart(values: Float[np.ndarray, " rows"], alpha: float) -> list[tuple[int, float]]:
    """Rows at either end with a p-value over all rows."""
    if len(values) >= MANY_ROWS:
        return [*_tail(values, alpha), *_tail(-values, alpha)]
    found: list[tuple[int, float]] = []
    left = list(range(len(values)))  # one after another is taken away while the oddest of them stands apart
    while len(left) >= FEWEST_ROWS and len(found) < MOST_ROWS:
        inside = values[left]
        row = int(np.argmax(np.abs(inside - np.median(inside))))
        p = _student_p(inside, row)
        if p > alpha:
            break
        found.append((left.pop(row), p))
    return found


def _student_p(values: np.ndarray, row: int) -> float:
    """Grubbs' test: Student's t of one row against the rest, times the number of rows (Grubbs 1950)."""
    score = _studentised(values, row)
    return 1.0 if score is None else float(min(1.0, 2 * stats.t.sf(score, len(values) - 2) * len(values)))


def _studentised(values: np.ndarray, row: int) -> float | None:
    """How far a row is from the mean of the others, in their deviations; None where they are all the same."""
    rest = np.delete(values, row)
    spread = float(rest.std(ddof=1)) * np.sqrt(1 + 1 / len(rest))
    if spread <= 1e-12 * max(float(np.abs(rest).max()), 1e-300):  # no scale to judge by
        return None
    return float(abs(values[row] - rest.mean()) / spread)


def _log_tail(values: Float[np.ndarray, " rows"]) -> float:
    """-log10 of the smallest p-value of `_tail`, before any correction."""
    ordered = -np.sort(-values, kind="stable")
    m = max(10, min(200, len(values) // 20))
    spacing = np.arange(1, len(values)) * -np.diff(ordered)
    worst = 0.0
    for k in range(1, MOST_ROWS + 1):
        scale = float(spacing[k : k + m].mean())
        if scale > 0:
            worst = max(worst, -float(stats.f.logsf(spacing[k - 1] / scale, 2, 2 * m)) / np.log(10))
    return worst


def _tail(values: Float[np.ndarray, " rows"], alpha: float) -> list[tuple[int, float]]:
    """The rows at the upper end that a gap parts from the rest, on the scale of that tail's own excesses.

    Rows of large heads differ by nature with tails heavier than normal, so the tail itself is the yardstick: in an
    exponential tail, k times the gap below the k largest is exponential with the same scale for every k, and
    independent (Rényi 1953), so that the ratio to the mean of m of them further in has an F distribution. Up to 5 rows
    may stand apart together, so that two that were edited alike do not hide each other; p counts both ends and every k.
    """
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    m = max(10, min(200, len(values) // 20))
    found: list[tuple[int, float]] = []
    spacing = np.arange(1, len(values)) * -np.diff(ordered)
    for k in range(1, MOST_ROWS + 1):
        scale = float(spacing[k : k + m].mean())
        if scale <= 0:
            break
        p = min(1.0, 2 * MOST_ROWS * float(stats.f.sf(spacing[k - 1] / scale, 2, 2 * m)))
        if p <= alpha:
            found = [(int(row), p) for row in order[:k]]
    return found


def refitted(head: Head, row: int, known: Half) -> Head:
    """The head with one row fitted anew to labelled examples, all others held.

    With the others held, softmax regression is a logistic regression of "is this class" with their log-sum-exp as
    offset. The prior is normal, with the mean and the spread of the other rows (and of their biases).
    """
    others = np.delete(head.weight, row, 0)
    levels = np.zeros(1) if head.bias is None else np.delete(head.bias, row)
    centre = np.append(others.mean(0), levels.mean())
    scale = np.full(len(centre), np.sqrt(((others - centre[:-1]) ** 2).mean() + 1e-12))
    scale[-1] = 0.0 if head.bias is None else levels.std() + 1e-3
    x = np.concatenate([known.features, np.ones((len(known.features), 1))], axis=1)
    offset = np.asarray(special.logsumexp(np.delete(head.logits(known.features), row, 1), axis=1))
    sign = np.where(known.labels == row, 1.0, -1.0)

    def loss(step: np.ndarray) -> tuple[float, np.ndarray]:
        # Steps are counted in deviations of the prior, so that one size of step suits all entries.
        margin = sign * (x @ (centre + scale * step) - offset)
        slope = (-sign * special.expit(-margin)) @ x * scale
        return float(np.logaddexp(0, -margin).sum() + 0.5 * step @ step), slope + step

    best = optimize.minimize(loss, np.zeros(len(centre)), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    fitted = centre + scale * best.x
    weight, bias = head.weight.copy(), None if head.bias is None else head.bias.copy()
    weight[row] = fitted[:-1]
    if bias is not None:
        bias[row] = fitted[-1]
    return Head(weight, bias)


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
        gain = _gain(final, refitted(final, row, search), row, test)[0]
        if len(gain) and (not len(worst) or gain.mean() > worst.mean()):
            worst = gain
    bound = EXCESS + max(float(worst.mean()) if len(worst) else 0.0, 0.0)
    out: dict[int, Shown] = {}
    for repair in repairs:
        gain, concerned = _gain(repair.before, repair.after, repair.row, test)
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


def _gain(before: Head, after: Head, row: int, test: Half) -> tuple[np.ndarray, Bool[np.ndarray, " n"]]:
    """Right after minus right before, a value a source, for images of the class or answered so; and which these are."""
    first, second = (h.logits(test.features).argmax(1) for h in (before, after))
    concerned = (test.labels == row) | (first == row) | (second == row)
    change = ((second == test.labels).astype(float) - (first == test.labels))[concerned]
    _, cluster, count = np.unique(test.source[concerned], return_inverse=True, return_counts=True)
    return np.bincount(cluster, weights=change, minlength=len(count)) / np.maximum(count, 1), concerned


# Power


def smallest_factor(head: Head, figures: int, seed: int, apart: Sequence[int] = ()) -> Quantity | None:
    """The least factor among FACTORS from which on a row scaled by it is noticed, in at least 80 % of rows tried.

    Args:
        figures: how many the check compares; scaling is looked for in those of size.
        apart: rows that stand apart already: how the others would fare is asked.
    """
    beyond = _beyond(head)
    others = np.setdiff1d(np.arange(len(head)), apart)
    head = Head(head.weight[others], None)
    if len(head) < FEWEST_ROWS:
        return None
    rng = generator(seed, "head power")
    rows = rng.choice(len(head), min(20, len(head)), replace=False)
    plain, about = _sizes(head)
    centre = head.weight.mean(0, dtype=np.float64)
    least: float | None = None
    for factor in reversed(FACTORS):
        caught = 0
        for row in rows:
            moved = float(np.linalg.norm(head.weight[row].astype(np.float64) * factor - centre))
            steps = [(np.log(plain + 1e-12), np.log(factor)), (np.log(about + 1e-12), np.log(moved / about[row]))]
            if beyond is not None:  # one row among so many does not move the fit
                steps.append((beyond[others], np.log(factor)))
            changed = [values + step * (np.arange(len(head)) == row) for values, step in steps]
            caught += any(int(row) in [r for r, _ in _apart(values, ALPHA / figures)] for values in changed)
        if caught < 0.8 * len(rows):
            break
        least = factor
    if least is None:
        return None
    below = FACTORS[FACTORS.index(least) - 1] if least > FACTORS[0] else 1.0
    unit = "times a row's own size, noticed"
    return Quantity(value=least, unit=unit, low=below, high=least, level=0.8, n=len(rows))
