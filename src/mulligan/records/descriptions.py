"""What an audit describes, beyond its findings: behaviour, an inventory of units, cards for outputs, coverage.

Descriptions carry intervals and stand beside the same figures on a random-weight twin; they are never findings.
RUN/description.json holds one `Description`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .examples import ExampleRef, Portrait, Sighting
from .quantities import Quantity

SCHEMA = "mulligan/description/1"

Task = Literal["classification", "language", "embedding", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassBehaviour:
    """How one class is answered. `confused_with`: the commonest wrong answers and their counts."""

    name: str
    n: int
    recall: Quantity
    answered: int
    confused_with: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Answers whose confidence lies in [low, high): mean confidence against the share that is right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What the network answers on the data.

    Attributes:
        figures: named figures (accuracy, top-5 accuracy, loss, calibration error...), each with its interval.
        twin: the same figures on a random-weight twin.
        preparation: how an input is made ready, step by step, as the network's own input spec says.
    """

    task: Task
    n: int
    figures: dict[str, Quantity]
    twin: dict[str, Quantity]
    preparation: tuple[str, ...]
    classes: tuple[ClassBehaviour, ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    errors: tuple[ExampleRef, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """How a unit drives an output (or an output is driven by a unit).

    Attributes:
        site, unit: the unit. output: the class or token.
        attribution: mean activation times gradient, the ranking's score.
        ablation: change of the output's logit when the unit is set to its mean, measured; None where the budget did
            not buy it.
        control: the same for a unit drawn at random at the same site.
        confirmed: the ablation moves the logit against the attribution's sign, and by more than the control does, with
            intervals that exclude zero; None where not measured.
    """

    site: str
    unit: int
    output: str
    attribution: Quantity
    ablation: Quantity | None = None
    control: Quantity | None = None
    confirmed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCard:
    """One unit: how strongly it answers, to what, and what it drives.

    Attributes:
        sightings: the examples of `top` in which the region that excites the unit was looked for, in that order.
        portrait: a picture optimized for the unit, where the budget bought one.
    """

    unit: int
    mean: float
    low: float
    high: float
    active: Quantity
    selectivity: Quantity | None = None
    selective_for: str | None = None
    top: tuple[ExampleRef, ...] = ()
    stratified: tuple[ExampleRef, ...] = ()
    drives: tuple[Drive, ...] = ()
    sightings: tuple[Sighting, ...] = ()
    portrait: Portrait | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteInventory:
    """The units of one site.

    Attributes:
        meaning: what the site is, precisely (before or after a norm, which stream).
        dead: units that never leave one value on this data. saturated: units at one bound nearly always.
        duplicates: pairs of units whose activations are nearly the same, with their correlation.
        selectivity: the median over units; twin: the same on a random-weight twin.
        cards: the units that are shown; the rest are in tables/units.parquet.
    """

    site: str
    meaning: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    pool: str
    n: int
    units: int
    dead: tuple[int, ...]
    saturated: tuple[int, ...]
    duplicates: tuple[tuple[int, int, float], ...]
    selectivity: Quantity | None
    twin: Quantity | None
    twin_dead: int | None
    cards: tuple[UnitCard, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCard:
    """What drives one output: a class card (vision) or a token card (language).

    Attributes:
        sightings: the examples of `examples` in which the region that drives the output was looked for.
        portrait: a picture optimized for the output's logit, where the budget bought one.
    """

    output: str
    n: int
    figure: Quantity | None
    drives: tuple[Drive, ...]
    examples: tuple[ExampleRef, ...] = ()
    confused_with: tuple[tuple[str, int], ...] = ()
    sightings: tuple[Sighting, ...] = ()
    portrait: Portrait | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageLine:
    """How much of something was looked at, and why not the rest."""

    what: str
    examined: int
    total: int | None
    unit: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Illusion:
    """A behaviour on inputs that nobody would meet, too weak to be a defect: described, no part of the verdict."""

    kind: str
    sentence: str
    effect: Quantity
    placebo: Quantity | None
    margin: Quantity | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """RUN/description.json: what the report shows beside the findings."""

    title: str
    behaviour: Behaviour | None
    inventory: tuple[SiteInventory, ...] = ()
    cards: tuple[OutputCard, ...] = ()
    illusions: tuple[Illusion, ...] = ()
    coverage: tuple[CoverageLine, ...] = ()
    figures: dict[str, Any] | None = None
    schema: str = SCHEMA
