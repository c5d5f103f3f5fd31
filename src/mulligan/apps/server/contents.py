"""What of a page can be reviewed: its features by layer, its findings by run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .reviews import Place


@dataclass(frozen=True, slots=True)
class Layer:
    """A site of a network of the page, and its features' keys in the page's order."""

    network: int
    site: str
    meaning: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A finding: the run's address, the id there, and what is claimed."""

    run: str
    id: str
    claim: str


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Contents:
    """All of it. `features`: a place for each key; the same feature of the same network has one place on all pages.
    `findings`: by the number of the page's run and the finding's id.
    """

    features: dict[str, Place]
    layers: tuple[Layer, ...]
    findings: dict[tuple[int, str], Claimed]

    def layer(self, network: int, site: str) -> Layer:
        """A layer of the page; one without features if the page has none such."""
        found = (one for one in self.layers if (one.network, one.site) == (network, site))
        return next(found, Layer(network, site, "", ()))

    @classmethod
    def of(cls, index: dict[str, Any], runs: Sequence[tuple[str, str]]) -> Contents:
        """From a page's index. `runs`: the folder's name and the address of each run that was asked for, in order."""
        networks = [network["identity"] or network["name"] for network in index["networks"]]
        sites, features = index["sites"], index["features"]
        keys: list[list[str]] = [[] for _ in sites["name"]]
        places: dict[str, Place] = {}
        for key, site in zip(features["key"], features["site"], strict=True):
            network = sites["network"][site]
            places[key] = Place(networks[network], key.removeprefix(f"{network}~") if network else key)
            keys[site].append(key)
        layers = tuple(
            Layer(network, name, meaning, tuple(inside))
            for name, network, meaning, inside in zip(
                sites["name"], sites["network"], sites["meaning"], keys, strict=True
            )
            if inside
        )
        addresses = _addresses([run["folder"] for run in index["runs"]], runs)
        findings = {
            (finding["run"], finding["id"]): Claimed(addresses[finding["run"]], finding["id"], finding["claim"])
            for finding in index["findings"]
        }
        return cls(places, layers, findings)


def _addresses(entered: Sequence[str], asked: Sequence[tuple[str, str]]) -> list[str]:
    """The address of each run that the page has entered; one that was asked for may be entered more than once."""
    if len(entered) == len(asked):
        return [address for _, address in asked]
    found, at = list[str](), -1
    for name in entered:
        if at + 1 < len(asked) and asked[at + 1][0] == name:
            at += 1
        found.append(asked[max(at, 0)][1])
    return found
