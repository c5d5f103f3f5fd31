"""An audit's findings and checks into a book: in full for who reads one, and as tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ....records import Finding
from ...reading import Stored
from ...wording import is_graded, state
from ..book import Book, Column
from ..rows import Rows
from .showing import plain

_DOCUMENT = "findings.json"
_FINDING = (
    Column("id", "Finding", "text"), Column("claim", "Claim"), Column("kind", "Kind"), Column("severity", "Severity"),
    Column("confidence", "Confidence", "number"), Column("effect", "Effect", "quantity"),
    Column("placebo", "Placebo", "quantity"), Column("baseline", "Baseline", "quantity"), Column("p", "p", "number"),
    Column("p_adjusted", "p adjusted", "number"), Column("before", "Before the edit", "quantity"),
    Column("after", "After it", "quantity"), Column("control", "After a random edit", "quantity"),
    Column("clean_before", "Clean, before", "quantity"), Column("clean_after", "Clean, after", "quantity"),
)  # fmt: skip
_CHECK = (
    Column("name", "Check"), Column("about", "Looks for"), Column("state", "State"),
    Column("examined", "Examined", "number"), Column("smallest", "Smallest effect caught", "quantity"),
    Column("caught", "Share of trials that caught it", "quantity"),
    Column("target", "Promised", "number"),
    Column("seconds", "Seconds", "number", "s"), Column("why", "Why"),
)  # fmt: skip


def add_findings(book: Book, stored: Stored, network: int, run: int) -> None:
    """Findings and leads: each in full in the series "findings", in the order of the index, and as a row."""
    rows = Rows(book, run, "findings", "Findings and leads", _DOCUMENT, _FINDING)
    every: list[Any] = list(book.series.get("findings", ()))
    for lead, items in ((False, stored.findings.findings), (True, stored.findings.leads)):
        for finding in items:
            table = rows.add(finding.id, _row(finding))
            book.findings.append({
                "id": finding.id, "kind": finding.kind, "severity": finding.severity, "claim": finding.claim,
                "run": run, "lead": lead,
            })  # fmt: skip
            every.append({
                **book.placed(finding, stored), "run": run, "network": network, "lead": lead, "table": table,
            })  # fmt: skip
    if every:
        book.series["findings"] = every
    rows.enter()


def add_checks(book: Book, stored: Stored, run: int) -> None:
    """How hard each check looked."""
    rows = Rows(book, run, "checks", "Checks", _DOCUMENT, _CHECK)
    for check in stored.findings.checks:
        if check.about:
            book.terms[check.name] = f"A check. {check.about}"
        smallest = check.smallest_effect
        if smallest is not None and is_graded(smallest):  # its ends are the grades that were tried, and no interval
            smallest = replace(smallest, low=None, high=None)
        cells = [
            check.name, check.about, state(check), check.examined, plain(smallest), plain(check.caught),
            check.target_effect, check.seconds, check.why,
        ]  # fmt: skip
        rows.add(check.name, cells)
    rows.enter()


def _row(f: Finding) -> list[Any]:
    causal = f.causal
    edited = (None,) * 5 if causal is None else (
        causal.before, causal.after, causal.control, causal.clean_before, causal.clean_after,
    )  # fmt: skip
    return [
        f.id, f.claim, f.kind, f.severity, f.confidence, plain(f.effect), plain(f.placebo), plain(f.baseline), f.p,
        f.p_adjusted, *map(plain, edited),
    ]  # fmt: skip
