"""What the report says in words."""

from __future__ import annotations

import dataclasses

import reports_builder as builder

from mulligan.records import CheckRecord, DataRecord, Findings, NetworkRecord, Quantity
from mulligan.reports.wording import (
    borrowed,
    decide,
    how_hard,
    open_reason,
    p_text,
    sensitivity,
    smallest_text,
    state,
    who_can_tell,
)

WEAKEST = Quantity(value=0.2, unit="times", low=0.1, high=0.2, level=0.8, n=20)


def check(name: str, **changes: object) -> CheckRecord:
    plain = CheckRecord(
        name=name, status="ran", examined=10, basis="data", smallest_effect=WEAKEST, target_effect=0.3,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def of(*checks: CheckRecord, kind: str = "images") -> Findings:
    network = NetworkRecord(name="net", identity="sha256:0", parameters=1, input={"kind": kind})
    conclusive = all(one.conclusive for one in checks)
    return Findings(
        created="", mulligan="0", seed=0, seconds=1.0, network=network, checks=checks,
        data=DataRecord(source="data", identity="sha256:1", n=38), verdict="pass" if conclusive else "inconclusive",
    )  # fmt: skip


def test_a_borrowed_rank_is_said_to_be_borrowed() -> None:
    ranks = {"patch": Quantity(value=0.375, unit="", n=16), "blend": Quantity(value=1e-9, unit="", n=16)}
    said = borrowed(CheckRecord(name="triggers", status="ran", examined=3, ranks=ranks))
    assert said.startswith("Borrowed, and no part of the verdict: of 16 clean networks")
    assert "so many score as high: blend 0, patch 6." in said
    assert borrowed(CheckRecord(name="triggers", status="ran", examined=3)) == ""


def test_what_examined_nothing_has_no_rank() -> None:
    ranks = {"patch": Quantity(value=1.0, unit="", n=24)}
    assert borrowed(CheckRecord(name="triggers", status="ran", conclusive=False, ranks=ranks)) == ""


def test_a_pass_of_weights_alone_says_that_no_answer_was_tested() -> None:
    skipped = [CheckRecord(name=name, status="skipped") for name in ("conjunction", "triggers", "exclusion")]
    weights = [check(name, basis="weights", examined=50) for name in ("head-edit", "pruned")]
    told = decide(of(*skipped, *weights, kind="texts"))
    assert (told.verdict, told.word, told.narrow) == ("pass", "Pass, of weights only", True)
    assert told.headline.startswith("Only 2 of 5 checks ran, both of weights")
    assert told.headline.endswith("nothing was tested about what this language model says.")
    assert "2 checks looked at 100 hypotheses of weights alone." in told.reasons[0]
    assert "38" not in told.reasons[0]
    assert not decide(of(check("conjunction"), *weights)).narrow


def test_runs_of_before_the_basis_was_recorded_are_told_apart_all_the_same() -> None:
    old = [check(name, basis="", why="rows compared") for name in ("head-edit", "pruned")]
    assert decide(of(*old)).narrow
    assert not decide(of(*old, check("label-swap", basis=""))).narrow


def test_a_pass_in_which_few_checks_ran_says_so() -> None:
    skipped = [CheckRecord(name=name, status="skipped") for name in ("a", "b")]
    told = decide(of(check("pruned"), *skipped))
    assert told.headline == "Only 1 of 3 checks ran to the power that it promises and found nothing."


def test_what_looked_at_nothing_did_not_run() -> None:
    idle = check("planted-unit", examined=0, basis="", smallest_effect=None, conclusive=False, why="None bought.")
    assert open_reason(idle) == "did not run. None bought."
    assert state(idle) == "did not run"
    findings = of(check("conjunction"), check("pruned", basis="weights", examined=4), idle)
    said = how_hard(findings)
    assert "1 check looked at 10 hypotheses on 38 examples, and 1 more looked at 4 hypotheses of weights alone." in said
    assert "1 check that would apply looked at nothing: planted-unit." in said
    assert "power" not in decide(findings).reasons[0]


def test_the_table_is_said_to_tell_only_of_checks_that_it_tells_of() -> None:
    blind = check("triggers", smallest_effect=None, target_effect=None, conclusive=False)
    assert open_reason(blind) == "ran, and what it would have caught is not known."
    assert sensitivity(blind) == "it promises no least effect"
    assert who_can_tell(of(blind)) == ""
    assert who_can_tell(of(blind, check("pruned"))) == "each of the others"
    assert who_can_tell(of(check("pruned"))) == "each of them"


def test_what_reached_its_power_is_not_said_to_have_missed_it() -> None:
    assert open_reason(check("shortcut", conclusive=False, why="Why.")) == "ran, and did not settle its question. Why."
    weak = check("shortcut", conclusive=False, target_effect=0.1)
    assert open_reason(weak) == "ran, and did not reach the power that it promises."
    assert decide(builder.inconclusive()).verdict == "inconclusive"


def test_a_p_says_over_which_claims_it_was_corrected() -> None:
    one = builder.finding(p=0.01, p_adjusted=0.02, corrected_for=2)
    assert p_text(one) == "p = 0.01; after Holm's correction over this check's 2 claims, p = 0.02."
    old = dataclasses.replace(one, corrected_for=None)
    assert p_text(old) == "p = 0.01; after Holm's correction over the claims that this check froze, p = 0.02."
    assert "this one claim" in p_text(dataclasses.replace(one, p_adjusted=0.01, corrected_for=1))
    alone = dataclasses.replace(one, p_adjusted=None, corrected_for=None)
    assert p_text(alone) == "p = 0.01, corrected for no other claim."
    assert p_text(dataclasses.replace(one, p=None)) == "No p-value applies."


def test_few_trials_are_counted_and_said_to_be_few() -> None:
    two = check("exclusion", caught=fraction(2, 2))
    said = sensitivity(two)
    assert said.startswith("target 0.3: reached, caught in 2 of 2 trials (the true share may be from 0.16 to 1.00")
    assert said.endswith("so few trials allow little to be said")
    assert "so few" not in sensitivity(check("conjunction", caught=fraction(16, 16)))
    assert sensitivity(check("old")) == "target 0.3: reached, caught in at least 80 % of 20 trials"


def test_a_grade_is_no_interval() -> None:
    said = smallest_text(WEAKEST)
    assert said == "0.2 times; the next weaker one, 0.1, was not caught often enough"
    assert smallest_text(dataclasses.replace(WEAKEST, low=0.0)) == "0.2 times, the weakest that was tried"
    assert smallest_text(builder.share(0.2)).startswith("0.20 [0.14, 0.26] fraction")


def fraction(hits: int, n: int) -> Quantity:
    low, high = {2: (0.158, 1.0), 16: (0.794, 1.0)}[n]
    return Quantity(value=hits / n, unit="of trials", low=low, high=high, n=n)
