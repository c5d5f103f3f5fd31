"""Factors: planted ones come back, sums add up, and what cannot be factored is refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from mulligan.features import explained_shares, find_elbow, fit_factors
from mulligan.features.factors import bend, shuffled
from mulligan.features.nonnegative import nonnegative_sizes
from mulligan.records import BadInput


def planted(seed: int = 0, n: int = 400, units: int = 20, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Activations made of `count` non-negative directions, each alone at some places: (activations, directions)."""
    random = np.random.default_rng(seed)
    directions = random.random((count, units)) * (random.random((count, units)) < 0.4)
    directions += np.eye(count, units) * 0.5  # no direction is empty, nor twice the same
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    sizes = random.exponential(size=(n, count)) * (random.random((n, count)) < 0.5)
    return (sizes @ directions).astype(np.float32), directions


def alike(found: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The best cosine of each known direction with a found one."""
    return np.abs(known @ found.T).max(1)


@given(seed=st.integers(0, 200), count=st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_planted_factors_come_back(seed: int, count: int) -> None:
    values, directions = planted(seed, count=count)
    factors = fit_factors(values, count, seed=seed)
    assert alike(factors.directions, directions).min() > 0.97
    assert np.allclose(np.linalg.norm(factors.directions, axis=1), 1)
    assert (factors.directions >= 0).all()
    error = factors.rebuilt(factors.sizes(values)) - values
    assert (error**2).sum() < 1e-2 * (values**2).sum()
    assert (factors.negatives, factors.lost) == ("none", 0.0)


def test_planted_factors_of_both_signs() -> None:
    """Directions of both signs come back where each unit is counted twice."""
    values, directions = planted(1, n=600, count=3)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], directions.shape[1])
    both = fit_factors((values * signs).astype(np.float32), 3)
    assert both.negatives == "two-sided"
    assert alike(both.directions, directions * signs).min() > 0.97
    clipped = fit_factors((values * signs).astype(np.float32), 3, negatives="clip")
    below = np.minimum(values * signs, 0)
    assert clipped.lost == pytest.approx((below**2).sum() / (values**2).sum(), rel=1e-3)
    assert (clipped.directions >= 0).all()


def test_little_below_zero_is_clipped_and_said() -> None:
    values, _ = planted()
    values[::7, 3] = -0.05
    factors = fit_factors(values, 3)
    assert factors.negatives == "clip"
    assert 0 < factors.lost < 0.05


@given(seed=st.integers(0, 500), count=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_sizes_equal_a_solver_row_by_row(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    directions = random.normal(size=(count, 9))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    values = random.normal(size=(12, 9))
    ours = nonnegative_sizes(values, directions)
    for row, size in zip(values, ours, strict=True):
        exact, rest = scipy.optimize.nnls(directions.T, row)
        assert np.linalg.norm(size @ directions - row) <= rest + 1e-4
        assert np.allclose(size @ directions, exact @ directions, atol=1e-3)


@given(seed=st.integers(0, 200), kind=st.sampled_from(["nmf", "pca"]))
@settings(max_examples=15, deadline=None)
def test_shares_add_up_to_what_is_explained(seed: int, kind: str) -> None:
    values = np.random.default_rng(seed).normal(0.3, 1, (80, 8)).astype(np.float32)
    factors = fit_factors(values, 4, kind=kind)  # type: ignore[arg-type]
    parts, whole = factors.explains(values)
    rest = values - factors.rebuilt(factors.sizes(values))
    assert parts.sum() == pytest.approx(whole.sum() - (rest.astype(np.float64) ** 2).sum(), rel=1e-3)
    assert (np.diff(parts.sum(0)) <= 1e-3).all()  # the one that explains most comes first
    owner = np.repeat(np.arange(20), 4)
    said = explained_shares(factors, values, owner, 0, "share")
    assert said.together.value == pytest.approx(parts.sum() / whole.sum())
    assert sum(q.value for q in said.each) == pytest.approx(said.together.value)
    assert said.together.n == 20
    assert said.together.low <= said.together.value <= said.together.high


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    values = np.random.default_rng(0).normal(2, 1, (60, 7)).astype(np.float32)
    factors = fit_factors(values, 3, kind="pca")
    _, _, vectors = np.linalg.svd(values - values.mean(0), full_matrices=False)
    assert np.allclose(np.abs((vectors[:3] * factors.directions).sum(1)), 1, atol=1e-4)
    assert np.allclose(factors.centre, values.mean(0), atol=1e-5)
    whole = fit_factors(values, 7, kind="pca")
    assert np.allclose(whole.rebuilt(whole.sizes(values)), values, atol=1e-4)


@given(seed=st.integers(0, 100), kind=st.sampled_from(["nmf", "pca"]))
@settings(max_examples=10, deadline=None)
def test_permuting_units_permutes_factors(seed: int, kind: str) -> None:
    values, _ = planted(seed)
    order = np.random.default_rng(seed).permutation(values.shape[1])
    plain = fit_factors(values, 3, kind=kind)  # type: ignore[arg-type]
    turned = fit_factors(values[:, order], 3, kind=kind)  # type: ignore[arg-type]
    cosines = np.abs((plain.directions[:, order] * turned.directions).sum(1))
    assert cosines.min() > 0.98


def test_the_same_seed_gives_the_same_factors() -> None:
    values, _ = planted(3)
    assert np.array_equal(fit_factors(values, 4, seed=1).directions, fit_factors(values, 4, seed=1).directions)


def test_shuffling_keeps_values_and_loses_what_goes_together() -> None:
    values, _ = planted(5)
    other = shuffled(values, 0)
    assert np.array_equal(np.sort(other, 0), np.sort(values, 0))
    owner = np.arange(len(values))
    own = explained_shares(fit_factors(values, 3), values, owner, 0, "share").together
    control = explained_shares(fit_factors(other, 3), other, owner, 0, "share").together
    assert own.low > control.high  # three planted factors, beside none


def test_the_elbow_is_at_the_planted_count() -> None:
    values, _ = planted(2, n=600, units=24, count=4)
    elbow = find_elbow(values[::2], values[1::2], most=9)
    assert elbow.counts == tuple(range(1, 10))
    assert elbow.suggested == 4
    assert elbow.explained[3] > 0.97
    noise = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    assert find_elbow(noise[::2], noise[1::2], kind="pca", most=8).suggested is None


def test_bends() -> None:
    assert bend([0.2, 0.4, 0.6, 0.8, 0.81, 0.82]) == 4
    assert bend([0.1, 0.2, 0.3, 0.4]) is None
    assert bend([0.9, 0.9, 0.9]) == 1
    assert bend([]) is None


def test_a_unit_of_zeros_takes_no_part() -> None:
    values, _ = planted(4)
    values[:, 7] = 0
    assert fit_factors(values, 3).directions[:, 7].max() == 0
    assert fit_factors(values, 3, kind="pca").directions[:, 7].max() == pytest.approx(0, abs=1e-6)


def test_more_factors_than_there_are_parts() -> None:
    """What is left over has no size anywhere, or splits a part; nothing breaks."""
    values = np.outer(np.random.default_rng(0).random(50), [1.0, 2.0, 0.0, 1.0]).astype(np.float32)
    factors = fit_factors(values, 3)
    sizes = factors.sizes(values)
    assert np.isfinite(sizes).all()
    assert np.allclose(factors.rebuilt(sizes), values, atol=1e-2)


def test_what_cannot_be_factored() -> None:
    values, _ = planted(n=30)
    with pytest.raises(BadInput, match=r"there are 4 activations for 6 factors \(layer\)"):
        fit_factors(values[:4], 6, site="layer")
    with pytest.raises(BadInput, match="3 units for 5 factors"):
        fit_factors(values[:, :3], 5)
    with pytest.raises(BadInput, match="40 factors are no handful"):
        fit_factors(values, 40)
    with pytest.raises(BadInput, match="every activation here is zero"):
        fit_factors(np.zeros((30, 5), np.float32), 2)
    with pytest.raises(BadInput, match="every activation here is below zero"):
        fit_factors(-values - 1, 2, negatives="clip")
    with pytest.raises(BadInput, match="'ica' is not known"):
        fit_factors(values, 2, kind="ica")  # type: ignore[arg-type]
    values[3, 2] = np.nan
    with pytest.raises(BadInput, match="1 of 30 activations are NaN"):
        fit_factors(values, 2)
