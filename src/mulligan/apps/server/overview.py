"""What the review queue shows of a page: progress by layer, what waits for a reader, disputes, agreement.

Everything here is told to one reader ("": nobody in particular), and holds nothing that is hidden from them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .contents import Claimed, Contents, Layer
from .reviews import Entry, Ledger, Place, Reading, agreements, sense

#: Keys listed at most; how many there are is always told.
LISTED = 200


def overview(ledger: Ledger, contents: Contents, reader: str) -> dict[str, Any]:
    """The whole page, for one reader."""
    reader = ledger.known_as(reader) if reader else ""
    readings = {key: reading for key, place in contents.features.items() if (reading := _written(ledger, place))}
    waiting = [key for key, reading in readings.items() if reader and reader in reading.pending]
    disputes = [
        key for key, reading in readings.items() if reading.state == "disputed" and not reading.hidden_from(reader)
    ]
    return {
        "revision": ledger.last,
        "readers": sorted(ledger.readers.values()),
        "features": len(contents.features),
        "layers": [_layer(layer, readings, reader) for layer in contents.layers],
        "queue": {"n": len(waiting), "keys": waiting[:LISTED]},
        "disputes": {"n": len(disputes), "features": [
            {"key": key, "labels": [_label(label) for label in readings[key].current]} for key in disputes[:LISTED]
        ]},
        "agreement": [asdict(pair) for pair in agreements(readings.values())],
        "findings": [finding_state(ledger, claimed) | {"run_number": run, "id": id}
                     for (run, id), claimed in contents.findings.items()],
    }  # fmt: skip


def _written(ledger: Ledger, place: Place) -> Reading | None:
    return ledger.features.get((place.network, place.alias))


def _layer(layer: Layer, readings: dict[str, Reading], reader: str) -> dict[str, Any]:
    """Counts only. States of features that are hidden from the reader count as unknown: a layer of one would tell."""
    counts = {"once": 0, "twice": 0, "agreed": 0, "resolved": 0, "disputed": 0, "waiting": 0, "mine": 0}
    for key in layer.keys:
        reading = readings.get(key)
        if reading is None:
            continue
        readers = len(reading.labels)
        counts["once"] += readers >= 1
        counts["twice"] += readers >= 2
        if reading.pending:
            counts["waiting"] += 1
            counts["mine"] += reader in reading.pending
        if readers >= 2 and not (reading.pending and reading.hidden_from(reader)):
            counts[reading.state] += 1
    about = {"network": layer.network, "site": layer.site, "meaning": layer.meaning, "features": len(layer.keys)}
    return about | counts


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
