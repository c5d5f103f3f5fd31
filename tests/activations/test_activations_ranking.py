from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mulligan.activations import stratified, top

values = st.lists(st.floats(-100, 100, width=32), max_size=40).map(lambda numbers: np.asarray(numbers, np.float64))


@given(values, st.integers(0, 50))
def test_the_top_is_what_sorting_gives(numbers: np.ndarray, k: int) -> None:
    assert top(numbers, k).tolist() == sorted(range(len(numbers)), key=lambda i: (-numbers[i], i))[:k]


@given(values, st.integers(0, 50), st.integers(0, 100))
@settings(deadline=None)
def test_a_stratified_choice_has_no_example_twice(numbers: np.ndarray, k: int, seed: int) -> None:
    chosen = stratified(numbers, k, np.random.default_rng(seed)).tolist()
    assert len(chosen) == len(set(chosen)) == min(k, len(numbers))
    assert set(chosen) <= set(range(len(numbers)))
    assert chosen == stratified(numbers, k, np.random.default_rng(seed)).tolist()


def test_every_level_is_seen_highest_first() -> None:
    numbers = np.random.default_rng(0).permutation(np.linspace(0, 1, 1001))
    chosen = numbers[stratified(numbers, 5, np.random.default_rng(0))]
    for level, value in zip(reversed(range(5)), chosen, strict=True):
        assert level / 5 <= value <= (level + 1) / 5


def test_an_empty_level_takes_the_nearest() -> None:
    numbers = np.asarray([0.0, 0.1, 0.2, 10.0])
    chosen = stratified(numbers, 3, np.random.default_rng(0)).tolist()
    assert chosen[0] == 3
    assert chosen[1] == 2  # the middle level is empty: 0.2 is nearest to 5, the strongest being taken
    assert chosen[2] in (0, 1)


def test_one_value_only() -> None:
    assert stratified(np.ones(5), 3, np.random.default_rng(0)).tolist() == [0, 1, 2]
