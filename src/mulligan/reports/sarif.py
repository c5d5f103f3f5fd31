"""RUN/findings.sarif: findings and leads as SARIF 2.1.0 (OASIS, errata 01), for code scanning and CI dashboards."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from ..records import CheckRecord, Finding, Group
from .reading import Stored, read_run
from .text import visible
from .wording import Decision, decide, finding_text, is_open, open_reason, sensitivity
from .writing import write_atomically

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LEVELS = {"high": "error", "medium": "warning", "low": "note"}
_EXIT = {"pass": 0, "fail": 1, "inconclusive": 3}
_SEMANTIC_VERSION = re.compile(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
_BASE = "RUN"
_PROPERTIES = (
    "id", "severity", "confidence", "sources", "absent", "target", "where", "effect", "placebo", "baseline", "p",
    "causal", "action", "reproduce",
)  # fmt: skip


def write_sarif(run: Path | str) -> Path:
    """Write a finished run's findings and leads as RUN/findings.sarif and return its path.

    Raises:
        BadInput: if the run cannot be read, or its folder cannot be written to.
    """
    stored = read_run(run)
    text = json.dumps(sarif_log(stored), ensure_ascii=False, indent=1, allow_nan=False)
    return write_atomically(stored.folder / "findings.sarif", text + "\n")


def sarif_log(stored: Stored) -> dict[str, Any]:
    """The SARIF log of a run that was read.

    A finding is a result of kind "fail", its level by severity. A lead is of kind "review", whose level the standard
    fixes at "none" (section 3.27.10). A check that failed or stayed inconclusive is a notification of the invocation.
    """
    findings = stored.findings
    decision = decide(findings, stored.fail_on)
    kinds = sorted({c.name for c in findings.checks} | {f.kind for f in (*findings.findings, *findings.leads)})
    rules = {kind: index for index, kind in enumerate(kinds)}
    marks = _fingerprints((*findings.findings, *findings.leads))
    results = [_result(stored, f, rules, marks[f.id], lead=False) for f in findings.findings]
    results += [_result(stored, f, rules, marks[f.id], lead=True) for f in findings.leads]
    driver: dict[str, Any] = {"name": "Mulligan", "version": findings.mulligan}
    driver["rules"] = [_rule(kind, findings.checks) for kind in kinds]
    if _SEMANTIC_VERSION.fullmatch(findings.mulligan):
        driver["semanticVersion"] = findings.mulligan
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"mulligan/{quote(findings.network.name, safe='')}/"},
        "originalUriBaseIds": {_BASE: {"description": {"text": "The run's folder."}}},
        "invocations": [_invocation(stored, decision, rules)],
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {
            "verdict": decision.verdict,
            "verdictReasons": [visible(reason) for reason in decision.reasons],
            "network": {name: getattr(findings.network, name) for name in ("name", "identity", "parameters")},
            "data": msgspec.to_builtins(findings.data),
            "seed": findings.seed,
            "modified": msgspec.to_builtins(findings.modified),
        },
    }
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(kind: str, checks: tuple[CheckRecord, ...]) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": kind, "shortDescription": {"text": f"Mulligan's check for: {visible(kind)}"}}
    check = next((c for c in checks if c.name == kind), None)
    if check is not None:
        rule["properties"] = {
            "status": check.status,
            "conclusive": check.conclusive,
            "why": check.why,
            "examined": check.examined,
            "seconds": check.seconds,
            "calibration": msgspec.to_builtins(check.calibration),
            "smallestEffect": msgspec.to_builtins(check.smallest_effect),
            "targetEffect": check.target_effect,
        }
    return rule


def _result(stored: Stored, finding: Finding, rules: dict[str, int], mark: str, *, lead: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.kind,
        "ruleIndex": rules[finding.kind],
        "kind": "review" if lead else "fail",
        "level": "none" if lead else _LEVELS[finding.severity],
        "message": {"text": visible(finding_text(finding), None)},
        "locations": [_location(stored, finding)],
        "partialFingerprints": {"mulliganClaim/v1": mark},
        "properties": _properties(finding),
    }
    if finding.confidence is not None:
        result["rank"] = round(100 * min(1.0, max(0.0, finding.confidence)), 2)
    trigger = finding.trigger
    if trigger is not None:
        files = (
            ("The trigger", trigger.image),
            ("Where the trigger is laid", trigger.mask),
            ("What makes triggered inputs", trigger.generator),
        )
        attachments = [
            {"description": {"text": text}, "artifactLocation": {"uri": quote(path), "uriBaseId": _BASE}}
            for text, path in files
            if path is not None
        ]
        if attachments:
            result["attachments"] = attachments
    return result


def _location(stored: Stored, finding: Finding) -> dict[str, Any]:
    """The network, and the site in it where known. Dashboards that want a file get the one that records the finding."""
    network = stored.findings.network.name
    site = finding.where.site if finding.where is not None else None
    logical: list[dict[str, Any]] = []
    if site is not None:
        logical.append({"name": site, "fullyQualifiedName": f"{network}/{site}", "kind": "member"})
    logical.append({"name": network, "fullyQualifiedName": network, "kind": "module"})
    physical = {"artifactLocation": {"uri": "findings.json", "uriBaseId": _BASE}}
    return {"physicalLocation": physical, "logicalLocations": logical}


def _properties(finding: Finding) -> dict[str, Any]:
    """Everything that was measured, as findings.json has it, so that nothing is lost on the way."""
    fields = msgspec.to_builtins(finding)
    bag = {name: fields[name] for name in _PROPERTIES}
    bag["pAdjusted"] = finding.p_adjusted
    bag["triggerFamily"] = finding.trigger.family if finding.trigger is not None else None
    return bag


def _fingerprints(findings: tuple[Finding, ...]) -> dict[str, str]:
    """A mark for each finding's id that stays the same when figures, seeds, order or versions change.

    It rests on what is claimed (kind, sources, target, trigger's family, site), and on the sentence only where there is
    nothing else. Equal claims are told apart by their order.
    """
    seen: dict[str, int] = {}
    marks: dict[str, str] = {}
    for finding in findings:
        sources = sorted(_names(finding.sources))
        absent = sorted(_names(finding.absent))
        family = finding.trigger.family if finding.trigger is not None else None
        site = finding.where.site if finding.where is not None else None
        sentence = None if sources or absent or finding.target or site else finding.claim
        claim = json.dumps([finding.kind, sources, absent, finding.target, family, site, sentence])
        digest = hashlib.sha256(claim.encode()).hexdigest()[:32]
        seen[digest] = seen.get(digest, 0) + 1
        marks[finding.id] = f"{digest}:{seen[digest]}"
    return marks


def _names(sources: tuple[str | Group, ...]) -> list[str]:
    return [source.name if isinstance(source, Group) else source for source in sources]


def _invocation(stored: Stored, decision: Decision, rules: dict[str, int]) -> dict[str, Any]:
    manifest, checks = stored.manifest, stored.findings.checks
    notifications = [
        {
            "level": "error" if check.status == "failed" else "warning",
            "message": {"text": visible(f"{check.name} {open_reason(check)} ({sensitivity(check)})")},
            "associatedRule": {"id": check.name, "index": rules[check.name]},
        }
        for check in checks
        if is_open(check)
    ]
    if decision.verdict == "inconclusive" and not notifications:
        notifications = [{"level": "warning", "message": {"text": decision.headline}}]
    invocation: dict[str, Any] = {
        "executionSuccessful": not any(check.status == "failed" for check in checks),
        "exitCode": manifest.get("exit_status", _EXIT[decision.verdict]),
        "exitCodeDescription": f"{decision.word}: {decision.headline}",
        "toolExecutionNotifications": notifications,
    }
    command = manifest.get("command")
    if isinstance(command, list) and command and all(isinstance(part, str) for part in command):
        invocation["commandLine"] = " ".join(command)
        invocation["arguments"] = command[1:]
    started, ended = _utc(manifest.get("created")), _utc(stored.findings.created)
    if started is not None:
        invocation["startTimeUtc"] = started
    if ended is not None:
        invocation["endTimeUtc"] = ended
    return invocation


def _utc(text: object) -> str | None:
    """An ISO time as the standard wants it, in UTC to the second; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
