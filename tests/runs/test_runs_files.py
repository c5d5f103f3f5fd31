from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from runs_work import a_run, parts

from mulligan.records import BadInput, DiskFull
from mulligan.runs import Run, inside, replacing, require_room, write_bytes
from mulligan.runs.files import is_disk_full, leftovers

# Forked writers write 200 kB of one byte to the same file, again and again, another byte each time, and are killed.
KILLER = """
import itertools, os, random, signal, sys, time
from pathlib import Path
from mulligan.runs import write_bytes
path, rng, seen = Path(sys.argv[1]), random.Random(0), set()
for turn in range(15):
    child = os.fork()
    if child == 0:
        for number in itertools.count(17 * turn):
            write_bytes(path, bytes([number % 251]) * 200_000)
    time.sleep(rng.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if path.exists():
        content = path.read_bytes()
        assert len(content) == 200_000 and len(set(content)) == 1, "torn"
        seen.add(content[0])
    # A killed writer leaves one temporary file at most, and the next one removes it.
    assert len([name for name in os.listdir(path.parent) if name.endswith(".part")]) <= 1, "left behind"
print(len(seen))
"""


def test_a_file_is_whole_or_absent_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    done = subprocess.run([sys.executable, "-c", KILLER, path], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert int(done.stdout) > 3
    write_bytes(path, b"done")
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_writer_at_work_has_written_is_left_alone(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as ours:
        ours.write_bytes(b"one")
        with replacing(tmp_path / "file") as other:
            other.write_bytes(b"two")
        assert leftovers(tmp_path / "file") == [ours]
    assert (tmp_path / "file").read_bytes() == b"one"


def test_files_of_other_names_are_no_leftovers(tmp_path: Path) -> None:
    kept = [
        ".file.part",
        ".file.x.part",
        "file",
        ".other.0123456789ab-1-01234567.part",
        ".file.0123456789ab-1-0123456.part",
    ]
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    write_bytes(tmp_path / "file", b"new")
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_a_block_that_raises_changes_nothing(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"old")
    with pytest.raises(UnicodeEncodeError), replacing(tmp_path / "file") as part:
        part.write_text("half \ud800", "utf-8")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_block_that_writes_nothing_changes_nothing(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_bytes(tmp_path / "file", b"old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(DiskFull) as caught:
        write_bytes(tmp_path / "file", b"new")
    assert str(caught.value) == (
        f"the disk is full; what was finished is kept ({tmp_path}): free some space or choose another folder with "
        "--out, then run the same command with --resume."
    )
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


# A limit on the size of a file stands for a disk that is full: each library meets it in the midst of writing.
LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from mulligan.records import DiskFull
from mulligan.runs import Run
run = Run.open(Path(sys.argv[1]))
run.write_arrays("pieces/small.safetensors", {"x": np.zeros(10)})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
values = np.random.default_rng(0).normal(size=100_000)
writers = [
    lambda: run.write_arrays("pieces/large.safetensors", {"x": values}),
    lambda: run.write_table("tables/large.parquet", {"x": values}),
    lambda: run.write_json("large.json", values.tolist()),
]
for write in writers:
    try:
        write()
    except DiskFull as error:
        print(str(error).partition(" (")[0])
"""


def test_every_kind_of_file_says_that_the_disk_is_full(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", LIMITED, run.path], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["the disk is full; what was finished is kept"] * 3
    assert parts(run.path) == []
    assert not list(run.path.rglob("large*"))
    assert len(run.read_arrays("pieces/small.safetensors")["x"]) == 10


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (RuntimeError("I/O error: File too large (os error 27)"), True),
        (OSError(errno.EACCES, "x"), False),
        (RuntimeError("os error 2"), False),
    ],
)
def test_which_errors_mean_a_full_disk(error: BaseException, full: bool) -> None:
    assert is_disk_full(error) is full


def test_a_folder_that_may_not_be_written_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*arguments: object, **named: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", closed)
    with pytest.raises(BadInput, match="may not be written"):
        write_bytes(tmp_path / "file", b"")
    with pytest.raises(BadInput, match="may not be written"):
        Run.create("test", [], {}, out=tmp_path / "new")


def test_room_is_asked_for_with_both_figures(tmp_path: Path) -> None:
    require_room(tmp_path, 1)
    with pytest.raises(DiskFull, match=r"about 1,000,000,000,000 MB are needed and [\d,]+ MB are free"):
        require_room(tmp_path, 10**18)


# Names
@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "link/x", "link", "a\0b", "round/x", ".."])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    (folder / "a").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path)
    (folder / "round").symlink_to(folder / "round")
    with pytest.raises(BadInput, match="leads out of the run's folder"):
        inside(folder, name)


def test_names_that_stay_within(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "a").mkdir(parents=True)
    (folder / "link").symlink_to(folder / "a")
    for name in ("x", "a/x", "a/../x", "..x", "link/x"):
        assert inside(folder, name).is_relative_to(folder.resolve())
    # A folder whose name begins as the run's does is another.
    with pytest.raises(BadInput):
        inside(folder, "../run2/x")
