from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import runs_work
from runs_work import HERE, a_run, context, parts, pieces

from mulligan.records import Advanced, BadInput, DiskFull, Event, Finished, Interrupted, Started
from mulligan.runs import LocalEngine, Piece, Run, has_piece, load_piece, piece_file
from mulligan.runs.work import deferred_interrupt, remembered_interrupts


@pytest.fixture(autouse=True)
def forget() -> None:
    runs_work.calls.clear()


def drawn(run: Run, work: list[Piece], events: list[Event] | None = None) -> list[np.ndarray]:
    emit = events.append if events is not None else lambda event: None
    return [result.arrays["drawn"] for _, result in LocalEngine().run("draw", work, context(), run, emit)]


def test_pieces_are_yielded_in_the_order_given(tmp_path: Path) -> None:
    work = pieces(6)[::-1]
    found = list(LocalEngine().run("draw", work, context(), a_run(tmp_path / "run")))
    assert [piece for piece, _ in found] == work
    assert [result.values["number"] for _, result in found] == [5, 4, 3, 2, 1, 0]


def test_a_resumed_job_does_what_is_missing_and_gives_the_same(tmp_path: Path) -> None:
    whole = drawn(a_run(tmp_path / "whole"), pieces(6))
    run = a_run(tmp_path / "run")
    drawn(run, [pieces(6)[1], pieces(6)[4]])
    runs_work.calls.clear()
    events: list[Event] = []
    resumed = drawn(run, pieces(6), events)
    assert runs_work.calls == [0, 2, 3, 5]
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, other)
    assert events[0] == Started(job="draw", total=6, done=2)
    assert [event.done for event in events if isinstance(event, Advanced)] == [3, 4, 5, 6]
    assert isinstance(events[-1], Finished)


def test_what_is_yielded_is_what_a_resumed_job_reads(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    work = [Piece(f"{HERE}:scalar", {})]
    ((_, first),) = LocalEngine().run("x", work, context(), run)
    ((_, second),) = LocalEngine().run("x", work, context(), run)
    made = runs_work.scalar(context())
    for found in (first, second):
        assert set(found.arrays) == set(made.arrays)
        for name, array in made.arrays.items():
            assert found.arrays[name].dtype == array.dtype
            assert found.arrays[name].shape == array.shape
            np.testing.assert_array_equal(found.arrays[name], array)
    assert first.values is None
    ((_, drawn),) = LocalEngine().run("x", pieces(1), context(), run)
    assert drawn.values == {"number": 0, "pair": [1, 2]}


def test_arrays_of_finished_pieces_are_read_when_asked_for(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    ((piece, result),) = LocalEngine().run("x", pieces(1), context(), run)
    assert list(result.arrays) == ["drawn"]
    assert len(result.arrays) == 1
    with pytest.raises(KeyError):
        result.arrays["other"]
    run.at(piece_file(piece.address(context()))).unlink()
    with pytest.raises(BadInput, match="missing or damaged"):
        result.arrays["drawn"]


@pytest.mark.parametrize("damage", ["empty", "half", "other piece"])
def test_a_damaged_piece_is_done_again(tmp_path: Path, damage: str) -> None:
    run = a_run(tmp_path / "run")
    work = pieces(3)
    whole = drawn(run, work)
    file, other = (run.at(piece_file(piece.address(context()))) for piece in work[:2])
    content = {"empty": b"", "half": file.read_bytes()[:100], "other piece": other.read_bytes()}[damage]
    file.write_bytes(content)
    assert has_piece(run, work[0].address(context()))
    assert load_piece(run, work[0].address(context())) is None
    runs_work.calls.clear()
    events: list[Event] = []
    again = drawn(run, work, events)
    assert runs_work.calls == [0]
    np.testing.assert_array_equal(again[0], whole[0])
    assert [event.done for event in events if isinstance(event, Advanced)] == [3]


def test_a_piece_that_fails_keeps_those_before(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    work = [*pieces(2), Piece(f"{HERE}:fail", {"number": 2})]
    with pytest.raises(ValueError, match="piece 2 fails"):
        list(LocalEngine().run("draw", work, context(), run))
    assert [has_piece(run, piece.address(context())) for piece in work] == [True, True, False]
    assert parts(run.path) == []


def test_a_piece_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    work = [Piece(f"{HERE}:draw", {"number": 0}, memory=10**18)]
    with pytest.raises(BadInput, match=r"needs about 1000000000.0 GB of memory and [\d.]+ GB are free"):
        list(LocalEngine().run("draw", work, context(), a_run(tmp_path / "run")))
    assert runs_work.calls == []


def test_pieces_that_cost_nothing_have_no_estimate(tmp_path: Path) -> None:
    events: list[Event] = []
    work = [Piece(piece.function, piece.arguments, cost=0.0) for piece in pieces(2)]
    drawn(a_run(tmp_path / "run"), work, events)
    assert [event.seconds_left for event in events if isinstance(event, Advanced)] == [None, None]


def test_a_full_disk_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(tmp_path / "run")
    real, written = os.fsync, []

    def fsync(handle: int) -> None:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(handle)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DiskFull, match="the disk is full; what was finished is kept"):
        drawn(run, pieces(6))
    assert [has_piece(run, piece.address(context())) for piece in pieces(6)] == [True] * 3 + [False] * 3
    assert parts(run.path) == []
    monkeypatch.undo()
    runs_work.calls.clear()
    assert len(drawn(run, pieces(6))) == 6
    assert runs_work.calls == [3, 4, 5]


# Interruption
SCRIPT = """
import sys
from pathlib import Path
import runs_work
from mulligan.records import Interrupted
from mulligan.runs import LocalEngine, Run
run = Run.open(Path(sys.argv[1]))
work = runs_work.pieces(5, seconds=0.5)
try:
    list(LocalEngine().run("draw", work, runs_work.context(), run, lambda event: print(event, flush=True)))
except Interrupted as error:
    print(error, flush=True)
    sys.exit(error.exit_status)
"""


def test_ctrl_c_finishes_the_piece_in_hand(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(runs_work.__file__)}
    command = [sys.executable, "-c", SCRIPT, os.fspath(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Started")
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read().splitlines()
    assert process.returncode == 130
    assert rest[-1] == (
        f"interrupted; 1 of 5 pieces of 'draw' are kept in {run.path}: run the same command with --resume to go on."
    )
    (file,) = run.path.rglob("*.safetensors")
    assert run.read_arrays(os.fspath(file.relative_to(run.path)))["drawn"].shape == (1000,)
    assert parts(run.path) == []


def test_a_second_ctrl_c_does_not_wait() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_that_a_library_swallows_still_counts(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    with remembered_interrupts():
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            drawn(run, pieces(3))
    assert len(drawn(run, pieces(3))) == 3


def test_ctrl_c_within_a_piece_raises_once_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, real = a_run(tmp_path / "run"), os.fsync

    def fsync(handle: int) -> None:
        signal.raise_signal(signal.SIGINT)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(Interrupted):
        drawn(run, pieces(3))
    assert runs_work.calls == [0]
    assert has_piece(run, pieces(3)[0].address(context()))


def test_a_thread_that_is_not_the_main_one_runs_pieces_too(tmp_path: Path) -> None:
    run, found = a_run(tmp_path / "run"), []
    thread = threading.Thread(target=lambda: found.extend(drawn(run, pieces(2))))
    thread.start()
    thread.join()
    assert len(found) == 2
