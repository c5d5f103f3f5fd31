from __future__ import annotations

import math
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulligan.records import BadInput
from mulligan.runs import Budget, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("45", 45),
        ("10m", 600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (" 2m5s ", 125),
        ("1h1m1s", 3661),
        ("0.5s", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-5m", "10 m", "5m1h", "ten", "1d", "inf", "nan", "1e3", "h", "9" * 400]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(BadInput, match="not a duration"):
        parse_duration(text)


@given(st.text(max_size=10))
def test_any_text_is_a_duration_or_bad_input(text: str) -> None:
    with suppress(BadInput):
        assert 0 < parse_duration(text) < math.inf


def budget(seconds: float, recorded: dict[str, int] | None = None) -> Budget:
    """One whose clock stands still."""
    made = Budget(seconds, recorded)
    made.began = time.monotonic() + 1e6
    made.seconds -= 1e6
    return made


def test_a_budget_grants_what_it_can_pay() -> None:
    purse = budget(100.5)
    assert purse.buy("all", 10, 1.0) == 10
    assert purse.buy("some", 1000, 1.0) == 100
    assert purse.buy("half", 1000, 1.0, share=0.5) == 50
    assert purse.buy("none", 10, 1000.0) == 0
    assert purse.buy("least", 10, 1000.0, least=3) == 3
    assert purse.buy("least of few", 2, 1000.0, least=3) == 2
    assert purse.buy("free", 7, 0.0) == 7
    assert purse.buy("nearly free", 7, 5e-324) == 7
    assert purse.short == {
        "some": (100, 1000), "half": (50, 1000), "none": (0, 10), "least": (3, 10)
    }  # fmt: skip


def test_an_overdrawn_budget_grants_the_least_only() -> None:
    purse = budget(-5.0)
    assert purse.left < 0
    assert purse.buy("x", 10, 0.001) == 0
    assert purse.buy("y", 10, 0.001, least=2) == 2


def test_the_clock_runs() -> None:
    purse = Budget(10.0)
    before = purse.left
    time.sleep(0.01)
    assert purse.left <= before - 0.01


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 50), min_size=3),
    st.floats(-10, 1000),
    st.floats(0.001, 10),
)
def test_a_replay_gives_the_recorded_grants_whatever_the_clock_says(
    recorded: dict[str, int], seconds: float, each: float
) -> None:
    first = Budget(seconds, recorded)
    assert {what: first.buy(what, 50, each) for what in recorded} == recorded
    assert first.granted == recorded


def test_a_replay_never_grants_more_than_is_wanted() -> None:
    assert Budget(1.0, {"x": 10}).buy("x", 4, 1.0) == 4


def test_a_replay_buys_what_was_not_recorded_by_the_clock() -> None:
    assert budget(10.5, {"x": 1}).buy("y", 20, 1.0) == 10
