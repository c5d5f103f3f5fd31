"""What `mulligan see` stores: cards of features, with pictures that were optimized and examples from the data.

RUN/seen.json holds one `Seen`. Its figures are descriptions beside their controls, never findings.
"""

from __future__ import annotations

from dataclasses import dataclass

from .descriptions import ExampleRef
from .findings import DataRecord, NetworkRecord
from .quantities import Quantity

SCHEMA = "mulligan/seen/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Portrait:
    """One picture that was optimized for a feature.

    Attributes:
        objective: what it was asked to do, as text ("blocks.5:12", "-blocks.5:12", "blocks.5:12 + 2 * blocks.5:40").
        image: path of the picture inside the run's folder. alpha: of its mask of importance, if it has one.
        reached: the objective's value on exactly the stored 8-bit pixels, before the nonlinearity, without augmentation.
        best: the largest value among real examples; best_example: its id. examples: how many were looked at.
        twin: what the same budget reaches on a random-weight twin, in the twin's own units.
        twin_best: the largest value of the same examples on the twin.
        natural: how far the picture excites the feature by the ways that photographs do, from 0 to 1; None: not asked.
        steps: optimization steps that it took.
        marks: what a reader must know ("fires less than real examples").
    """

    objective: str
    image: str
    reached: float
    steps: int
    alpha: str | None = None
    best: float | None = None
    best_example: str | None = None
    examples: int = 0
    twin: float | None = None
    twin_best: float | None = None
    natural: Quantity | None = None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One example in which a feature was seen.

    Attributes:
        example: what it is; its image is the whole picture.
        peak: row and column (or the position of a text) where the activation is largest, in the site's own grid.
        box: [left, top, right, bottom) in pixels of the network's input: what the feature can see from there.
        crop, heat: paths of the outlined region and of the heat map.
    """

    example: ExampleRef
    peak: tuple[int, ...] = ()
    box: tuple[int, int, int, int] | None = None
    crop: str | None = None
    heat: str | None = None


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
        duplicates: near-duplicates that were left out among the strongest.
    """

    feature: str
    meaning: str = ""
    portraits: tuple[Portrait, ...] = ()
    top: tuple[Sighting, ...] = ()
    bottom: tuple[Sighting, ...] = ()
    levels: tuple[Sighting, ...] = ()
    classes: tuple[tuple[str, int], ...] = ()
    duplicates: int = 0
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
