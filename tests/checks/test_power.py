"""How weak a defect a check would still have caught."""

from __future__ import annotations

from mulligan.checks.power import weakest


def test_the_weakest_grade_from_which_on_all_are_caught():
    caught = {0.2: [True] * 5, 0.4: [False] * 5, 0.6: [True, True, True, True, False], 0.8: [True] * 5}
    found = weakest(tuple(caught), caught.__getitem__, "of it")
    assert found is not None
    assert (found.value, found.smallest.low, found.smallest.high) == (0.6, 0.4, 0.6)
    assert (found.caught.value, found.caught.n) == (0.8, 5)
    assert 0.28 < found.caught.low < 0.29, "Clopper and Pearson's"
    assert found.caught.high > 0.99


def test_nothing_caught_or_tried_is_no_power():
    assert weakest((0.5, 1.0), lambda grade: [], "of it") is None
    assert weakest((0.5, 1.0), lambda grade: [False, True], "of it") is None


def test_below_the_weakest_grade_there_is_nothing():
    found = weakest((1.5, 3.0), lambda grade: [True], "times", nothing=1.0)
    assert found is not None
    assert (found.value, found.smallest.low) == (1.5, 1.0)
