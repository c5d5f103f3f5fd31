"""Statistics of units on activations whose truth is known."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mulligan.features import dead_units, duplicates, saturated_units, selectivity, token_selectivity
from mulligan.features.units import auc_interval


def noise(n: int, units: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, units)).astype(np.float32)


# -- dead and saturated


def test_dead_units() -> None:
    values = np.maximum(noise(100, 8), 0)
    values[:, 2] = 0
    values[:, 5] = 1.25
    values[:, 6] = 1.25 + 1e-7 * noise(100, 1)[:, 0]  # rounding
    values[:, 7] = 0
    values[3, 7] = 0.5  # one example wakes it
    assert dead_units(values) == [2, 5, 6]
    assert dead_units(np.zeros((4, 3), np.float32)) == [0, 1, 2]
    assert dead_units(np.zeros((0, 3), np.float32)) == []


def test_a_giant_unit_makes_no_other_one_dead() -> None:
    values = 0.01 * noise(50, 6)
    values[:, 1] = 1e5 + noise(50, 1)[:, 0]
    assert dead_units(values) == []


def test_saturated_units() -> None:
    values = np.clip(noise(200, 6), 0, 6)
    values[:, 1] = 6
    values[:5, 1] = 1  # at the bound in 97.5 %
    values[:, 2] = 6
    values[:15, 2] = 1  # 92.5 %
    values[:, 3] = 6  # never leaves it: dead
    values[:190, 4] = 0  # silent
    assert saturated_units(values) == [1]
    assert saturated_units(noise(200, 6)) == []
    assert saturated_units(np.zeros((0, 3), np.float32)) == []


def test_saturated_at_either_end_of_a_tanh() -> None:
    values = np.tanh(noise(200, 4))
    values[:, 0], values[:, 1] = 1, -1
    values[:4, :2] = 0.1
    assert saturated_units(values) == [0, 1]


# -- duplicates


def slow_duplicates(values: np.ndarray) -> set[tuple[int, int]]:
    found = set()
    for i in range(values.shape[1]):
        for j in range(i + 1, values.shape[1]):
            if values[:, i].std() > 0 and values[:, j].std() > 0:
                r = np.corrcoef(values[:, i].astype(np.float64), values[:, j].astype(np.float64))[0, 1]
                if r >= 0.99:
                    found.add((i, j))
    return found


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_duplicates_are_those_of_the_slow_way(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = noise(60, 30, seed)
    values[:, rng.integers(0, 30)] = 0
    for _ in range(8):
        i, j = rng.integers(0, 30, 2)
        values[:, i] = rng.choice([-1, 1, 3]) * values[:, j] + rng.choice([0, 0.05, 0.3]) * rng.standard_normal(60) + 7
    found = duplicates(values, most=1000)
    assert {(i, j) for i, j, _ in found} == slow_duplicates(values)
    for i, j, r in found:
        assert r == pytest.approx(np.corrcoef(values[:, i], values[:, j])[0, 1], abs=1e-4)
    strengths = [r for _, _, r in found]
    assert strengths == sorted(strengths, reverse=True)


def test_blocks_and_the_strongest() -> None:
    values = noise(40, 1200)
    values[:, 1100] = values[:, 3]  # the pair lies in two blocks
    values[:, 600] = values[:, 7] + 0.05 * noise(40, 1, 9)[:, 0]
    pairs = duplicates(values)
    assert [(i, j) for i, j, _ in pairs] == [(3, 1100), (7, 600)]
    assert duplicates(values, most=1) == pairs[:1]


def test_alike_by_one_example_is_not_alike() -> None:
    values = np.zeros((100, 4), np.float32)
    values[17, :2] = 3  # both answer to one example only
    values[:, 2] = np.maximum(noise(100, 1)[:, 0], 0)
    values[:, 3] = 2 * values[:, 2]
    assert duplicates(values) == [(2, 3, 1.0)]
    assert duplicates(values[:19]) == []  # too few examples


def test_thousands_of_units_stay_within_memory_and_time() -> None:
    values = noise(2000, 5000)
    values[:, 2500:] = values[:, :2500]  # and a great many pairs
    values[:, 4000:] = values[:, :1]
    tracemalloc.start()
    began = time.monotonic()
    pairs = duplicates(values)
    seconds, (_, peak) = time.monotonic() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pairs) == 50
    assert peak < 400e6
    assert seconds < 60  # a few seconds; the bound catches a walk over millions of pairs in Python


# -- selectivity


def test_selectivity_is_half_where_there_is_nothing() -> None:
    """No optimism: the group is chosen on one half and measured on the other."""
    groups = np.repeat(np.arange(10), 40)
    found = selectivity(noise(400, 600), groups, 0)
    assert (found.group >= 0).all()
    assert abs(found.auc.mean() - 0.5) < 0.01
    covered = ((found.low <= 0.5) & (found.high >= 0.5)).mean()
    assert 0.92 <= covered <= 0.98
    median = found.median(0)
    assert median is not None
    assert abs(median.value - 0.5) < 0.015
    # Choosing and measuring on the same half would have claimed much more.
    cheat = [max(roc_auc_score(groups == g, noise(400, 600)[:, u]) for g in range(10)) for u in range(20)]
    assert np.mean(cheat) > 0.55


def test_selectivity_finds_what_was_built_in() -> None:
    groups = np.tile(np.arange(6), 30)
    values = noise(180, 12)
    for unit in range(6):
        values[groups == unit, unit] += 2.5
    found = selectivity(values, groups, 0)
    assert found.group[:6].tolist() == list(range(6))
    assert (found.auc[:6] > 0.85).all()
    assert (np.abs(found.auc[6:] - 0.5) < 0.25).all()
    quantity = found.quantity(0)
    assert quantity is not None
    assert quantity.n == 15
    assert quantity.low is not None
    assert quantity.low > 0.7


def test_auc_is_sklearns_with_ties() -> None:
    groups = np.repeat([0, 1, 2], 30)
    values = np.round(noise(90, 5), 1)
    found = selectivity(values, groups, 4)
    half = measured_half(groups, 4)
    for unit in range(5):
        positive = groups[half] == found.group[unit]
        assert found.auc[unit] == pytest.approx(roc_auc_score(positive, values[half, unit]))


def measured_half(groups: np.ndarray, seed: int) -> np.ndarray:
    """Which examples measure: unit i is 1 for example i alone, so its area moves off that of a constant if i
    measures.
    """
    found = selectivity(np.eye(len(groups), dtype=np.float32), groups, seed)
    return np.flatnonzero(found.auc != 0.5)


def test_unknown_and_rare_groups() -> None:
    groups = np.array([-1] * 50 + [0] * 20 + [1] * 20 + [2] * 6)
    values = noise(96, 4)
    values[:50, 0] = 100  # the unknown say nothing
    values[90:, 1] = 100  # too few to be preferred, but among the others
    found = selectivity(values, groups, 0)
    assert set(found.group.tolist()) <= {0, 1}
    assert found.n.max() == 10
    none = selectivity(values, np.full(96, -1), 0)
    assert (none.group == -1).all()
    assert np.isnan(none.auc).all()
    assert none.median(0) is None
    assert none.quantity(0) is None


@pytest.mark.parametrize(("shift", "positive"), [(0.0, 8), (1.0, 8), (2.5, 8), (2.5, 30)])
def test_the_interval_covers(shift: float, positive: int) -> None:
    """Normal scores: the true area is Phi(shift / sqrt 2)."""
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    truth = norm.cdf(shift / np.sqrt(2))
    areas = []
    for _ in range(1000):
        up, down = rng.normal(shift, 1, positive), rng.normal(0, 1, 60)
        areas.append((up[:, None] > down).mean())
    low, high = auc_interval(np.array(areas), positive, 60)
    assert ((low <= truth) & (truth <= high)).mean() >= 0.93
    assert (low <= areas).all()
    assert (areas <= high).all()


def test_a_perfect_area_keeps_an_interval() -> None:
    low, high = auc_interval(np.array([1.0, 0.0]), 5, 50)
    assert high[0] == 1
    assert low[0] < 0.9
    assert low[1] == 0
    assert high[1] > 0.1


def test_a_unit_of_texts_is_selective_for_the_token_that_it_peaks_on_and_noise_is_not():
    rng = np.random.default_rng(0)
    n, tokens = 400, 30
    values = rng.random((n, 3))
    peaks = rng.integers(0, tokens, (n, 3))
    # Unit 0 is strong where it peaks on token 7; unit 1 peaks on token 5 whatever its strength; unit 2 is noise.
    peaks[:100, 0], values[:100, 0] = 7, 2 + rng.random(100)
    peaks[:, 1] = 5
    found = token_selectivity(values, peaks, 0)
    assert (found.group[0], found.group[1]) == (7, 5)
    assert found.auc[0] > 0.9
    assert found.auc[1] == 1
    assert found.auc[2] < 0.2, "chosen on one half, measured on the other: noise does not look selective"
    assert found.low[2] < 1 / tokens < found.high[2]
    assert "token" in found.quantity(0).unit
    assert (token_selectivity(values[:40], peaks[:40], 0).group == -1).all()
