"""The built-in overseer: names from a list, each with the examples that it fits, known without looking at the feature.

A class's name fits the examples of that class. A group's fits those of its classes, which are alike: with a thousand
classes of one photograph each, only groups have examples enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import linkage, to_tree

from ..groups import called
from ..units import FEWEST
from .protocol import Candidate, Evidence
from .scoring import fits

#: Names that are proposed for a feature.
PROPOSED = 3
#: A group of so many classes is called by all their names.
_LISTED = 4


@dataclass(frozen=True)
class Concept:
    """A name, and how well it fits each example of the data, from 0 to 1; NaN where that is not known."""

    name: str
    judged: Float[np.ndarray, " n"]


class Vocabulary:
    """Proposes the concepts whose examples a feature answers to, by correlation.

    Correlation, unlike the area under the ROC curve, falls where a name is too narrow or too wide: of "dog", "beagle"
    and "animal" it chooses the one that covers what the feature answers to.
    """

    judges_all = True

    def __init__(self, concepts: Sequence[Concept], name: str = "vocabulary") -> None:
        self.name = name
        self.concepts = tuple(concepts)
        self._number = {concept.name: number for number, concept in enumerate(self.concepts)}
        self._table = np.stack([c.judged for c in self.concepts], 1) if self.concepts else np.zeros((0, 0))
        self._search: tuple[bytes, np.ndarray, np.ndarray] | None = None

    def usable(self, parts: Sequence[Int[np.ndarray, " n"]], fewest: int = FEWEST) -> Vocabulary:
        """The concepts that fit, and do not fit, at least `fewest` examples of each part."""
        kept = []
        for concept in self.concepts:
            counts = []
            for rows in parts:
                judged = concept.judged[rows]
                known = np.isfinite(judged)
                fit = fits(judged[known])
                counts += [int(fit.sum()), int((~fit).sum())]
            if min(counts, default=0) >= fewest:
                kept.append(concept)
        return self._only(kept)

    def _only(self, concepts: Sequence[Concept]) -> Vocabulary:
        return Vocabulary(concepts, self.name)

    def propose(self, evidence: Evidence) -> list[Candidate]:
        """See `Overseer`."""
        if not self.concepts:
            return []
        found = self.correlations(evidence.values[:, None], evidence.rows)[0]
        best = np.argsort(-found, kind="stable")[:PROPOSED]
        return [Candidate(self.concepts[k].name, float(found[k])) for k in best if found[k] > 0]

    def correlations(
        self, values: Float[np.ndarray, "n units"], rows: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "units concepts"]:
        """How activations on some rows go with each concept; 0 for a unit that never changes."""
        centred, scale = self._centred(rows)
        away = values.astype(np.float64) - values.mean(0, dtype=np.float64)
        size = np.sqrt((away**2).sum(0))[:, None]
        return np.where(size > 0, (away.T @ centred) / (np.where(size > 0, size, 1) * scale), 0.0)

    def judge(self, label: str, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """See `Overseer`; NaN for a name that is no concept."""
        number = self._number.get(label)
        return np.full(len(rows), np.nan) if number is None else self._table[rows, number]

    def table(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n concepts"]:
        """What every concept says of some examples."""
        return self._table[rows]

    def _centred(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = rows.tobytes()
        if self._search is None or self._search[0] != key:
            # What is not known counts as not fitting; a concept's examples are known, or none is.
            fit = fits(np.nan_to_num(self._table[rows])).astype(np.float64)
            fit -= fit.mean(0)
            self._search = key, fit, np.maximum(np.sqrt((fit**2).sum(0)), 1e-12)
        return self._search[1], self._search[2]


def class_concepts(labels: Int[np.ndarray, " n"], names: Sequence[str]) -> list[Concept]:
    """Each class's own name; an example of no known class (-1) says nothing."""
    unknown = labels < 0
    return [
        Concept(name, np.where(unknown, np.nan, (labels == number).astype(np.float64)))
        for number, name in enumerate(names)
        if (labels == number).any()
    ]


def grouped_concepts(
    labels: Int[np.ndarray, " n"], names: Sequence[str], alike: Float[np.ndarray, "classes dimension"]
) -> list[Concept]:
    """Groups of classes at every grain: the nodes of Ward's tree (1963) over vectors that are near for like classes.

    A group holds at least 2 classes of the data, and at most half of them. A small one is called by all its names, a
    larger one by the two nearest to its centre. Two groups of one name keep the smaller.

    Args:
        alike: a vector for each class.
    """
    there = np.unique(labels[labels >= 0])
    if len(there) < 4:
        return []
    unknown = labels < 0
    found: dict[str, Concept] = {}
    nodes: Any = to_tree(linkage(alike[there], "ward"), rd=True)[1]  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]
    for node in nodes[len(there) :]:  # smaller ones first
        inside = np.sort(there[node.pre_order()])
        if len(inside) > len(there) / 2:
            continue
        some: list[int] = inside.tolist()
        name = ", ".join([str(names[k]) for k in some]) if len(some) <= _LISTED else called(names, alike, some)
        judged = np.where(unknown, np.nan, np.isin(labels, inside).astype(np.float64))
        found.setdefault(name, Concept(name, judged))
    return list(found.values())
