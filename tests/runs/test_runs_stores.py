"""Runs at locations that fsspec reaches: the same files and sentences as in a folder, and few round trips."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs_work
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from runs_work import HERE, context, pieces
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from mulligan.records import BadInput, DiskFull, MulliganError
from mulligan.runs import LocalEngine, Piece, Run, finished_pieces, has_piece, load_piece, piece_file
from mulligan.runs.array_files import RemoteArrays, read_header, write_arrays
from mulligan.runs.stores import LocalStore, RemoteStore, store_at


@pytest.fixture
def place() -> Iterator[str]:
    """A location of this test's own."""
    files = MemoryFileSystem()
    files.store.clear()
    yield "memory://shared/run"
    files.store.clear()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the filesystem was asked for what."""
    seen: Counter[str] = Counter()

    def counted(name: str) -> Any:
        real = getattr(MemoryFileSystem, name)

        def ask(self: MemoryFileSystem, *arguments: Any, **named: Any) -> Any:
            seen[name] += 1
            return real(self, *arguments, **named)

        return ask

    for name in ("cat_file", "pipe_file", "find", "info"):
        monkeypatch.setattr(MemoryFileSystem, name, counted(name))
    return seen


def a_run(location: str | Path) -> Run:
    return Run.create("test", ["test"], {}, out=location)


def drawn(run: Run, work: list[Piece]) -> list[np.ndarray]:
    return [result.arrays["drawn"] for _, result in LocalEngine().run("draw", work, context(), run)]


# A run is a run wherever it lies
def test_all_kinds_of_files_are_read_back(place: str) -> None:
    run = a_run(place)
    run.write_json("a/plain.json", {"n": 3})
    arrays = {
        "one": np.asarray(3.5), "turned": np.arange(6).reshape(2, 3).T, "none": np.zeros((0, 4), np.float32),
        "is": np.asarray([True, False]),
    }  # fmt: skip
    run.write_arrays("x.safetensors", arrays, notes={"why": "because"})
    run.write_table("tables/x.parquet", {"a": [1, 2], "b": ["x", None]})
    run.update(status="finished")
    opened = Run.open(place)
    assert opened.manifest == run.manifest
    assert opened.location == place
    assert opened.read_json("a/plain.json") == {"n": 3}
    assert opened.read_table("tables/x.parquet").to_pydict() == {"a": [1, 2], "b": ["x", None]}
    assert opened.read_table("tables/x.parquet", ["b"]).column_names == ["b"]
    with opened.open_arrays("x.safetensors") as file:
        assert file.metadata() == {"why": "because"}
        parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for read in (opened.read_arrays("x.safetensors"), parts):
        assert read.keys() == arrays.keys()
        for name, array in arrays.items():
            assert (read[name].shape, read[name].dtype) == (array.shape, array.dtype)
            np.testing.assert_array_equal(read[name], array)
            assert read[name].flags.writeable
    opened.require_room(10**18)
    assert [opened.has(name) for name in ("x.safetensors", "y.safetensors", "tables")] == [True, False, False]


def test_a_job_gives_what_it_gives_in_a_folder_and_resumes(place: str, tmp_path: Path) -> None:
    whole = drawn(a_run(tmp_path / "run"), pieces(12))
    run = a_run(place)
    drawn(run, [pieces(12)[3]])
    runs_work.calls.clear()
    found = drawn(Run.open(place), pieces(12))
    assert sorted(runs_work.calls) == [number for number in range(12) if number != 3]
    for one, other in zip(whole, found, strict=True):
        assert one.tobytes() == other.tobytes()
    (result,) = [result for _, result in LocalEngine().run("draw", pieces(1), context(), run)]
    assert result.values == {"number": 0, "pair": [1, 2]}
    assert len(result.arrays) == 1


def test_an_earlier_run_is_never_written_over(place: str) -> None:
    run = a_run(place)
    with pytest.raises(BadInput, match=r"something lies at this location \(memory://shared/run\): choose another"):
        a_run(place)
    assert Run.open(place).manifest == run.manifest
    MemoryFileSystem().pipe_file("/shared/file", b"mine")
    for taken in ("memory://shared/file", "memory://shared"):
        with pytest.raises(BadInput, match="something lies"):
            a_run(taken)


def test_what_is_no_run_or_damaged_is_named(place: str) -> None:
    with pytest.raises(BadInput, match=r"there is no run here \(manifest.json is missing\) \(memory://shared/run\)"):
        Run.open(place)
    run, files = a_run(place), MemoryFileSystem()
    for torn in (None, b"", b"torn", b"\x08\0\0\0\0\0\0\0{", b"\xff" * 9):
        for name in ("x.json", "x.safetensors", "x.parquet"):
            if torn is not None:
                files.pipe_file(f"/shared/run/{name}", torn)
        for read in (run.read_json, run.read_arrays, run.read_table):
            name = {run.read_json: "x.json", run.read_arrays: "x.safetensors", run.read_table: "x.parquet"}[read]
            with pytest.raises(BadInput, match=f"memory://shared/run/{name}"):
                read(name)
    files.pipe_file("/shared/run/manifest.json", b"{")
    with pytest.raises(BadInput, match="manifest is not valid JSON"):
        Run.open(place)


def test_a_damaged_piece_is_named_when_it_is_read(place: str) -> None:
    run = a_run(place)
    drawn(run, pieces(1))
    file = piece_file(pieces(1)[0].address(context()))
    MemoryFileSystem().pipe_file(f"/shared/run/{file}", b"torn")
    ((_, result),) = LocalEngine().run("draw", pieces(1), context(), Run.open(place))
    with pytest.raises(BadInput, match=r"a piece of the run is missing or damaged .*: remove it, then run the command"):
        result.arrays["drawn"]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a\0b", "..", ".", "", "s3://other/x", "..\\x"])
def test_names_that_lead_out_are_refused(place: str, name: str) -> None:
    run = a_run(place)
    for act in (run.read_json, run.read_arrays, run.read_table, run.has, lambda name: run.write_json(name, [])):
        with pytest.raises(BadInput, match="leads out of the run's folder"):
            act(name)
    assert list(MemoryFileSystem().store) == ["/shared/run/manifest.json"]


def test_a_remote_run_has_no_folder(place: str) -> None:
    run = a_run(place)
    for act in (lambda: run.path, lambda: run.at("x")):
        with pytest.raises(BadInput, match="this needs a run in a folder of this machine"):
            act()


# Round trips
def test_finished_pieces_are_found_by_one_listing(place: str, requests: Counter[str]) -> None:
    run = a_run(place)
    work = pieces(40)
    addresses = [piece.address(context()) for piece in work]
    drawn(run, work[:30])
    requests.clear()
    assert finished_pieces(run, addresses) == set(addresses[:30])
    assert requests == {"find": 1}
    # A job that is finished asks for nothing else, until its results are looked at.
    drawn(run, work)
    runs_work.calls.clear()
    requests.clear()
    found = list(LocalEngine().run("draw", work, context(), run))
    assert requests == {"find": 1}
    assert runs_work.calls == []
    assert found[7][1].values["number"] == 7


def test_one_row_is_read_alone(place: str, requests: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(place)
    large = np.random.default_rng(0).normal(size=(1000, 100))
    run.write_arrays("x.safetensors", {"large": large, "other": np.arange(10)})
    fetched: list[int] = []
    real = MemoryFileSystem.cat_file

    def cat_file(self: MemoryFileSystem, path: str, start: Any = None, end: Any = None, **named: Any) -> bytes:
        found = real(self, path, start=start, end=end, **named)
        fetched.append(len(found))
        return found

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
    opened = Run.open(place)
    fetched.clear()
    for row in (3, -1, 999):
        with opened.open_arrays("x.safetensors") as file:
            np.testing.assert_array_equal(file.get_slice("large")[row], large[row])
    assert fetched == [65_536, 800, 800, 800]


@pytest.mark.parametrize("remote", [False, True])
def test_few_and_many_pieces_are_found_alike(tmp_path: Path, place: str, remote: bool) -> None:
    run = a_run(place if remote else tmp_path / "run")
    assert finished_pieces(run, []) == set()
    work = pieces(20)
    addresses = [piece.address(context()) for piece in work]
    assert finished_pieces(run, addresses) == set()
    drawn(run, work[::2])
    for some in (addresses, addresses[:3], addresses[5:6]):
        assert finished_pieces(run, some) == {address for address in some if has_piece(run, address)}
        assert finished_pieces(run, some) == set(addresses[::2]) & set(some)


# One row, one array: held against the library
shapes = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
kinds = st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.int16, np.uint8, np.bool_])


@given(st.dictionaries(st.text(min_size=1, max_size=5), arrays_of.arrays(kinds, shapes), max_size=3), st.data())
def test_parts_of_a_file_are_what_the_file_holds(held: dict[str, np.ndarray], data: st.DataObject) -> None:
    content = save(held, metadata={"a": "b"})

    def fetch(start: int | None, stop: int | None) -> bytes:
        return content[start:stop]

    file = RemoteArrays(read_header(fetch), fetch)
    assert file.keys() == sorted(held)
    for name, array in held.items():
        np.testing.assert_array_equal(file.get_tensor(name), array)
        assert file.get_tensor(name).dtype == array.dtype
        part = file.get_slice(name)
        assert part.get_shape() == list(array.shape)
        if array.ndim:
            rows = data.draw(st.slices(len(array)).filter(lambda rows: (rows.step or 1) > 0))
            np.testing.assert_array_equal(part[rows], array[rows])
            for row in range(-len(array), len(array)):
                np.testing.assert_array_equal(part[row], array[row])
            with pytest.raises(IndexError):
                part[len(array)]


@given(st.dictionaries(st.text(max_size=5), arrays_of.arrays(kinds, shapes), max_size=4))
def test_what_is_written_is_what_the_library_reads(held: dict[str, np.ndarray]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder) / "x", Path(folder) / "again"
        write_arrays(path, held, {"a": "é", "b": ""})
        write_arrays(again, dict(reversed(held.items())), {"b": "", "a": "é"})
        assert path.read_bytes() == again.read_bytes()
        with safe_open(path, framework="np") as file:
            assert file.metadata() == {"a": "é", "b": ""}
        found = load_file(path)
        assert sorted(os.listdir(folder)) == ["again", "x"]
    assert found.keys() == held.keys()
    for name, array in held.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def test_what_the_format_has_no_word_for_is_refused(tmp_path: Path) -> None:
    for array in (np.asarray(["text"]), np.zeros(2, np.longdouble), np.asarray([None])):
        with pytest.raises(MulliganError, match=r"cannot be stored \(x\)"):
            write_arrays(tmp_path / "x", {"x": array}, {})
    assert not (tmp_path / "x").exists()


@given(st.binary(max_size=80), st.integers(0, 200))
def test_what_is_torn_or_no_such_file_is_a_safetensors_error(noise: bytes, cut: int) -> None:
    whole = save({"x": np.arange(20, dtype=np.float32)})
    for content in (noise, whole[: min(cut, len(whole) - 1)], whole[:8] + noise):
        with pytest.raises(SafetensorError):
            read_header(lambda start, stop, content=content: content[start:stop])


def test_data_that_are_cut_short_are_noticed_when_they_are_read() -> None:
    whole = save({"x": np.zeros(100_000)})
    file = RemoteArrays(
        read_header(lambda start, stop: whole[:-1][start:stop]), lambda start, stop: whole[:-1][start:stop]
    )
    with pytest.raises(SafetensorError, match="cut short"):
        file.get_tensor("x")


# Writing in one step
def test_a_file_that_is_written_again_and_again_is_never_torn(place: str) -> None:
    run, torn, stop = a_run(place), [], threading.Event()
    run.write_bytes("x", bytes(100_000))

    def look() -> None:
        while not stop.is_set():
            content = run.read_bytes("x")
            if len(content) != 100_000 or len(set(content)) != 1:
                torn.append(len(content))

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(60):
        run.write_bytes("x", bytes([number % 251]) * 100_000)
    stop.set()
    reader.join()
    assert torn == []


# Where a file cannot be put in one step (a filesystem of files), it is moved to its place; forked writers are killed.
MOVED = """
import itertools, os, random, signal, sys, time
from mulligan.runs.stores import RemoteStore
store, rng, seen = RemoteStore(sys.argv[1]), random.Random(0), set()
for turn in range(12):
    child = os.fork()
    if child == 0:
        for number in itertools.count(17 * turn):
            with store.replacing("a/file") as part:
                part.write_bytes(bytes([number % 251]) * 200_000)
    time.sleep(rng.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if store.exists("a/file"):
        content = store.read("a/file")
        assert len(content) == 200_000 and len(set(content)) == 1, "torn"
        seen.add(content[0])
print(len(seen))
"""


def test_a_filesystem_of_files_is_written_beside_and_moved(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MOVED, f"file://{tmp_path}/run"]
    environment = {**os.environ, "TMPDIR": os.fspath(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.stderr == ""
    assert int(done.stdout) > 3
    store = RemoteStore(f"file://{tmp_path}/run")
    assert {name for name in store.names("a") if not name.startswith("a/.")} == {"a/file"}


def test_what_cannot_be_moved_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RemoteStore(f"file://{tmp_path}/run")

    def refuse(*arguments: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(store._files), "mv", refuse)
    with pytest.raises(DiskFull, match="there is no room left at this location"), store.replacing("a/file") as part:
        part.write_bytes(b"x")
    assert store.names("a") == set()


def test_a_full_temporary_disk_is_one_sentence(place: str) -> None:
    with pytest.raises(DiskFull, match="the disk for temporary files is full"), a_run(place).store.replacing("x"):
        raise OSError(28, "No space left on device")
    assert not Run.open(place).has("x")


# Locations
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nowhere://bucket/run", "nothing is known to reach nowhere:// locations"),
        ("s3://", "this is no location for a run (s3://): write for example s3://BUCKET/FOLDER."),
        ("simplecache::s3://bucket/run", "this is no location"),
        ("sftp://me:secret@host/run", "a password in a location would be kept with the run (sftp://...@host/run)"),
    ],
)
def test_locations_that_are_none(url: str, said: str) -> None:
    for act in (Run.open, a_run):
        with pytest.raises(BadInput) as caught:
            act(url)
        assert said in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(
        BadInput, match=r"s3:// needs a package that is not installed .*: install it with pip install s3fs"
    ):
        Run.open("s3://bucket/run")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(BadInput, match=r"install it with pip install 'mulligan\[remote\]'"):
        Run.open("memory://x/run")


class NoCredentialsError(Exception):
    """As botocore's: not a Python error, from another package."""


NoCredentialsError.__module__ = "botocore.exceptions"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoCredentialsError("Unable to locate credentials"), "no credentials were found for this location (memory://"),
        (PermissionError("Access Denied"), "these credentials may not use this location (Access Denied)"),
        (
            OSError("Name or service\nnot known"),
            "this location cannot be reached, Name or service not known (memory://",
        ),
        (TimeoutError(), "this location cannot be reached, TimeoutError"),
    ],
)
def test_a_location_that_cannot_be_used_is_one_sentence(
    place: str, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    run = a_run(place)

    def fail(*arguments: Any, **named: Any) -> None:
        raise error

    for name in ("cat_file", "pipe_file", "find", "info", "ls"):
        monkeypatch.setattr(MemoryFileSystem, name, fail)
    for act in (
        lambda: Run.open(place), lambda: a_run(place), lambda: run.read_json("x"), lambda: run.write_json("x", 1),
        lambda: finished_pieces(run, ["a" * 64] * 9), lambda: load_piece(run, "a" * 64),
    ):  # fmt: skip
        with pytest.raises(BadInput) as caught:
            act()
        assert str(caught.value).startswith(said)
        assert "\n" not in str(caught.value)


def test_a_bucket_that_is_not_there_and_a_fault_of_ours(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(place)
    for error, kind, said in (
        (FileNotFoundError("The specified bucket does not exist"), BadInput, "there is no such bucket or folder"),
        (TypeError("ours"), TypeError, "ours"),
    ):

        def fail(*arguments: Any, error: Exception = error, **named: Any) -> None:
            raise error

        monkeypatch.setattr(MemoryFileSystem, "pipe_file", fail)
        with pytest.raises(kind, match=said):
            run.write_json("x", 1)


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    store = store_at(f"file://{tmp_path}/a%20run")
    assert isinstance(store, LocalStore)
    run = a_run(f"file://{tmp_path}/a%20run")
    assert run.path == tmp_path / "a run"
    assert Run.open(run.path).manifest == run.manifest
    assert isinstance(store_at(Path("runs/x")), LocalStore)
    assert [piece.function for piece in pieces(1)] == [f"{HERE}:draw"]
