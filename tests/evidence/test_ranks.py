"""How far beyond clean networks a score lies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulligan.evidence.ranks import network_score, probability, surprise, survival

FINITE = st.floats(-1e6, 1e6)


@given(st.lists(FINITE, min_size=1, max_size=60), FINITE, FINITE)
def test_a_higher_score_is_never_less_surprising(clean, one, other):
    low, high = sorted((one, other))
    assert 0 < survival(high, clean) <= survival(low, clean) <= 1


def test_without_clean_networks_nothing_surprises():
    assert survival(1e9, []) == 1
    assert survival(math.nan, [1.0, 2.0]) == 1


def test_a_clean_network_is_as_surprising_as_it_is_rare():
    random = np.random.default_rng(0)
    clean, fresh = random.exponential(size=400), random.exponential(size=4000)
    shares = np.array([survival(score, clean) for score in fresh])
    for level in (0.5, 0.2, 0.1, 0.05, 0.01):
        assert (shares <= level).mean() == pytest.approx(level, abs=0.35 * level + 0.002)


def test_two_scores_beyond_every_clean_one_are_told_apart():
    clean = np.linspace(0, 1, 99)
    assert surprise(3.0, clean) > surprise(2.0, clean) > 2


def test_the_kind_is_that_of_the_largest_surprise():
    clean = {"patch": [0.0, 0.1, 0.2, 0.3], "blend": [10.0, 11.0, 12.0, 13.0]}
    assert network_score({"patch": 2.0, "blend": 12.0}, clean)[1] == "patch"
    assert network_score({"patch": 0.1, "blend": 40.0, "unknown": 1e9}, clean)[1] == "blend"
    assert network_score({}, clean) == (0.0, None)


def test_a_p_value_lends_at_most_so_much():
    assert probability(0.5, 0.5) == 0.5
    assert probability(0.05, 0.5) == pytest.approx(0.7106, abs=1e-3)
    assert probability(0.01, 0.5) > probability(0.05, 0.5)
