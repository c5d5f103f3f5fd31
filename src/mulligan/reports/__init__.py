"""A finished run's folder, rendered: an article (HTML), SARIF, JUnit, and the JSON Schema of its findings.

Reads runs and records only, and renders without torch. Every file is written whole or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..runs import Run
from .index import write_index
from .junit import write_junit
from .page import render_page, write_html
from .reading import Stored, read_run
from .remote import copied, is_remote
from .sarif import write_sarif
from .schema import findings_schema, write_schema

__all__ = [
    "Reports", "Stored", "findings_schema", "read_run", "render_page", "write_html", "write_index",
    "write_junit", "write_reports", "write_sarif", "write_schema",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """Where a run's reports were written: paths, or URLs if the run lies elsewhere."""

    html: Path | str
    sarif: Path | str
    junit: Path | str


def write_reports(run: Path | str) -> Reports:
    """Render a finished run as RUN/report.html, RUN/findings.sarif and RUN/findings.junit.xml.

    Args:
        run: its folder, or its URL.

    Raises:
        BadInput: if the run cannot be read, or its folder cannot be written to.
    """
    if not is_remote(run):
        read_run(run)  # all or none
        return Reports(html=write_html(run), sarif=write_sarif(run), junit=write_junit(run))
    opened = Run.open(run)
    with copied(opened) as folder:
        read_run(folder)
        written = [Path(write(folder)) for write in (write_html, write_sarif, write_junit)]
        for path in written:
            opened.write_bytes(path.name, path.read_bytes())
    html, sarif, junit = (opened.store.where(path.name) for path in written)
    return Reports(html=html, sarif=sarif, junit=junit)
