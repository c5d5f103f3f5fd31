"""Running checks on a subject, and putting what they found in order: what the audit and the game share."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from ..records import BadInput, CheckRecord, Finding, MulliganError
from ..visualization.quickened import kept_memory
from .check import Check, Outcome, Subject, checks, kinds_of, why_not

SEVERITIES = {"high": 0, "medium": 1, "low": 2}
_log = logging.getLogger(__name__)


def run_checks(subject: Subject, names: Sequence[str] | None = None) -> list[Outcome]:
    """Run every installed check (or those named) that applies; outcomes in the order of the checks' names.

    The cheap ones run first: what is left of the budget is for the one that can use any amount. One that breaks is
    recorded as failed and takes nothing else along.

    Raises:
        BadInput: if a named check is not installed. Interrupted: after Ctrl-C.
    """
    wanted = [check for check in checks(names) if not set(kinds_of(check)) <= subject.without]
    order = sorted(wanted, key=lambda check: (check.needs.share, check.name))
    with kept_memory():
        outcomes = {check.name: _run(check, subject) for check in order}
    return [outcomes[name] for name in sorted(outcomes)]


def _run(check: Check, subject: Subject) -> Outcome:
    reason = why_not(check, subject)
    if reason is not None:
        return Outcome(record=CheckRecord(name=check.name, status="skipped", why=reason, about=check.about))
    start = time.monotonic()
    try:
        outcome = check.run(subject)
        scores = {kind: float(score) for kind, score in outcome.record.scores.items()}  # numpy's numbers are no JSON
        basis = outcome.record.basis or ("data" if check.needs.data else "")
        told = {"scores": scores, "about": check.about, "basis": basis if outcome.record.examined else ""}
        return replace(outcome, record=replace(outcome.record, **told))
    except BadInput as error:
        return _failed(check, str(error), start)
    except MulliganError:
        raise
    except Exception as error:  # a check may come from another package; its fault must not take the others along
        _log.exception("the check %s failed", check.name)
        return _failed(check, f"The check itself is broken: {type(error).__name__}: {error}", start)


def _failed(check: Check, why: str, start: float) -> Outcome:
    seconds = time.monotonic() - start
    record = CheckRecord(
        name=check.name, status="failed", why=why, about=check.about, seconds=seconds, conclusive=False
    )  # fmt: skip
    return Outcome(record=record)


def numbered(letter: str, findings: Sequence[Finding], reproduce: str = "") -> tuple[Finding, ...]:
    """Findings sorted, the best supported first, with their ids ("F1", "F2"... for the letter "F")."""

    def support(finding: Finding) -> tuple[float, float, int]:
        p = finding.p_adjusted if finding.p_adjusted is not None else finding.p
        return (-(finding.confidence or 0.0), p if p is not None else 1.0, SEVERITIES[finding.severity])

    ordered = sorted(findings, key=support)
    return tuple(replace(f, id=f"{letter}{i + 1}", reproduce=reproduce) for i, f in enumerate(ordered))
