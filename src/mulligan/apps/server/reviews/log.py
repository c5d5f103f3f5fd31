"""The history of all reviewing: one SQLite file, append-only, shared safely by several servers.

Write-ahead logging lets readers go on while somebody writes; `synchronous = FULL` means that what was acknowledged is
on the disk, whatever happens to the process or the machine. Triggers refuse every change of what is written.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path

from ....records import BadInput
from .entries import Entry
from .ledger import Ledger

_SCHEMA_NUMBER = 1
_APPLICATION = 0x4D4C4752  # "MLGR"
_COLUMNS = tuple(field.name for field in fields(Entry) if field.name != "id")
_CREATE = (
    """CREATE TABLE IF NOT EXISTS entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, subject TEXT NOT NULL, author TEXT NOT NULL,
        at TEXT NOT NULL, network TEXT NOT NULL, run TEXT NOT NULL, text TEXT NOT NULL, note TEXT NOT NULL,
        reader TEXT NOT NULL, about TEXT NOT NULL, supersedes INTEGER NOT NULL, blind INTEGER NOT NULL,
        same INTEGER NOT NULL) STRICT""",
    """CREATE TRIGGER IF NOT EXISTS entries_stand BEFORE UPDATE ON entries
        BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE DELETE ON entries
        BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END""",
)
_INSERT = f"INSERT INTO entries ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_SELECT = f"SELECT id, {', '.join(_COLUMNS)} FROM entries WHERE id > ? ORDER BY id"
_PATIENCE = 20.0  # seconds that a writer waits for another
_SHORT = 0.5  # readers wait for nobody, save while a file is mended after a crash


class Busy(Exception):
    """Another process keeps the file locked for longer than anybody should wait."""


class Writing:
    """The inside of one write: what stands now, and the entries to add."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.added = ledger, list[Entry]()

    def add(self, entry: Entry) -> None:
        """Write this entry when the block ends well."""
        self.added.append(entry)


class ReviewLog:
    """The file, open for reading and writing; safe to use from several threads.

    Raises:
        BadInput: if the file cannot be opened or made, is another program's, or a newer Mulligan wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Who reads never waits for who writes: each has a connection and a ledger of their own.
        self._read, self._reading = Ledger(), threading.Lock()
        self._written, self._writing = Ledger(), threading.Lock()
        connections: list[sqlite3.Connection] = []
        try:
            connections += [_connect(path, _SHORT), _connect(path, _PATIENCE)]
            self._reader, self._writer = connections
            _prepare(self._writer, path)
        except (sqlite3.Error, BadInput) as error:
            for connection in connections:
                connection.close()
            if isinstance(error, BadInput):
                raise
            raise BadInput(
                f"reviews cannot be kept here: {error}", where=path,
                fix="name a file in a folder that may be written, with --reviews FILE",
            ) from error  # fmt: skip

    @contextmanager
    def reading(self) -> Iterator[Ledger]:
        """All that is written until now. The ledger is shared: look only inside of the block.

        Raises:
            Busy: if another process keeps the file to itself.
        """
        with self._reading:
            with _told_if_busy():
                _catch_up(self._reader, self._read)
            yield self._read

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """One write: nobody else writes in between, in this process or another. It is on the disk when the block ends.

        If the block raises, nothing is written.

        Raises:
            Busy: if another process keeps the file locked.
        """
        with self._writing:
            with _told_if_busy():
                self._writer.execute("BEGIN IMMEDIATE")
            try:
                _catch_up(self._writer, self._written)
                writing = Writing(self._written)
                yield writing
                for entry in writing.added:
                    self._writer.execute(_INSERT, [getattr(entry, name) for name in _COLUMNS])
                self._writer.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file. What was written is in it, also without this."""
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()

def _catch_up(connection: sqlite3.Connection, ledger: Ledger) -> None:
    for row in connection.execute(_SELECT, (ledger.last,)):
        entry = Entry(**dict(zip(_COLUMNS, row[1:], strict=True)))
        ledger.add(replace(entry, id=row[0], blind=bool(entry.blind), same=bool(entry.same)))


@contextmanager
def _told_if_busy() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise Busy(str(error)) from error
        raise


def _connect(path: Path, patience: float) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    application, number = (connection.execute(f"PRAGMA {name}").fetchone()[0]
                           for name in ("application_id", "user_version"))  # fmt: skip
    empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not empty and application != _APPLICATION:
        raise BadInput("this file is another program's", where=path, fix="name another with --reviews FILE")
    if number > _SCHEMA_NUMBER:
        raise BadInput(
            f"a newer Mulligan wrote these reviews (schema {number}; this one reads up to {_SCHEMA_NUMBER})",
            where=path, fix="upgrade Mulligan",
        )  # fmt: skip
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    for statement in _CREATE:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {_SCHEMA_NUMBER}")
    connection.execute("COMMIT")
