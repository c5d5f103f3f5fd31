"""RUN/findings.junit.xml: one suite, one test case a check, for CI systems that show JUnit reports.

A finding is a failure at its check's case; a check that does not apply is skipped; one that failed or stayed
inconclusive is an error, for it never counts as a pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from ..records import CheckRecord, Finding
from .reading import Stored, read_run
from .text import visible
from .wording import Decision, decide, finding_text, is_open, open_reason, sensitivity, smallest_text
from .writing import write_atomically


def write_junit(run: Path | str) -> Path:
    """Write a finished run's checks as RUN/findings.junit.xml and return its path.

    Raises:
        BadInput: if the run cannot be read, or its folder cannot be written to.
    """
    stored = read_run(run)
    suite = junit_suite(stored)
    ElementTree.indent(suite)
    return write_atomically(
        stored.folder / "findings.junit.xml", ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    )


def junit_suite(stored: Stored) -> ElementTree.Element:
    """The suite of a run that was read.

    A finding whose kind is no check's name gets a case of its own, and so does a verdict that no case would show.
    """
    findings = stored.findings
    decision = decide(findings, stored.fail_on)
    suite = ElementTree.Element("testsuite", name=_attribute(f"mulligan audit {findings.network.name}"))
    _describe(suite, stored, decision)
    named = {check.name for check in findings.checks}
    for check in findings.checks:
        _case(suite, stored, check.name, check, [f for f in findings.findings if f.kind == check.name])
    for kind in dict.fromkeys(f.kind for f in findings.findings if f.kind not in named):
        _case(suite, stored, kind, None, [f for f in findings.findings if f.kind == kind])
    shown = {"fail": "failure", "inconclusive": "error"}.get(decision.verdict)
    if shown is not None and suite.find(f"testcase/{shown}") is None:
        case = _new_case(suite, stored, "verdict", 0.0)
        _note(case, shown, decision.verdict, decision.headline, decision.reasons)
    if findings.leads:
        text = "\n".join(f"Lead {lead.id} ({lead.kind}): {lead.claim}" for lead in findings.leads)
        ElementTree.SubElement(suite, "system-out").text = visible(text, None)
    cases = suite.findall("testcase")
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("tests", str(len(cases)))
    suite.set("time", f"{findings.seconds:.3f}")
    suite.set("timestamp", _attribute(findings.created))
    return suite


def _describe(suite: ElementTree.Element, stored: Stored, decision: Decision) -> None:
    findings = stored.findings
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (
        ("verdict", decision.verdict),
        ("network", findings.network.name),
        ("network identity", findings.network.identity),
        ("data", findings.data.source),
        ("data identity", findings.data.identity),
        ("examples", str(findings.data.n)),
        ("seed", str(findings.seed)),
        ("mulligan", findings.mulligan),
    ):
        ElementTree.SubElement(properties, "property", name=name, value=_attribute(value))


def _new_case(suite: ElementTree.Element, stored: Stored, name: str, seconds: float) -> ElementTree.Element:
    # A dot would make readers split the network's name into packages.
    owner = _attribute(f"mulligan.{stored.findings.network.name.replace('.', '_')}")
    return ElementTree.SubElement(suite, "testcase", classname=owner, name=_attribute(name), time=f"{seconds:.3f}")


def _case(
    suite: ElementTree.Element, stored: Stored, name: str, check: CheckRecord | None, findings: list[Finding]
) -> None:
    case = _new_case(suite, stored, name, check.seconds if check is not None else 0.0)
    for finding in findings:
        message = f"{finding.id} ({finding.severity}): {finding.claim}"
        _note(case, "failure", finding.severity, message, finding_text(finding).splitlines())
    if check is None:
        return
    if is_open(check):
        kind = "failed" if check.status == "failed" else "inconclusive"
        _note(case, "error", kind, f"{name} {open_reason(check)}", (sensitivity(check),))
    elif check.status == "skipped":
        ElementTree.SubElement(case, "skipped", message=_attribute(check.why or "does not apply"))
    lines = [
        f"examined {check.examined}",
        f"smallest effect: {smallest_text(check.smallest_effect)}",
        sensitivity(check),
    ]
    lines.append(f"calibrated on: {check.calibration.kind}, n = {check.calibration.n}")
    ElementTree.SubElement(case, "system-out").text = visible("\n".join(lines), None)


def _note(case: ElementTree.Element, tag: str, kind: str, message: str, lines: Iterable[str]) -> None:
    ElementTree.SubElement(case, tag, type=kind, message=_attribute(message)).text = visible("\n".join(lines), None)


def _attribute(text: str) -> str:
    """Text for an attribute: hidden characters, which XML mostly forbids, as their code points."""
    return visible(text)
