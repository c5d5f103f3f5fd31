"""What the report says in words."""

from __future__ import annotations

from mulligan.records import CheckRecord, Quantity
from mulligan.reports.wording import borrowed


def test_a_borrowed_rank_is_said_to_be_borrowed() -> None:
    ranks = {"patch": Quantity(value=0.4, unit="", n=16), "blend": Quantity(value=1e-9, unit="", n=16)}
    said = borrowed(CheckRecord(name="triggers", status="ran", ranks=ranks))
    assert said.startswith("Borrowed, and no part of the verdict: of 16 clean networks")
    assert "blend below 0.01, patch 0.40." in said
    assert borrowed(CheckRecord(name="triggers", status="ran")) == ""
