"""Halves that hang on ids: copies together, the same under any order, balanced in every group."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mulligan.evidence import split_sources


def names(n: int) -> list[str]:
    return [f"{i:016x}" for i in range(n)]


@settings(max_examples=30)
@given(st.lists(st.integers(-1, 4), min_size=1, max_size=60), st.integers(0, 5), st.randoms(use_true_random=False))
def test_a_partition_that_does_not_hang_on_order(groups: list[int], seed: int, shuffle: object) -> None:
    ids, of = names(len(groups)), np.asarray(groups)
    split = split_sources(ids, of, seed)
    assert sorted([*split.search, *split.test]) == list(range(len(ids)))
    for group in np.unique(of):
        here, there = (of[split.search] == group).sum(), (of[split.test] == group).sum()
        assert abs(here - there) <= 1
    order = list(range(len(ids)))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    again = split_sources([ids[i] for i in order], of[order], seed)
    assert {ids[order[i]] for i in again.test} == {ids[i] for i in split.test}


def test_copies_stay_together() -> None:
    ids = [name + end for name in names(40) for end in ("", "-2", "-3")]
    split = split_sources(ids, np.zeros(120, dtype=np.int64), 0)
    first = {ids[i].partition("-")[0] for i in split.search}
    second = {ids[i].partition("-")[0] for i in split.test}
    assert not first & second
    assert len(split.test) == 60


def test_copies_under_two_labels_are_searched_on() -> None:
    ids = [*names(40), *(f"{name}-2" for name in names(10))]
    groups = np.r_[np.zeros(40, dtype=np.int64), np.ones(10, dtype=np.int64)]
    split = split_sources(ids, groups, 3)
    assert not {ids[i].partition("-")[0] for i in split.search} & {ids[i].partition("-")[0] for i in split.test}
    assert {*range(10), *range(40, 50)} <= set(split.search.tolist())


def test_names_with_dashes_are_no_copies() -> None:
    ids = [f"photo-{chr(97 + i)}" for i in range(20)]
    split = split_sources(ids, np.zeros(20, dtype=np.int64), 0)
    assert len(split.test) == 10


def test_another_seed_is_another_split() -> None:
    ids = names(100)
    a, b = (split_sources(ids, np.zeros(100, dtype=np.int64), seed) for seed in (0, 1))
    assert set(a.test) != set(b.test)
    assert len(split_sources([], np.zeros(0, dtype=np.int64), 0).test) == 0


def test_classes_of_one_example_are_halved_as_a_whole() -> None:
    split = split_sources(names(1000), np.arange(1000), 0)
    assert 440 < len(split.test) < 560
