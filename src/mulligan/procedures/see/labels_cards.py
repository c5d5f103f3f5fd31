"""From names and scores to what a run stores: cards, figures of all units together, a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from ...activations import stratified, top
from ...datasets import Dataset
from ...evidence import bootstrap, fraction
from ...networks import ImageInput, Network, TokenInput
from ...records import ExampleRef, FeatureCard, Label, Quantity, Sighting
from ...records.seeing import NO_LABEL
from ...runs import Run, generator
from ...visualization.examples import around, names_of
from ...visualization.heat import encoded, is_photograph, small
from .labels_naming import Material, Named, Naming, Twins

TABLE = "tables/labels.parquet"
_SHOWN = 6


class Drawing:
    """Examples as a reader sees them; each picture is written once."""

    def __init__(self, network: Network, dataset: Dataset, run: Run) -> None:
        self.network, self.dataset, self.run = network, dataset, run
        self._names = names_of(network, dataset)
        self._drawn: dict[int, str] = {}

    def show(self, row: int, activation: float, peak: int | None) -> Sighting:
        """One example; `peak`: the token of a text where the unit is strongest."""
        dataset = self.dataset
        label = int(dataset.labels[row]) if dataset.labels is not None else -1
        words: Mapping = {}
        taken = self.network.input
        if isinstance(taken, TokenInput):
            ids, mask = taken.encode([str(dataset.raw(row))])
            tokens = taken.tokens(ids[0][mask[0].bool()])
            at = min(peak or 0, max(len(tokens) - 1, 0))
            words = around(tokens, [activation if k == at else 0.0 for k in range(len(tokens))], at)
        example = ExampleRef(
            id=dataset.ids[row], label=self._names[label] if label >= 0 else None, activation=activation,
            image=self._picture(row), **words,
        )  # fmt: skip
        return Sighting(example=example, peak=() if peak is None else (peak,))

    def _picture(self, row: int) -> str | None:
        taken = self.network.input
        if not isinstance(taken, ImageInput):
            return None
        if row not in self._drawn:
            pixels = taken.crop(self.dataset.raw(row))  # type: ignore[arg-type]
            data, suffix = encoded(small(pixels), photograph=is_photograph(pixels))
            name = f"artifacts/examples/{self.dataset.ids[row]}{suffix}"
            self.run.write_bytes(name, data)
            self._drawn[row] = name
        return self._drawn[row]


def cards_of(
    material: Material,
    naming: Naming,
    values: Float[np.ndarray, "n units"],
    peaks: Int[np.ndarray, "n units"] | None,
    drawing: Drawing,
    twins: Twins | None,
) -> tuple[FeatureCard, ...]:
    """A card for each unit that could be looked at: its labels, people's first, and its held-out examples."""
    meaning = material.network.meaning(material.site)
    random = {k: _of_twins(twins, k) for k in range(len(naming.labels))}
    by_unit: dict[int, list[tuple[int, Named]]] = {}
    for number, label in enumerate(naming.labels):
        by_unit.setdefault(label.unit, []).append((number, label))
    cards = []
    for unit in material.units.tolist():
        labels = sorted(by_unit.get(unit, []), key=lambda item: item[1].person is None)
        if not labels and unit not in naming.nameless:
            continue  # left out, with its reason
        mine = values[material.test, unit]
        strong = top(mine, _SHOWN)
        levels = stratified(mine, _SHOWN, generator(material.seed, "shown levels", unit))

        def shown(rows: np.ndarray, unit: int = unit, mine: np.ndarray = mine) -> tuple[Sighting, ...]:
            return tuple(
                drawing.show(
                    int(material.test[at]), float(mine[at]),
                    None if peaks is None else int(peaks[material.test[at], unit]),
                )
                for at in rows
            )  # fmt: skip

        cards.append(
            FeatureCard(
                feature=material.alias(unit),
                meaning=meaning,
                labels=tuple(_label(label, random[number]) for number, label in labels) or (_nothing(),),
                top=shown(strong),
                levels=shown(levels),
            )
        )
    return tuple(cards)


def _nothing() -> Label:
    return Label(text=NO_LABEL, overseer="", note="The overseer proposed none.")


def _label(named: Named, random: Quantity | None) -> Label:
    scored, person = named.scored, named.person
    note = person.note if person is not None else None
    # A person's label is shown whatever it scores; an overseer's only if it beats both controls.
    hidden = person is None and not named.beats
    if scored is None:
        why = "It fits too few of the held-out examples, or nobody could say which, to be scored."
        return Label(
            text=NO_LABEL if hidden else named.text, overseer=named.overseer,
            author=person.author if person else None, date=person.date.isoformat() if person else None,
            note=f"{note} {why}" if note else why,
        )  # fmt: skip
    if person is not None and named.beats is False:
        note = f"{note} " if note else ""
        note += "By the score it does not beat chance; a person's label stands all the same."
    p = max(value for value in (named.shuffled_p, named.twins_p, 0.0) if value is not None)
    return Label(
        text=NO_LABEL if hidden else named.text, overseer=named.overseer, auc=scored.auc, twin=scored.shuffled,
        random=random, explained=scored.explained, strong=scored.strong, ordinary=scored.ordinary, p=p,
        beats=named.beats, author=person.author if person else None,
        date=person.date.isoformat() if person else None, note=note,
    )  # fmt: skip


def _of_twins(twins: Twins | None, label: int) -> Quantity | None:
    """What the best unit of a random-weight twin reaches for a label: the mean of twins, with their range."""
    if twins is None:
        return None
    found = twins.best[:, label]
    if not np.isfinite(found).all():
        return None
    return Quantity(
        value=float(found.mean()), unit="AUC of the best unit of a random-weight twin (mean of twins, their range)",
        low=float(found.min()), high=float(found.max()), n=len(found),
    )  # fmt: skip


def figures_of(
    material: Material, naming: Naming, twins: Twins | None, reported: Int[np.ndarray, " k"], seed: int
) -> dict[str, Quantity]:
    """Figures of all units together; those on which a choice was made have no part in them."""
    units = set(reported.tolist())
    own = [label for label in naming.labels if label.person is None and label.unit in units]
    scored = [label.scored for label in own if label.scored is not None]
    asked = len({label.unit for label in own} | (set(naming.nameless) & units))
    figures: dict[str, Quantity] = {}
    if asked:
        figures["units with a label that beats chance"] = fraction(
            sum(bool(label.beats) for label in own), asked, "fraction of units"
        )
    figures |= _median("labels proposed", [s.auc.value for s in scored], seed)
    figures |= _median("labels shuffled among units", [s.shuffled.value for s in scored if s.shuffled], seed)
    if twins is not None:
        figures |= _median("labels of random-weight twins' units, named in the same way", twins.named.tolist(), seed)
    return figures


def _median(name: str, values: Sequence[float], seed: int) -> dict[str, Quantity]:
    if not values:
        return {}
    rng = generator(seed, "figures of labels", name)
    unit = "AUC on held-out examples, median over units"
    return {name: bootstrap(np.array(values), unit, lambda v: float(np.median(v)), rng, repeats=300)}


def write_table(run: Run, material: Material, naming: Naming) -> None:
    """What was measured of each label, shown or not."""
    rows = [
        {
            "feature": material.alias(label.unit), "label": label.text, "overseer": label.overseer,
            "proposed": label.proposed, "auc": label.scored.auc.value if label.scored else None,
            "low": label.scored.auc.low if label.scored else None,
            "high": label.scored.auc.high if label.scored else None,
            "explained": label.scored.explained.value if label.scored else None,
            "fitting": label.scored.fitting if label.scored else None,
            "others": label.scored.others if label.scored else None,
            "shuffled": label.scored.shuffled.value if label.scored and label.scored.shuffled else None,
            "p_shuffled": label.shuffled_p, "p_twins": label.twins_p, "beats": label.beats,
        }
        for label in naming.labels
    ]  # fmt: skip
    names = ("feature", "label", "overseer", "proposed", "auc", "low", "high", "explained", "fitting", "others",
             "shuffled", "p_shuffled", "p_twins", "beats")  # fmt: skip
    run.write_table(TABLE, {name: [row[name] for row in rows] for name in names})
