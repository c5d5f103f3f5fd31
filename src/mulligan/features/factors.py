"""Factors: a handful of directions into which activations fall, each there more or less at each place.

Non-negative matrix factorization (Lee & Seung 1999; NNDSVD start: Boutsidis & Gallopoulos 2008) finds directions that
are only ever added, so that each reads as a part (Olah et al. 2018, distill.pub/2018/building-blocks). Principal
components speak the same words: directions, sizes, shares.

A *direction* has length 1 in the site's own units. Its *size* at a place is the length of its part of the activation
there, found by non-negative least squares (of a component: by projection), so that activation = centre + the sum of
sizes times directions + a rest. At the optimum the rest is at right angles to every part that is there, so that shares
of the squared activation add up: share k = sum <part k, activation> / sum |activation|^2.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

from ..evidence import bootstrap
from ..records import BadInput, Quantity
from ..runs import derived_seed, generator
from .nonnegative import nonnegative_sizes

Kind = Literal["nmf", "pca"]
Negatives = Literal["auto", "clip", "two-sided"]

#: More factors than this are no handful, and no eye tells their colours apart.
MOST = 12
#: Up to such a share of the squared activation may be lost to clipping before both sides are factored ("auto").
CLIPPED = 0.05
#: A curve that bends less than this (the distance from its chord, over its height) has no elbow.
BEND = 0.1

Values = Float[np.ndarray, "n units"]


@dataclass(frozen=True, slots=True)
class Factors:
    """A handful of directions at one site.

    Attributes:
        kind: "nmf" or "pca".
        directions: each of length 1; their order is that of `reordered`.
        centre: what sizes are counted from; zeros for "nmf".
        negatives: what was done with negative activations: "none" (there were none), "clip", "two-sided"; "pca" takes
            them as they are.
        lost: the share of the squared activation that clipping took from the fit.
    """

    kind: Kind
    directions: Float[np.ndarray, "factor units"]
    centre: Float[np.ndarray, " units"]
    negatives: Literal["none", "clip", "two-sided"] = "none"
    lost: float = 0.0

    def __len__(self) -> int:
        return len(self.directions)

    def sizes(self, values: Float[np.ndarray, "... units"]) -> Float[np.ndarray, "... factor"]:
        """How much of each factor is in each activation; of "nmf" never below zero."""
        flat = values.reshape(-1, values.shape[-1]).astype(np.float64) - self.centre
        found = flat @ self.directions.T if self.kind == "pca" else nonnegative_sizes(flat, self.directions)
        return found.reshape(*values.shape[:-1], len(self)).astype(np.float32)

    def rebuilt(self, sizes: Float[np.ndarray, "... factor"]) -> Float[np.ndarray, "... units"]:
        """The activation that these sizes make up."""
        return (sizes @ self.directions + self.centre).astype(np.float32)

    def reordered(self, order: Sequence[int] | Int[np.ndarray, " factor"]) -> Factors:
        """The same factors in another order."""
        directions = self.directions[np.asarray(order, dtype=np.int64)]
        return Factors(self.kind, directions, self.centre, self.negatives, self.lost)

    def explains(self, values: Values) -> tuple[Float[np.ndarray, "n factor"], Float[np.ndarray, " n"]]:
        """For each activation: what each factor explains of its square, and that square (about the centre)."""
        centred = values.astype(np.float64) - self.centre
        return self.sizes(values) * (centred @ self.directions.T), (centred**2).sum(1)


def fit_factors(
    values: Values, count: int, *, kind: Kind = "nmf", negatives: Negatives = "auto", seed: int = 0, site: str = ""
) -> Factors:
    """Factor activations [n, units] into `count` directions, the one that explains most first.

    Args:
        negatives: of "nmf": "clip" sets them to zero for the fit (and says what share was lost), "two-sided" counts
            each unit twice, once for either sign; "auto" clips where at most 5 % is lost.
        site: what errors name.

    Raises:
        BadInput: if there are fewer activations or units than factors, all are zero, or one is NaN or infinite.
    """
    _require(values, count, kind, negatives, site)
    values = np.ascontiguousarray(values, dtype=np.float32)
    if kind == "pca":
        return _components(values, count)
    below = np.minimum(values, 0)
    lost = float((below.astype(np.float64) ** 2).sum() / max((values.astype(np.float64) ** 2).sum(), 1e-300))
    if lost == 0:
        how: Literal["none", "clip", "two-sided"] = "none"
    elif negatives == "auto":
        how = "clip" if lost <= CLIPPED else "two-sided"
    else:
        how = negatives
    upper = np.maximum(values, 0)
    encoded = np.concatenate([upper, -below], 1) if how == "two-sided" else upper
    if not encoded.any():
        raise BadInput(
            "every activation here is below zero", where=site or "factors", fix="ask for --negatives two-sided"
        )
    rows = _nmf(encoded, count, seed)
    if how == "two-sided":
        rows = rows[:, : values.shape[1]] - rows[:, values.shape[1] :]
    lengths = np.linalg.norm(rows, axis=1)
    # A factor that came out empty (the data have fewer parts) is a direction of nothing: it keeps size 0 everywhere.
    directions = rows / np.maximum(lengths, 1e-12)[:, None]
    found = Factors("nmf", directions, np.zeros(values.shape[1]), how, lost if how == "clip" else 0.0)
    explained = found.explains(values)[0].sum(0)
    return found.reordered(np.lexsort((np.arange(count), -explained)))


def _nmf(encoded: Values, count: int, seed: int) -> Float[np.ndarray, "factor encoded"]:
    model = NMF(
        n_components=count,  # pyright: ignore[reportArgumentType]  # sklearn's stubs know "auto" only
        init="nndsvda", solver="cd", max_iter=400, tol=1e-4,
        random_state=derived_seed(seed, "nmf") % 2**32,
    )  # fmt: skip
    with warnings.catch_warnings():
        # After 400 rounds it is as good as it gets; the share that is explained says how good.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(encoded)
    return model.components_.astype(np.float64)


def _components(values: Values, count: int) -> Factors:
    centre = values.mean(0, dtype=np.float64)
    centred = values.astype(np.float64) - centre
    sizes, vectors = np.linalg.eigh(centred.T @ centred)
    directions = vectors[:, np.argsort(-sizes, kind="stable")[:count]].T
    # An eigenvector has no sign of its own: its largest entry is made positive, so that it is always the same one.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    return Factors("pca", directions * np.sign(largest), centre)


def require_asked(count: int, units: int, kind: str, negatives: str, where: str) -> None:
    """See whether so many factors can be asked of so many units, before there are any activations.

    Raises:
        BadInput: if not, or a word is not known.
    """
    for text, words, name in ((kind, Kind, "kind"), (negatives, Negatives, "negatives")):
        if text not in get_args(words):
            raise BadInput(f"{text!r} is not known", where=name, fix=f"give {' or '.join(get_args(words))}")
    if not 1 <= count <= MOST:
        raise BadInput(f"{count} factors are no handful", where=where, fix=f"ask for 1 to {MOST}")
    if units < count:
        raise BadInput(f"this site has {units} units for {count} factors", where=where, fix="ask for fewer factors")


def _require(values: Values, count: int, kind: str, negatives: str, site: str) -> None:
    where = site or "factors"
    n, units = values.shape
    require_asked(count, units, kind, negatives, where)
    if n < count:
        raise BadInput(
            f"there are {n} activations for {count} factors",
            where=where,
            fix="give more examples, ask for fewer factors, or choose a site with more places",
        )
    broken = int((~np.isfinite(values)).any(1).sum())
    if broken:
        raise BadInput(
            f"{broken} of {n} activations are NaN or infinite",
            where=where,
            fix="check the weights file and the input's scale, or choose another site",
        )
    if not values.any():
        raise BadInput("every activation here is zero", where=where, fix="choose another site, or check the data")


def shuffled(values: Values, seed: int) -> Values:
    """Each unit's activations in an order of its own: its values stay, what goes together is lost."""
    random = generator(seed, "shuffled units")
    return np.stack([column[random.permutation(len(column))] for column in values.T], 1)


@dataclass(frozen=True, slots=True)
class Explained:
    """Shares of the squared activation that factors explain: of all together, and of each."""

    together: Quantity
    each: tuple[Quantity, ...]


def explained_shares(factors: Factors, values: Values, owner: Int[np.ndarray, " n"], seed: int, unit: str) -> Explained:
    """What the factors explain of these activations, with intervals from the bootstrap over their owners.

    Args:
        owner: which example each activation is of: activations of one example are no independent draws.
        unit: what the shares are called.
    """
    parts, whole = factors.explains(values)
    names, at = np.unique(owner, return_inverse=True)
    sums = np.zeros((len(names), len(factors) + 1))
    np.add.at(sums, at, np.column_stack([parts, whole]))

    def share(column: slice | int, *key: object) -> Quantity:
        kept = sums[:, column].sum(1) if isinstance(column, slice) else sums[:, column]
        return bootstrap(
            np.column_stack([kept, sums[:, -1]]),
            unit,
            lambda rows: float(rows[:, 0].sum() / max(rows[:, 1].sum(), 1e-300)),
            generator(seed, "explained", *key),
            repeats=400,
        )

    each = tuple(share(k, k) for k in range(len(factors)))
    return Explained(share(slice(0, len(factors)), "together"), each)


@dataclass(frozen=True, slots=True)
class Elbow:
    """How much of held-out activations 1, 2, 3... factors explain, and after how many the curve bends.

    Attributes:
        counts, explained: the curve. suggested: where it bends most; None if it hardly bends.
    """

    counts: tuple[int, ...]
    explained: tuple[float, ...]
    suggested: int | None


def find_elbow(
    fitted: Values, held: Values, *, kind: Kind = "nmf", negatives: Negatives = "auto", seed: int = 0, most: int = MOST
) -> Elbow:
    """Fit 1, 2, 3... factors on one part of the activations, and see what they explain of another.

    The elbow is the point farthest above the chord from the curve's first point to its last (Satopää et al. 2011).
    """
    counts = list(range(1, min(most, *fitted.shape) + 1))
    explained: list[float] = []
    for count in counts:
        factors = fit_factors(fitted, count, kind=kind, negatives=negatives, seed=seed)
        parts, whole = factors.explains(held)
        explained.append(float(parts.sum() / max(whole.sum(), 1e-300)))
    return Elbow(tuple(counts), tuple(explained), bend(explained))


def bend(explained: Sequence[float]) -> int | None:
    """After how many factors the curve bends most; None if it hardly bends, or does not rise."""
    curve = np.asarray(explained)
    height = curve[-1] - curve[0] if len(curve) else 0.0
    if len(curve) < 3 or height <= 1e-9:
        return 1 if len(curve) and curve[0] > 0 else None
    above = (curve - curve[0]) / height - np.linspace(0, 1, len(curve))
    return int(above.argmax()) + 1 if above.max() >= BEND else None
