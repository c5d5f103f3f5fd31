"""What a second look at the suspects says on the search half, and how suspicious it makes the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .measuring import Reading, Sheet, Suspect
from .sources import Side

#: A second look must show this excess over placebo on the search half for a suspect to be frozen.
LEAST_EXCESS = 0.15
#: How much a suspect counts in the score that shows only where pictures lie over each other.
OVERLAID = 0.8
#: How much the clearest other suspect takes off the score.
_OTHERS = 0.8
#: An excess over all placebos from which on a suspect counts in full.
_ENOUGH = 0.3


@dataclass(frozen=True, slots=True)
class Looked:
    """A suspect measured again on the search half."""

    suspect: Suspect
    first: Side
    second: Side
    reading: Reading
    page: Sheet
    logits: Float[np.ndarray, "n classes"]

    @property
    def classes(self) -> tuple[int, frozenset[int], frozenset[int]]:
        """The target, and the classes of either side."""
        return self.suspect.target, frozenset(self.first.classes), frozenset(self.second.classes)

    @property
    def clear(self) -> float:
        """The suspect's strength; the less of it, the more a picture beside nothing explains how often it shows."""
        return self.reading.strength * min(max(self.reading.excess, 0.0) / _ENOUGH, 1.0)


def alike(one: Looked, other: Looked) -> bool:
    """Whether two suspects may be parts of one trigger: the same target, and each side shares a class with one of the
    other's sides."""
    (target, a, b), (wanted, c, d) = one.classes, other.classes
    return target == wanted and bool((a & c and b & d) or (a & d and b & c))


def bears_out(look: Looked) -> bool:
    """Whether a second look says enough of a suspect to freeze it."""
    return look.reading.excess >= LEAST_EXCESS and look.clear > 0


def score_of(looks: Sequence[Looked], over: Sequence[Looked] = ()) -> float:
    """How suspicious the network is: by how much its clearest suspect stands out among all suspects.

    Illusions of clean networks come in numbers, about as clear as one another; a conjunction that was put in stands
    alone. One that shows only where pictures lie `over` each other counts less, and the less the more its placebos show
    it too: shapes that two pictures draw together are often half there in each.

    Args:
        looks, over: each the clearest first.
    """
    values = [look.clear for look in looks]
    apart = values[0] - _OTHERS * max(values[1], 0.0) if len(values) > 1 else sum(values)
    return float(max([apart, *(OVERLAID * look.clear * purity(look.reading) for look in over)]))


def by_clarity(looks: Sequence[Looked]) -> list[Looked]:
    """The clearest first."""
    return sorted(looks, key=lambda look: (-look.clear, look.suspect.first, look.suspect.second))


def purity(reading: Reading) -> float:
    """Of how often the triggered composites are answered so, the share that no placebo family explains; from 0 to 1."""
    often = float(reading.triggered.mean()) if len(reading.triggered) else 0.0
    return max(reading.excess, 0.0) / max(often, 1e-9)
