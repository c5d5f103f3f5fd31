"""The rows of a head, what is compared between them, and which of them stand apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from ...evidence import FEWEST_SOURCES

#: A row stands apart if the oddest of rows like the others would be as odd less often than this, over all figures.
ALPHA = 0.005
#: At most so many rows stand apart in one figure, and are repaired.
MOST_ROWS = 5
#: With so many rows or more, the tail of the rows' own figures is the null; with fewer, Student's t.
MANY_ROWS = 50
#: With fewer rows than this no row can stand apart.
FEWEST_ROWS = 6
#: Every row is held against every other up to this many rows: the product of all pairs is as large as its square.
MOST_PAIRED = 4096
#: A head with so many rows a feature tells the size of a row from its direction.
ROWS_A_FEATURE = 10
#: A class's mean answer needs so many of its images.
FEWEST_IMAGES = 5
#: The one figure that is behaviour rather than weights.
OUTRUN = "lead over another class's own row"


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


def joined(halves: Sequence[Half]) -> Half:
    """All examples of several halves."""
    features, labels, source = (
        np.concatenate([getattr(half, name) for half in halves]) for name in ("features", "labels", "source")
    )
    return Half(features, labels, source)


@dataclass(frozen=True, slots=True)
class Oddity:
    """A row that stands apart in a figure; `p` is over all rows and figures. `other`: the row that it is like."""

    row: int
    figure: str
    value: float
    typical: float
    p: float
    other: int | None = None


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
    plain, size = sizes(head)
    out = {"size (log)": np.log(plain + 1e-12), "size about the mean row (log)": np.log(size + 1e-12)}
    beyond = beyond_direction(head)
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
        loud = _loud(search.features)
        if loud.shape[1] <= head.weight.shape[1] - 2:
            lost = np.maximum(size**2 - (((head.weight - head.weight.mean(0)) @ loud) ** 2).sum(1), 0)
            out["share where features never go (log)"] = np.log(lost / (size**2 + 1e-12) + 1e-9)
        outrun = _outrun(head, search)
        if outrun is not None:
            out[OUTRUN] = outrun
    return out


def sizes(head: Head) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """The norm of each row, and of what sets it apart from the mean row; nothing as large as the head is made."""
    mean = head.weight.mean(0, dtype=np.float64)
    squares = np.einsum("rf,rf->r", head.weight, head.weight, dtype=np.float64)
    about = squares - 2 * (head.weight @ mean.astype(head.weight.dtype)).astype(np.float64) + float(mean @ mean)
    return np.sqrt(squares), np.sqrt(np.maximum(about, 0))


def beyond_direction(head: Head) -> Float[np.ndarray, " rows"] | None:
    """What is left of each row's log size after a linear fit to its direction; None for a head with few rows.

    The rows of a vocabulary differ in size by nature, by how common and of what kind a token is, and the direction
    tells most of that. It says nothing of a scaling.
    """
    rows, features = head.weight.shape
    if rows < ROWS_A_FEATURE * features:
        return None
    plain, _ = sizes(head)
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


def _loud(features: Float[np.ndarray, "n features"]) -> Float[np.ndarray, "features k"]:
    """The fewest directions that hold 99 % of the features' variance."""
    spread = features - features.mean(0)
    _, sizes, basis = np.linalg.svd(spread, full_matrices=False)
    held = np.cumsum(sizes**2)
    return basis[held <= 0.99 * held[-1]].T


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


def oddities(
    figures: dict[str, Float[np.ndarray, " rows"]],
    partner: Int[np.ndarray, " rows"] | None = None,
    alpha: float = ALPHA,
) -> list[Oddity]:
    """Rows that stand apart, the oddest first."""
    found = []
    for name, values in figures.items():
        for row, p in apart_in(values, alpha / len(figures)):
            other = int(partner[row]) if partner is not None and name.startswith("likeness") else None
            typical = float(np.median(values))
            if other is not None and values[row] < typical:
                other = None  # unlike all others, rather than like one
            found.append(Oddity(row, name, float(values[row]), typical, min(1.0, p * len(figures)), other))
    return sorted(found, key=lambda o: (o.p, o.row))


def oddness(
    figures: dict[str, Float[np.ndarray, " rows"]], partner: Int[np.ndarray, " rows"] | None = None
) -> Float[np.ndarray, " rows"]:
    """How odd each row is in any figure: -log10 of the p-value before any correction; 0 if it cannot be said.

    Args:
        partner: the row that each is most like: what is odd in a likeness is odd in both.
    """
    worst = np.zeros(len(next(iter(figures.values()))) if figures else 0)
    for name, values in figures.items():
        if len(values) < FEWEST_ROWS:
            continue
        mine = np.zeros(len(values))
        if len(values) >= MANY_ROWS:
            for turned in (values, -values):
                top = int(turned.argmax())
                mine[top] = max(mine[top], log_tail(turned))
        else:
            for row in range(len(values)):
                score = studentised(values, row)
                if score is not None:
                    mine[row] = -float(stats.t.logsf(score, len(values) - 2) + np.log(2)) / np.log(10)
        if partner is not None and name.startswith("likeness"):
            mine = np.maximum(mine, mine[partner])
        worst = np.maximum(worst, mine)
    return worst


def lopsided(head: Head, data: Half) -> Float[np.ndarray, " rows"]:
    """How odd it is that each row answers to another class as it does: -log10 of a p-value over no more than the row.

    Where features of all classes scatter alike, the best head's mean logits are quasi-symmetric (Caussinus 1965):
    what row r gives to class k, less what row k gives to class r, is a difference of one figure of r and one of k,
    however alike the two classes are. Confusion is mutual. A row that was bent towards a class (Meng et al. 2022),
    copied or shouting is alone in it. Each pair is held against the others by its deleted residual.

    Zero for classes with too few images, and for all where rows are fewer than FEWEST_ROWS or more than MANY_ROWS.
    """
    out = np.zeros(len(head))
    known = data.known()
    classes = np.array([c for c in range(len(head)) if (known.labels == c).sum() >= FEWEST_IMAGES], dtype=int)
    n = len(classes)
    if not FEWEST_ROWS <= n <= MANY_ROWS:
        return out
    logits = head.logits(known.features)
    mean = np.stack([logits[known.labels == c].mean(0) for c in classes], axis=1)[classes]  # [rows, classes]
    ahead = mean - np.diag(mean)  # behind the class's own row: what all rows answer to a class alike cancels
    skew = ahead - ahead.T
    level = skew.mean(1)
    left = skew - level[:, None] + level  # of least squares: n - 1 figures fitted to n (n - 1) / 2 pairs
    free, taken = (n - 1) * (n - 2) // 2, 2 / n
    rest = np.maximum((left**2).sum() / 2 - left**2 / (1 - taken), 1e-12 * max(float((skew**2).sum()), 1e-300))
    score = (left * np.sqrt((free - 1) / (rest * (1 - taken)))).max(1)
    out[classes] = np.maximum(-(stats.t.logsf(score, free - 1) + np.log(n - 1)) / np.log(10), 0.0)
    return out


def apart_in(values: Float[np.ndarray, " rows"], alpha: float) -> list[tuple[int, float]]:
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
    score = studentised(values, row)
    return 1.0 if score is None else float(min(1.0, 2 * stats.t.sf(score, len(values) - 2) * len(values)))


def studentised(values: np.ndarray, row: int) -> float | None:
    """How far a row is from the mean of the others, in their deviations; None where they are all the same."""
    rest = np.delete(values, row)
    spread = float(rest.std(ddof=1)) * np.sqrt(1 + 1 / len(rest))
    if spread <= 1e-12 * max(float(np.abs(rest).max()), 1e-300):  # no scale to judge by
        return None
    return float(abs(values[row] - rest.mean()) / spread)


def log_tail(values: Float[np.ndarray, " rows"]) -> float:
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
