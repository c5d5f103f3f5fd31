"""A small run and an article about it, made by hand: every number in it is known."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HOSTILE = "<script>alert(1)</script>"
#: One grey pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


def portrait(key: str, reached: float, best: float, **more: Any) -> dict[str, Any]:
    return {
        "objective": key, "image": f"artifacts/{key.replace(':', '_')}.png", "reached": reached, "steps": 96,
        "best": best, "examples": 100, "twin": best / 2, "twin_best": best, **more,
    }  # fmt: skip


def seen() -> dict[str, Any]:
    natural = {"value": 0.7, "unit": "share", "low": 0.55, "high": 0.85, "n": 9}
    return {
        "schema": "mulligan/seen/1", "created": "2026-11-26T01:00:00+00:00", "mulligan": "0.1.0",
        "network": {"name": HOSTILE, "identity": "sha256:" + "0" * 64, "parameters": 4652008, "classes": [HOSTILE]},
        "data": {"source": "photographs", "identity": "sha256:1", "n": 100},
        "cards": [
            {"feature": "a.1:0", "portraits": [portrait("a.1:0", 15.93, 5.0, natural=natural)]},
            {"feature": "a.1:1", "portraits": [portrait("a.1:1", 30.0, 10.0)]},
            {"feature": "b.2:0", "portraits": [portrait("b.2:0", 2.0, 4.0, marks=["fires less than real examples"])]},
        ],
    }  # fmt: skip


def run(folder: Path, document: dict[str, Any] | None = None) -> Path:
    """A finished run of `see` with three cards and a table of units."""
    (folder / "artifacts").mkdir(parents=True)
    (folder / "tables").mkdir()
    data = document or seen()
    for card in data["cards"]:
        for one in card["portraits"]:
            (folder / one["image"]).write_bytes(PNG)
    (folder / "seen.json").write_text(json.dumps(data))
    manifest = {"schema": "mulligan/run/1", "procedure": "see", "status": "finished", "command": ["mulligan", "see"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rows = {"site": ["a.1", "a.1"], "unit": [0, 1], "auc": [0.75, 0.5]}
    pq.write_table(pa.table(rows), folder / "tables" / "units.parquet")
    return folder


FRONT = """\
+++
title = "What it sees"
published = 2026-11-26

[[authors]]
name = "Ada Lovelace"
affiliations = ["Engines", "Notes & Co"]

[runs]
net = "run"
+++
"""

BIB = """\
@article{olah2017,
  author = {Olah, Chris and others},
  title = {Feature Visualization},
  journal = {Distill}, year = 2017, doi = {10.23915/distill.00007}
}
"""


def article(folder: Path, body: str, *, front: str = FRONT, bib: str = BIB, reviews: str = "") -> Path:
    """An article of this body about one run, `net`."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "run").exists():
        run(folder / "run")
    (folder / "article.md").write_text(front + body, encoding="utf-8")
    (folder / "references.bib").write_text(bib, encoding="utf-8")
    if reviews:
        (folder / "reviews.toml").write_text(reviews, encoding="utf-8")
    return folder
