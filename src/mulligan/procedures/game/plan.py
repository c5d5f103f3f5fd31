"""The plan of a round: which networks are made, of what recipe, with what modification; all from one secret seed."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import torch

from ...plants import STRATA, Stratum, Strength, plants
from ...plants.plant import generator
from ...plants.proving import Provable
from ...records import BadInput
from .entries import Role, Track

STRENGTHS: tuple[Strength, ...] = get_args(Strength)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a round consists of.

    Attributes:
        seed: the secret that everything is drawn from; published when the round is over.
        kinds: which plants; none: all that are installed. data: data sets of the recipes.
        per_kind: planted networks of each kind, spread evenly over strengths, strata and data sets.
        first: the number of the first of these. A later round of the same seed begins where an earlier one ended: its
            clean networks are the same, and its planted ones are others.
        calibration, test: clean networks that thresholds come from, and that false alarms are counted on.
        seconds: CPU-seconds an auditor has for one network.
        attempts: specs that are tried for one planted network before its place stays empty.
        siblings: how many are given on track C.
        source: where bases come from; see `bases.source`.
        wall: wall time an auditor has, in times of its CPU-seconds; more where many share the machine.
        spec: of every plant, as JSON, instead of one drawn at random; for a round of one kind.
        evasive: whether planted networks are then trained against the released checks (`evasion`); of stratum "high",
            and of kinds that can be proved anew, which are all where none is named.
    """

    name: str
    seed: str
    kinds: tuple[str, ...] = ()
    strengths: tuple[Strength, ...] = STRENGTHS
    strata: tuple[Stratum, ...] = tuple(STRATA)
    data: tuple[str, ...] = ("digits",)
    per_kind: int = 9
    first: int = 0
    calibration: int = 40
    test: int = 40
    track: Track = "B"
    seconds: float = 60.0
    attempts: int = 3
    siblings: int = 5
    source: str = "recipes"
    wall: float = 3.0
    spec: Any = None
    evasive: bool = False

    def __post_init__(self) -> None:
        for name, values, known in (
            ("strength", self.strengths, STRENGTHS), ("stratum", self.strata, tuple(STRATA)),
            ("track", (self.track,), get_args(Track)),
        ):  # fmt: skip
            for value in values:
                if value not in known:
                    raise BadInput(f"there is no such {name}", where=value, fix=f"choose among {', '.join(known)}")
        if min(self.per_kind, self.first, self.calibration, self.test) < 0 or self.seconds <= 0 or self.attempts < 1:
            raise BadInput("numbers of networks are at least 0, seconds and attempts above 0", where=self.name)
        if self.spec is not None and len(self.kinds) != 1:
            raise BadInput("a spec is for a round of one kind", where=self.name, fix="name the kind")
        if self.evasive and set(self.strata) != {"high"}:
            raise BadInput("an evasive round is of plants that always show", where=self.name, fix="the stratum high")
        if not (self.strengths and self.strata and self.data and self.seed):
            raise BadInput("a round needs a seed, strengths, strata and data sets", where=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One network of a round.

    Attributes:
        id: the entry's name, which tells nothing. key: what it is, in words; the same in every run of the round.
        number: its place among the networks of its cell.
    """

    id: str
    key: str
    role: Role
    kind: str
    data: str
    number: int
    strength: Strength = "default"
    stratum: Stratum = "high"
    attempts: int = field(default=1)

    def seed(self, what: str, secret: str) -> int:
        """A seed of its own for one purpose."""
        digest = hashlib.sha256(f"{secret}/{self.key}/{what}".encode()).digest()
        return int.from_bytes(digest[:7], "big") >> 8


def plan(round: Round) -> list[Item]:
    """The networks of a round in a random order; each has a base of its own.

    Raises:
        BadInput: if a kind is not installed, or cannot be part of an evasive round.
    """
    installed = plants()
    unknown = [kind for kind in round.kinds if kind not in installed]
    if unknown:
        raise BadInput("there is no plant of this kind", where=unknown[0], fix=f"choose among {', '.join(installed)}")
    if round.evasive:
        installed = {kind: plant for kind, plant in installed.items() if isinstance(plant, Provable)}
        unable = [kind for kind in round.kinds if kind not in installed]
        if unable:
            fix = f"choose among {', '.join(installed)}"
            raise BadInput("this kind cannot be part of an evasive round", where=unable[0], fix=fix)
    items: list[Item] = []
    for kind in round.kinds or tuple(sorted(installed)):
        cells = list(itertools.product(round.strengths, round.strata, round.data))
        for number in range(round.first, round.first + round.per_kind):
            strength, stratum, data = _spread(cells, number, f"{round.seed}/{kind}")
            key = f"plant/{kind}/{strength}/{stratum}/{data}/{number}"
            items.append(Item(
                id=_name(round.seed, key), key=key, role="plant", kind=kind, data=data, number=number,
                strength=strength, stratum=stratum, attempts=round.attempts,
            ))  # fmt: skip
    clean: tuple[tuple[Role, int], ...] = (("calibration", round.calibration), ("test", round.test))
    for role, count in clean:
        for number in range(count):
            data = round.data[number % len(round.data)]
            key = f"{role}/{data}/{number}"
            items.append(Item(
                id=_name(round.seed, key), key=key, role=role, kind="", data=data, number=number,
                attempts=round.attempts,
            ))  # fmt: skip
    return sorted(items, key=lambda item: item.id)  # ids are random, and so is the order


def _name(seed: str, key: str) -> str:
    return hashlib.sha256(f"id/{seed}/{key}".encode()).hexdigest()[:12]


def _spread(
    cells: Sequence[tuple[Strength, Stratum, str]], number: int, key: str
) -> tuple[Strength, Stratum, str]:
    """The cells in random order, again and again in new orders, so that each is used as often as the next."""
    lap, at = divmod(number, len(cells))
    random = generator(lap, f"cells/{key}")
    order = torch.randperm(len(cells), generator=random).tolist()
    return cells[order[at]]
