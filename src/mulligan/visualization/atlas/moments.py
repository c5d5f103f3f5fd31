"""Mean and covariance of rows that never stand in memory together, and what follows from them: PCA and whitening.

Statistics are float64. Parts are merged as Chan, Golub & LeVeque (1983) merge them, so that a large mean costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from jaxtyping import Float, Float64

# Directions in which activations hardly move would rule a whitened picture: variances are drawn to their mean by at
# least this share.
LEAST_SHRINKAGE = 0.1


@dataclass(frozen=True)
class Moments:
    """Of `n` rows: their mean, [unit], and the sum of the products of what deviates from it, [unit, unit]."""

    n: int
    mean: Float64[np.ndarray, " unit"]
    scatter: Float64[np.ndarray, "unit unit"]

    @classmethod
    def of(cls, rows: Float[np.ndarray, "row unit"]) -> Self:
        """The moments of some rows."""
        values = np.asarray(rows, dtype=np.float64)
        mean = values.mean(0) if len(values) else np.zeros(values.shape[1])
        centred = values - mean
        return cls(len(values), mean, centred.T @ centred)

    def __add__(self, other: Moments) -> Moments:
        n = self.n + other.n
        if not n:
            return self
        apart = other.mean - self.mean
        scatter = self.scatter + other.scatter + np.outer(apart, apart) * (self.n * other.n / n)
        return Moments(n, self.mean + apart * (other.n / n), scatter)

    @property
    def covariance(self) -> Float64[np.ndarray, "unit unit"]:
        """[unit, unit]; divided by n, as a maximum-likelihood estimate is."""
        return self.scatter / max(self.n, 1)

    @property
    def shrinkage(self) -> float:
        """How far the covariance is drawn to a multiple of the identity: as OAS says (Chen et al. 2010), or more."""
        covariance, units = self.covariance, len(self.mean)
        squares, trace = float((covariance**2).sum()), float(np.trace(covariance)) ** 2
        below = (self.n + 1 - 2 / units) * (squares - trace / units)
        oas = 1.0 if below <= 0 else ((1 - 2 / units) * squares + trace) / below
        return min(max(oas, LEAST_SHRINKAGE), 1.0)

    @cached_property
    def _inverse(self) -> Float64[np.ndarray, "unit unit"]:
        units, share = len(self.mean), self.shrinkage
        level = float(np.trace(self.covariance)) / units
        if level <= 0:
            return np.eye(units)
        shrunk = (1 - share) * self.covariance + share * level * np.eye(units)
        return np.linalg.inv(shrunk)

    def whitened(self, means: Float[np.ndarray, "cell unit"]) -> Float64[np.ndarray, "cell unit"]:
        """Directions of unit length along which means differ from the mean of all, activations whitened.

        A direction is the inverse of the shrunk covariance times the difference, so that units which vary much or
        together count no more than others (Carter et al. 2019). A mean that differs in nothing gives zeros.
        """
        directions = (np.asarray(means, dtype=np.float64) - self.mean) @ self._inverse
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        return directions / np.where(lengths > 0, lengths, 1)


@dataclass(frozen=True)
class Projection:
    """Principal components: `components` [component, unit] of unit length, strongest first; `explained`, the shares."""

    mean: Float64[np.ndarray, " unit"]
    components: Float64[np.ndarray, "component unit"]
    explained: Float64[np.ndarray, " component"]

    @classmethod
    def of(cls, moments: Moments, most: int = 50) -> Self:
        """The first `most` components, as far as there is variance; each with its largest entry positive."""
        values, vectors = np.linalg.eigh(moments.covariance)
        order = np.argsort(-values, kind="stable")[:most]
        order = order[values[order] > 1e-12 * max(values.max(), 1e-300)]
        rows = vectors.T[order]
        largest = np.abs(rows).argmax(1)
        rows = rows * np.sign(rows[np.arange(len(rows)), largest])[:, None]
        return cls(moments.mean, rows, values[order] / max(values.clip(0).sum(), 1e-300))

    def __call__(self, rows: Float[np.ndarray, "row unit"]) -> Float[np.ndarray, "row component"]:
        """Rows in these components, float32."""
        return ((rows - self.mean) @ self.components.T).astype(np.float32)
