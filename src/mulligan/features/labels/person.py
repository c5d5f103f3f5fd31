"""Labels that people give, in a file that they can read and mend: labels.toml.

    [[label]]
    feature = "blocks.5:12"
    text = "dog faces"
    author = "Ann"
    date = 2026-01-31
    note = "not wolves"                  # if there is one
    network = "sha256:..."               # the network it was given for, if known

People overrule overseers. Nothing that a person said is thrown away: of one person's labels of one feature the latest
counts, and where two people disagree, both count.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ...records import BadInput, parse_feature
from ...runs import write_bytes
from .protocol import Candidate, Evidence, Overseer

_KEYS = ("feature", "text", "author", "date", "note", "network")
_HEADER = re.compile(r"^\s*\[\[\s*label\s*\]\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonLabel:
    """One label that a person gave. `network`: the identity of the network it was given for, where known."""

    feature: str
    text: str
    author: str
    date: date
    note: str = ""
    network: str = ""


def read_labels(path: Path | str) -> list[PersonLabel]:
    """All labels of a file, in its order; none if there is no such file.

    Raises:
        BadInput: if it cannot be read, or a label is broken; the line is named.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("the labels cannot be read", where=path, fix="give a UTF-8 file labels.toml") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"the labels are no TOML: {error}", where=path, fix="mend that line") from error
    strange = [key for key in document if key != "label"]
    tables = document.get("label", [])
    if strange or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        what = f"{strange[0]!r} is no label" if strange else "label is no list of tables"
        raise BadInput(what, where=path, fix="begin each label with a line [[label]]")
    # Where labels are written in another way that TOML allows, the label's number is named instead.
    lines = [number for number, line in enumerate(text.splitlines(), 1) if _HEADER.match(line)]
    places = [f"line {line}" for line in lines] if len(lines) == len(tables) else []
    return [
        _label(table, f"{path}, {places[number] if places else f'label {number + 1}'}")
        for number, table in enumerate(tables)
    ]


def _label(table: dict[str, Any], where: str) -> PersonLabel:
    for key in table:
        if key not in _KEYS:
            raise BadInput(f"a label has no {key!r}", where=where, fix=f"use {', '.join(_KEYS)}")
    for key in ("feature", "text", "author"):
        if not isinstance(table.get(key), str) or not table[key].strip():
            raise BadInput(f"this label has no {key}", where=where, fix=f'write {key} = "..."')
    for key in ("note", "network"):
        if not isinstance(table.get(key, ""), str):
            raise BadInput(f"this label's {key} is no text", where=where, fix=f'write {key} = "..."')
    try:
        parse_feature(table["feature"])
    except BadInput as error:
        raise BadInput(error.what, where=f"{where}, {table['feature']!r}", fix=error.fix) from error
    given = table.get("date")
    if isinstance(given, datetime):
        given = given.date()
    elif isinstance(given, str):
        try:
            given = date.fromisoformat(given)
        except ValueError:
            given = None
    if not isinstance(given, date):
        raise BadInput("this label has no date", where=where, fix="write date = 2026-01-31")
    return PersonLabel(
        feature=table["feature"], text=table["text"].strip(), author=table["author"].strip(), date=given,
        note=table.get("note", ""), network=table.get("network", ""),
    )  # fmt: skip


def add_label(path: Path | str, label: PersonLabel) -> None:
    """Append a label to a file, in one step; comments and all else in it stay as they are.

    Raises:
        BadInput: if the file is broken, or may not be written.
    """
    path = Path(path)
    if label in read_labels(path):
        return
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    write_bytes(path, (before + gap + _table(label)).encode())


def write_labels(path: Path | str, labels: Iterable[PersonLabel]) -> None:
    """Write a file of labels, in one step."""
    write_bytes(Path(path), "\n".join(_table(label) for label in labels).encode())


def _table(label: PersonLabel) -> str:
    lines = ["[[label]]", f"feature = {_quoted(label.feature)}", f"text = {_quoted(label.text)}",
             f"author = {_quoted(label.author)}", f"date = {label.date.isoformat()}"]  # fmt: skip
    lines += [f"{key} = {_quoted(value)}" for key in ("note", "network") if (value := getattr(label, key))]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string, save that TOML wants DEL escaped and knows no halves of surrogate pairs.
    whole = text.encode("utf-8", "replace").decode()
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")


def merge(*files: Sequence[PersonLabel]) -> list[PersonLabel]:
    """The labels of several files: each once, by feature, date and author; nobody's is dropped."""
    every = dict.fromkeys(label for labels in files for label in labels)
    return sorted(every, key=lambda label: (_place(label.feature), label.date, label.author))


def _place(feature: str) -> tuple[str, int]:
    head, _, index = feature.rpartition(":")
    return head, int(index)


def current(labels: Iterable[PersonLabel], network: str = "") -> dict[str, list[PersonLabel]]:
    """For each feature, each person's latest label, the latest first; two people's disagreement stands.

    Args:
        network: labels given for another network than this one are passed over; "": all count.
    """
    latest: dict[tuple[str, str], PersonLabel] = {}
    for label in labels:
        if network and label.network and label.network != network:
            continue
        key = (label.feature, label.author)
        if key not in latest or label.date >= latest[key].date:
            latest[key] = label
    found: dict[str, list[PersonLabel]] = {}
    for label in sorted(latest.values(), key=lambda label: label.date, reverse=True):
        found.setdefault(label.feature, []).append(label)
    return found


def today() -> date:
    """The date that a label given now bears."""
    return datetime.now(UTC).date()


class People:
    """What people said, as an overseer: proposes their labels; whether one fits an example, another overseer says.

    Args:
        labels: as `current` gives them. judge: who judges; None: nobody, and labels stay without a score.
    """

    name = "person"

    def __init__(self, labels: dict[str, list[PersonLabel]], judge: Overseer | None) -> None:
        self.labels, self._judge = labels, judge
        self.judges_all = judge is None or judge.judges_all

    def propose(self, evidence: Evidence) -> list[Candidate]:
        """See `Overseer`."""
        return [Candidate(label.text) for label in self.labels.get(evidence.feature, [])]

    def judge(self, label: str, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """See `Overseer`."""
        return np.full(len(rows), np.nan) if self._judge is None else self._judge.judge(label, rows)
