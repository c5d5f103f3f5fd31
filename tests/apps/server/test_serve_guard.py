"""What must not come in: other names, other origins, no token, no JSON, too much of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from serve_samples import BASE, TOKEN, WRITE, Client, client

from mulligan.apps.server import Hosts

LABEL = {"author": "Ann", "feature": "blocks.0:0", "text": "dogs", "revision": 0}
PATH = "/api/first/label"


def test_with_everything_in_order_a_label_is_written(reviewing: Client) -> None:
    """The control: each refusal below differs from this in one thing."""
    assert reviewing.post(PATH, json=LABEL, headers=WRITE).status_code == 201


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:80", "127.0.0.1.evil.example:8765", "localhost:8766", ""]
)
@pytest.mark.parametrize("path", ["/", "/runs/first/", "/api/first/review"])
def test_other_names_are_refused(reviewing: Client, host: str, path: str) -> None:
    """A name that was made to point to this machine (DNS rebinding) arrives in the Host header."""
    response = reviewing.get(path, headers={"Host": host})
    assert response.status_code == 403
    assert "blocks" not in response.text


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "LOCALHOST:8765", "[::1]:8765"])
def test_this_machines_names_are_served(reviewing: Client, host: str) -> None:
    assert reviewing.get("/", headers={"Host": host}).status_code == 200


def test_names_that_were_allowed(runs: Path) -> None:
    with client([runs], None, allowed=("lab.example", "other.example:443")) as found:
        for host in ("lab.example", "lab.example:8765", "other.example:443"):
            assert found.get("/", headers={"Host": host}).status_code == 200
        for host in ("other.example", "xlab.example", "lab.example.evil.example"):
            assert found.get("/", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example", "null", "https://127.0.0.1:8765", "http://127.0.0.1:8766", "http://127.0.0.1",
        "127.0.0.1:8765",
    ],
)  # fmt: skip
def test_other_origins_do_not_write(reviewing: Client, origin: str) -> None:
    assert reviewing.post(PATH, json=LABEL, headers=WRITE | {"Origin": origin}).status_code == 403
    assert reviewing.get("/api/first/review").json()["revision"] == 0


def test_an_origin_behind_a_proxy_may_be_encrypted() -> None:
    hosts = Hosts(8765, ["lab.example"])
    assert hosts.is_own("https://lab.example")
    assert hosts.is_own("http://lab.example:8765")
    assert not hosts.is_own("ftp://lab.example")


@pytest.mark.parametrize(
    ("without", "status"), [("Origin", 403), ("Authorization", 401)]
)
def test_both_are_needed(reviewing: Client, without: str, status: int) -> None:
    headers = {name: value for name, value in WRITE.items() if name != without}
    assert reviewing.post(PATH, json=LABEL, headers=headers).status_code == status


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xfc"]
)
def test_another_token_does_not_write(reviewing: Client, given: str) -> None:
    response = reviewing.post(PATH, json=LABEL, headers=WRITE | {"Authorization": given.encode("latin-1")})
    assert response.status_code == 401
    assert reviewing.get("/api/first/review").json()["revision"] == 0


def test_the_token_in_the_address_does_not_write(reviewing: Client) -> None:
    assert reviewing.post(f"{PATH}?token={TOKEN}", json=LABEL, headers={"Origin": BASE}).status_code == 401


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(reviewing: Client, method: str) -> None:
    assert reviewing.request(method, PATH, headers=WRITE).status_code == 405


def test_no_answer_lets_other_origins_read(reviewing: Client) -> None:
    for path in ("/", "/runs/first/", "/api/first/review", "/nothing", "/home.js", "/runs/first/chunks/0"):
        headers = reviewing.get(path, headers={"Origin": "http://evil.example"}).headers
        assert not [name for name in headers if name.startswith("access-control")], path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'unsafe" not in policy


def test_bodies_are_bounded_json(reviewing: Client) -> None:
    big = json.dumps(LABEL | {"note": "x" * 200_000})
    typed = WRITE | {"Content-Type": "application/json"}
    assert reviewing.post(PATH, content=big, headers=typed).status_code == 413
    plain = WRITE | {"Content-Type": "text/plain"}
    assert reviewing.post(PATH, content=json.dumps(LABEL), headers=plain).status_code == 415
    assert reviewing.post(PATH, content=iter([b"{}"]), headers=typed).status_code == 411
    unknown = json.dumps(LABEL | {"x": 1}).encode()
    for body in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 50_000, b'{"author": 1}', unknown):
        response = reviewing.post(PATH, content=body, headers=typed)
        assert response.status_code == 400, body[:20]
    assert reviewing.get("/api/first/review").json()["revision"] == 0
