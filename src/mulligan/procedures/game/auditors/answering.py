"""Writing an answer: findings.json from claims and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ....networks import Network
from ....records import CheckRecord, DataRecord, Finding, Findings, NetworkRecord
from ....runs import encode_json, mulligan_version
from ..entries import Entry


def write_findings(
    out: Path,
    entry: Entry,
    *,
    checks: Sequence[CheckRecord] = (),
    findings: Sequence[Finding] = (),
    leads: Sequence[Finding] = (),
    network: Network | None = None,
    n: int = 0,
    seconds: float = 0.0,
    coverage: Mapping[str, object] | None = None,
) -> Findings:
    """Write `out`/findings.json, as an audit would."""
    record = NetworkRecord(name=entry.id, identity="", parameters=0, classes=entry.classes)
    document = Findings(
        created=datetime.now(UTC).isoformat(timespec="seconds"), mulligan=mulligan_version(), seed=0, seconds=seconds,
        network=network.record() if network is not None else record,
        data=DataRecord(source=entry.data or "", identity="", n=n), verdict="fail" if findings else "pass",
        checks=tuple(checks), findings=numbered("F", findings), leads=numbered("L", leads),
        coverage=dict(coverage or {}),
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "findings.json").write_bytes(encode_json(document))
    return document


def numbered(letter: str, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The same with ids, in their order."""
    return tuple(replace(finding, id=f"{letter}{i + 1}") for i, finding in enumerate(findings))
