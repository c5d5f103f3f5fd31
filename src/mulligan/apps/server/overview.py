"""What the review queue shows of a page: progress by layer, what waits for a reader, disputes, agreement.

Everything here is told to one reader ("": nobody in particular), and holds nothing that is hidden from them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .contents import Claimed, Contents
from .reviews import Entry, Ledger, Place, Reading, sense
from .reviews.agreement import agreements_of
from .tally import Tally

#: Keys listed at most; how many there are is always told.
LISTED = 200


def overview(ledger: Ledger, tally: Tally, contents: Contents, reader: str) -> dict[str, Any]:
    """The whole page, for one reader. `tally`: of this page."""
    reader = ledger.known_as(reader) if reader else ""
    tally.catch_up(ledger)
    who = [reader] if reader else list(ledger.waiting)
    hidden = {tally.keys[at]: at for name in who for at in ledger.waiting.get(name, ()) if at in tally.keys}
    layers = [{"network": layer.network, "site": layer.site, "meaning": layer.meaning, "features": len(layer.keys),
               **counts, "mine": 0}
              for layer, counts in zip(contents.layers, tally.layers, strict=True)]  # fmt: skip
    for key, at in hidden.items():
        # What is hidden from the reader counts as unknown: the count of a layer with one feature would tell.
        layer, reading = layers[tally.layer_of[key]], ledger.features[at]
        layer["mine"] += bool(reader)
        if len(reading.labels) >= 2:
            layer[reading.state] -= 1
    queue = sorted(hidden, key=tally.order.__getitem__) if reader else []
    disputes = [key for key in tally.disputed if key not in hidden]
    return {
        "revision": ledger.last,
        "readers": sorted(ledger.readers.values()),
        "features": len(contents.features),
        "layers": layers,
        "queue": {"n": len(queue), "keys": queue[:LISTED]},
        "disputes": {"n": len(disputes), "features": [
            {"key": key, "labels": [_label(label) for label in _reading(ledger, contents.features[key]).current]}
            for key in disputes[:LISTED]
        ]},
        "agreement": [asdict(pair) for pair in agreements_of(tally.agreement)],
        "findings": [finding_state(ledger, claimed) | {"run_number": run, "id": id}
                     for (run, id), claimed in contents.findings.items()],
    }  # fmt: skip


def _reading(ledger: Ledger, place: Place) -> Reading:
    return ledger.feature(place.network, place.alias)


def feature_state(ledger: Ledger, place: Place, reader: str) -> dict[str, Any]:
    """One feature. Where others' labels are hidden, neither they nor what follows from them is there."""
    reader = ledger.known_as(reader) if reader else ""
    reading = ledger.feature(place.network, place.alias)
    own = reading.own(reader)
    shared = {
        "reader": reader, "assigned": list(reading.assigned), "waiting": reading.pending,
        "mine": _label(own) if own else None, "revision": own.id if own else 0,
    }  # fmt: skip
    if reading.hidden_from(reader):
        return shared | {"hidden": True, "labels": [_label(own)] if own else [], "state": None, "resolution": None,
                         "settled_by": None, "history": []}  # fmt: skip
    settled = reading.resolution
    return shared | {
        "hidden": False,
        "labels": [_label(label) for label in reading.current],
        "state": reading.state,
        "resolution": None if settled is None else _label(settled) | {"same": settled.same},
        "settled_by": reading.settled_by,
        "history": [_label(label) for labels in reading.labels.values() for label in labels[:-1]],
    }


def _label(entry: Entry) -> dict[str, Any]:
    return {"text": entry.text, "author": entry.author, "note": entry.note, "at": entry.at, "revision": entry.id,
            "blind": entry.blind}  # fmt: skip


def finding_state(ledger: Ledger, claimed: Claimed, reader: str = "") -> dict[str, Any]:
    """What was said of a finding: each author's latest verdict. `of_this_claim`: it was given of these very words."""
    reader = ledger.known_as(reader) if reader else ""
    verdicts = ledger.verdicts.get((claimed.run, claimed.id), {})
    own = verdicts.get(reader, [])
    return {
        "verdicts": [
            {"verdict": last.text, "author": last.author, "reason": last.note, "at": last.at, "revision": last.id,
             "of_this_claim": sense(last.about) == sense(claimed.claim)}
            for last in (given[-1] for given in verdicts.values())
        ],
        "revision": own[-1].id if own else 0,
    }  # fmt: skip
