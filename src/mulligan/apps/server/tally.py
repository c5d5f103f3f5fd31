"""The counts of one page, kept up to date entry by entry: a large page costs no more than what was written."""

from __future__ import annotations

from .contents import Contents
from .reviews import Ledger, Reading
from .reviews.agreement import Counts, pairs_of

_COUNTED = ("once", "twice", "agreed", "resolved", "disputed", "waiting")
_Counted = tuple[tuple[str, ...], dict[tuple[str, str], tuple[bool, bool]]]


class Tally:
    """What does not depend on who asks.

    Attributes:
        keys: of each feature, by network and alias, its key on the page. layer_of, order: by key.
        layers: the counts of each layer of the page. disputed: the keys in dispute. agreement: of each pair of readers.
    """

    def __init__(self, contents: Contents) -> None:
        self.keys = {(place.network, place.alias): key for key, place in contents.features.items()}
        self.layer_of = {key: number for number, layer in enumerate(contents.layers) for key in layer.keys}
        self.order = {key: number for number, key in enumerate(contents.features)}
        self.layers: list[dict[str, int]] = [dict.fromkeys(_COUNTED, 0) for _ in contents.layers]
        self.disputed: dict[str, None] = {}
        self.agreement = Counts()
        self._counted: dict[str, _Counted] = {}
        self._seen = 0

    def catch_up(self, ledger: Ledger) -> None:
        """Take in what was written since."""
        changed = {(entry.network, entry.subject) for entry in ledger.entries[self._seen :] if not entry.run}
        self._seen = len(ledger.entries)
        for at in changed & self.keys.keys():
            self._count(self.keys[at], ledger.features[at])

    def _count(self, key: str, reading: Reading) -> None:
        counts = self.layers[self.layer_of[key]]
        words, pairs = self._counted.get(key, ((), {}))
        for word in words:
            counts[word] -= 1
        self.agreement.add(pairs, -1)
        words, pairs = self._counted[key] = _words(reading), pairs_of(reading)
        for word in words:
            counts[word] += 1
        self.agreement.add(pairs, 1)
        self.disputed.pop(key, None)
        if reading.state == "disputed":
            self.disputed[key] = None


def _words(reading: Reading) -> tuple[str, ...]:
    """What a feature counts as."""
    readers = len(reading.labels)
    named = {"once": readers >= 1, "twice": readers >= 2, "waiting": bool(reading.pending), reading.state: readers >= 2}
    return tuple(word for word, counts in named.items() if counts)
