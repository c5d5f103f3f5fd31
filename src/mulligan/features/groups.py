"""Classes taken together where each has too few examples: groups whose rows in the classifier are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.cluster.hierarchy import fcluster, linkage


@dataclass(frozen=True, slots=True)
class ClassGroup:
    """Some classes and what people call them together."""

    name: str
    classes: tuple[int, ...]


def class_groups(names: Sequence[str], rows: Float[np.ndarray, "classes features"], wanted: int) -> list[ClassGroup]:
    """About `wanted` groups of all classes: Ward's clustering (1963) of the head's normalised rows.

    Every class is in one group. A group is called by the two classes nearest to its centre.
    """
    if len(names) < 2:
        return [ClassGroup(name, (number,)) for number, name in enumerate(names)]
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    label = fcluster(linkage(unit, "ward"), max(wanted, 1), "maxclust")
    groups = []
    for number in np.unique(label):
        inside = np.flatnonzero(label == number)
        classes = tuple(int(c) for c in inside)
        groups.append(ClassGroup(called(names, unit, classes), classes))
    return groups


def called(names: Sequence[str], rows: Float[np.ndarray, "classes features"], inside: Sequence[int]) -> str:
    """What people call some classes together: the two nearest to their centre, and how many more there are."""
    mine = rows[list(inside)] / np.maximum(np.linalg.norm(rows[list(inside)], axis=1, keepdims=True), 1e-12)
    nearest = np.argsort(-(mine @ mine.mean(0)), kind="stable")[:2]
    more = len(inside) - 2
    return ", ".join(names[inside[int(k)]] for k in nearest) + (f" and {more} like them" if more > 0 else "")
