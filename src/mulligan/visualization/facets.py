"""One picture a case, where a unit is the union of several: cars from the front, and cats.

The strongest examples are grouped by what drives the unit in each at an earlier site (Nguyen et al. 2016, "Multifaceted
Feature Visualization", arXiv:1602.03616; Goh et al. 2021, "Multimodal Neurons", doi 10.23915/distill.00030, steer
pictures by such groups). A grouping counts only if it is tighter than that of the same numbers shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from torch import Tensor

from ..networks import Network
from ..records import Site
from ..runs import generator
from .objectives import Objective, direction
from .paths import AT_ONCE, drives, earlier_site
from .quickened import kept_memory, quickened
from .reading import Reader

#: Fewer examples in a group than this are no case.
FEWEST = 4
SHUFFLES = 19
#: A silhouette below this is no grouping that anyone would see, however surely it is not by chance.
APART = 0.15


@dataclass(frozen=True, slots=True)
class Facet:
    """One case of a unit.

    Attributes:
        objective: the unit's, steered to this case. members: which of the examples given belong to it.
        silhouette: of the whole grouping, from -1 to 1. chance: the largest of 19 groupings of shuffled numbers.
    """

    objective: Objective
    members: tuple[int, ...]
    silhouette: float
    chance: float


def facets(
    network: Network, objective: Objective, x: Float[Tensor, "n c h w"], *, most: int = 4, seed: int = 0
) -> list[Facet]:
    """The cases of a unit among its strongest examples; empty if they do not fall into groups.

    Args:
        x: the strongest examples, as the network takes them.
    """
    site = earlier_site(network, objective)
    if site is None or len(x) < 2 * FEWEST:
        return []
    with kept_memory():
        quick = quickened(network, [*Reader.of(network, [objective]).watched, site])
        return _facets(quick, objective, site, x, most, seed)


def _facets(network: Network, objective: Objective, site: Site, x: Tensor, most: int, seed: int) -> list[Facet]:
    rows = drives(network, objective, site, x)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    best: tuple[float, np.ndarray] | None = None
    for k in range(2, min(most, len(x) // FEWEST) + 1):
        score, labels = _grouped(rows, k, seed)
        if np.bincount(labels, minlength=k).min() >= FEWEST and (best is None or score > best[0]):
            best = score, labels
    if best is None:
        return []
    rng = generator(seed, "facets")
    k = int(best[1].max()) + 1
    chance = max(_grouped(_shuffled(rows, rng), k, seed)[0] for _ in range(SHUFFLES))
    if best[0] <= chance or best[0] < APART:
        return []
    means = np.concatenate([_means(network, site, part) for part in x.split(AT_ONCE)])
    cases: list[tuple[np.ndarray, Objective]] = []
    for case in range(k):
        members = np.flatnonzero(best[1] == case)
        vector = means[members].mean(0) - means[best[1] != case].mean(0)
        vector = (vector / max(np.linalg.norm(vector), 1e-12)).astype(np.float32)
        cases.append((members, direction(site.alias, vector, name=f"case {case + 1}")))
    # What steers to a case counts as much as the unit itself: by how much both vary over the examples.
    own, *steers = _spreads(network, [objective, *(steer for _, steer in cases)], x)
    return [
        Facet(objective + own / max(size, 1e-12) * steer, tuple(int(m) for m in members), best[0], chance)
        for (members, steer), size in zip(cases, steers, strict=True)
    ]


def _means(network: Network, site: Site, x: Tensor) -> np.ndarray:
    with torch.no_grad(), network.watching(site.place, stop=True, copy=True) as watched:
        network(x)
    return watched[site].movedim(site.unit_axis, -1).flatten(1, -2).mean(1).double().cpu().numpy()


def _grouped(rows: np.ndarray, k: int, seed: int) -> tuple[float, np.ndarray]:
    if len(np.unique(rows.round(6), axis=0)) < max(k, 3):
        return -1.0, np.zeros(len(rows), np.int64)
    kmeans = KMeans(k, n_init=10, random_state=seed % (1 << 31))  # pyright: ignore[reportArgumentType]
    labels = kmeans.fit_predict(rows)
    if len(set(labels.tolist())) < 2:
        return -1.0, labels
    return float(silhouette_score(rows, labels)), labels


def _shuffled(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each column permuted by itself: the same numbers, no cases."""
    mixed = np.stack([rng.permutation(column) for column in rows.T], 1)
    return mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-12)


def _spreads(network: Network, objectives: Sequence[Objective], x: Tensor) -> list[float]:
    reader = Reader.of(network, objectives)
    with torch.no_grad():
        values = torch.cat([reader.every(reader.seen(part)) for part in x.split(AT_ONCE)])
    return [float(size) for size in values.std(0)]


def chosen(values: Sequence[float] | np.ndarray, most: int = 48) -> list[int]:
    """The strongest examples, from which cases are read: a tenth of all, at most `most`."""
    order = np.argsort(-np.asarray(values), kind="stable")
    return [int(row) for row in order[: max(2 * FEWEST, min(most, len(order) // 10))]]
