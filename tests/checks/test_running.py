"""Running checks: what every record is given, whichever check it comes from, and the borrowed ranks."""

from __future__ import annotations

from importlib.metadata import entry_points
from types import SimpleNamespace

import pytest

from mulligan.checks import Bank, Needs, Outcome, checks, ranks, running
from mulligan.checks.check import kinds_of
from mulligan.records import CheckRecord


def _ran(monkeypatch: pytest.MonkeyPatch, examined: int, data: str = "images", basis: str = "") -> CheckRecord:
    record = CheckRecord(name="some", status="ran", examined=examined, basis=basis)
    one = SimpleNamespace(
        name="some", kinds=("this", "that"), about="Something is wrong.",
        needs=Needs(tasks=("classification",), data=data),
        run=lambda subject: Outcome(record=record),
    )  # fmt: skip
    monkeypatch.setattr(running, "checks", lambda names: [one])
    monkeypatch.setattr(running, "why_not", lambda check, subject: None)
    (outcome,) = running.run_checks(SimpleNamespace(without=frozenset()))
    assert running.run_checks(SimpleNamespace(without=frozenset({"this", "that"}))) == []
    assert len(running.run_checks(SimpleNamespace(without=frozenset({"this", "some"})))) == 1
    return outcome.record


def test_a_record_says_what_its_check_looks_for_and_by_what_it_went(monkeypatch):
    assert _ran(monkeypatch, 3).about == "Something is wrong."
    assert _ran(monkeypatch, 3).basis == "data"
    assert _ran(monkeypatch, 0).basis == ""
    assert _ran(monkeypatch, 3, data="", basis="weights").basis == "weights"


def test_every_check_says_in_one_sentence_what_it_looks_for():
    for check in checks():
        assert check.about.endswith(".")
        assert ". " not in check.about


def test_every_kind_that_is_planted_can_be_left_out():
    looked_for = {kind for check in checks() for kind in kinds_of(check)}
    assert {entry.name for entry in entry_points(group="mulligan.plants")} <= looked_for


def test_a_borrowed_rank_is_a_count_and_no_extrapolation():
    found = ranks({"patch": 9.0, "blend": 2.0}, Bank(scores={"patch": [1.0, 2.0, 3.0, 4.0], "blend": [1.0, 2.0, 3.0]}))
    assert (found["patch"].value, found["patch"].n, found["patch"].low) == (0.0, 4, 0.0)
    assert found["blend"].value == pytest.approx(2 / 3)
