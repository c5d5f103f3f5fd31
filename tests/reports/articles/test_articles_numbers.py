"""Numbers as authors write them: rounding that agrees, and what lies beyond it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulligan.records import BadInput
from mulligan.reports.articles.expressions import Derived
from mulligan.reports.articles.numbers import NUMBER, stated


def found(value: float | str, low: float | None = None, high: float | None = None) -> Derived:
    return Derived(value, low, high, "", ())


@given(st.floats(-1e9, 1e9), st.integers(0, 6))
def test_what_python_rounds_agrees_and_a_digit_beside_it_does_not(value: float, decimals: int) -> None:
    text = f"{value:,.{decimals}f}"
    assert stated(text).agrees(found(value))
    beside = Decimal(text.replace(",", "")) + Decimal(2).scaleb(-decimals)
    assert not stated(f"{beside:,.{decimals}f}").agrees(found(value))


@pytest.mark.parametrize(
    ("text", "value", "agrees"),
    [
        ("15.9", 15.85, True),
        ("15.9", 15.95, True),
        ("15.9", 15.849, False),
        ("15.90", 15.93, False),
        ("1,000", 1000.4, True),
        ("1,000", 1001.0, False),
        ("85 %", 0.8543, True),
        ("85%", 0.8443, False),
        ("85 per cent", 0.8543, True),
        ("4.65 million", 4652008, True),
        ("4.66 million", 4652008, False),
        ("−1.1", -1.098, True),
        ("-1.1", 1.098, False),
        ("1.2e-4", 0.000123, True),
        ("three", 3.0, True),
        ("three", 4.0, False),
        ("cat", "cat", True),
        ("cat", "dog", False),
        ("7", "7", True),
        ("cat", 3.0, False),
        ("0.3", 0.1 + 0.2, True),
        ("5", float("nan"), False),
        ("5", float("inf"), False),
    ],
)
def test_one_number(text: str, value: float | str, agrees: bool) -> None:
    assert stated(text).agrees(found(value)) is agrees


@pytest.mark.parametrize(
    ("text", "agrees"),
    [
        ("84 % [78, 90]", True),
        ("84 [78, 90] %", True),
        ("84.4 % [78.0, 89.6]", True),
        ("84 % [77, 90]", False),
        ("84 % [78, 91]", False),
        ("85 % [78, 90]", False),
    ],
)
def test_an_interval_is_held_against_the_quantity_s_own(text: str, agrees: bool) -> None:
    assert stated(text).agrees(found(0.844, 0.7803, 0.8957)) is agrees


def test_an_interval_that_the_data_do_not_have_is_refused() -> None:
    with pytest.raises(BadInput, match="the prose gives an interval"):
        stated("84 [78, 90]").agrees(found(84.0))


def test_digits_within_names_are_no_numbers() -> None:
    text = "EfficientNet-lite0 and B4 saw 1,000 pictures, 85 % right, at 3.5 px of v2.1, −4 and x86_64"
    assert [match[0] for match in NUMBER.finditer(text)] == ["1,000", "85 %", "3.5", "−4"]


def test_a_number_too_large_for_any_is_refused() -> None:
    with pytest.raises(BadInput, match="beyond what a number can hold"):
        stated("1e999999999")
