"""Of a group of classes that is suspected, the classes that trigger."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ...evidence import FEWEST_SOURCES
from ..check import Subject
from .measuring import Sheet, Suspect, lead
from .sources import Side, narrowed


def narrow(
    subject: Subject, page: Sheet, logits: Float[np.ndarray, "n classes"], suspect: Suspect, sides: Sequence[Side]
) -> tuple[Side, Side]:
    """Of a group, the classes whose pictures trigger, where that leaves enough to confirm on and clearly says more."""
    hit = lead(logits, suspect.target) > 0
    out: list[Side] = []
    for number, side in enumerate((sides[suspect.first], sides[suspect.second])):
        if len(side.classes) == 1:
            out.append(side)
            continue
        per: dict[int, list[bool]] = {}
        for row in np.flatnonzero(page.family == 0):
            shown, turned = page.shown[row], page.pair[row] % 2 == 1
            example = (
                (shown.second if turned else shown.first) if number == 0 else (shown.first if turned else shown.second)
            )
            per.setdefault(int(subject.groups[example]), []).append(bool(hit[row]))
        yes = [c for c, hits in per.items() if np.mean(hits) > 0.5]
        inside = narrowed(side, subject.classes, subject.groups, sorted(yes)) if yes else side
        # Only classes seen on the search half can be named, so narrowing waits until most of them were.
        seen_enough = len(per) >= 0.6 * len(side.classes)
        out.append(
            inside if seen_enough and len(yes) <= 0.8 * len(per) and len(inside.test) >= FEWEST_SOURCES else side
        )
    return out[0], out[1]
