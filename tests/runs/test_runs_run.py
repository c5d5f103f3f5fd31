from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from runs_work import a_run

from mulligan.records import BadInput, Quantity
from mulligan.runs import Run, check_schema


def test_a_new_run_says_how_it_was_made(tmp_path: Path) -> None:
    run = Run.create("audit", ["audit", "m"], {"budget": "10m"}, out=tmp_path / "run", seed=3)
    manifest = Run.open(run.path).manifest
    assert manifest["schema"] == "mulligan/run/1"
    assert (manifest["procedure"], manifest["command"], manifest["seed"]) == ("audit", ["mulligan", "audit", "m"], 3)
    assert (manifest["config"], manifest["status"]) == ({"budget": "10m"}, "running")
    assert len(manifest["code"]) == 64
    assert {"python", "torch", "numpy"} <= manifest["libraries"].keys()
    run.update(status="finished")
    assert Run.open(run.path).manifest["status"] == "finished"


def test_without_a_folder_each_run_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (Run.create("see", [], {}) for _ in range(2))
    assert first.path != second.path
    assert all(path.name.partition("-")[2].startswith("see-") for path in (first.path, second.path))


def test_an_earlier_run_is_never_written_over(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.path.rglob("*")}
    with pytest.raises(BadInput, match="not an empty folder"):
        a_run(run.path)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.path.rglob("*")} == before


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "sub/deep"])
def test_a_folder_with_anything_in_it_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(BadInput, match="choose another --out"):
        a_run(tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [file]
    assert file.read_text() == "mine"


def test_a_file_or_a_path_below_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadInput, match="not an empty folder"):
            a_run(path)
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_is_taken_even_if_a_killed_creation_left_its_mark(tmp_path: Path) -> None:
    (tmp_path / ".manifest.json.0123456789ab-99999999-01234567.part").write_bytes(b"{")
    assert Run.open(a_run(tmp_path).path).manifest["procedure"] == "test"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"schema": "mulligan/run/2"}', "a newer Mulligan wrote this"),
        (b'{"schema": "mulligan/run/999999999"}', "a newer Mulligan wrote this"),
        (b'{"schema": "mulligan/findings/1"}', "this is not a mulligan/run document"),
        (b'{"schema": "mulligan/run/\xc2\xb2"}', "this is not a mulligan/run document"),
        (b'{"schema": 1}', "this is not a mulligan/run document"),
        (b"{}", "this is not a mulligan/run document"),
        (b"[]", "this is not a mulligan/run document"),
        (b"", "not valid JSON"),
        (b'{"schema": "mulli', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_a_manifest_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(BadInput, match=message):
        Run.open(tmp_path)


def test_what_is_no_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", str(tmp_path)):
        with pytest.raises(BadInput, match="there is no run here"):
            Run.open(path)


def test_fields_that_a_later_version_adds_are_ignored(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    manifest = json.loads((run.path / "manifest.json").read_text())
    (run.path / "manifest.json").write_text(json.dumps({**manifest, "later": 1}))
    assert Run.open(run.path).manifest["later"] == 1


def test_an_older_schema_is_read(tmp_path: Path) -> None:
    check_schema({"schema": "mulligan/run/1"}, "mulligan/run/2", tmp_path)


# Files of a run
@dataclass(frozen=True)
class _Record:
    name: str
    effect: Quantity | None = None


def test_records_and_plain_data_are_read_back(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    record = _Record("x", Quantity(value=0.5, unit="fraction of images", n=3))
    run.write_json("a/b.json", record)
    assert run.read_json("a/b.json", _Record) == record
    run.write_json("plain.json", {"n": np.int64(3), "x": np.arange(3)})
    assert run.read_json("plain.json") == {"n": 3, "x": [0, 1, 2]}


def test_arrays_keep_shape_type_and_values(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    arrays = {
        "one": np.asarray(3.5),
        "turned": np.arange(6).reshape(2, 3).T,
        "strided": np.arange(10, dtype=np.float32)[::3],
        "none": np.zeros((0, 4)),
        "is": np.asarray([True, False]),
        "half": np.asarray([1.5], np.float16),
        "big": np.asarray([1, 2], ">i4"),
    }
    run.write_arrays("x.safetensors", arrays)
    read = run.read_arrays("x.safetensors")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].shape == array.shape, name
        assert read[name].dtype == array.dtype.newbyteorder("="), name
        np.testing.assert_array_equal(read[name], array)


def test_tables_are_read_back(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    run.write_table("tables/x.parquet", {"a": [1, 2], "b": ["x", None]})
    assert run.read_table("tables/x.parquet").to_pydict() == {"a": [1, 2], "b": ["x", None]}
    assert run.read_table("tables/x.parquet", ["b"]).column_names == ["b"]


@pytest.mark.parametrize("torn", [None, b"", b"torn", b"\x08\0\0\0\0\0\0\0{"])
def test_files_that_are_missing_or_damaged_are_named(tmp_path: Path, torn: bytes | None) -> None:
    run = a_run(tmp_path / "run")
    if torn is not None:
        for name in ("x.json", "x.safetensors", "x.parquet"):
            run.at(name).write_bytes(torn)
    for read, name in ((run.read_json, "x.json"), (run.read_arrays, "x.safetensors"), (run.read_table, "x.parquet")):
        with pytest.raises(BadInput) as caught:
            read(name)
        assert os.fspath(run.at(name)) in str(caught.value)


def test_json_of_another_shape_is_named(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    run.write_json("x.json", {"name": 3})
    with pytest.raises(BadInput, match="cannot be read"):
        run.read_json("x.json", _Record)
    run.at("folder").mkdir()
    with pytest.raises(BadInput, match="cannot be read"):
        run.read_json("folder", _Record)


def test_files_outside_the_run_are_neither_read_nor_written(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    (tmp_path / "secret.json").write_text("{}")
    (run.path / "link.json").symlink_to(tmp_path / "secret.json")
    for name in ("../secret.json", os.fspath(tmp_path / "secret.json"), "link.json"):
        for act in (run.read_json, run.read_arrays, run.read_table, lambda name: run.write_json(name, [])):
            with pytest.raises(BadInput, match="leads out"):
                act(name)
    assert (tmp_path / "secret.json").read_text() == "{}"


def test_a_run_says_which_it_is(tmp_path: Path) -> None:
    assert repr(Run.create("audit", [], {}, out=tmp_path / "run")) == f"<Run {tmp_path / 'run'}: audit, running>"
