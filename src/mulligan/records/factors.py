"""What `mulligan see factors` stores: a handful of parts that activations fall into, and what each does.

RUN/factors.json holds one `Factored`. Its figures are descriptions beside their controls, never findings.
"""

from __future__ import annotations

from dataclasses import dataclass

from .examples import ExampleRef, Portrait, Sighting
from .findings import DataRecord, NetworkRecord
from .quantities import Quantity
from .seeing import LeftOut

SCHEMA = "mulligan/factors/1"
#: A factor's colour by its rank: Okabe & Ito's (2008), which people who do not tell red from green tell apart, then
#: Tol's muted ones (2021). Numbers and hatching say the same again.
FACTOR_COLOURS = (
    "#e69f00", "#0072b2", "#009e73", "#cc79a7", "#f0e442", "#56b4e9",
    "#d55e00", "#332288", "#882255", "#999933", "#44aa99", "#999999",
)  # fmt: skip
#: Its hatching: lines that rise, fall, lie, stand, cross; dots.
FACTOR_HATCHES = ("rising", "falling", "level", "upright", "crossed", "dotted")


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorEffect:
    """What a factor does to an output.

    Attributes:
        output: the class, or "each example's own answer".
        attribution: its share of the logit by integrated gradients from zero activation, in logits.
        taken_out: change of the logit when the factor's part is taken from the activation, measured.
        control: the same with as much along the same direction, its units shuffled.
        confirmed: whether taking it out moves the logit against the attribution's sign, with an interval that excludes
            zero, and by more than the control does in either sense; None where it was measured once.
    """

    output: str
    attribution: Quantity
    taken_out: Quantity
    control: Quantity
    confirmed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassEffect:
    """A class whose logit falls most when a factor is taken out of the examples that hold most of it.

    Chosen on one half of these examples, measured on the other. `control`: the same with the direction's units
    shuffled.
    """

    name: str
    change: Quantity
    control: Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorCard:
    """One factor: what it is, where it is, how strong, why it mattered.

    Attributes:
        number: from 1, the one that explains most first. colour, hatch: how it is drawn.
        feature: its alias as a latent of the run's dictionary ("blocks.5@factors-1a2b3c4d:0").
        share: of the squared activation, that it explains on held-out activations. twin, shuffled: the factor of the
            same rank, on a random-weight twin and on activations whose units were shuffled.
        size: length of its part of the activation, mean over all places. largest: at one place of one example.
        units: the units with the largest weights of its direction (of length 1), largest first.
        portrait: the picture optimized for its direction; what it and examples reach is the mean over places of the
            activation at the site itself along the direction, after a nonlinearity that the site is the output of.
        strongest: the examples that hold most of it at one place.
        effect: on the output, over examples of the data. here: on the one picture that was asked about.
        classes: for which classes it speaks.
    """

    number: int
    colour: str
    hatch: str
    feature: str
    share: Quantity
    twin: Quantity | None = None
    shuffled: Quantity | None = None
    size: Quantity | None = None
    largest: float | None = None
    units: tuple[tuple[int, float], ...] = ()
    portrait: Portrait | None = None
    strongest: tuple[Sighting, ...] = ()
    effect: FactorEffect | None = None
    here: FactorEffect | None = None
    classes: tuple[ClassEffect, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FactoredPicture:
    """One picture under its factors' colours.

    Attributes:
        example: what it is; its image is the plain picture. overlay: path of the coloured one.
        shares: how much of its activation each factor explains, in the order of the cards, and the rest last.
        alone: for each factor, the path of the picture with its places alone lit.
    """

    example: ExampleRef
    overlay: str
    shares: tuple[float, ...] = ()
    alone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ElbowCurve:
    """What 1, 2, 3... factors explain of held-out activations. suggested: where the curve bends; None: it hardly
    does.
    """

    counts: tuple[int, ...]
    explained: tuple[float, ...]
    suggested: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Factored:
    """RUN/factors.json.

    Attributes:
        site, meaning: where, and precisely what that is. grid: rows and columns of its places.
        kind: "nmf" or "pca". negatives: what was done with negative activations: "none" (there were none), "clip",
            "two-sided"; of "pca", "none". lost: the share of the squared activation that clipping took from the fit.
        activations, examples: how many were factored, of how many examples. of_one: whether of one picture alone.
        scanned: over how many examples sizes, the strongest examples and classes were looked for.
        explained: share of the squared activation that all factors together explain; twin, shuffled: as in the cards.
        output: whose logit the effects are on.
        pictures: the picture that was asked about first, then examples that hold much of each factor.
        dictionary: path of the factors as a dictionary.
    """

    schema: str = SCHEMA
    mulligan: str = ""
    created: str = ""
    seconds: float = 0.0
    seed: int = 0
    network: NetworkRecord
    data: DataRecord
    site: str
    meaning: str = ""
    grid: tuple[int, int]
    kind: str
    negatives: str
    lost: float = 0.0
    activations: int
    examples: int
    of_one: bool = False
    scanned: int
    explained: Quantity
    twin: Quantity | None = None
    shuffled: Quantity | None = None
    elbow: ElbowCurve | None = None
    output: str
    cards: tuple[FactorCard, ...] = ()
    pictures: tuple[FactoredPicture, ...] = ()
    dictionary: str = ""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
