"""Runs at a URL and engines, as the command line takes them."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from loaded_examples import ROOT
from mulligan.activations import Recording
from mulligan.apps import cli
from mulligan.runs import Run

DIGITS = f"{ROOT / 'examples' / 'digits.py'}:factory"


@pytest.fixture
def run_cli(monkeypatch, capfd, tmp_path):
    """Run `mulligan WORDS` in a folder of its own; returns (exit status, stderr)."""
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", x=np.random.default_rng(0).integers(0, 256, (24, 16, 16), dtype=np.uint8))
    MemoryFileSystem().store.clear()

    def run(*words):
        torch.manual_seed(0)  # the factory has no weights of its own
        monkeypatch.setattr(sys, "argv", ["mulligan", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, capfd.readouterr().err

    yield run
    MemoryFileSystem().store.clear()


RECORD = ("record", DIGITS, "--data", "data.npz", "--sites", "blocks.1", "--pools", "mean")


def test_a_recording_at_a_url_is_the_one_in_a_folder(run_cli, tmp_path):
    for out in ("memory://shared/rec", "rec"):
        status, err = run_cli(*RECORD, "--out", out)
        assert status == 0, err
        assert f"24 examples, sites: 1; {out}\n" in err
    there, here = Recording(Run.open("memory://shared/rec")), Recording(Run.open("rec"))
    assert there.ids == here.ids
    assert there.names == here.names
    for name in here.names:
        np.testing.assert_array_equal(there.array(name), here.array(name))
        np.testing.assert_array_equal(there.example(there.ids[7], name), here.example(here.ids[7], name))
    assert Run.open("memory://shared/rec").manifest["status"] == "finished"
    status, err = run_cli(*RECORD, "--out", "memory://shared/rec")
    assert (status, "something lies at this location" in err) == (2, True), err
    before = dict(MemoryFileSystem().store)
    status, err = run_cli(*RECORD, "--out", "memory://shared/rec", "--resume")
    assert status == 0, err
    # Nothing is done again: only the index and the manifest are written anew.
    assert {path for path, file in MemoryFileSystem().store.items() if before.get(path) is not file} == {
        "/shared/rec/tables/recording.parquet",
        "/shared/rec/manifest.json",
    }
    assert not list(tmp_path.glob("memory*"))


BAD = [
    (["--engine", "dask"], "there is no such engine (dask): choose local, ray or ray:ADDRESS."),
    (["--engine", "ray:127.0.0.1:1"], "ray"),
    (["--out", "nowhere://x/run"], "nothing is known to reach nowhere:// locations"),
    (["--out", "s3://"], "this is no location for a run (s3://)"),
    (["--out", "memory://no/run", "--resume"], "there is no run here"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_engines_and_locations_are_one_sentence(run_cli, tmp_path, words, said):
    status, err = run_cli(*RECORD, *words)
    assert status == 2, err
    (sentence,) = [line for line in err.splitlines() if line.startswith("mulligan:")]
    assert said in sentence
    assert sentence.endswith(".")
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz"]
    assert not MemoryFileSystem().store


def test_a_replay_reads_its_list_at_a_url(run_cli):
    MemoryFileSystem().pipe_file(
        "/a/pieces.json", json.dumps({"schema": "mulligan/pieces/1", "granted": {"x": 3}}).encode()
    )
    assert cli._grants("memory://a/pieces.json") == {"x": 3}
    status, err = run_cli("audit", DIGITS, "--data", "data.npz", "--replay", "memory://a/none.json")
    assert (status, "the list of pieces cannot be read (memory://a/none.json)" in err) == (2, True), err
