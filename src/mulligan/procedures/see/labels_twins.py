"""Random-weight twins of a network whose units were named: their units, named and scored in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from ...activations import Plan, record
from ...datasets import batches
from ...evidence import random_twin
from ...features import dead_units
from ...features.labels import Concept, LanguageModel, Vocabulary, against_twins, areas, best_of_units
from ...features.labels.scoring import fits
from ...networks import Network
from ...records import Advanced, Finished, Started
from ...runs import derived_seed
from .labels_naming import Material, Naming, Twins, name_units
from .labels_overseers import Overseers, Probed, judged_by_probes, shower

#: Examples on which a twin's norms are measured anew.
_SETTLED = 256
#: Units of a twin that a costly overseer names, too.
_NAMED = 5
_JOB = "random twins"


@dataclass(frozen=True, slots=True)
class _Found:
    """A twin's units: their areas for every concept, and the concept that each was named by."""

    areas: Float[np.ndarray, "units concepts"]
    chosen: Int[np.ndarray, " units"]

    @property
    def reached(self) -> Float[np.ndarray, " units"]:
        """The area of each unit for its own name."""
        return self.areas[np.arange(len(self.chosen)), self.chosen]


def twins_of(material: Material, naming: Naming, overseers: Overseers, pool: str, count: int) -> Twins:
    """What `count` twins reach: their units are named on the same examples and scored on the same others.

    A vocabulary names all units of all twins; an overseer that costs, a few of the first.
    """
    vocabulary = overseers.vocabulary if overseers.proposer is overseers.vocabulary else None
    none = np.zeros((len(material.test), 0))
    judged = np.stack([label.judged for label in naming.labels], 1) if naming.labels else none
    best = np.full((count, len(naming.labels)), np.nan)
    found: list[_Found] = []
    named = np.zeros(0)
    material.emit(Started(job=_JOB, total=count))
    for number in range(count):
        twin = _twin(material, number)
        values, peaks = _values(material, twin, pool, number)
        best[number] = best_of_units(values[material.test], judged)
        if vocabulary is not None:
            found.append(_name_all(material, twin, values, vocabulary, overseers.probed, number))
        elif number == 0 and overseers.proposer is not None:
            named = _name_some(material, twin, values, overseers, peaks)
        material.emit(Advanced(job=_JOB, done=number + 1, total=count))
    material.emit(Finished(job=_JOB, seconds=0.0))
    if vocabulary is None or not found:
        return Twins(best=best, named=named)
    reached = np.concatenate([one.reached for one in found])
    return Twins(best=best, named=reached, p=_p(material, naming, vocabulary, found))


def _twin(material: Material, number: int) -> Network:
    network, dataset = material.network, material.dataset
    assert network.input is not None
    some = material.search[:_SETTLED].tolist()
    settle = ((batch.x, batch.mask) for batch in batches(dataset, network.input, some, 64))
    return random_twin(network, derived_seed(material.seed, "twin for labels", number), settle)


def _values(
    material: Material, twin: Network, pool: str, number: int
) -> tuple[Float[np.ndarray, "n units"], Int[np.ndarray, "n units"] | None]:
    """The activations of all units of the site; of the first twin for texts, where each is strongest, too."""
    pools = (pool, "argmax") if number == 0 and material.dataset.kind == "texts" else (pool,)
    plan = Plan((material.site.alias,), pools, answers=False, batch=material.batch, seed=material.seed)
    recording = record(
        twin, material.dataset, plan, material.run, engine=material.engine, emit=_quiet, job=f"twin {number + 1}",
        index=f"tables/labels-twin-{number + 1}.parquet",
    )  # fmt: skip
    values = recording.array(f"{material.site.alias}|{pool}").astype(np.float64)
    return values, recording.array(f"{material.site.alias}|argmax") if len(pools) > 1 else None


def _quiet(event: object) -> None:
    """One bar for all twins is enough."""


def _name_all(
    material: Material,
    twin: Network,
    values: Float[np.ndarray, "n units"],
    vocabulary: Vocabulary,
    probed: Probed | None,
    number: int,
) -> _Found:
    """All units that are alive, named by the vocabulary; where probes judge it, by the twin's own probes, too."""
    alive = np.setdiff1d(np.arange(values.shape[1]), dead_units(values))
    found = _named_by(vocabulary, values[:, alive], material)
    if probed is None:
        return found
    # A network that learned nothing is judged by its own probes, and so a twin must be.
    every = np.arange(len(values))
    own, _ = judged_by_probes(material, twin, probed, every.tolist(), f"concepts of twin {number + 1}")
    same = Vocabulary([Concept(c.name, own.judge(c.name, every)) for c in vocabulary.concepts])
    other = _named_by(same, values[:, alive], material)
    better = np.nan_to_num(other.reached) > found.reached
    return _Found(np.where(better[:, None], other.areas, found.areas), np.where(better, other.chosen, found.chosen))


def _named_by(vocabulary: Vocabulary, values: Float[np.ndarray, "n units"], material: Material) -> _Found:
    chosen = vocabulary.correlations(values[material.search], material.search).argmax(1)
    return _Found(areas(values[material.test], fits(vocabulary.table(material.test))), chosen)


def _p(
    material: Material, naming: Naming, vocabulary: Vocabulary, found: Sequence[_Found]
) -> Float[np.ndarray, " labels"]:
    """A p-value for each label that the vocabulary proposed; 1 for the others."""
    places = {concept.name: number for number, concept in enumerate(vocabulary.concepts)}
    scored = [(k, label.scored, places[label.text]) for k, label in enumerate(naming.labels)
              if label.scored is not None and label.text in places]  # fmt: skip
    p = np.ones(len(naming.labels))
    if scored:
        fit = fits(vocabulary.table(material.test))
        p[[k for k, _, _ in scored]] = against_twins(
            np.array([score.auc.value for _, score, _ in scored]),
            np.array([number for _, _, number in scored]),
            np.concatenate([one.areas for one in found]),
            np.concatenate([one.chosen for one in found]),
            (fit.sum(0) * (~fit).sum(0)).astype(np.float64),
        )
    return p


def _name_some(
    material: Material,
    twin: Network,
    values: Float[np.ndarray, "n units"],
    overseers: Overseers,
    peaks: Int[np.ndarray, "n units"] | None,
) -> Float[np.ndarray, " units"]:
    """What labels reach that an overseer which costs gives to a few units of a twin."""
    assert overseers.proposer is not None
    units = material.units[:_NAMED]
    mine = replace(material, network=twin, units=units, emit=_quiet)
    proposer = overseers.proposer
    if overseers.chat is not None:  # it is shown where the twin's own units are strongest
        proposer = LanguageModel(overseers.chat, shower(mine, peaks), material.seed)
    naming = name_units(mine, values[:, units], proposer, overseers.judge)
    return np.array([label.scored.auc.value for label in naming.labels if label.scored is not None])
