"""What the pictures of an atlas are told apart by: their classes, or groups of classes where each has few pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from ...datasets import Dataset
from ...features import class_groups
from ...networks import Network
from ...records import BadInput

FEW = 12  # pictures a class, on average: with fewer, a cell's commonest label says nothing
GROUPS = 20


@dataclass(frozen=True)
class Told:
    """Names, and which of them each picture has.

    Attributes:
        names: of classes or groups. labels: one a picture, -1 where unknown; None where none is known.
        groups: the classes of each group; None where names are classes.
    """

    names: tuple[str, ...] | None
    labels: Int64[np.ndarray, " picture"] | None
    groups: tuple[tuple[int, ...], ...] | None = None

    def effects(self, effects: Float[np.ndarray, "activation class"]) -> Float[np.ndarray, "activation name"]:
        """Effects on logits as effects on the names: of a group, its mean logit beside that of all classes."""
        if self.groups is None:
            return effects
        every = effects.mean(1)
        return np.stack([effects[:, list(group)].mean(1) - every for group in self.groups], 1)


def told_apart(network: Network, dataset: Dataset) -> Told:
    """The classes of the data; or, where they are many and have few pictures each, groups that the head holds alike."""
    labels = dataset.labels
    if labels is None or not bool((labels >= 0).any()):
        return Told(network.classes, None)
    there = len(np.unique(labels[labels >= 0]))
    many = network.classes is not None and len(network.classes) > 2 * GROUPS
    if network.classes is None or not many or int((labels >= 0).sum()) >= FEW * there:
        return Told(network.classes or dataset.label_names, labels)
    try:
        rows = network.head_weights[0].float().cpu().numpy()
    except BadInput:  # no last layer whose rows are the classes
        return Told(network.classes, labels)
    found = class_groups(network.classes, rows, GROUPS)
    lookup = np.empty(len(network.classes), dtype=np.int64)
    for number, group in enumerate(found):
        lookup[list(group.classes)] = number
    return Told(
        tuple(group.name for group in found), np.where(labels >= 0, lookup[labels], -1),
        tuple(group.classes for group in found),
    )  # fmt: skip
