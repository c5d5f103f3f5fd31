"""`mulligan serve` as a process: what it says, where it listens, how it ends."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mulligan.apps.server import listening
from mulligan.apps.server.serving import is_loopback
from mulligan.records import BadInput


class Server:
    """`mulligan serve` in a process of its own."""

    def __init__(self, *words: object) -> None:
        command = [sys.executable, "-m", "mulligan.apps.cli", "serve", *map(str, words)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.told = ""
        for line in self.process.stderr:
            self.told += line
            if "Ctrl-C" in line:
                break
        found = re.search(r"(http://\S+)/\?token=(\S+)", self.told)
        self.base, self.token = found.groups() if found else ("", "")

    def label(self, author: str, text: str, revision: int = 0) -> tuple[int, dict]:
        body = {"author": author, "feature": "blocks.0:0", "text": text, "revision": revision}
        headers = {"Authorization": f"Bearer {self.token}", "Origin": self.base, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.base}/api/first/label", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=30)
        return self.process.returncode, rest


@pytest.fixture
def server(runs: Path) -> Iterator[Server]:
    started = Server(runs, "--port", 0)
    yield started
    if started.process.poll() is None:
        started.process.kill()
    started.process.communicate()


def test_it_says_where_it_listens_and_ends_cleanly(server: Server, runs: Path) -> None:
    assert "2 runs" in server.told
    assert str(runs / "reviews.sqlite") in server.told.replace("\n", "")
    with urllib.request.urlopen(server.base + "/", timeout=20) as page:
        assert b"net-a" in page.read()
    status, told = server.end()
    assert status == 0
    assert "Ended" in told
    assert "Traceback" not in told


def test_it_ends_while_somebody_holds_a_connection(server: Server) -> None:
    host, port = server.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as held:
        held.sendall(b"GET / HTTP/1.1\r\nHost: ")
        status, told = server.end()
    assert status == 0
    assert "Traceback" not in told


def test_only_this_machine_is_listened_to(server: Server) -> None:
    port = int(server.base.rpartition(":")[2])
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), timeout=2):
        pass


RAW = (
    "/../secret", "/runs/first/../../secret", "//secret", "/runs/%2e%2e%2fsecret/", "/runs/\\..\\secret", "*",
    "/runs/x",
)  # fmt: skip


def test_raw_paths_do_not_leave_the_runs(server: Server, runs: Path) -> None:
    """As no browser would send them: nothing on the way has tidied the path."""
    (runs.parent / "secret").write_text("the secret")
    (runs / "secret").write_text("the secret")
    host, _, port = server.base.removeprefix("http://").partition(":")
    for target in RAW:
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            raw.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: raw.recv(65536), b""))
        assert answer.split()[1] in (b"400", b"404"), target
        assert b"the secret" not in answer


def ask_raw(server: Server, *parts: bytes) -> bytes:
    """What the server answers to these very bytes, until it closes the connection."""
    host, _, port = server.base.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        answer = b""
        try:
            for part in parts:
                raw.sendall(part)
            answer = b"".join(iter(lambda: raw.recv(65536), b""))
        except ConnectionError:  # closed before all was sent
            pass
    return answer


def test_heads_and_bodies_are_bounded_before_they_are_held(server: Server) -> None:
    host = server.base.removeprefix("http://").encode()
    head = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n"
    assert ask_raw(server, head, b"\r\n").startswith(b"HTTP/1.1 200")
    for large in (b"X: " + b"a" * 200_000 + b"\r\n", b"".join(b"X-%d: a\r\n" % n for n in range(20_000))):
        assert b" 200 " not in ask_raw(server, head, large, b"\r\n")[:20]
    assert b" 200 " not in ask_raw(server, b"GET /", b"a" * 200_000, head.removeprefix(b"GET /"), b"\r\n")[:20]
    words = [b"POST /api/first/label HTTP/1.1", b"Host: " + host, b"Origin: http://" + host, b"Connection: close",
             b"Authorization: Bearer " + server.token.encode(), b"Content-Type: application/json"]  # fmt: skip
    lying = b"\r\n".join([*words, b"Content-Length: 999999999", b"", b""])
    assert ask_raw(server, lying, b"{").startswith(b"HTTP/1.1 413")
    twice = b"\r\n".join([*words, b"Content-Length: 2", b"Content-Length: 3", b"", b"{}"])
    assert ask_raw(server, twice).startswith(b"HTTP/1.1 400")
    # And the server goes on.
    assert server.label("Zoe", "fine")[0] == 201


def test_an_answer_does_not_wait_for_its_own_beginning(server: Server) -> None:
    """Sent in two parts, an answer took 40 ms until the first was acknowledged (Nagle's algorithm)."""
    connection = http.client.HTTPConnection(server.base.removeprefix("http://"), timeout=20)
    taken = []
    for _ in range(30):
        began = time.monotonic()
        connection.request("GET", "/runs/first/index.json")
        connection.getresponse().read()
        taken.append(time.monotonic() - began)
    connection.close()
    assert sorted(taken)[15] < 0.03


def test_a_kill_in_the_middle_of_writes_loses_no_acknowledged_label(server: Server, runs: Path) -> None:
    acknowledged: list[tuple[str, str]] = []

    def write(author: str) -> None:
        revision = 0
        for number in range(10_000):
            try:
                status, answer = server.label(author, f"text {number}", revision)
            except (OSError, ValueError):
                return
            assert status == 201
            revision = answer["revision"]
            acknowledged.append((author, f"text {number}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in ("Ann", "Ben", "Cy")]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 60:
        assert any(thread.is_alive() for thread in threads)
    server.process.kill()
    for thread in threads:
        thread.join()
    connection = sqlite3.connect(runs / "reviews.sqlite")
    kept = connection.execute("SELECT author, text FROM entries").fetchall()
    connection.close()
    assert len(acknowledged) >= 60
    assert set(acknowledged) <= set(kept)
    assert len(kept) <= len(acknowledged) + 3
    again = Server(runs, "--port", 0)
    status, _ = again.label("Dan", "later")
    assert status == 201
    assert again.end()[0] == 0


def refused(*words: object) -> str:
    command = [sys.executable, "-m", "mulligan.apps.cli", "serve", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.replace("\n", " ")


def test_a_port_in_use(runs: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refused(runs, "--port", port)
    assert f"port {port} is in use" in told
    assert f"--port {port + 1}" in told


def test_other_machines_need_a_name(runs: Path) -> None:
    assert "--allow-host" in refused(runs, "--host", "0.0.0.0", "--port", 0)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "nowhere")


def test_a_file_of_reviews_that_cannot_be_used(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database, and long enough to be taken for one that is broken")
    assert "reviews cannot be kept here" in refused(runs, "--reviews", tmp_path / "text", "--port", 0)


def test_a_folder_that_may_not_be_written_is_served(tmp_path: Path, runs: Path) -> None:
    (runs / "reviews.sqlite").mkdir()
    server = Server(runs, "--port", 0)
    assert "Nothing can be written" in server.told
    with urllib.request.urlopen(server.base + "/runs/first/", timeout=20) as page:
        assert page.status == 200
    assert server.end()[0] == 0


@pytest.mark.parametrize(("port", "words"), [(70_000, "no port"), (-1, "no port")])
def test_ports_that_are_none(port: int, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        listening("127.0.0.1", port)


def test_hosts_that_are_this_machine() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", ""))
    with pytest.raises(BadInput, match="no address of this machine"):
        listening("192.0.2.1", 0)
