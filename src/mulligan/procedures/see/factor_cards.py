"""From what the pieces found to cards: figures beside their controls, and the pictures that go with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ...datasets import Dataset
from ...evidence import mean
from ...features import Dictionary, Factors
from ...networks import Network
from ...records import (
    FACTOR_COLOURS,
    FACTOR_HATCHES,
    ClassEffect,
    ExampleRef,
    FactorCard,
    FactoredPicture,
    FactorEffect,
    Portrait,
    Quantity,
    Sighting,
)
from ...runs import Result, Run
from ...visualization.examples import names_of
from ...visualization.heat import Pixels, encoded, is_photograph, small
from .factor_drawing import alone, overlay
from .factor_work import Grid

UNITS = 6  # of a direction, that a card names
SIGHTINGS = 4  # of the strongest examples, that a card shows
CLASSES = 3
_TO_FIRST = "logits, by integrated gradients from zero"
_CHANGE = "change of the logit"
_SIZE = "length of its part of the activation, mean over places"

Place = Callable[[Factors, Dataset, list[int]], Result]


@dataclass
class Shown:
    """What cards are made from, and where pictures go; each example's own picture is written once.

    Attributes:
        rows: the examples that were looked through, by number. scanned: what was found in each.
    """

    network: Network
    dataset: Dataset
    run: Run
    grid: Grid
    factors: Factors
    rows: np.ndarray
    scanned: Mapping[str, np.ndarray]
    named: Dictionary
    _kept: dict[str, str] = field(default_factory=dict)

    @property
    def dictionary(self) -> str:
        """Path of the dictionary in the run."""
        return f"dictionaries/{self.named.name}.safetensors"

    @property
    def colours(self) -> list[str]:
        """One a factor."""
        return list(FACTOR_COLOURS[: len(self.factors)])

    @property
    def hatches(self) -> list[str]:
        """One a factor."""
        return [FACTOR_HATCHES[k % len(FACTOR_HATCHES)] for k in range(len(self.factors))]

    def strongest(self, factor: int, most: int) -> np.ndarray:
        """Which of the scanned examples hold most of a factor at one place, most first."""
        return np.argsort(-self.scanned["largest"][:, factor], kind="stable")[:most]

    def pixels(self, dataset: Dataset, row: int) -> Pixels:
        """What the network sees of an example."""
        return self.network.input.crop(dataset.raw(row))  # type: ignore[union-attr, arg-type]

    def keep(self, name: str, image: Image.Image, pixels: Pixels) -> str:
        """Write a picture into the run; returns its path."""
        if name not in self._kept:
            data, suffix = encoded(image, photograph=is_photograph(pixels))
            self.run.write_bytes(name + suffix, data)
            self._kept[name] = name + suffix
        return self._kept[name]

    def example(self, dataset: Dataset, row: int, answer: int, activation: float | None = None) -> ExampleRef:
        """One example with its plain picture."""
        pixels, names, classes = self.pixels(dataset, row), names_of(self.network, dataset), self.network.classes
        label = int(dataset.labels[row]) if dataset.labels is not None else -1
        return ExampleRef(
            id=dataset.ids[row],
            label=names[label] if label >= 0 else None,
            answer=classes[answer] if classes else None,
            activation=activation,
            image=self.keep(f"artifacts/examples/{dataset.ids[row]}", small(pixels), pixels),
        )


def make_cards(
    shown: Shown,
    fitted: Mapping[str, Any],
    controls: Mapping[str, Any],
    effect: Mapping[str, np.ndarray] | None,
    here: Mapping[str, np.ndarray] | None,
    spoken: Sequence[Result],
    drawn: Mapping[str, Result],
    means: Mapping[str, np.ndarray | None],
    output: str,
    place: Place,
) -> tuple[FactorCard, ...]:
    """A card a factor.

    Args:
        fitted: what the fit quotes; controls: the same of the twin and of shuffled units, where they are there.
        effect, here: attribution, edit and control, [examples, factor], over the data and on the one picture.
        spoken: changes of all logits, a factor. drawn: pictures on the network and its twin.
        means: mean activations of examples, on the network and its twin.
    """
    cards = []
    for k, direction in enumerate(shown.factors.directions):
        rows = shown.strongest(k, SIGHTINGS)
        order = np.argsort(-np.abs(direction), kind="stable")[:UNITS]
        cards.append(
            FactorCard(
                number=k + 1,
                colour=shown.colours[k],
                hatch=shown.hatches[k],
                feature=shown.named.feature(k).alias,
                share=quoted(fitted, k),  # type: ignore[arg-type]
                twin=quoted(controls["twin"], k),
                shuffled=quoted(controls["shuffled"], k),
                size=mean(shown.scanned["mean"][:, k], _SIZE),
                largest=float(shown.scanned["largest"][:, k].max()),
                units=tuple((int(u), float(direction[u])) for u in order if direction[u] != 0),
                portrait=_portrait(shown, k, drawn, means),
                strongest=_sightings(shown, k, rows, place),
                effect=_effect(effect, k, output) if effect is not None else None,
                here=_effect(here, k, output) if here is not None else None,
                classes=_classes(spoken[k], shown.network.classes or ()) if spoken else (),
            )
        )
    return tuple(cards)


def quoted(told: Mapping[str, Any] | None, factor: int) -> Quantity | None:
    """The share of one factor that a fit quotes."""
    if told is None:
        return None
    value, low, high, n = told["quoted"][factor + 1]
    return Quantity(value=value, unit=told["unit"], low=low, high=high, n=n)


def _effect(found: Mapping[str, np.ndarray], k: int, output: str) -> FactorEffect:
    attribution = mean(found["attribution"][:, k], _TO_FIRST)
    taken, control = mean(found["taken"][:, k], _CHANGE), mean(found["control"][:, k], _CHANGE)
    confirmed = None
    if taken.n is not None and taken.n > 1:
        # Taking away what pushes the output up must push it down, and move it more than a shuffled direction does in
        # either sense: one that by chance pushes the other way is no support.
        sign = -1.0 if attribution.value > 0 else 1.0
        moved = mean(sign * found["taken"][:, k], _CHANGE)
        beyond = mean(sign * found["taken"][:, k] - np.abs(found["control"][:, k]), _CHANGE)
        confirmed = all(q.low is not None and q.low > 0 for q in (moved, beyond))
    return FactorEffect(output=output, attribution=attribution, taken_out=taken, control=control, confirmed=confirmed)


def _classes(changes: Result, names: Sequence[str]) -> tuple[ClassEffect, ...]:
    """The classes that lose most, beyond a shuffled direction: chosen by every other example, measured on the rest.

    One that does not lose there, its interval's upper end below zero, is left out.
    """
    taken, control = changes.arrays["taken"], changes.arrays["control"]
    if len(taken) < 4:
        return ()
    beyond = (taken - control)[0::2].mean(0)
    order = np.argsort(beyond, kind="stable")[:CLASSES]
    found = [
        ClassEffect(name=names[c], change=mean(taken[1::2, c], _CHANGE), control=mean(control[1::2, c], _CHANGE))
        for c in (int(number) for number in order)
        if beyond[c] < 0
    ]
    return tuple(one for one in found if one.change.high is not None and one.change.high < 0)


def _portrait(
    shown: Shown, k: int, drawn: Mapping[str, Result], means: Mapping[str, np.ndarray | None]
) -> Portrait | None:
    own = drawn.get("own")
    if own is None or str(k) in own.values["failed"]:
        return None
    direction, pixels = shown.factors.directions[k], own.arrays["pixels"][k]
    reading = shown.scanned["reading"][:, k]
    best = int(reading.argmax())
    reached = float(own.arrays["reached"][k])
    twin, others = drawn.get("twin"), means["twin"]
    return Portrait(
        objective=shown.named.feature(k).alias,
        image=shown.keep(f"artifacts/factors/{k + 1}", Image.fromarray(pixels.squeeze()), pixels),
        reached=reached,
        steps=int(own.arrays["steps"][k]),
        best=float(reading[best]),
        best_example=shown.dataset.ids[int(shown.rows[best])],
        examples=len(reading),
        twin=float(twin.arrays["reached"][k]) if twin is not None and str(k) not in twin.values["failed"] else None,
        twin_best=float((others @ direction).max()) if others is not None else None,
        marks=("fires less than real examples",) if reached < float(reading[best]) else (),
    )


def _sightings(shown: Shown, k: int, at: np.ndarray, place: Place) -> tuple[Sighting, ...]:
    rows = shown.rows[at].tolist()
    found = place(shown.factors, shown.dataset, rows)
    most = float(shown.scanned["largest"][:, k].max())
    sightings = []
    for number, (row, index) in enumerate(zip(rows, at.tolist(), strict=True)):
        pixels = shown.pixels(shown.dataset, row)
        sizes = found.arrays["sizes"][number, :, :, k]
        peak = np.unravel_index(int(shown.scanned["peak"][index, k]), sizes.shape)
        example = shown.example(
            shown.dataset, row, int(shown.scanned["answer"][index]), float(shown.scanned["largest"][index, k])
        )
        name = f"artifacts/factors/{k + 1}-{shown.dataset.ids[row]}"
        lit = shown.keep(name, alone(pixels, sizes, most), pixels)
        sightings.append(Sighting(example=example, peak=tuple(int(p) for p in peak), heat=lit))
    return tuple(sightings)


def make_pictures(shown: Shown, picture: Dataset | None, most: int, place: Place) -> tuple[FactoredPicture, ...]:
    """The picture that was asked about, then the example that holds most of each factor, under the factors' colours."""
    pictures = []
    if picture is not None:
        pictures += _pictures(shown, picture, [0], place)
    rows = dict.fromkeys(int(shown.rows[shown.strongest(k, 1)[0]]) for k in range(len(shown.factors)))
    # Where one example holds most of several, the next strongest fill up.
    for depth in range(1, most):
        if len(rows) >= most:
            break
        for k in range(len(shown.factors)):
            at = shown.strongest(k, depth + 1)
            if len(at) > depth:
                rows.setdefault(int(shown.rows[at[depth]]))
    chosen = list(rows)[:most]
    return (*pictures, *(_pictures(shown, shown.dataset, chosen, place) if chosen else ()))


def _pictures(shown: Shown, dataset: Dataset, rows: list[int], place: Place) -> list[FactoredPicture]:
    found = place(shown.factors, dataset, rows)
    pictures = []
    for number, row in enumerate(rows):
        pixels, sizes = shown.pixels(dataset, row), found.arrays["sizes"][number]
        shares = [float(share) for share in found.arrays["shares"][number]]
        # Beside what the data hold at most: half of that is large.
        image = overlay(pixels, sizes, shown.colours, shown.hatches, float(shown.scanned["largest"].max()) / 2)
        name = f"artifacts/factored/{dataset.ids[row]}"
        lit = [
            shown.keep(f"{name}-{k + 1}", alone(pixels, sizes[:, :, k], float(sizes[:, :, k].max())), pixels)
            for k in range(len(shown.factors))
        ]
        pictures.append(
            FactoredPicture(
                example=shown.example(dataset, row, int(found.arrays["answer"][number])),
                overlay=shown.keep(name, image, pixels),
                shares=(*shares, 1 - sum(shares)),
                alone=tuple(lit),
            )
        )
    return pictures
