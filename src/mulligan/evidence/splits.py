"""Search on one half of the sources, confirm on the other. The halves hang on the examples' ids, not on their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from ..runs import digest

#: With fewer sources in the confirming half, of any class involved, a claim is inconclusive (contract, step 1).
FEWEST_SOURCES = 20
#: What the second, third... example of one content has after its id.
_COPY = re.compile(r"-\d+$")


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of a data set: `search` may be looked at freely, `test` is opened once, for frozen claims."""

    search: Int[np.ndarray, " n"]
    test: Int[np.ndarray, " m"]


def sources(ids: Sequence[str]) -> Int[np.ndarray, " n"]:
    """Which examples are copies of one another: a number for each content, the same for all its copies."""
    return np.unique([_COPY.sub("", id) for id in ids], return_inverse=True)[1].astype(np.int64)


def split_sources(ids: Sequence[str], groups: Int[np.ndarray, " n"], seed: int) -> Split:
    """Halve each group (class, or -1) by a hash of seed and id.

    The odd one goes to either side by the same hash, so that classes of one example each are halved as a whole. Copies
    of one example (ids that differ by a suffix "-2") stay on one side; copies in several groups (one picture under two
    labels) are searched on, since no half of their own is theirs.
    """
    source = sources(ids)
    keys = np.array([digest(str(seed), "split", _COPY.sub("", id)) for id in ids])
    of: dict[int, set[int]] = {}
    for number, group in zip(source, groups, strict=True):
        of.setdefault(int(number), set()).add(int(group))
    torn = np.array([len(of[int(number)]) > 1 for number in source], dtype=bool)
    search: list[int] = [int(i) for i in np.flatnonzero(torn)]
    test: list[int] = []
    for group in np.unique(groups):
        members = np.flatnonzero((groups == group) & ~torn)
        members = members[np.argsort(keys[members], kind="stable")]
        cut = (len(members) + int(keys[members[0]][-1], 16) % 2) // 2 if len(members) else 0
        while 0 < cut < len(members) and keys[members[cut]] == keys[members[cut - 1]]:
            cut += 1
        search.extend(int(i) for i in members[:cut])
        test.extend(int(i) for i in members[cut:])
    return Split(np.sort(np.asarray(search, dtype=np.int64)), np.sort(np.asarray(test, dtype=np.int64)))
