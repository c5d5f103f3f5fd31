"""Hidden characters, numbers, quantities and the geometry of charts."""

from __future__ import annotations

import math
import unicodedata
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mulligan.records import Quantity
from mulligan.reports.charts import nice_ticks, panels, reliability_points
from mulligan.reports.text import number, quantity_text, shown, token, visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, naïve, Ελληνικά, 猫, عربي", "plain, naïve, Ελληνικά, 猫, عربي"),
        ("a\u202eb", "a[U+202E]b"),
        ("\u2066x\u2069", "[U+2066]x[U+2069]"),
        ("nul\0bell\x07", "nul[U+0000]bell[U+0007]"),
        ("a\u200bb", "a[U+200B]b"),
        ("pass\u200dword", "pass[U+200D]word"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("\ufeffbom", "[U+FEFF]bom"),
        ("a\U000e0041b", "a[U+E0041]b"),
        ("\ud800", "[U+D800]"),
        ("\ufffe", "[U+FFFE]"),
        ("a\r\nb", "a[U+000D]\nb"),
    ],
)
def test_visible(text: str, expected: str) -> None:
    assert visible(text) == expected


@given(st.text(st.characters()))
def test_visible_leaves_nothing_that_xml_forbids_or_that_turns_text(text: str) -> None:
    out = visible(text, None)
    assert not any(
        unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI") for c in out
    )
    element = ElementTree.Element("x")
    element.text = out
    assert ElementTree.fromstring(ElementTree.tostring(element, "utf-8")).text in (out, out or None)


def test_visible_says_how_much_it_cut() -> None:
    assert visible("a" * 12, 10) == "a" * 10 + "… (2 more characters)"
    assert visible("a" * 10, 10) == "a" * 10


def test_tokens() -> None:
    assert token("\n\t") == "↵⇥"
    assert token("") == "(empty)"
    assert token(" the") == " the"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "not measured"),
        (math.nan, "not measured"),
        (math.inf, "infinite"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.12345, "0.123"),
        (999.4, "999"),
        (999.7, "1\u202f000"),
        (4652008, "4\u202f652\u202f008"),
        (-2.5, "−2.5"),
        (1.2e-7, "1.2 × 10⁻⁷"),
        (3e20, "3.0 × 10²⁰"),
        (7, "7"),
        (1.0, "1"),
    ],
)
def test_number(value: float | None, expected: str) -> None:
    assert number(value) == expected


def test_a_quantity_has_its_interval_unit_and_n() -> None:
    whole = Quantity(value=0.93, unit="fraction of images", low=0.88, high=0.96, n=150)
    assert quantity_text(whole) == "0.930 [0.880, 0.960] fraction of images, n = 150"
    assert quantity_text(Quantity(value=3.0, unit="nats")) == "3 no interval nats, n not recorded"
    assert shown(Quantity(value=1.0, unit="x", low=0.0, high=2.0, level=0.9, n=3)).interval == "[0.0, 2.0] at 90 %"
    assert quantity_text(None) == "not measured"


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
@example(0.0, 5e-324)
@example(5e-324, 0.0)
def test_ticks_cover_their_range(low: float, width: float) -> None:
    ticks = nice_ticks(low, low + width)
    assert 2 <= len(ticks) <= 12
    assert list(ticks) == sorted(set(ticks))
    slack = 1e-6 * max(1.0, abs(low), abs(low + width))
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + width - slack


def test_panels_share_an_axis_only_within_a_unit() -> None:
    share = Quantity(value=0.9, unit="fraction of images", low=0.8, high=1.0)
    nats = Quantity(value=-2.0, unit="nats")
    first, second = panels(
        (("a", "main", share), ("b", "control", nats), ("c", "baseline", None), ("d", "main", share))
    )
    assert [m.label for m in first.marks] == ["a", "d"]
    assert [label for _, label in first.ticks] == ["0", "0.25", "0.5", "0.75", "1"]
    assert first.marks[0].x == pytest.approx(4 + 92 * 0.9)
    assert first.marks[0].high == pytest.approx(96)
    assert second.unit == "nats"
    assert second.marks[0].low is None
    assert second.zero is not None
    assert second.marks[0].x < second.zero


def test_an_infinite_value_is_not_drawn() -> None:
    assert panels((("a", "main", Quantity(value=math.inf, unit="x")),)) == ()


def test_empty_reliability() -> None:
    assert reliability_points((), 240) == ()
