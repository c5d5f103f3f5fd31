"""Activations whose truth is known: units that are concepts, and random features that merely go with them."""

from __future__ import annotations

import numpy as np

from mulligan.features.labels import Vocabulary, class_concepts

NAMES = ("cross", "ring", "stripe", "dot", "arrow")


def labelled(n: int, seed: int, classes: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, n)


def vocabulary(labels: np.ndarray) -> Vocabulary:
    return Vocabulary(class_concepts(labels, NAMES))


def halves(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])


class Pictures:
    """Inputs with a mean for each class, so that random features predict it, some classes more than others."""

    def __init__(self, n: int, seed: int, size: int = 12) -> None:
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, len(NAMES), n)
        means = rng.normal(size=(len(NAMES), size)) * np.linspace(0.2, 1.5, len(NAMES))[:, None]
        self.x = means[self.labels] + rng.normal(size=(n, size))

    def random_units(self, seed: int, units: int = 24) -> np.ndarray:
        """[n, units]: a network of one layer with random weights, which its units share with nobody."""
        rng = np.random.default_rng(seed)
        weights = rng.normal(size=(self.x.shape[1], units)) * rng.uniform(0.5, 2)
        return np.maximum(self.x @ weights + rng.normal(), 0)
