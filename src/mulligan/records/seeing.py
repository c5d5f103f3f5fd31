"""What `mulligan see` stores: cards of features, with pictures that were optimized and examples from the data.

RUN/seen.json holds one `Seen`. Its figures are descriptions beside their controls, never findings.
"""

from __future__ import annotations

from dataclasses import dataclass

from .examples import Portrait, Sighting
from .findings import DataRecord, NetworkRecord
from .quantities import Quantity

SCHEMA = "mulligan/seen/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A name proposed for a feature, and how well it predicts the feature on examples held out.

    Attributes:
        overseer: who proposed it ("vocabulary", "llm:MODEL", "person:NAME"). author, date: of a person's label.
        auc: does the label predict activation, held-out examples. twin: the same for labels shuffled among features.
        agreement: of people who judged a calibrated sample of this overseer's labels.
    """

    text: str
    overseer: str
    auc: Quantity | None = None
    twin: Quantity | None = None
    agreement: Quantity | None = None
    author: str | None = None
    date: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCard:
    """One feature: how it looks, when it fires, what it is called.

    Attributes:
        feature: its alias ("blocks.5:12"), or "class NAME" for an output. meaning: precisely what its site is.
        top, bottom: the strongest and the weakest examples. levels: examples over the whole range, strongest first.
        classes: over which classes the strongest examples spread: name and count, commonest first.
        chance: for each of `classes`, how many as many examples hold that are drawn at random, with the range of 95 %
            of draws. strongest: how many examples were counted.
        duplicates: near-duplicates that were left out among the strongest.
        heat: the values that the first and the last of `HEAT_COLOURS` stand for in the card's heat maps.
    """

    feature: str
    meaning: str = ""
    portraits: tuple[Portrait, ...] = ()
    top: tuple[Sighting, ...] = ()
    bottom: tuple[Sighting, ...] = ()
    levels: tuple[Sighting, ...] = ()
    classes: tuple[tuple[str, int], ...] = ()
    chance: tuple[Quantity, ...] = ()
    strongest: int = 0
    duplicates: int = 0
    heat: tuple[float, float] | None = None
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What could not be done, and why, while the rest of the job went on."""

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """RUN/seen.json."""

    schema: str = SCHEMA
    mulligan: str = ""
    created: str = ""
    seconds: float = 0.0
    seed: int = 0
    network: NetworkRecord
    data: DataRecord | None = None
    cards: tuple[FeatureCard, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
