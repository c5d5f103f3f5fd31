"""The file of reviews: append-only, whole after a kill, shared by several writers without losing a label."""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mulligan.apps.server import reviews
from mulligan.apps.server.reviews import Busy, Place, ReviewLog
from mulligan.apps.server.reviews import log as log_module
from mulligan.records import BadInput

PLACE = Place("sha256:net", "blocks.0:0")
#: Writes COUNT labels from a line on stdin on, with a breath after each; each is printed once it is acknowledged.
WRITER = """
import sys
import time
from pathlib import Path
from mulligan.apps.server import reviews
from mulligan.apps.server.reviews import Place, ReviewLog, Stale
file, author, count, features = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
log, revision = ReviewLog(file), {}
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    place = Place("sha256:net", f"blocks.0:{number % features}")
    while True:
        try:
            with log.writing() as writing:
                reviews.label(writing, author, place, f"{sys.argv[5]} {number}", "", revision.get(place, 0))
            break
        except Stale:
            with log.reading() as ledger:
                revision[place] = ledger.feature(place.network, place.alias).own(author).id
    with log.reading() as ledger:
        revision[place] = ledger.feature(place.network, place.alias).own(author).id
    print(f"{sys.argv[5]} {number}", flush=True)
    time.sleep(0.002)
"""


def writer(file: Path, author: str, count: int, features: int, word: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(file), author, str(count), str(features), word]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def texts(file: Path) -> list[str]:
    log = ReviewLog(file)
    with log.reading() as ledger:
        found = [entry.text for entry in ledger.entries]
    log.close()
    return found


@pytest.mark.parametrize("authors", [("Ann", "Ben"), ("Ann", "Ann")])
def test_two_processes_with_500_labels_lose_none(tmp_path: Path, authors: tuple[str, str]) -> None:
    """Also where one reader writes in two places at once: a stale write is refused, looked at, and written again."""
    file = tmp_path / "r.sqlite"
    ReviewLog(file).close()
    both = [writer(file, author, 250, 10, word) for author, word in zip(authors, ("left", "right"), strict=True)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    acknowledged = [line for process in both for line in process.communicate(timeout=120)[0].splitlines()]
    assert [process.returncode for process in both] == [0, 0]
    assert len(acknowledged) == 500
    assert sorted(texts(file)) == sorted(acknowledged)
    log = ReviewLog(file)
    with log.reading() as ledger:
        for reading in ledger.features.values():
            for labels in reading.labels.values():
                # One line of descent: each label supersedes the one before it.
                assert [entry.supersedes for entry in labels] == [0, *(entry.id for entry in labels[:-1])]
        order = [entry.text.split()[0] for entry in ledger.entries]
        assert sum(a != b for a, b in itertools.pairwise(order)) > 50  # they did take turns
    log.close()


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "r.sqlite"
    with writer(file, "Ann", 100_000, 50, "word") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        told = [process.stdout.readline().strip() for _ in range(40)]
        process.send_signal(signal.SIGKILL)
        told += [line.strip() for line in process.stdout.read().splitlines() if line.strip()]
    kept = texts(file)
    assert len(told) >= 40
    assert kept[: len(told)] == told
    assert len(kept) <= len(told) + 1


def test_nothing_can_be_changed_or_removed(tmp_path: Path) -> None:
    log = ReviewLog(tmp_path / "r.sqlite")
    with log.writing() as writing:
        reviews.label(writing, "Ann", PLACE, "dogs", "", 0)
    connection = sqlite3.connect(tmp_path / "r.sqlite")
    for statement in ("UPDATE entries SET text = 'cats'", "DELETE FROM entries"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    log.close()


def test_a_write_that_fails_writes_nothing(tmp_path: Path) -> None:
    log = ReviewLog(tmp_path / "r.sqlite")

    def fail() -> None:
        with log.writing() as writing:
            reviews.label(writing, "Ann", PLACE, "dogs", "", 0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert texts(tmp_path / "r.sqlite") == []
    with log.writing() as writing:  # and the next one is not held up
        reviews.label(writing, "Ann", PLACE, "cats", "", 0)
    assert texts(tmp_path / "r.sqlite") == ["cats"]
    log.close()


def test_two_servers_see_each_others_labels(tmp_path: Path) -> None:
    one, other = ReviewLog(tmp_path / "r.sqlite"), ReviewLog(tmp_path / "r.sqlite")
    with one.writing() as writing:
        reviews.label(writing, "Ann", PLACE, "dogs", "", 0)
    with other.reading() as ledger:
        assert ledger.feature(PLACE.network, PLACE.alias).own("Ann").text == "dogs"
    one.close()
    other.close()


def test_a_lock_that_lasts_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "_PATIENCE", 0.2)
    log = ReviewLog(tmp_path / "r.sqlite")
    other = sqlite3.connect(tmp_path / "r.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(Busy), log.writing() as writing:
        reviews.label(writing, "Ann", PLACE, "dogs", "", 0)
    assert time.monotonic() - began < 5
    other.execute("ROLLBACK")
    other.close()
    with log.writing() as writing:
        reviews.label(writing, "Ann", PLACE, "dogs", "", 0)
    log.close()


def test_files_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, and long enough to be looked at as one")
    with pytest.raises(BadInput, match="--reviews"):
        ReviewLog(tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE entries (a)")
    other.commit()
    other.close()
    with pytest.raises(BadInput, match="another program"):
        ReviewLog(tmp_path / "other.sqlite")
    ReviewLog(tmp_path / "newer.sqlite").close()
    newer = sqlite3.connect(tmp_path / "newer.sqlite")
    newer.execute("PRAGMA user_version = 2")
    newer.commit()
    newer.close()
    with pytest.raises(BadInput, match="newer Mulligan"):
        ReviewLog(tmp_path / "newer.sqlite")
    with pytest.raises(BadInput, match="cannot be kept here"):
        ReviewLog(tmp_path / "no-such-folder" / "r.sqlite")


def test_text_is_kept_as_it_is(tmp_path: Path) -> None:
    log = ReviewLog(tmp_path / "r.sqlite")
    hostile = "<script>alert(1)</script> '); DROP TABLE entries;-- \U0001f415"
    with log.writing() as writing:
        reviews.label(writing, "O'Hara", PLACE, hostile, "", 0)
    assert texts(tmp_path / "r.sqlite") == [hostile]
    with log.reading() as ledger:
        assert json.loads(json.dumps(ledger.entries[0].author)) == "O'Hara"
    log.close()
