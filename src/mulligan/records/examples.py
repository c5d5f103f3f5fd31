"""What is shown of a feature: examples from the data, where in them it was seen, pictures optimized for it."""

from __future__ import annotations

from dataclasses import dataclass

from .quantities import Quantity

#: Colours of heat maps, from the lowest value to the highest, evenly spaced: cividis (Nuñez, Anderton & Renslow 2018),
#: whose lightness rises evenly, and which looks nearly the same to people who do not tell red from green.
HEAT_COLOURS = (
    "#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleRef:
    """One example shown to a reader.

    Attributes:
        id: the example's lasting id. label: its class, where known. answer: what the network answers.
        activation: the activation that made it be shown; None where it is shown for another reason.
        image: path of a small picture inside the run's folder; None for text.
        tokens, weights: for text, the tokens shown and the activation at each (same length).
    """

    id: str
    label: str | None = None
    answer: str | None = None
    activation: float | None = None
    image: str | None = None
    tokens: tuple[str, ...] | None = None
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Portrait:
    """One picture that was optimized for a feature.

    Attributes:
        objective: what it was asked to do, as text ("blocks.5:12", "-blocks.5:12", "blocks.5:12 + 2 * blocks.5:40").
        image: path of the picture inside the run's folder. alpha: of its mask of importance, if it has one.
        reached: the objective's value on exactly the stored 8-bit pixels, before the nonlinearity, without
            augmentation.
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
