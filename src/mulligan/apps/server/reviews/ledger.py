"""What stands, after all entries until now: of each feature its readers and labels, of each finding its verdicts."""

from __future__ import annotations

from dataclasses import dataclass, field

from .entries import Entry, sense


@dataclass(slots=True)
class Reading:
    """What was written of one feature.

    Attributes:
        assigned: readers who are to label it, with the entry that says so; those who have labelled it stay here.
        labels: of each reader, all labels, the latest last. resolutions: the latest last.
        pending: readers who are assigned and have not labelled it yet.
        state: "none" (no label), "one" (of one reader), "agreed" (all say the same), "resolved" or "disputed".
    """

    assigned: dict[str, Entry] = field(default_factory=dict)
    labels: dict[str, list[Entry]] = field(default_factory=dict)
    resolutions: list[Entry] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    state: str = "none"

    def add(self, entry: Entry) -> None:
        """Take in the next entry, and what follows from it."""
        if entry.kind == "assign":
            self.assigned[entry.reader] = entry
        elif entry.kind == "release":
            self.assigned.pop(entry.reader, None)
        elif entry.kind == "label":
            self.labels.setdefault(entry.author, []).append(entry)
        else:
            self.resolutions.append(entry)
        self.pending = [reader for reader in self.assigned if reader not in self.labels]
        self.state = self._state()

    @property
    def current(self) -> list[Entry]:
        """Each reader's latest label, in the order in which readers first labelled."""
        return [labels[-1] for labels in self.labels.values()]

    @property
    def resolution(self) -> Entry | None:
        """The latest resolution, while no newer label says something else."""
        if not self.resolutions:
            return None
        last = self.resolutions[-1]
        newer = [label for label in self.current if label.id > last.id]
        return last if all(sense(label.text) == sense(last.text) for label in newer) else None

    def _state(self) -> str:
        if len(self.labels) < 2:
            return "one" if self.labels else "none"
        if len({sense(label.text) for label in self.current}) == 1:
            return "agreed"
        return "resolved" if self.resolution else "disputed"

    @property
    def settled_by(self) -> int:
        """The revision that a resolution must have seen: the last label or resolution."""
        return max((entry.id for entry in (*self.current, *self.resolutions)), default=0)

    def own(self, reader: str) -> Entry | None:
        """This reader's latest label."""
        return self.labels[reader][-1] if reader in self.labels else None

    def hidden_from(self, reader: str) -> bool:
        """Whether this reader ("": nobody in particular) may not see others' labels.

        A reader who is assigned sees them once they have labelled. Somebody who does not say who they are sees them
        once nobody is left who is to read it.
        """
        return bool(self.pending) if not reader else reader in self.pending


class Ledger:
    """All of it.

    Attributes:
        last: the id of the last entry. readers: everybody who wrote or was assigned, by their name in lower case.
        features: by the network's identity and the feature's alias. waiting: of each reader, the features that they are
            to label. verdicts: by run and finding, of each author all
            verdicts, the latest last.
    """

    def __init__(self) -> None:
        self.last = 0
        self.entries: list[Entry] = []
        self.readers: dict[str, str] = {}
        self.features: dict[tuple[str, str], Reading] = {}
        self.waiting: dict[str, dict[tuple[str, str], None]] = {}
        self.verdicts: dict[tuple[str, str], dict[str, list[Entry]]] = {}

    def add(self, entry: Entry) -> None:
        """Take in the next entry."""
        self.last = entry.id
        self.entries.append(entry)
        for name in (entry.author, entry.reader):
            if name:
                self.readers.setdefault(sense(name), name)
        if entry.kind == "verdict":
            self.verdicts.setdefault((entry.run, entry.subject), {}).setdefault(entry.author, []).append(entry)
            return
        at = (entry.network, entry.subject)
        reading = self.features.setdefault(at, Reading())
        reading.add(entry)
        reader = entry.reader or entry.author
        if reader in reading.pending:
            self.waiting.setdefault(reader, {})[at] = None
        else:
            self.waiting.get(reader, {}).pop(at, None)

    def feature(self, network: str, alias: str) -> Reading:
        """What was written of a feature; an empty reading if nothing was."""
        return self.features.get((network, alias), Reading())

    def known_as(self, name: str) -> str:
        """The spelling under which a reader is known: "ann" is Ann, if Ann was there first."""
        return self.readers.get(sense(name), name)
