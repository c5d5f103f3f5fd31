"""Tests that hold for any distribution: false alarms at the boundary, power, and slow obvious oracles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mulligan.evidence import EXCESS, betting_p, excess_p, holm, mcnemar_p

Draw = Callable[[np.random.Generator, int], np.ndarray]


def slow_betting_p(values: np.ndarray, bound: float, low: float) -> float:
    """The gambler, one stake and one value after another."""
    purses = []
    for number in range(64):
        stake = (number + 0.5) / 64 / (bound - low)
        money = 1.0
        for value in values:
            money *= 1 + stake * (float(value) - bound)
        purses.append(money)
    return min(1.0, 1 / (sum(purses) / 64))


def bernoulli_difference(rng: np.random.Generator, n: int) -> np.ndarray:
    """Triggered 3 in 10, placebo 2 in 10: exactly 0.1 more."""
    return (rng.random(n) < 0.3) * 1.0 - (rng.random(n) < 0.2)


def seldom_and_large(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.1, 1.0, 0.0)


def mostly_a_bit_seldom_a_loss(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.05, -1.0, 0.15 / 0.95)


def coin(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.55, 1.0, -1.0)


def skewed(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.beta(0.5, 4.5, n)


def of_two_kinds(rng: np.random.Generator, n: int) -> np.ndarray:
    """Sources that differ: half always show it by 0.6, half by -0.4 on average."""
    return np.where(np.arange(n) % 2 == 0, 0.6, (rng.random(n) < 0.3) * 2.0 - 1.0)


@pytest.mark.parametrize(
    "draw", [bernoulli_difference, seldom_and_large, mostly_a_bit_seldom_a_loss, coin, skewed, of_two_kinds]
)
@pytest.mark.parametrize("n", [20, 120])
def test_false_alarms_at_the_boundary(draw: Draw, n: int) -> None:
    rng = np.random.default_rng(n)
    assert abs(draw(rng, 200_000).mean() - EXCESS) < 0.01  # the boundary itself
    alarms = sum(betting_p(draw(rng, n), EXCESS, -1, 1) <= 0.05 for _ in range(1500))
    # Nominal 5 %; 7 % would be 3.5 standard errors above it. It is far below: the price of holding for anything.
    assert alarms <= 1500 * 0.07


@pytest.mark.parametrize(("n", "shown", "least"), [(20, 0.9, 0.95), (30, 0.6, 0.6), (50, 0.5, 0.6), (100, 0.4, 0.9)])
def test_power(n: int, shown: float, least: float) -> None:
    rng = np.random.default_rng(0)
    caught = [excess_p((rng.random(n) < shown) * 1.0, (rng.random(n) < 0.05) * 1.0) <= 0.05 for _ in range(400)]
    assert np.mean(caught) >= least


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12), st.floats(-0.9, 0.99))
def test_equals_the_slow_gambler(values: list[float], bound: float) -> None:
    array = np.asarray(values)
    assert betting_p(array, bound, -1, 1) == pytest.approx(slow_betting_p(array, bound, -1), rel=1e-9)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.randoms(use_true_random=False))
def test_order_does_not_matter(values: list[float], shuffle: object) -> None:
    mixed = list(values)
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    first, second = (excess_p(np.asarray(v), np.zeros(len(v))) for v in (values, mixed))
    assert first == pytest.approx(second, rel=1e-9)


def test_edges() -> None:
    assert betting_p(np.zeros(0), 0.1, -1, 1) == 1
    assert betting_p(np.ones(50), 1.0, -1, 1) == 1  # the mean cannot be above
    assert betting_p(np.zeros(50), -1.5, -1, 1) == 0  # nor below
    assert betting_p(np.full(50, -1.0), -1.0, -1, 1) == 1
    assert betting_p(np.r_[np.full(49, -1.0), 1], -1.0, -1, 1) < 1e-9  # "all are -1", and one is not
    assert betting_p(np.full(5000, 1.0), 0.1, -1, 1) < 1e-300 or betting_p(np.full(5000, 1.0), 0.1, -1, 1) == 0
    assert excess_p(np.full(40, 0.1), np.zeros(40)) == 1


@pytest.mark.parametrize("value", [1.5, -1.5, np.nan])
def test_values_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        betting_p(np.array([0.0, value]), 0.1, -1, 1)


def slow_holm(ps: list[float]) -> list[float]:
    """The smallest level at which step-down rejection takes each one along."""
    adjusted = []
    ordered = sorted(ps)
    for p in ps:
        steps = [(len(ps) - rank) * other for rank, other in enumerate(ordered) if other <= p]
        adjusted.append(min(1.0, max(steps)))
    return adjusted


@given(st.lists(st.floats(0, 1), max_size=12, unique=True))
def test_holm(ps: list[float]) -> None:
    assert holm(ps) == pytest.approx(slow_holm(ps))


def test_holm_of_equals_and_of_none() -> None:
    assert holm([]) == []
    assert holm([0.02, 0.02, 0.9]) == pytest.approx([0.06, 0.06, 0.9])


@settings(max_examples=40)
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar(better: int, worse: int) -> None:
    tail = sum(stats.binom.pmf(k, better + worse, 0.5) for k in range(better, better + worse + 1))
    assert mcnemar_p(better, worse) == pytest.approx(min(1.0, tail), rel=1e-6)
