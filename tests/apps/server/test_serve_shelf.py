"""Which runs are found, under which ids, and what the list says of broken ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from serve_samples import client, manifest, seen_run

from mulligan.apps.server import Shelf, heads, read_head
from mulligan.apps.server.heads import Heads, address_of
from mulligan.records import BadInput


def test_runs_and_folders_of_runs(runs: Path, tmp_path: Path) -> None:
    lone = seen_run(tmp_path / "elsewhere" / "third")
    (runs / "not-a-run").mkdir()
    (runs / ".hidden").mkdir()
    shelf = Shelf([lone, runs, runs])
    assert [place.id for place in shelf.look().runs] == ["third", "first", "second"]
    assert shelf.home == tmp_path / "elsewhere"
    assert Shelf([runs]).home == runs


def test_new_runs_are_found_and_removed_ones_forgotten(runs: Path) -> None:
    shelf = Shelf([runs])
    seen_run(runs / "later")
    assert {place.id for place in shelf.look().runs} == {"first", "second", "later"}
    (runs / "later" / "seen.json").unlink()
    (runs / "later" / "manifest.json").unlink()
    assert {place.id for place in shelf.look().runs} == {"first", "second"}


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a b", "ü", "a..", "a,b", "x" * 200, "--", "a.b", "%2e%2e"]
)
def test_ids_fit_into_an_address(tmp_path: Path, name: str) -> None:
    (tmp_path / "runs").mkdir()
    seen_run(tmp_path / "runs" / name.replace("/", "_"))
    (place,) = Shelf([tmp_path / "runs"]).look().runs
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,100}", place.id)
    with client([tmp_path / "runs"], None) as found:
        assert found.get(f"/runs/{place.id}/").status_code == 200


def test_runs_of_the_same_name_have_ids_of_their_own(tmp_path: Path) -> None:
    one, other = seen_run(tmp_path / "a" / "run"), seen_run(tmp_path / "b" / "run")
    ids = [place.id for place in Shelf([one, other]).look().runs]
    assert len(set(ids)) == 2
    assert ids == [place.id for place in Shelf([one, other]).look().runs]


def test_links_that_leave_the_folder_are_refused(runs: Path, tmp_path: Path) -> None:
    outside = seen_run(tmp_path / "outside")
    (runs / "away").symlink_to(outside)
    (runs / "near").symlink_to(runs / "first")
    found = Shelf([runs]).look()
    assert {place.id for place in found.runs} == {"first", "second"}  # "near" is "first" by another name
    assert [name for name, _ in found.refused] == ["away"]
    with client([runs], None) as page:
        assert "leads out of the folder of runs" in page.get("/").text
        assert page.get("/runs/away/").status_code == 404


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        Shelf([tmp_path / "nowhere"])
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="no folder"):
        Shelf([tmp_path / "file"])


def test_the_head_of_a_whole_run(runs: Path) -> None:
    head = read_head(runs / "first")
    assert (head.kind, head.network, head.problems, head.holds) == ("units", "net-a", (), ("5 cards",))


def broken(folder: Path, kind: str) -> str:
    """Spoil a run in one way; returns what its head must say."""
    seen = folder / "seen.json"
    if kind == "incomplete":
        (folder / "manifest.json").write_bytes(manifest(status="running"))
        return "not finished"
    if kind == "interrupted":
        (folder / "manifest.json").write_bytes(manifest(status="interrupted"))
        return "was interrupted"
    if kind == "no manifest":
        (folder / "manifest.json").unlink()
        return "lost manifest.json"
    if kind == "newer manifest":
        (folder / "manifest.json").write_bytes(manifest(schema="mulligan/run/2"))
        return "newer Mulligan"
    if kind == "newer document":
        seen.write_text(json.dumps(json.loads(seen.read_text()) | {"schema": "mulligan/seen/99"}))
        return "newer Mulligan"
    if kind == "cut":
        seen.write_bytes(seen.read_bytes()[:200])
        return "seen.json cannot be read"
    if kind == "noise":
        seen.write_bytes(b"\xff\x00" * 500)
        return "seen.json cannot be read"
    if kind == "deep":
        seen.write_bytes(b'{"cards": ' + b"[" * 200_000)
        return "seen.json cannot be read"
    seen.unlink()
    return "no document"


@pytest.mark.parametrize(
    "kind",
    ["incomplete", "interrupted", "no manifest", "newer manifest", "newer document", "cut", "noise", "deep", "empty"],
)
def test_a_broken_run_is_listed_and_its_page_opens(runs: Path, kind: str) -> None:
    expected = broken(runs / "first", kind)
    assert any(expected in problem for problem in read_head(runs / "first").problems)
    with client([runs], None) as found:
        home = found.get("/")
        assert home.status_code == 200
        assert expected in home.text
        page = found.get("/runs/first/")
        assert page.status_code == 200
        assert "<mg-page" in page.text
        both = found.get("/runs/first,second/")
        assert both.status_code == 200
        assert "net-b" in both.text


def test_a_huge_document_is_not_read_for_the_list(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "LARGEST", 100)
    head = read_head(runs / "first")
    assert "large" in head.problems[0]
    assert head.kind == "units"


def test_heads_are_read_again_when_a_run_changes(runs: Path) -> None:
    kept = Heads()
    before = kept.of(runs / "first")
    assert kept.of(runs / "first") is before
    broken(runs / "first", "incomplete")
    assert kept.of(runs / "first").problems != before.problems


def test_a_runs_address_goes_with_it(runs: Path) -> None:
    before = address_of(runs / "first")
    (runs / "first").rename(runs / "renamed")
    assert address_of(runs / "renamed") == before
    assert address_of(runs / "second") != before


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with client([tmp_path / "runs"], None) as found:
        page = found.get("/")
    assert page.status_code == 200
    assert "There is no run here yet" in page.text
    assert "mulligan audit" in page.text
