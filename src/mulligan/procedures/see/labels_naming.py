"""Names for the units of one site: what is proposed for each, and how it scores on held-out examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from ...activations import stratified, top
from ...datasets import Dataset
from ...evidence import holm
from ...features import dead_units
from ...features.labels import Evidence, Overseer, OverseerFailed, PersonLabel, Scored, false_discoveries, score
from ...features.labels.person import current
from ...networks import Network
from ...records import Advanced, Emit, Finished, LeftOut, Site, Started, silent
from ...runs import Engine, Run, generator

#: Held-out examples that a costly overseer judges for each unit: strongest, over the range, random.
_JUDGED = (10, 10, 20)
#: Labels of other units that stand in the shuffled twin, at most.
_SHUFFLED = 64


@dataclass(frozen=True, kw_only=True)
class Material:
    """What names are made of: a site's units on examples in two parts. Rows are of `dataset`."""

    network: Network
    dataset: Dataset
    site: Site
    units: Int[np.ndarray, " units"]
    search: Int[np.ndarray, " n"]
    test: Int[np.ndarray, " m"]
    seed: int
    run: Run
    engine: Engine | None = None
    emit: Emit = silent
    batch: int | None = None

    def alias(self, unit: int) -> str:
        """The unit as people write it."""
        return f"{self.site.alias}:{unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A label of one unit.

    Attributes:
        unit: its number at the site. at: where it stands among the units named. text, proposed: the label, and how well
            it did where it was proposed. judged: on the held-out examples, NaN where not. scored: None where it fits
            too few examples, or nobody could judge it. person: who gave it, if a person did.
        shuffled_p, twins_p, beats: adjusted p-values against both controls, and the verdict; None: not measured.
    """

    unit: int
    at: int
    text: str
    overseer: str
    judged: Float[np.ndarray, " m"]
    proposed: float | None = None
    scored: Scored | None = None
    person: PersonLabel | None = None
    shuffled_p: float | None = None
    twins_p: float | None = None
    beats: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """The labels of a site's units, what was left out, and units for which nothing was proposed."""

    labels: tuple[Named, ...]
    left_out: tuple[LeftOut, ...] = ()
    nameless: tuple[int, ...] = ()


def name_units(
    material: Material,
    values: Float[np.ndarray, "n units"],
    proposer: Overseer | None,
    judge: Overseer | None,
    people: Sequence[PersonLabel] = (),
) -> Naming:
    """Propose a label for each unit and score it; people's labels are scored beside it.

    Args:
        values: the activation of every example (rows of the data) and unit named.
        proposer: None: only people's labels are scored. judge: who says whether a person's label fits.
    """
    job = f"names of {material.site.alias}"
    given = current(people, material.network.identity)
    dead = {int(at) for at in dead_units(values)}
    labels: list[Named] = []
    left_out: list[LeftOut] = []
    nameless: list[int] = []
    material.emit(Started(job=job, total=len(material.units)))
    for at, unit in enumerate(material.units.tolist()):
        mine = values[:, at]
        if at in dead or not np.isfinite(mine).all():
            why = "it has one value on all examples" if at in dead else "its activation is not finite on some examples"
            left_out.append(LeftOut(what=material.alias(unit), why=f"{why}: there is nothing to name"))
            continue
        try:
            found = _proposed(material, unit, at, mine, proposer)
            labels += found
            if not found:
                nameless.append(unit)
        except OverseerFailed as error:
            left_out.append(LeftOut(what=material.alias(unit), why=str(error)))
        for label in given.get(material.alias(unit), []):
            try:
                judged = _judged(material, judge, label.text, mine)
            except OverseerFailed as error:
                left_out.append(LeftOut(what=f"score of {label.author}'s {material.alias(unit)}", why=str(error)))
                judged = np.full(len(material.test), np.nan)
            labels.append(
                Named(unit=unit, at=at, text=label.text, overseer=f"person:{label.author}", judged=judged, person=label)
            )
        material.emit(Advanced(job=job, done=at + 1, total=len(material.units)))
    labels, failures = _scored(material, values, labels, proposer)
    material.emit(Finished(job=job, seconds=0.0))
    return Naming(labels=tuple(labels), left_out=(*left_out, *failures), nameless=tuple(nameless))


def _proposed(material: Material, unit: int, at: int, values: np.ndarray, proposer: Overseer | None) -> list[Named]:
    if proposer is None:
        return []
    evidence = Evidence(material.alias(unit), material.search, values[material.search], material.seed)
    candidates = proposer.propose(evidence)
    if not candidates:
        return []
    best = candidates[0]
    judged = _judged(material, proposer, best.text, values)
    return [Named(unit=unit, at=at, text=best.text, overseer=proposer.name, judged=judged, proposed=best.score)]


def _judged(material: Material, judge: Overseer | None, text: str, values: np.ndarray) -> np.ndarray:
    """What an overseer says of held-out examples: of all, or where that costs, of some chosen for this unit."""
    if judge is None:
        return np.full(len(material.test), np.nan)
    if judge.judges_all:
        return judge.judge(text, material.test)
    found = np.full(len(material.test), np.nan)
    chosen = _chosen(values[material.test], material.seed)
    found[chosen] = judge.judge(text, material.test[chosen])
    return found


def _chosen(values: np.ndarray, seed: int) -> np.ndarray:
    strong, levels, random = _JUDGED
    if len(values) <= sum(_JUDGED):
        return np.arange(len(values))
    rng = generator(seed, "judged examples")
    rows = [top(values, strong), stratified(values, levels, rng), rng.permutation(len(values))[:random]]
    return np.unique(np.concatenate(rows))


def _scored(
    material: Material, values: np.ndarray, labels: Sequence[Named], proposer: Overseer | None
) -> tuple[list[Named], list[LeftOut]]:
    """Each label with its score, beside labels of other units on the same examples."""
    scored: list[Named] = []
    left_out: list[LeftOut] = []
    own = [label for label in labels if label.person is None]
    for label in labels:
        rest = [other for other in own if other.unit != label.unit and other.text != label.text]
        order = generator(material.seed, "shuffled labels", label.unit, label.text).permutation(len(rest))
        rest = [rest[k] for k in order[:_SHUFFLED]]
        if proposer is not None and not proposer.judges_all and rest:
            # Another unit's label, judged on this unit's examples, is a question more.
            try:
                others = [_judged(material, proposer, rest[0].text, values[:, label.at])]
            except OverseerFailed as error:
                others = []
                left_out.append(LeftOut(what=f"shuffled label of {material.alias(label.unit)}", why=str(error)))
        else:
            others = list({other.text: other.judged for other in rest}.values())
        found = score(values[material.test, label.at], label.judged, others, material.seed)
        scored.append(replace(label, scored=found))
    return scored, left_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """What random-weight twins reach.

    Attributes:
        best: for each twin, the largest area of its units for each label. named: figures of labels of units of a twin,
            named in the same way.
        p: for each label of a vocabulary, as `against_twins` gives it; None where another overseer proposes.
    """

    best: Float[np.ndarray, "twins labels"]
    named: Float[np.ndarray, " units"]
    p: Float[np.ndarray, " labels"] | None = None


def settle_on(naming: Naming, twins: Twins | None, rate: float) -> Naming:
    """Which labels beat both controls.

    Shuffled labels: by Holm over the units. Twins: by Benjamini & Hochberg over the units where the vocabulary
    proposed; a label in free words was made for its unit as no twin's was, and must beat the best unit of every twin.
    """
    able = [k for k, label in enumerate(naming.labels) if label.scored is not None]
    labels = list(naming.labels)
    # A person's label stands by itself: it takes no part in the search over units, and is shown whatever it scores.
    searched = [k for k in able if labels[k].person is None]
    shuffled = dict(zip(searched, holm([_p(labels[k]) for k in searched]), strict=True))
    away: dict[int, float] = {}
    if twins is not None and twins.p is not None:
        away = dict(zip(searched, false_discoveries(twins.p[searched]).tolist(), strict=True))
    for k in able:
        p = shuffled.get(k, _p(labels[k]))
        if k in away:
            above = away[k] <= rate
        else:
            area = labels[k].scored.auc.value  # type: ignore[union-attr]
            above = twins is None or not bool((twins.best[:, k] >= area).any())
        labels[k] = replace(labels[k], shuffled_p=p, twins_p=away.get(k), beats=p <= rate and above)
    return replace(naming, labels=tuple(labels))


def _p(label: Named) -> float:
    assert label.scored is not None
    return label.scored.p
