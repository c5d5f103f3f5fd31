"""What `mulligan serve` answers under load: 200 readers at one request a second each, for 60 seconds.

    python benchmarks/serve.py [--repeats 3] [--readers 200] [--seconds 60] [--nice 0] [--again]

A run of 1,000 units (10 sites of 100, nine example pictures and three optimized ones each) is made first. The server is
a process of its own, as is the load, on the same machine. Each reader holds a connection and asks once a second, at a
time of their own: six in ten requests are for the part of the data that holds a card (packed, as browsers ask for it,
and never from a cache), two for the review queue's state of a feature, one for the queue, one for the index. Beside
them, two people label features, one label a second each.

Latency is from before the request is written until the whole answer is read. The load speaks HTTP by itself over plain
streams: with httpx2, 200 readers took more than a core, and what was measured was the load. "late start" says by how
much it still fell behind its own clock.

"control" is what this machine allows at the same time: 50 of the readers also ask, once a second, a second server that
does nothing but send the bytes of one such part back. Where its latency is high, so is everybody's. With `--nice -10`
(as root) server, load and control go before other work of the machine: nearer to a machine of their own. All of it is
a session of its own, since Linux shares processors among sessions first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
from measuring import Case, Ledger
from PIL import Image

from mulligan.records import ExampleRef, FeatureCard, NetworkRecord, Portrait, Quantity, Seen, Sighting
from mulligan.runs import encode_json

COMMAND = "python benchmarks/serve.py"
SITES, UNITS = 10, 100
NAME = "{readers} readers, one request a second each, {seconds} s, 1,000 units, server and load on one machine"


def make_run(folder: Path) -> None:
    """A run of `see units`: pictures are noise of the size and weight of those that runs store."""
    rng = np.random.default_rng(0)
    (folder / "artifacts").mkdir(parents=True)
    for number in range(400):
        small = Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8))
        packed = io.BytesIO()
        small.resize((112, 112), Image.Resampling.BICUBIC).save(packed, "JPEG", quality=85)
        (folder / f"artifacts/{number}.jpg").write_bytes(packed.getvalue())

    def picture() -> str:
        return f"artifacts/{rng.integers(400)}.jpg"

    def sightings(n: int) -> tuple[Sighting, ...]:
        return tuple(
            Sighting(
                example=ExampleRef(id=f"{rng.integers(10**9)}", label="tabby", activation=float(rng.normal())),
                peak=(3, 4), box=(0, 0, 50, 50), crop=picture(),
            )
            for _ in range(n)
        )  # fmt: skip

    natural = Quantity(value=0.4, unit="share of the best example's activation", low=0.3, high=0.5, n=20)
    cards = tuple(
        FeatureCard(
            feature=f"blocks.{site}:{unit}", meaning="the block's output", top=sightings(9), levels=sightings(9),
            bottom=sightings(9), classes=(("tabby", 3),), strongest=9,
            portraits=tuple(
                Portrait(objective=f"blocks.{site}:{unit}", image=picture(), reached=3.0, steps=96, examples=500,
                         natural=natural)
                for _ in range(3)
            ),
        )
        for site in range(SITES) for unit in range(UNITS)
    )  # fmt: skip
    network = NetworkRecord(name="benchmark", identity="sha256:" + "0" * 64, parameters=10**6, classes=None)
    (folder / "seen.json").write_bytes(encode_json(Seen(network=network, created="2026-01-31", cards=cards)))
    manifest = {"schema": "mulligan/run/1", "procedure": "see", "created": "2026-01-31", "status": "finished"}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def control() -> None:
    """The child that answers every request with the same 60 KB, as quickly as Python's streams can; prints its port."""
    body = random.Random(0).randbytes(60_000)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(answer)
                await writer.drain()
        except (OSError, EOFError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(run())


class Connection:
    """One kept connection to the server."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """Status and body as sent (packed, if it was); raises OSError or EOFError if the server does not answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port, limit=2**22)
        reader, writer = self._streams
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", "Accept-Encoding: gzip"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}"] if body else []
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        assert size is not None
        return int(head.split(b" ", 2)[1]), await reader.readexactly(int(size[1]))

    def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()


class Load:
    """All readers and writers, in one process with one loop."""

    def __init__(self, base: str, token: str, seconds: float, control: int) -> None:
        self.base, self.token, self.seconds, self.control = base, token, seconds, control
        self.taken: dict[str, list[float]] = defaultdict(list)
        self.late: list[float] = []
        self.errors: list[str] = []

    async def run(self, readers: int) -> None:
        page = httpx2.get(f"{self.base}/runs/units/").text
        at = re.search(r'<mg-page base="([^"]+)"', page)
        assert at is not None
        index = httpx2.get(f"{self.base}{at[1]}/index.json").json()
        begin = time.perf_counter() + 1
        host, _, port = self.base.removeprefix("http://").partition(":")
        people = [Connection(host, int(port)) for _ in range(readers + 2)]
        beside = [Connection(host, self.control) for _ in range(readers // 4)]
        await asyncio.gather(
            *(self._reader(client, at[1], index, number, begin) for number, client in enumerate(people[2:])),
            *(self._beside(client, number, begin) for number, client in enumerate(beside)),
            self._writer(people[0], index, "Ann", begin),
            self._writer(people[1], index, "Ben", begin),
        )
        for client in (*people, *beside):
            client.close()

    async def _reader(self, client: Connection, data: str, index: dict[str, Any], number: int, begin: float) -> None:
        rng = random.Random(number)
        keys = index["features"]["key"]
        chunks = index["series"]["features"]["chunks"]
        due = begin + rng.random()
        while due < begin + self.seconds:
            kind = rng.choices(("card", "feature", "queue", "index"), (6, 2, 1, 1))[0]
            path = {
                "card": f"{data}/chunks/{rng.choice(chunks)}",
                "feature": f"/api/units/feature?key={rng.choice(keys)}&reader=Reader+{number}",
                "queue": f"/api/units/review?reader=Reader+{number}",
                "index": f"{data}/index.json",
            }[kind]
            await self._ask(client, kind, due, "GET", path)
            due += 1

    async def _beside(self, client: Connection, number: int, begin: float) -> None:
        due = begin + random.Random(f"control {number}").random()
        while due < begin + self.seconds:
            await self._ask(client, "control", due, "GET", "/")
            due += 1

    async def _writer(self, client: Connection, index: dict[str, Any], name: str, begin: float) -> None:
        headers = {
            "Authorization": f"Bearer {self.token}", "Origin": self.base, "Content_Type": "application/json",
        }  # fmt: skip
        keys = index["features"]["key"]
        for number in range(int(self.seconds)):
            body = {"author": name, "feature": keys[number], "text": f"text {number}", "revision": 0}
            due = begin + number + (0.5 if name == "Ben" else 0.0)
            await self._ask(client, "label", due, "POST", "/api/units/label", json.dumps(body).encode(), **headers)

    async def _ask(
        self, client: Connection, kind: str, due: float, method: str, path: str, body: bytes = b"", **headers: str
    ) -> None:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        start = time.perf_counter()
        self.late.append(start - due)
        try:
            status, _ = await client.ask(method, path, body, **headers)
            if status not in (200, 201):
                self.errors.append(f"{kind}: {status}")
        except (OSError, EOFError) as error:
            self.errors.append(f"{kind}: {type(error).__name__}")
        else:
            self.taken[kind].append(time.perf_counter() - start)


def load(base: str, token: str, readers: int, seconds: float, control: int) -> None:
    """The child that loads the server; prints what it found."""
    run = Load(base, token, seconds, control)
    asyncio.run(run.run(readers))
    print(json.dumps({"taken": run.taken, "late": run.late, "errors": run.errors}))


def measure(folder: Path, readers: int, seconds: float) -> dict[str, dict[str, tuple[float, str]]]:
    """One repeat: {variant: {measure: (value, unit)}}."""
    words = [sys.executable, "-m", "mulligan.apps.cli", "serve", str(folder / "runs"), "--port", "0"]
    reviews = folder / f"{time.time_ns()}.sqlite"
    server = subprocess.Popen([*words, "--reviews", str(reviews)], stderr=subprocess.PIPE, text=True)
    beside = subprocess.Popen([sys.executable, __file__, "--control"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        assert beside.stdout is not None
        told = re.search(r"(http://\S+)/\?token=(\S+)", server.stderr.readline())
        assert told is not None
        base, token = told.groups()
        began = time.perf_counter()
        httpx2.get(f"{base}/runs/units/index.json", timeout=300)
        first = time.perf_counter() - began
        process = psutil.Process(server.pid)
        before = sum(process.cpu_times()[:2])
        told = (base, token, str(readers), str(seconds), beside.stdout.readline().strip())
        words = [sys.executable, __file__, f"--load={','.join(told)}"]
        done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
        busy = sum(process.cpu_times()[:2]) - before
        memory = process.memory_info().rss / 2**20
    finally:
        for child in (server, beside):
            child.terminate()
            child.wait()
    found = json.loads(done.stdout)
    values = {kind: _latencies(taken) for kind, taken in found["taken"].items()}
    asked = sum(len(taken) for kind, taken in found["taken"].items() if kind != "control") + len(found["errors"])
    values["all"] = {
        "requests": (asked, "requests"), "errors": (len(found["errors"]), "requests"),
        "server's processor time": (busy / seconds, "cores"), "server's resident memory": (memory, "MiB"),
        "late start, p95": (1000 * float(np.quantile(found["late"], 0.95)), "ms"),
        "first page, packed": (first, "s"),
    }  # fmt: skip
    print({kind: {name: round(value, 1) for name, (value, _) in row.items()} for kind, row in values.items()},
          sorted(set(found["errors"]))[:5], flush=True)  # fmt: skip
    return values


def _latencies(taken: list[float]) -> dict[str, tuple[float, str]]:
    named = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "largest": 1.0}
    return {name: (1000 * float(np.quantile(taken, at)), "ms") for name, at in named.items()}


def go_first(nice: int) -> None:
    """Be a session of one's own, as a server in a terminal of its own is; add to the priority number of all of it.

    Linux shares processors among sessions first, so that the number of a process counts within its session only.
    """
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setsid()
    if nice:
        os.nice(nice)
        group = Path("/proc/self/autogroup")
        if group.exists():
            group.write_text(str(nice))


def main() -> None:
    """Measure what is not in the ledger yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--nice", type=int, default=0, help="added to the priority number of all that is measured")
    parser.add_argument("--again", action="store_true", help="measure what is in the ledger, too")
    parser.add_argument("--try", dest="trying", action="store_true", help="measure once, and write nothing")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--control", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        base, token, readers, seconds, port = given.load.split(",")
        load(base, token, int(readers), float(seconds), int(port))
        return
    if given.control:
        control()
        return
    go_first(given.nice)
    name = NAME.format(readers=given.readers, seconds=given.seconds) + (f", nice {given.nice}" if given.nice else "")
    case = Case(
        name, "all", given.repeats,
        {"card": ("p95", 50.0), "all": ("errors", 0.0)},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_run(folder / "runs" / "units")
        if given.trying:
            measure(folder, given.readers, given.seconds)
            return
        ledger = Ledger("report/serve", COMMAND, given.again)
        for repeat in range(given.repeats):
            if not ledger.has(case, "all", repeat):
                note = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("starlette", "uvicorn"))
                for variant, values in measure(folder, given.readers, given.seconds).items():
                    ledger.add(case, variant, repeat, values, note if variant == "all" else "")


if __name__ == "__main__":
    main()
