"""What people said, as files: labels.toml, which `mulligan see labels --labels` reads back, or everything as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from ....records import BadInput, parse_feature
from ....runs import mulligan_version, write_bytes
from .agreement import agreements
from .entries import Entry, sense
from .ledger import Ledger, Reading
from .rules import now

SCHEMA = "mulligan/reviews/1"


def standing(reading: Reading) -> list[Entry]:
    """The labels of a feature that stand: each reader's latest; of a settled dispute, the judge's wording and those
    that say it. "I cannot tell" is no label.
    """
    settled = reading.resolution if reading.state == "resolved" else None
    labels = reading.current
    if settled is not None and not settled.same:
        labels = [settled, *(label for label in labels if sense(label.text) == sense(settled.text))]
    return [label for label in labels if label.text]


def write_toml(path: Path, ledger: Ledger) -> tuple[int, list[str]]:
    """Write the labels that stand as labels.toml, with author, date and network; in one step.

    Returns:
        how many labels were written, and the features that the format cannot name (classes: "class tabby").

    Raises:
        BadInput: if the file may not be written.
    """
    from ....features.labels import PersonLabel, merge, write_labels

    found: list[PersonLabel] = []
    left: list[str] = []
    for (network, alias), reading in ledger.features.items():
        labels = standing(reading)
        if labels and not _is_feature(alias):
            left.append(alias)
            continue
        found += [
            PersonLabel(
                feature=alias, text=label.text, author=label.author, date=date.fromisoformat(label.at[:10]),
                note=label.note, network=network if network.startswith("sha256:") else "",
            )
            for label in labels
        ]  # fmt: skip
    write_labels(path, merge(found))
    return len(found), left


def _is_feature(alias: str) -> bool:
    try:
        parse_feature(alias)
    except BadInput:
        return False
    return True


def write_json(path: Path, ledger: Ledger, runs: Mapping[str, str]) -> int:
    """Write the whole history, and what follows from it, as JSON; in one step. Returns how many entries it has.

    Args:
        runs: the folder's name of each run's address, where known.
    """
    write_bytes(path, msgspec.json.format(msgspec.json.encode(everything(ledger, runs)), indent=1))
    return len(ledger.entries)


def everything(ledger: Ledger, runs: Mapping[str, str]) -> dict[str, Any]:
    """Schema `mulligan/reviews/1`: every entry as it was written, the features' states, and the readers' agreement."""
    features = [
        {"network": network, "feature": alias, "state": reading.state, "waiting": reading.pending,
         "stands": [{"text": label.text, "author": label.author, "at": label.at} for label in standing(reading)]}
        for (network, alias), reading in ledger.features.items()
    ]  # fmt: skip
    return {
        "schema": SCHEMA, "mulligan": mulligan_version(), "created": now(), "readers": sorted(ledger.readers.values()),
        "entries": [asdict(entry) for entry in ledger.entries], "features": features,
        "runs": dict(runs), "agreement": _by_network(ledger),
    }  # fmt: skip


def _by_network(ledger: Ledger) -> list[dict[str, Any]]:
    networks: dict[str, list[Reading]] = {}
    for (network, _), reading in ledger.features.items():
        networks.setdefault(network, []).append(reading)
    return [{"network": network, **asdict(pair)} for network, pair in _pairs(networks.items())]


def _pairs(networks: Iterable[tuple[str, list[Reading]]]) -> Iterable[tuple[str, Any]]:
    for network, readings in networks:
        for pair in agreements(readings):
            yield network, pair
