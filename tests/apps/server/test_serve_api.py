"""The review queue over HTTP, as `<mg-review>` uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import reports_builder
from serve_samples import Client, client, seen_run

KEY = "blocks.0:0"


def feature(found: Client, reader: str = "", key: str = KEY, book: str = "first") -> dict:
    return found.get(f"/api/{book}/feature", params={"key": key, "reader": reader}).json()


def overview(found: Client, reader: str = "", book: str = "first") -> dict:
    return found.get(f"/api/{book}/review", params={"reader": reader}).json()


def take(found: Client, reader: str, **more: object) -> int:
    return found.write("/api/first/assign", author=reader, reader=reader, site="blocks.0", **more).json()["changed"]


def label(found: Client, author: str, text: str, revision: int = 0, key: str = KEY, book: str = "first"):
    return found.write(f"/api/{book}/label", author=author, feature=key, text=text, revision=revision)


def test_a_team_goes_through_a_layer(reviewing: Client) -> None:
    assert take(reviewing, "Ann", count=2) == 2
    assert overview(reviewing, "Ann")["queue"] == {"n": 2, "keys": ["blocks.0:0", "blocks.0:1"]}
    assert take(reviewing, "Ben", second=True) == 2
    for key, ann, ben in (("blocks.0:0", "dogs", "cats"), ("blocks.0:1", "red", "Red")):
        assert label(reviewing, "Ann", ann, key=key).status_code == 201
        before = feature(reviewing, "Ben", key)
        assert before["hidden"]
        assert ann not in json.dumps([before, overview(reviewing, "Ben"), overview(reviewing)])
        after = label(reviewing, "Ben", ben, key=key).json()
        assert [said["text"] for said in after["labels"]] == [ann, ben]
    found = overview(reviewing, "Cy")
    layer = next(layer for layer in found["layers"] if layer["site"] == "blocks.0")
    counts = [layer[name] for name in ("features", "once", "twice", "agreed", "disputed", "resolved")]
    assert counts == [3, 2, 2, 1, 1, 0]
    assert found["disputes"]["features"][0]["key"] == "blocks.0:0"
    (pair,) = found["agreement"]
    assert pair["readers"] == ["Ann", "Ben"]
    assert (pair["share"]["value"], pair["share"]["n"]) == (0.5, 2)
    assert 0 < pair["share"]["low"] < 0.5 < pair["share"]["high"] < 1
    seen = feature(reviewing, "Cy")["settled_by"]
    settled = reviewing.write("/api/first/resolve", author="Cy", feature=KEY, text="dogs", revision=seen, note="ears")
    assert settled.status_code == 201
    assert overview(reviewing)["disputes"]["n"] == 0
    assert overview(reviewing, "Ann")["queue"]["n"] == 0


def test_a_stale_write_is_answered_with_what_is_there(reviewing: Client) -> None:
    revision = label(reviewing, "Ann", "dogs").json()["revision"]
    refused = label(reviewing, "Ann", "wolves")
    assert refused.status_code == 409
    assert refused.json()["current"]["mine"]["text"] == "dogs"
    assert refused.json()["current"]["revision"] == revision
    assert label(reviewing, "Ann", "wolves", revision).status_code == 201
    assert [said["text"] for said in feature(reviewing)["history"]] == ["dogs"]


def test_a_conflict_tells_a_blind_reader_nothing(reviewing: Client) -> None:
    reviewing.write("/api/first/assign", author="Ann", reader="Ben", features=[KEY])
    label(reviewing, "Ann", "dogs")
    refused = label(reviewing, "Ben", "cats", revision=77)
    assert refused.status_code == 409
    assert "dogs" not in refused.text
    settling = reviewing.write("/api/first/resolve", author="Ben", feature=KEY, text="x", revision=77)
    assert settling.status_code == 403
    assert "dogs" not in settling.text


def test_two_readers_at_once_do_not_hinder_each_other(reviewing: Client) -> None:
    assert label(reviewing, "Ann", "dogs").status_code == 201
    assert label(reviewing, "Ben", "cats").status_code == 201
    assert len(feature(reviewing)["labels"]) == 2


def test_cannot_tell_is_an_answer(reviewing: Client) -> None:
    assert label(reviewing, "Ann", "").json()["state"] == "one"
    assert label(reviewing, "Ben", " ").json()["state"] == "agreed"


def test_the_same_feature_on_two_pages_is_one(reviewing: Client) -> None:
    label(reviewing, "Ann", "dogs", key="1~blocks.0:0", book="first,second")
    assert feature(reviewing, book="second")["labels"][0]["text"] == "dogs"
    assert feature(reviewing, book="first")["labels"] == []


def test_verdicts_on_findings(tmp_path: Path) -> None:
    reports_builder.build(tmp_path / "runs" / "audit")
    with client([tmp_path / "runs"], tmp_path / "r.sqlite") as found:
        first = found.get("/runs/audit/index.json").json()["findings"][0]
        body = {
            "author": "Ann", "run": 0, "finding": first["id"], "verdict": "rejected", "reason": "no sneaker",
            "revision": 0,
        }  # fmt: skip
        said = found.write("/api/audit/verdict", **body)
        assert said.status_code == 201
        assert found.write("/api/audit/verdict", **body).status_code == 409
        assert found.write("/api/audit/verdict", **body | {"verdict": "maybe"}).status_code == 400
        assert found.write("/api/audit/verdict", **body | {"finding": "F99"}).status_code == 404
        assert found.write("/api/audit/verdict", **body | {"run": -1}).status_code == 404
        state = found.get("/api/audit/finding", params={"run": 0, "id": first["id"], "reader": "Ann"}).json()
        assert state["verdicts"][0] | {"at": ""} == {
            "verdict": "rejected", "author": "Ann", "reason": "no sneaker", "at": "", "revision": 1,
            "of_this_claim": True,
        }  # fmt: skip
        # The run goes on being known where its folder is renamed; a claim that reads otherwise is told apart.
        (tmp_path / "runs" / "audit").rename(tmp_path / "runs" / "moved")
        document = tmp_path / "runs" / "moved" / "findings.json"
        document.write_text(document.read_text().replace(first["claim"], "Something else."))
        (again,) = found.get("/api/moved/finding", params={"run": 0, "id": first["id"]}).json()["verdicts"]
        assert (again["verdict"], again["of_this_claim"]) == ("rejected", False)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("label", {"feature": "blocks.9:0", "text": "x", "revision": 0}),
        ("label", {"feature": "../../etc/passwd", "text": "x", "revision": 0}),
        ("assign", {"reader": "Ann", "features": ["nowhere:1"]}),
        ("assign", {"reader": "Ann", "site": "nowhere"}),
    ],
)
def test_what_is_not_on_the_page_is_not_written(reviewing: Client, name: str, body: dict) -> None:
    assert reviewing.write(f"/api/first/{name}", author="Ann", **body).status_code == 404
    assert overview(reviewing)["revision"] == 0


@pytest.mark.parametrize("changed", [{"text": "x" * 301}, {"note": "x" * 2001}, {"author": ""}, {"text": "a\x00"}])
def test_lengths_are_bounded(reviewing: Client, changed: dict) -> None:
    body = {"author": "Ann", "feature": KEY, "text": "dogs", "revision": 0} | changed
    answered = reviewing.write("/api/first/label", **body)
    assert answered.status_code == 400
    assert answered.json()["error"]
    assert overview(reviewing)["revision"] == 0


def test_hostile_text_comes_back_as_it_was(reviewing: Client) -> None:
    text = "<script>alert(1)</script> ' \" \\ ; DROP TABLE entries"
    assert label(reviewing, "<b>Ann</b>", text).json()["labels"][0]["text"] == text
    answer = reviewing.get("/api/first/feature", params={"key": KEY})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["labels"][0]["author"] == "<b>Ann</b>"


def test_without_a_place_for_reviews_pages_are_served_and_writing_says_why(runs: Path) -> None:
    with client([runs], None) as found:
        assert found.get("/runs/first/index.json").json()["review"]["writable"] is False
        answer = label(found, "Ann", "dogs")
        assert answer.status_code == 503
        assert "--reviews" in answer.json()["error"]


def test_a_large_page_is_summed_up_quickly_and_lists_are_bounded(tmp_path: Path) -> None:
    seen_run(tmp_path / "runs" / "big", features=[f"blocks.0:{i}" for i in range(3000)])
    with client([tmp_path / "runs"], tmp_path / "r.sqlite") as found:
        for _ in range(3):
            found.write("/api/big/assign", author="Ann", reader="Ann", site="blocks.0", count=1000)
        state = overview(found, "Ann", "big")
        assert state["queue"]["n"] == 3000
        assert len(state["queue"]["keys"]) == 200
