"""The shipped bank: how clean networks of many recipes score, kind by kind.

It was made on other networks than the user's, so a rank in it is borrowed: it is shown, orders guesses, and has no part
in a p-value or a verdict (contract, step 4). `bank.json` is written by `benchmarks/game.py` from its calibration
networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import msgspec

from ..evidence import fraction
from ..records import Quantity

BANK = "bank.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """Scores of clean networks.

    Attributes:
        about: which networks these are, in a sentence. code: the digest of the checks that gave the scores.
        scores: for each kind, one score a clean network, in ascending order.
    """

    about: str = ""
    code: str = ""
    scores: dict[str, list[float]] = field(default_factory=dict)

    def rank(self, kind: str, score: float) -> Quantity | None:
        """The share of the bank's networks that score at least as high; None for a kind that the bank lacks."""
        clean = self.scores.get(kind)
        if not clean:
            return None
        unit = f"of {len(clean)} clean networks of a shipped bank score as high (borrowed)"
        return fraction(sum(one >= score for one in clean), len(clean), unit)


@cache
def shipped_bank() -> Bank:
    """What ships with this version; empty where nothing does."""
    file = files("mulligan.checks") / BANK
    return msgspec.json.decode(file.read_bytes(), type=Bank) if file.is_file() else Bank()


def ranks(scores: Mapping[str, float], bank: Bank | None = None) -> dict[str, Quantity]:
    """The borrowed rank of each kind's score."""
    bank = shipped_bank() if bank is None else bank
    found = {kind: bank.rank(kind, score) for kind, score in scores.items()}
    return {kind: rank for kind, rank in found.items() if rank is not None}
