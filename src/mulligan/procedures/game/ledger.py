"""The ledger: one JSON line for every step of every network, only ever added to.

A line is written with one call and reached the disk when `add` returns, so that a process killed at any moment leaves
whole lines, and at most a torn last one, which the next writer ends and readers skip. Several processes may write.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...records import BadInput
from ...runs import canonical

SCHEMA = "mulligan/ledger/1"
Line = dict[str, Any]


class Ledger:
    """GAME/ledger.jsonl. The first line is {"schema", "round"}; the others have a "step" and what belongs to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[Line]:
        """All whole lines, in order.

        Raises:
            BadInput: if the file is no ledger, or a line other than the last is broken.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BadInput(f"the ledger cannot be read, {error.strerror}", where=self.path) from error
        found: list[Line] = []
        rows = data.split(b"\n")
        for number, row in enumerate(rows, 1):
            if not row.strip():
                continue
            try:
                line = json.loads(row)
                if not isinstance(line, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                if number == len(rows) or row.endswith(b"#torn"):
                    continue
                fix = "restore the ledger from where it was committed"
                where = f"{self.path}, line {number}"
                raise BadInput("a line of the ledger is broken", where=where, fix=fix) from error
            found.append(line)
        if found and not str(found[0].get("schema", "")).startswith("mulligan/ledger/"):
            raise BadInput("this is no ledger", where=self.path, fix="give the ledger.jsonl of a game")
        if found and found[0]["schema"] != SCHEMA:
            raise BadInput(f"a newer Mulligan wrote this ledger ({found[0]['schema']})", where=self.path)
        return found

    def add(self, line: Mapping[str, Any]) -> None:
        """Write one line behind all others.

        Raises:
            BadInput: if it cannot be written.
        """
        text = canonical(dict(line)).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self.path) as file:
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":
                    text = b"#torn\n" + text  # ends what a killed process left
                written = os.write(file, text)
                if written != len(text):
                    os.ftruncate(file, size)
                    raise OSError(28, "No space left on device")
                os.fsync(file)
        except OSError as error:
            fix = "free some space or change permissions, then run the same command again"
            raise BadInput(f"the ledger cannot be written, {error.strerror}", where=self.path, fix=fix) from error


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)
