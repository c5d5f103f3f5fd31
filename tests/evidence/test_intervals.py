"""Intervals: coverage by simulation, and agreement with other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mulligan.evidence import betting_p, bootstrap, bounded_mean, fraction, mean


@settings(max_examples=60)
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95]))
def test_clopper_pearson_is_scipys(counts: tuple[int, int], level: float) -> None:
    successes, n = counts
    ours = fraction(successes, n, "fraction", level=level)
    theirs = stats.binomtest(successes, n).proportion_ci(level, method="exact")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert (ours.value, ours.n, ours.level) == (successes / n, n, level)


def test_of_nothing() -> None:
    assert (fraction(0, 0, "u").low, fraction(0, 0, "u").high) == (0, 1)
    nothing = bounded_mean(np.zeros(0), "u", -1, 1)
    assert (nothing.low, nothing.value, nothing.high, nothing.n) == (-1, 0, 1, 0)
    assert mean(np.ones(1), "u").low is None


@pytest.mark.parametrize("n", [8, 60])
@pytest.mark.parametrize("kind", ["coin", "seldom", "skewed"])
def test_bounded_mean_covers(kind: str, n: int) -> None:
    rng = np.random.default_rng(0)

    def draw() -> np.ndarray:
        if kind == "skewed":
            return rng.beta(0.5, 4.5, n)
        return (rng.random(n) < (0.5 if kind == "coin" else 0.1)) * 1.0

    truth = 0.5 if kind == "coin" else 0.1
    kept = [bounded_mean(draw(), "u", 0, 1) for _ in range(400)]
    covered = sum(q.low <= truth <= q.high for q in kept if q.low is not None and q.high is not None)
    assert covered >= 400 * 0.92  # nominal 95 %, less 3 standard errors


def test_bounded_mean_narrows() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for n in (20, 200, 2000):
        q = bounded_mean(rng.beta(2, 5, n), "u", 0, 1)
        assert q.low is not None
        assert q.high is not None
        widths.append(q.high - q.low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]
    assert widths[2] < 0.03


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_bounded_mean_inverts_the_test(values: list[float]) -> None:
    """Against a walk over a grid: every mean inside is not rejected by either side, every one outside is."""
    array = np.asarray(values)
    q = bounded_mean(array, "u", -1, 1)
    assert q.low is not None
    assert q.high is not None
    assert -1 <= q.low <= q.value <= q.high <= 1
    for m in np.linspace(-0.99, 0.99, 45):
        rejected = betting_p(array, m, -1, 1) <= 0.025 or betting_p(-array, -m, -1, 1) <= 0.025
        if rejected:
            assert m <= q.low + 1e-4 or m >= q.high - 1e-4
        else:
            assert q.low - 1e-4 <= m <= q.high + 1e-4


def test_mean_is_students() -> None:
    values = np.random.default_rng(0).normal(3, 2, 25)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    ours = mean(values, "u", level=0.9)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_bootstrap_covers_and_holds_its_own_point() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        q = bootstrap(rng.exponential(1, 80), "u", lambda v: float(np.median(v)), rng, repeats=200)
        assert q.low is not None
        assert q.high is not None
        assert q.low <= q.value <= q.high
        covered += q.low <= np.log(2) <= q.high
    assert covered >= 87  # 95 nominal; the percentile bootstrap of 80 values is a little short
    assert bootstrap(np.ones(1), "u", np.mean, rng).low is None
