"""What `read_run` accepts, and what it says of the rest."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import reports_builder as builder

from mulligan.records import BadInput
from mulligan.reports import read_run, write_reports
from mulligan.reports.reading import inside


def test_reads_what_was_written(run: Path) -> None:
    stored = read_run(run)
    assert stored.findings == builder.findings()
    assert stored.description == builder.description()
    assert stored.manifest == builder.MANIFEST
    assert stored.fail_on == "high"


def test_reads_fields_that_it_does_not_know(run: Path) -> None:
    path = run / "findings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"later": {"field": 1}}))
    assert read_run(run).findings == builder.findings()


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no run's folder") as caught:
        read_run(tmp_path / "absent")
    assert caught.value.where == tmp_path / "absent"
    assert caught.value.fix


@pytest.mark.parametrize("name", ["findings.json", "description.json", "manifest.json"])
def test_a_missing_file(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(BadInput, match=f"no {name}") as caught:
        read_run(run)
    assert caught.value.where == run / name
    assert caught.value.fix


@pytest.mark.parametrize("name", ["findings.json", "description.json", "manifest.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b'{"schema": "mulligan/', b"[1, 2]", b"\xff\xfe", b'{"schema": 3}', b'{"schema": "\xff"}', b'{"a":' * 50_000],
)
def test_a_broken_file(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    with pytest.raises(BadInput, match=r"broken|schema") as caught:
        read_run(run)
    assert caught.value.where == run / name
    assert caught.value.fix


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("findings.json", "mulligan/findings/2"),
        ("description.json", "mulligan/description/12"),
        ("manifest.json", "mulligan/run/2"),
    ],
)
def test_a_newer_schema_says_that_this_mulligan_is_too_old(run: Path, name: str, schema: str) -> None:
    path = run / name
    path.write_text(json.dumps({"schema": schema}))
    with pytest.raises(BadInput, match="too old") as caught:
        read_run(run)
    assert schema in str(caught.value)
    assert "newer" in (caught.value.fix or "")


def test_another_family_of_schema(run: Path) -> None:
    (run / "findings.json").write_text(json.dumps({"schema": "mulligan/comparison/1"}))
    with pytest.raises(BadInput, match="mulligan/comparison/1"):
        read_run(run)


OUTSIDE = [
    "../secret.png",
    "artifacts/../../secret.png",
    "/etc/passwd",
    "\\\\host\\share\\x.png",
    "C:\\x.png",
    "C:x.png",
    "artifacts\\..\\..\\secret.png",
    "a\0b.png",
    "",
    "//host/x.png",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_paths_that_leave_the_folder_are_refused(run: Path, path: str) -> None:
    with pytest.raises(BadInput, match="path in this run"):
        inside(run, path)


@pytest.mark.parametrize("field", ["image", "mask", "generator"])
def test_a_trigger_that_leaves_the_folder_is_refused(tmp_path: Path, field: str) -> None:
    base = builder.finding()
    assert base.trigger is not None
    trigger = dataclasses.replace(base.trigger, **{field: "../secret"})
    run = builder.build(tmp_path / "run", builder.findings(findings=(dataclasses.replace(base, trigger=trigger),)))
    with pytest.raises(BadInput, match="leads out"):
        read_run(run)


def test_an_example_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    card = dataclasses.replace(builder.card(1), stratified=(builder.picture(0, image="../secret.png"),))
    site = dataclasses.replace(builder.site("blocks.1"), cards=(card,))
    run = builder.build(tmp_path / "run", described=builder.description(inventory=(site,)))
    with pytest.raises(BadInput, match="leads out"):
        write_reports(run)
    assert not (run / "report.html").exists()


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(run: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    (run / "artifacts/out.png").symlink_to(tmp_path / "secret.png")
    (run / "artifacts/up").symlink_to(tmp_path)
    (run / "artifacts/in.png").symlink_to(run / "artifacts/examples/0.png")
    for path in ("artifacts/out.png", "artifacts/up/secret.png"):
        with pytest.raises(BadInput, match="through a link"):
            inside(run, path)
    assert inside(run, "artifacts/in.png") == run / "artifacts/in.png"


def test_a_link_that_runs_in_a_circle_is_refused_or_missing(run: Path) -> None:
    (run / "artifacts/a").symlink_to(run / "artifacts/b")
    (run / "artifacts/b").symlink_to(run / "artifacts/a")
    try:
        inside(run, "artifacts/a")
    except BadInput as error:
        assert "cannot be followed" in str(error)  # noqa: PT017


def test_writes_leave_nothing_behind_when_they_fail(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "report.html").write_text("the old page")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mulligan.reports.writing.os.replace", full)
    before = sorted(p.name for p in run.iterdir())
    with pytest.raises(BadInput, match="no room"):
        write_reports(run)
    assert sorted(p.name for p in run.iterdir()) == before
    assert (run / "report.html").read_text() == "the old page"
