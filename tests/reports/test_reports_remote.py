"""Reports of a run that lies at a URL: read there, rendered here, put back there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from mulligan.records import BadInput
from mulligan.reports import write_reports

WRITTEN = ("report.html", "findings.sarif", "findings.junit.xml")


@pytest.fixture
def remote(run: Path) -> Iterator[str]:
    """The same run at a URL."""
    files = MemoryFileSystem()
    files.store.clear()
    for path in run.rglob("*"):
        if path.is_file():
            files.pipe_file(f"/shared/run/{path.relative_to(run).as_posix()}", path.read_bytes())
    yield "memory://shared/run"
    files.store.clear()


def test_reports_at_a_url_are_those_in_a_folder(run: Path, remote: str) -> None:
    write_reports(run)
    reports = write_reports(remote)
    assert (reports.html, reports.sarif, reports.junit) == tuple(f"{remote}/{name}" for name in WRITTEN)
    for name in WRITTEN:
        assert MemoryFileSystem().cat_file(f"/shared/run/{name}") == (run / name).read_bytes(), name


def test_a_run_at_a_url_that_cannot_be_read(remote: str) -> None:
    files = MemoryFileSystem()
    files.rm_file("/shared/run/findings.json")
    with pytest.raises(BadInput, match=r"this run has no findings\.json"):
        write_reports(remote)
    with pytest.raises(BadInput, match="there is no run here"):
        write_reports("memory://shared/none")


def test_a_name_that_leads_out_is_refused(remote: str, tmp_path: Path) -> None:
    # An object store takes any text as a name.
    MemoryFileSystem().store["/shared/run/artifacts/../../../x"] = MemoryFileSystem().store["/shared/run/findings.json"]
    with pytest.raises(BadInput, match="leads out of the run's folder"):
        write_reports(remote)
