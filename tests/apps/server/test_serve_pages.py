"""Pages and their data: what is sent, what is kept, and that no address reaches past the runs."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import reports_builder
from serve_samples import Client, client, identity, seen_run

from mulligan.apps.server import Books, Shelf, bind_report
from mulligan.apps.server.books import BeingMade
from mulligan.apps.server.contents import _addresses

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'"


def base_of(page: str) -> str:
    return re.search(r'<mg-page base="([^"]+)"', page)[1]


def test_a_run_is_one_page_whose_data_come_on_demand(reviewing: Client) -> None:
    base = base_of(reviewing.get("/runs/first/").text)
    index = reviewing.get(f"{base}/index.json").json()
    assert index["features"]["key"][:2] == ["blocks.0:0", "blocks.0:1"]
    assert index["review"] == {"base": "/api/first", "writable": True}
    (chunk, *_) = index["series"]["features"]["chunks"]
    cards = reviewing.get(f"{base}/chunks/{chunk}").json()
    assert [card["key"] for card in cards] == index["features"]["key"]


def test_an_address_without_its_last_slash_leads_on(reviewing: Client) -> None:
    led = reviewing.get("/runs/first,second")
    assert (led.status_code, led.headers["location"]) == (308, "/runs/first,second/")
    assert reviewing.get("/runs/nowhere").status_code == 404


def test_data_are_sent_once(reviewing: Client) -> None:
    base = base_of(reviewing.get("/runs/first/").text)
    first = reviewing.get(f"{base}/chunks/0")
    assert first.headers["content-encoding"] == "gzip"
    assert "immutable" in first.headers["cache-control"]
    tag = first.headers["etag"]
    again = reviewing.get(f"{base}/chunks/0", headers={"If-None-Match": f'"x", W/{tag}'})
    assert (again.status_code, again.content) == (304, b"")
    other = reviewing.get(f"{base}/chunks/0", headers={"If-None-Match": '"x"'})
    assert other.status_code == 200
    # Without the version in the address, it is asked for again each time.
    assert "no-cache" in reviewing.get("/runs/first/chunks/0").headers["cache-control"]


def test_who_cannot_unpack_is_sent_plain_data(reviewing: Client) -> None:
    plain = reviewing.get("/runs/first/chunks/0", headers={"Accept-Encoding": "identity"})
    packed = reviewing.get("/runs/first/chunks/0", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    refused = reviewing.get("/runs/first/chunks/0", headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in refused.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.json() == packed.json() == refused.json()


def test_a_run_that_changed_is_packed_anew(reviewing: Client, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mulligan.apps.server.books.FRESH", 0.0)
    before = base_of(reviewing.get("/runs/first/").text)
    (runs / "first" / "seen.json").unlink()
    (runs / "first" / "manifest.json").unlink()
    (runs / "first").rmdir()
    seen_run(runs / "first", features=["other:1"])
    after = base_of(reviewing.get("/runs/first/").text)
    assert after != before
    assert reviewing.get(f"{after}/index.json").json()["features"]["key"] == ["other:1"]
    gone = reviewing.get(f"{before}/chunks/0")
    assert gone.status_code == 404
    assert "load the page again" in gone.text


def test_networks_side_by_side(reviewing: Client) -> None:
    led = reviewing.get("/compare", params={"run": ["first", "second"]})
    assert (led.status_code, led.headers["location"]) == (303, "/runs/first,second/")
    index = reviewing.get("/runs/first,second/index.json").json()
    assert [network["name"] for network in index["networks"]] == ["net-a", "net-b"]
    assert "1~blocks.0:0" in index["features"]["key"]
    assert reviewing.get("/compare").status_code == 400
    assert reviewing.get("/compare?run=first&run=nowhere").status_code == 404
    assert reviewing.get("/runs/first,first/").status_code == 400
    assert reviewing.get("/runs/" + ",".join("abcdefghi") + "/").status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/runs/../reviews.sqlite", "/runs/..%2f..%2fetc%2fpasswd/", "/runs/%2e%2e/", "/runs/first/../../secret",
        "/runs/first%2f..%2fsecret/", "/runs/first/chunks/..%2f..%2fseen.json", "/runs/first/seen.json",
        "/runs/first/chunks/-1", "/runs/first/chunks/99999999999999999999", "/runs//etc/passwd", "/secret",
        "/runs/first/manifest.json", "/runs/%00/", "/home.js/../../application.py", "/runs/first\\..\\secret/",
        "/api/..%2f/review", "/api/first/feature?key=../../secret",
    ],
)  # fmt: skip
def test_no_path_leaves_the_runs(reviewing: Client, runs: Path, path: str) -> None:
    (runs.parent / "secret").write_text("the secret")
    response = reviewing.get(path)
    assert response.status_code in (400, 404), response.text
    assert "the secret" not in response.text
    assert "root:" not in response.text


def test_a_picture_that_is_a_link_to_elsewhere_is_not_sent(tmp_path: Path) -> None:
    run = reports_builder.build(tmp_path / "runs" / "run")
    secret = tmp_path / "secret.png"
    reports_builder.paint(secret, 7, size=31)
    everything = set((run / "artifacts").rglob("*.png"))
    for path in everything:
        path.unlink()
        path.symlink_to(secret)
    with client([tmp_path / "runs"], None) as found:
        assert found.get("/runs/run/").status_code == 200
        index = found.get("/runs/run/index.json").json()
        series = index["series"].get("pictures", {"chunks": []})
        assert [n for number in series["chunks"] for n in found.get(f"/runs/run/chunks/{number}").json()] == []
    assert everything


def test_hostile_names_are_text(tmp_path: Path) -> None:
    seen_run(tmp_path / "runs" / HOSTILE.replace("/", "|"), network=HOSTILE, label=HOSTILE)
    with client([tmp_path / "runs"], tmp_path / "r.sqlite") as found:
        (id,) = re.findall(r'name="run" value="([^"]+)"', found.get("/").text)
        for path in ("/", f"/runs/{id}/", f"/runs/{HOSTILE}/", "/compare?run=<script>alert(1)</script>"):
            text = found.get(path).text
            assert "<script>alert" not in text
            assert "<img src=x" not in text


def test_many_who_ask_at_once_wait_for_one_piece_of_work(runs: Path) -> None:
    made: list[Sequence[Path]] = []

    def slow(folders: Sequence[Path], base: str) -> tuple[str, bytes, Sequence[bytes]]:
        made.append(folders)
        time.sleep(0.3)
        return bind_report(folders, base)

    with client([runs], None, bind=slow) as found:
        threads = [threading.Thread(target=found.get, args=("/runs/first/index.json",)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 1
        # And what is packed once is kept.
        assert found.get("/runs/first/index.json").status_code == 200
        assert len(made) == 1


def test_a_page_that_takes_long_says_so_and_comes(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mulligan.apps.server.site.PATIENCE", 0.1)
    go = threading.Event()

    def slow(folders: Sequence[Path], base: str) -> tuple[str, bytes, Sequence[bytes]]:
        if folders[0].name == "first":
            assert go.wait(20)
        return bind_report(folders, base)

    with client([runs], None, bind=slow) as found:
        making = found.get("/runs/first/")
        assert (making.status_code, making.headers["refresh"]) == (202, "2")
        assert "being made" in making.text
        assert found.get("/").status_code == 200
        go.set()
        assert found.get("/runs/first/index.json").status_code == 200
        assert found.get("/runs/first/").status_code == 200


def test_the_server_ends_while_a_page_is_made(runs: Path) -> None:
    go = threading.Event()

    def stuck(folders: Sequence[Path], base: str) -> tuple[str, bytes, Sequence[bytes]]:
        go.wait(60)
        raise RuntimeError

    async def asked() -> None:
        with pytest.raises(BeingMade):
            await Books(stuck, writable=False).get(Shelf([runs]).look().runs[:1], patience=0.2)

    # In a thread of its own: a browser that another test has opened leaves a loop in this one.
    loop = threading.Thread(target=lambda: asyncio.run(asked()), daemon=True)
    loop.start()
    loop.join(10)
    assert not loop.is_alive()
    go.set()


def test_a_run_that_could_not_be_shown_is_tried_again(runs: Path) -> None:
    tries: list[int] = []

    def once(folders: Sequence[Path], base: str) -> tuple[str, bytes, Sequence[bytes]]:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("gone for a moment")
        return bind_report(folders, base)

    with client([runs], None, bind=once) as found:
        assert found.get("/runs/first/").status_code == 500
        assert found.get("/runs/first/").status_code == 200


def test_memory_is_bounded(tmp_path: Path) -> None:
    for number in range(6):
        seen_run(tmp_path / "runs" / f"r{number}")
    made: list[str] = []

    def counted(folders: Sequence[Path], base: str) -> tuple[str, bytes, Sequence[bytes]]:
        made.append(folders[0].name)
        html, index, _ = bind_report(folders, base)
        return html, index, [gzip.compress(b"[]") + b"\0" * 100_000]

    with client([tmp_path / "runs"], None, bind=counted, memory=500_000) as found:
        for number in (0, 1, 2, 3, 4, 5, 5, 4):
            assert found.get(f"/runs/r{number}/").status_code == 200
        assert made == ["r0", "r1", "r2", "r3", "r4", "r5"]
        found.get("/runs/r0/")
        assert made[-1] == "r0"


def test_a_page_that_cannot_be_made_does_not_end_the_server(runs: Path) -> None:
    def failing(folders: Sequence[Path], base: str) -> tuple[str, bytes, Sequence[bytes]]:
        if folders[0].name == "first":
            raise ZeroDivisionError("a bug")
        return bind_report(folders, base)

    with client([runs], None, bind=failing) as found:
        page = found.get("/runs/first/")
        assert page.status_code == 500
        assert "our fault" in page.text
        assert "a bug" not in page.text
        assert found.get("/runs/second/").status_code == 200
        assert found.get("/").status_code == 200


def test_an_unknown_run_says_so(reviewing: Client) -> None:
    page = reviewing.get("/runs/nowhere/")
    assert page.status_code == 404
    assert "There is no such run here" in page.text
    assert reviewing.get("/api/nowhere/review").json()["error"].startswith("There is no such run")


def test_pages_name_networks_by_identity(reviewing: Client) -> None:
    index = json.loads(reviewing.get("/runs/second/index.json").content)
    assert index["networks"][0]["identity"] == identity("net-b")


def test_runs_that_a_page_enters_twice_keep_their_address() -> None:
    asked = [("run", "run:1"), ("other", "run:2")]
    assert _addresses(["run", "other"], asked) == ["run:1", "run:2"]
    assert _addresses(["run", "run", "other"], asked) == ["run:1", "run:1", "run:2"]
    assert _addresses(["run", "run"], [("run", "run:1"), ("run", "run:2")]) == ["run:1", "run:2"]
