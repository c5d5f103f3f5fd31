"""What `mulligan see` stores: cards of features, with pictures that were optimized and examples from the data.

RUN/seen.json holds one `Seen`. Its figures are descriptions beside their controls, never findings.
"""

from __future__ import annotations

from dataclasses import dataclass

from .examples import Portrait, Sighting
from .findings import DataRecord, NetworkRecord
from .quantities import Quantity

SCHEMA = "mulligan/seen/1"
#: What is shown in a label's place where no label proposed predicts the feature better than chance.
NO_LABEL = "no label that beats chance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A name proposed for a feature, and how well it predicts the feature on examples held out.

    Attributes:
        text: the name; where none beats chance, `NO_LABEL`.
        overseer: who proposed it ("vocabulary", "llm:MODEL", "person:NAME"). author, date: of a person's label.
        auc: does the feature answer more strongly to held-out examples that the label fits than to others. twin: the
            same for labels shuffled among features. random: the same label on the best unit of a random-weight twin.
        explained: share of the variance of activation that the label explains, on strong and random held-out examples.
        strong, ordinary: which share of the strongest, and of as many random, held-out examples the label fits.
        p: the larger of the adjusted p-values against the shuffled labels and against the random twins.
        beats: whether the label beats both; None where that was not measured.
        agreement: of people who judged a calibrated sample of this overseer's labels. judged: what people said of this
            one, from 0 (wrong) to 1 (right).
        note: what its author, or the scoring, adds.
    """

    text: str
    overseer: str
    auc: Quantity | None = None
    twin: Quantity | None = None
    agreement: Quantity | None = None
    author: str | None = None
    date: str | None = None
    random: Quantity | None = None
    explained: Quantity | None = None
    strong: Quantity | None = None
    ordinary: Quantity | None = None
    p: float | None = None
    beats: bool | None = None
    judged: float | None = None
    note: str | None = None


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
    """RUN/seen.json. `figures`: named figures of the whole job, each with its interval."""

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
    figures: dict[str, Quantity] | None = None
