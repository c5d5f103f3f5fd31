"""Small runs to serve, and a client that speaks to the application as a browser of this machine would."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from mulligan.apps.server import Hosts, Shelf, application
from mulligan.apps.server.reviews import ReviewLog
from mulligan.records import ExampleRef, FeatureCard, NetworkRecord, Seen, Sighting
from mulligan.runs import encode_json

TOKEN = "a-token-for-tests"
BASE = "http://127.0.0.1:8765"
WRITE = {"Authorization": f"Bearer {TOKEN}", "Origin": BASE}
FEATURES = ("blocks.0:0", "blocks.0:1", "blocks.0:2", "blocks.1:0", "blocks.1:7")


def manifest(**changes: Any) -> bytes:
    """A manifest such as `see units` writes."""
    whole = {
        "schema": "mulligan/run/1", "procedure": "see", "command": ["mulligan", "see"], "status": "finished",
        "created": "2026-01-31T12:00:00+00:00", "code": "c", "seed": 0, "mulligan": "0.1.0", "config": {},
    } | changes  # fmt: skip
    return json.dumps(whole).encode()


def identity(name: str) -> str:
    return "sha256:" + name.encode().hex().ljust(64, "0")


def seen_run(
    folder: Path, *, network: str = "net-a", features: Sequence[str] = FEATURES,
    created: str = "2026-01-31T12:00:00+00:00", label: str | None = None,
) -> Path:  # fmt: skip
    """A run of `see units`: a card for each feature, each with an example named `label` where given."""
    folder.mkdir(parents=True)
    example = ExampleRef(id="x", label=label, activation=1.0)
    cards = tuple(
        FeatureCard(feature=name, meaning="the block's output", top=(Sighting(example=example),) if label else ())
        for name in features
    )
    record = NetworkRecord(name=network, identity=identity(network), parameters=10, classes=None)
    (folder / "seen.json").write_bytes(encode_json(Seen(network=record, created=created, cards=cards)))
    (folder / "manifest.json").write_bytes(manifest(created=created))
    return folder


class Client(TestClient):
    """As a browser of this machine; `write` as one that has the token, from a page of the server."""

    def write(self, path: str, **body: Any) -> Any:
        return self.post(path, json=body, headers=WRITE)


def client(folders: Sequence[Path], reviews: Path | None, **more: Any) -> Client:
    log = None if reviews is None else ReviewLog(reviews)
    app = application(Shelf(folders), log, hosts=Hosts(8765, more.pop("allowed", ())), token=TOKEN, **more)
    return Client(app, base_url=BASE, follow_redirects=False)
