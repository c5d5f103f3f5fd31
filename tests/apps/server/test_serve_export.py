"""What people said leaves as files: labels.toml, which the overseer `person` reads, and JSON with everything."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from serve_samples import WRITE, Client, identity

from mulligan.apps import cli
from mulligan.features.labels import Evidence, current, read_labels
from mulligan.features.labels.person import People


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Run `mulligan WORDS`; returns (exit status, stderr)."""

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mulligan", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return int(caught.value.code or 0), capfd.readouterr().err

    return run


def label(found: Client, author: str, key: str, text: str, revision: int = 0, note: str = "") -> dict:
    body = {"author": author, "feature": key, "text": text, "revision": revision, "note": note}
    answer = found.post("/api/first/label", json=body, headers=WRITE)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def labelled(reviewing: Client) -> Client:
    """Five features: one label with an edit, agreement, a settled and an open dispute, and nobody who can tell."""
    first = label(reviewing, "Ann", "blocks.0:0", "dogs")
    label(reviewing, "Ann", "blocks.0:0", 'dog "faces" \\ <b>', first["revision"], note="not wolves\nnor cats")
    label(reviewing, "Ann", "blocks.0:1", "red")
    label(reviewing, "Ben", "blocks.0:1", "Red")
    label(reviewing, "Ann", "blocks.0:2", "wheels")
    seen = label(reviewing, "Ben", "blocks.0:2", "circles")["settled_by"]
    settling = {"author": "Cy", "feature": "blocks.0:2", "text": "Circles", "revision": seen, "note": "see 3"}
    assert reviewing.post("/api/first/resolve", json=settling, headers=WRITE).status_code == 201
    label(reviewing, "Ann", "blocks.1:0", "sky")
    label(reviewing, "Ben", "blocks.1:0", "sea")
    label(reviewing, "Ann", "blocks.1:7", "")
    return reviewing


def test_the_person_overseer_reads_what_stands(labelled: Client, runs: Path, tmp_path: Path, run_cli) -> None:
    out, kept = tmp_path / "labels.toml", tmp_path / "reviews.sqlite"
    status, told = run_cli("review", "export", runs, "--out", out, "--reviews", kept)
    assert (status, "8 labels" in told or "7 labels" in told) == (0, True), told
    read = read_labels(out)
    assert {entry.network for entry in read} == {identity("net-a")}
    texts = {
        feature: {(entry.author, entry.text) for entry in entries}
        for feature, entries in current(read, identity("net-a")).items()
    }
    assert texts == {
        "blocks.0:0": {("Ann", 'dog "faces" \\ <b>')},
        "blocks.0:1": {("Ann", "red"), ("Ben", "Red")},
        "blocks.0:2": {("Cy", "Circles"), ("Ben", "circles")},
        "blocks.1:0": {("Ann", "sky"), ("Ben", "sea")},
    }
    assert next(entry.note for entry in read if entry.feature == "blocks.0:0") == "not wolves\nnor cats"
    at = labelled.get("/api/first/feature", params={"key": "blocks.0:0"}).json()["labels"][0]["at"]
    assert {entry.date.isoformat() for entry in read} == {at[:10]}
    # As `see labels --labels` hands them to the overseer.
    people = People(current(read, identity("net-a")), None)
    proposed = people.propose(Evidence("blocks.0:2", np.arange(4), np.arange(4.0)))
    assert {candidate.text for candidate in proposed} == {"Circles", "circles"}
    assert people.propose(Evidence("blocks.1:7", np.arange(4), np.arange(4.0))) == []


def test_everything_leaves_as_json(labelled: Client, runs: Path, tmp_path: Path, run_cli) -> None:
    out = tmp_path / "all.json"
    status, _ = run_cli("review", "export", runs, "--out", out, "--reviews", tmp_path / "reviews.sqlite")
    assert status == 0
    document = json.loads(out.read_text())
    assert document["schema"] == "mulligan/reviews/1"
    assert [entry["text"] for entry in document["entries"]][:2] == ["dogs", 'dog "faces" \\ <b>']
    assert all(entry["author"] and entry["at"] for entry in document["entries"])
    states = {feature["feature"]: feature["state"] for feature in document["features"]}
    assert states == {
        "blocks.0:0": "one", "blocks.0:1": "agreed", "blocks.0:2": "resolved", "blocks.1:0": "disputed",
        "blocks.1:7": "one",
    }  # fmt: skip
    assert sorted(document["runs"].values()) == ["first", "second"]


def test_what_was_exported_while_people_write_is_whole(labelled: Client, tmp_path: Path, runs: Path, run_cli) -> None:
    for number in range(3):
        label(labelled, f"Reader {number}", "blocks.1:7", "x")
        status, _ = run_cli(
            "review", "export", runs, "--out", tmp_path / "all.json", "--reviews", tmp_path / "reviews.sqlite"
        )
        assert status == 0
    assert len(json.loads((tmp_path / "all.json").read_text())["entries"]) == 13


def test_wrong_use_is_one_sentence(runs: Path, tmp_path: Path, run_cli) -> None:
    status, told = run_cli("review", "export", runs, "--out", tmp_path / "labels.toml")
    assert (status, "nobody has reviewed these runs" in told) == (2, True)
    (runs / "reviews.sqlite").write_bytes(b"x" * 4000)
    status, told = run_cli("review", "export", runs, "--out", tmp_path / "labels.toml")
    assert (status, "Traceback" in told) == (2, False)
    status, told = run_cli("review", "export", runs, "--out", tmp_path / "labels.csv")
    assert (status, "neither .toml nor .json" in told) == (2, True)
