"""Of groups of classes that are suspected, the classes that trigger: narrowed within the groups, and grown beyond them.

Groups are made before anything is known of a trigger: all dogs may lie in several, and the cats among other mammals.
So every picture of the search half, whatever its class, is shown with a few of each side that trigger for certain, the
anchors. A class belongs to a side if most of its pictures trigger with the anchors of the other. Classes of which
no picture was shown go with those whose rows in the head are nearest to theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from ...features import called
from ...records import Group
from ...runs import generator
from ..check import Subject
from ..composites import Shown
from .measuring import Sheet, Suspect, lead
from .sources import Side, enough
from .survey import answer

#: So many pictures of each side that trigger for certain are shown with every other picture.
ANCHORS = 4
#: At most so many pictures of the search half are shown with the anchors, at random.
MOST_SHOWN = 600
#: A picture triggers if it does with this share of the anchors.
MOST_OF = 0.5
#: And by so much more often than with anchors of its own side: what looks like the target shows with either.
CONTRAST = 0.3
#: So many of the nearest classes count towards a class; alone, where no picture of its own was shown.
NEAREST = 3


def anchors(
    page: Sheet, logits: Float[np.ndarray, "n classes"], target: int, layout: str
) -> tuple[list[int], list[int]]:
    """Of each side, the pictures of the triggered pairs that are answered the target in a layout, the clearest first.

    Both pictures of a pair that is answered so are what the claim says they are.
    """
    rows = [i for i in np.flatnonzero(page.family == 0) if page.shown[i].layout == layout]
    leads = lead(logits[rows], target)
    first, second = [], []
    for k in np.argsort(-leads, kind="stable"):
        if leads[k] > 0 and len(first) < ANCHORS:
            shown, turned = page.shown[rows[k]], page.turned[rows[k]]
            first.append(shown.second if turned else shown.first)
            second.append(shown.first if turned else shown.second)
    return first, second


def fit(
    subject: Subject, page: Sheet, logits: Float[np.ndarray, "n classes"], suspect: Suspect, sides: Sequence[Side],
    border: Sequence[int],
) -> tuple[Side, Side] | None:  # fmt: skip
    """Both sides of a suspect as the classes that trigger; None where too little does, or too little is left to confirm
    a claim on.

    Args:
        page, logits: the second look at the suspect, on the search half; its best layout comes first.
    """
    target, layout = suspect.target, suspect.layouts[0]
    first, second = anchors(page, logits, target, layout)
    if len(first) < 2:
        return None
    rng = generator(subject.seed, "narrowing", sides[suspect.first].name, sides[suspect.second].name, target)
    rows = np.sort(rng.permutation(subject.split.search)[:MOST_SHOWN])
    rows = rows[subject.groups[rows] != target]
    shown: list[Shown] = []
    for side, known in enumerate((second, first)):  # a picture in the place of a first goes with seconds
        for row in rows:
            for k, anchor in enumerate(known):
                turned = (suspect.order if suspect.order is not None else k % 2) != side
                shown.append(Shown(anchor, int(row), layout) if turned else Shown(int(row), anchor, layout))
    values = answer(subject, "conjunction: which classes trigger", shown, border)
    hits = (values.argmax(1) == target).reshape(2, len(rows), len(first)).mean(2)
    heads = subject.network.head_weights[0].float().cpu().numpy()
    inside = members(subject.groups[rows], hits, heads)
    a, b = (_side(subject, classes, heads) for classes in inside)
    return (a, b) if enough(a, b) and len(a.search) and len(b.search) else None


def members(
    labels: Int[np.ndarray, " n"], hits: Float[np.ndarray, "2 n"], heads: Float[np.ndarray, "classes features"]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The classes of either side.

    Args:
        labels: the class of each picture. hits: how often each was answered the target in the place of a first picture,
            and of a second one. heads: each class's row in the head.
    """
    unit = heads / np.maximum(np.linalg.norm(heads, axis=1, keepdims=True), 1e-12)
    seen = np.unique(labels)
    rates = np.stack([hits[:, labels == c].mean(1) for c in seen], axis=1)
    # One picture says little of a class: the classes nearest to it count as well, each as half a picture.
    alike = unit @ unit[seen].T
    alike[seen, np.arange(len(seen))] = -np.inf
    near = np.argsort(-alike, axis=1, kind="stable")[:, :NEAREST]
    own, sums = np.zeros(len(heads)), np.zeros((2, len(heads)))
    np.add.at(own, labels, 1.0)
    for side in range(2):
        np.add.at(sums[side], labels, hits[side])
    smooth = (sums + rates[:, near].sum(2) / 2) / (own + near.shape[1] / 2)
    belongs: Bool[np.ndarray, "2 classes"] = (smooth > MOST_OF) & (smooth >= smooth[::-1] + CONTRAST)
    return tuple(np.flatnonzero(belongs[0]).tolist()), tuple(np.flatnonzero(belongs[1]).tolist())


def _side(subject: Subject, classes: Sequence[int], heads: Float[np.ndarray, "classes features"]) -> Side:
    names = subject.classes
    inside = tuple(int(c) for c in classes)
    search, test = (half[np.isin(subject.groups[half], inside)] for half in (subject.split.search, subject.split.test))
    if len(inside) == 1:
        return Side(names[inside[0]], inside, search, test)
    title = called(names, heads, inside) if inside else "nothing"
    return Side(Group(name=title, classes=tuple(names[c] for c in inside)), inside, search, test)
