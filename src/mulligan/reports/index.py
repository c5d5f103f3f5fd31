"""One page that leads to the reports of several runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..records import BadInput, Findings
from .pages import environment
from .reading import read_run
from .wording import Decision, decide
from .writing import write_atomically


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run in an index: a relative link to its report, what it audited, and what it says."""

    link: str
    folder: str
    findings: Findings
    decision: Decision


def write_index(folder: Path | str, runs: Sequence[Path | str], title: str) -> Path:
    """Write FOLDER/index.html, which leads to each run's report.html by a relative link, and return its path.

    The folder is made if it does not exist. Runs are listed in the order given.

    Raises:
        BadInput: if a run cannot be read or has no report, or the folder cannot be written to.
    """
    home = Path(folder)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput("this folder cannot be made", where=home, fix="choose another folder") from error
    entries = tuple(_entry(home, Path(run)) for run in runs)
    page = environment().get_template("index.html.j2").render(title=title, entries=entries)
    return write_atomically(home / "index.html", page)


def _entry(home: Path, run: Path) -> Entry:
    stored = read_run(run)
    report = run / "report.html"
    if not report.is_file():
        raise BadInput("this run has no report.html", where=run, fix="write its reports first")
    # A leading "./" keeps a folder such as "javascript:..." from being read as a scheme; quoting covers the rest.
    relative = Path(os.path.relpath(report.resolve(), home.resolve())).as_posix()
    return Entry(
        link="./" + quote(relative),
        folder=run.name,
        findings=stored.findings,
        decision=decide(stored.findings, stored.fail_on),
    )
