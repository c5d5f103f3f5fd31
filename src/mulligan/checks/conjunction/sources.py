"""What may stand on either side of a conjunction: classes, or groups of classes where each class has too few
examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ...evidence import FEWEST_SOURCES
from ...features import class_groups
from ...records import Group, Source
from ..check import Subject

#: Up to this many classes, every pair of classes is searched; beyond, pairs of at most so many groups.
MOST_CLASSES, MOST_GROUPS = 40, 60


@dataclass(frozen=True, slots=True)
class Side:
    """One source: its name, the classes in it, and the examples of the search and of the test half."""

    source: Source
    classes: tuple[int, ...]
    search: Int[np.ndarray, " n"]
    test: Int[np.ndarray, " m"]

    @property
    def name(self) -> str:
        """What people call it."""
        return self.source if isinstance(self.source, str) else self.source.name

    @property
    def phrase(self) -> str:
        """The name within a sentence: a group's, which holds commas and an "and", stands in parentheses."""
        return self.source if isinstance(self.source, str) else f"one of ({self.source.name})"


def sides(subject: Subject) -> list[Side]:
    """The sources of a subject's data: one a class, or, for many classes, groups whose rows in the head are alike."""
    names = subject.classes
    rows = subject.network.head_weights[0].float().cpu().numpy() if len(names) > MOST_CLASSES else np.zeros((0, 0))
    return sides_of(names, rows, subject.groups, subject.split.search, subject.split.test)


def sides_of(
    names: Sequence[str],
    rows: Float[np.ndarray, "classes features"],
    groups: Int[np.ndarray, " n"],
    search: Int[np.ndarray, " s"],
    test: Int[np.ndarray, " t"],
) -> list[Side]:
    """The sources of a data set, see `sides`; `rows` are looked at for many classes only.

    The groups are the network's own: Ward's clustering of the head's normalised rows, cut so that a group has on
    average enough examples to confirm a claim on. Sources without a search example are left out.
    """
    present = np.unique(groups[groups >= 0])
    if len(names) <= MOST_CLASSES:
        members: list[tuple[Source, tuple[int, ...]]] = [(str(names[c]), (int(c),)) for c in present]
    else:
        wanted = int(np.clip(len(groups) // (3 * FEWEST_SOURCES), 2, MOST_GROUPS))
        members = [
            (Group(name=group.name, classes=tuple(names[c] for c in group.classes)), group.classes)
            for group in class_groups(names, rows, wanted)
        ]
    found = []
    for source, classes in members:
        mine = np.isin(groups, classes)
        side = Side(source, classes, search[mine[search]], test[mine[test]])
        if len(side.search):
            found.append(side)
    return found
