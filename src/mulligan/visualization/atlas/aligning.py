"""Two networks on one layout: a linear map from one's activations to the other's, measured on pictures held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from ...evidence import bootstrap
from ...records import Quantity

_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # times the mean variance of a unit of the second network
EXPLAINED = "share of the first network's variance that the map explains on pictures held out (1: all; 0: as its mean)"


@dataclass(frozen=True)
class Alignment:
    """`rows @ weight + bias` are the second network's activations as the first one's.

    Attributes:
        kind: "as they are" (the units themselves fit better), or "ridge".
        explained, shuffled: on held-out pictures; shuffled: with the pairs of pictures broken.
    """

    kind: str
    weight: Float64[np.ndarray, "unit_b unit_a"]
    bias: Float64[np.ndarray, " unit_a"]
    explained: Quantity
    shuffled: Quantity

    def __call__(self, rows: Float[np.ndarray, "row unit_b"]) -> Float[np.ndarray, "row unit_a"]:
        """The second network's activations where the first one's would lie, float32."""
        return (rows @ self.weight + self.bias).astype(np.float32)


def align(
    first: Float[np.ndarray, "picture draw unit_a"],
    second: Float[np.ndarray, "picture draw unit_b"],
    random: np.random.Generator,
) -> Alignment:
    """Fit the map on one half of the pictures, choose it on a quarter, and measure it on the last quarter.

    Where both have as many units, leaving them as they are is among the choices: a network that was edited or trained
    on has the units of the one before it.

    Args:
        first, second: activations of the two networks, of the same pictures and places in the same order.
    """
    order = random.permutation(len(first))
    fit, choose, test = np.split(order, [len(order) // 2, len(order) * 3 // 4])
    a, b = first.astype(np.float64), second.astype(np.float64)
    choices: list[tuple[str, np.ndarray, np.ndarray]] = []
    if a.shape[2] == b.shape[2]:
        choices.append(("as they are", np.eye(a.shape[2]), np.zeros(a.shape[2])))
    mean_a, mean_b = a[fit].mean((0, 1)), b[fit].mean((0, 1))
    centred = (b[fit] - mean_b).reshape(-1, b.shape[2])
    gram = centred.T @ centred
    cross = centred.T @ (a[fit] - mean_a).reshape(-1, a.shape[2])
    level = max(float(np.trace(gram)) / len(gram), 1e-12)
    for penalty in _PENALTIES:
        weight = np.linalg.solve(gram + penalty * level * np.eye(len(gram)), cross)
        choices.append(("ridge", weight, mean_a - mean_b @ weight))
    kind, weight, bias = max(choices, key=lambda way: _explained(a[choose], b[choose] @ way[1] + way[2], mean_a))
    made = b[test] @ weight + bias
    # Its control: each picture held against what the map makes of the next one.
    wrong = np.roll(made, 1, axis=0)
    return Alignment(
        kind, weight, bias, _held_out(a[test], made, mean_a, random), _held_out(a[test], wrong, mean_a, random)
    )


def _explained(real: np.ndarray, made: np.ndarray, mean: np.ndarray) -> float:
    total = float(((real - mean) ** 2).sum())
    return 1 - float(((real - made) ** 2).sum()) / total if total > 0 else 0.0


def _held_out(real: np.ndarray, made: np.ndarray, mean: np.ndarray, random: np.random.Generator) -> Quantity:
    """Pictures are drawn anew, each with all its places."""
    pairs = np.stack([((real - made) ** 2).sum((1, 2)), ((real - mean) ** 2).sum((1, 2))], 1)

    def explained(rows: np.ndarray) -> float:
        return 1 - float(rows[:, 0].sum()) / max(float(rows[:, 1].sum()), 1e-300)

    return bootstrap(pairs, EXPLAINED, explained, random, repeats=500)
