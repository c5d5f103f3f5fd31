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
#: Groups have so many examples on average where claims are confirmed on them, and so many where pairs are only scanned:
#: a few classes that trigger are lost in a large group.
CONFIRMED, SCANNED = 3 * FEWEST_SOURCES, 8
#: With fewer examples to search among, a group is not scanned: it is shown beside another of its own as well.
FEWEST_SCANNED = 2


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


def enough(*some: Side) -> bool:
    """Whether a claim on these sides can be confirmed."""
    return all(len(side.test) >= FEWEST_SOURCES for side in some)


def grouped(subject: Subject) -> bool:
    """Whether there are so many classes that groups of them stand in for them."""
    return len(subject.classes) > MOST_CLASSES


def sides(subject: Subject, average: int = CONFIRMED) -> list[Side]:
    """The sources of a subject's data: one a class, or, for many classes, groups whose rows in the head are alike; of
    so many examples on `average`."""
    names = subject.classes
    rows = subject.network.head_weights[0].float().cpu().numpy() if grouped(subject) else np.zeros((0, 0))
    return sides_of(names, rows, subject.groups, subject.split.search, subject.split.test, average)


def scanned(subject: Subject) -> list[Side]:
    """The smaller groups whose pairs are scanned for many classes. The larger ones of `sides` are made of whole ones of
    these: both are cuts of one tree."""
    return [side for side in sides(subject, SCANNED) if len(side.search) >= FEWEST_SCANNED]


def sides_of(
    names: Sequence[str],
    rows: Float[np.ndarray, "classes features"],
    groups: Int[np.ndarray, " n"],
    search: Int[np.ndarray, " s"],
    test: Int[np.ndarray, " t"],
    average: int = CONFIRMED,
) -> list[Side]:
    """The sources of a data set, see `sides`; `rows` are looked at for many classes only.

    The groups are the network's own: Ward's clustering of the head's normalised rows, cut so that a group has so many
    examples on average: by default enough to confirm a claim on. Sources without a search example are left out.
    """
    present = np.unique(groups[groups >= 0])
    if len(names) <= MOST_CLASSES:
        members: list[tuple[Source, tuple[int, ...]]] = [(str(names[c]), (int(c),)) for c in present]
    else:
        wanted = int(np.clip(len(groups) // average, 2, MOST_GROUPS))
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
