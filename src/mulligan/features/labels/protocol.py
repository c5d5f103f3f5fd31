"""What an overseer is, and what it is shown of a feature."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from ...activations import stratified, top
from ...records import MulliganError
from ...runs import generator


class OverseerFailed(MulliganError):
    """An overseer gave no usable answer for one feature; the feature is left out with this reason, the rest goes on."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A name that is proposed. `score`: how well it does on the examples proposed from; None where nobody looked."""

    text: str
    score: float | None = None


@dataclass(frozen=True)
class Evidence:
    """A feature as an overseer sees it: the examples that names are proposed from, with what the feature answers.

    Examples are known by their rows in the data set. None of them is scored on.

    Attributes:
        feature: its alias. rows: the examples' rows. values: the feature's activation on each. seed: of what is drawn.
        shown: how many strong, weak and random examples an overseer is shown.
    """

    feature: str
    rows: Int[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]
    seed: int = 0
    shown: int = 8

    @cached_property
    def strong(self) -> Int[np.ndarray, " k"]:
        """Rows of the strongest examples, strongest first."""
        return self.rows[top(self.values, self.shown)]

    @cached_property
    def weak(self) -> Int[np.ndarray, " k"]:
        """Rows of the weakest examples, weakest first."""
        return self.rows[top(-self.values, self.shown)]

    @cached_property
    def levels(self) -> Int[np.ndarray, " k"]:
        """Rows over the whole range of activation, strongest first: the strongest alone mislead."""
        return self.rows[stratified(self.values, self.shown, generator(self.seed, "levels", self.feature))]

    @cached_property
    def random(self) -> Int[np.ndarray, " k"]:
        """Rows drawn at random."""
        rng = generator(self.seed, "random examples", self.feature)
        return self.rows[rng.permutation(len(self.rows))[: self.shown]]

    def value_of(self, row: int) -> float:
        """The activation on one of the examples."""
        return float(self.values[np.flatnonzero(self.rows == row)[0]])


class Overseer(Protocol):
    """Proposes names for features, and says which examples a name fits.

    Attributes:
        name: "vocabulary", "llm:MODEL", "person".
        judges_all: whether judging costs so little that every example is judged by every name.
    """

    name: str
    judges_all: bool

    def propose(self, evidence: Evidence) -> list[Candidate]:
        """Names for a feature, best first; none where nothing suits.

        Raises:
            OverseerFailed: if there is no usable answer.
        """
        ...

    def judge(self, label: str, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """How well the label fits each example, from 0 to 1 (0.5 and more: it fits); NaN where that is not known.

        The feature's activation is never looked at.

        Raises:
            OverseerFailed: if there is no usable answer.
        """
        ...
