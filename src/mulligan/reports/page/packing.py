"""A book to what a page carries: an index that is there at once, and chunks that are decoded when they are needed."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ...records import HEAT_COLOURS
from ...records.seeing import NO_LABEL
from ...runs import mulligan_version
from .book import Book
from .glossary import GLOSSARY
from .links import links

FORMAT = "mulligan/page/1"
#: Bytes of JSON in a chunk: small enough to be decoded within a frame or two.
CHUNK = 96_000
_PICTURES = 384_000  # base64 of pictures that are already compressed: fewer, larger chunks
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Packed:
    """What a page carries: the index as JSON, chunks as gzip of a JSON list each."""

    title: str
    index: bytes
    chunks: tuple[bytes, ...]

    def chunk(self, number: int) -> bytes:
        """Chunk `number`, gzip."""
        return self.chunks[number]

    @property
    def size(self) -> int:
        """Bytes of all that is carried, as one file holds it."""
        return len(self.index) + sum(-(-len(chunk) // 3) * 4 for chunk in self.chunks)


@dataclass(slots=True)
class _Chunks:
    packed: list[bytes] = field(default_factory=list)
    series: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, items: Sequence[Any], most: int = CHUNK) -> None:
        starts: list[int] = []
        numbers: list[int] = []
        waiting: list[bytes] = []
        size = 0

        def flush(before: int) -> None:
            nonlocal waiting, size
            if waiting:
                starts.append(before - len(waiting))
                numbers.append(len(self.packed))
                self.packed.append(gzip.compress(b"[" + b",".join(waiting) + b"]", compresslevel=6, mtime=0))
                waiting, size = [], 0

        for number, item in enumerate(items):
            encoded = _encode(item)
            if size + len(encoded) > most:
                flush(number)
            waiting.append(encoded)
            size += len(encoded)
        flush(len(items))
        self.series[name] = {"n": len(items), "starts": starts, "chunks": numbers}


def pack(book: Book) -> Packed:
    """A book as index and chunks."""
    chunks = _Chunks()
    linked = links(book)
    edges = Counter(end for row in linked for end in row[:2])
    features, classes = (
        [{**card, "links": edges[card["key"]]} for card in cards.values()] for cards in (book.features, book.classes)
    )
    chunks.add("features", features)
    chunks.add("classes", classes)
    for table in book.tables:
        chunks.add(f"table:{table.id}", table.rows)
        chunks.add(f"keys:{table.id}", table.keys)
    for name, items in book.series.items():
        chunks.add(name, items)
    chunks.add("links", linked)
    chunks.add("pictures", book.pictures.items, _PICTURES)
    sites = list(book.sites.items())
    site_number = {key: number for number, (key, _) in enumerate(sites)}
    index = {
        "format": FORMAT,
        "mulligan": mulligan_version(),
        "title": book.title,
        "created": book.created,
        "networks": [
            {"name": n.name, "identity": n.identity, "parameters": n.parameters,
             "classes": None if n.classes is None else len(n.classes)}
            for n in book.networks
        ],
        "runs": book.runs,
        "sites": {
            "name": [name for (_, name), _ in sites],
            "network": [network for (network, _), _ in sites],
            "meaning": [site["meaning"] for _, site in sites],
            "units": [site["units"] for _, site in sites],
        },
        "features": {
            "key": [card["key"] for card in features],
            "site": [site_number[card["network"], card["site"]] for card in features],
            "unit": [card["unit"] for card in features],
            "label": [_label(card) for card in features],
            "picture": [_picture(card) for card in features],
            "selective": _selective(features),
            "scores": {
                name: [_rounded(values.get(card["key"])) for card in features] for name, values in book.scores.items()
            },
        },
        "classes": {
            "key": [card["key"] for card in classes],
            "name": [card["name"] for card in classes],
            "network": [card["network"] for card in classes],
            "n": [card["n"] for card in classes],
            "recall": [_first(card) for card in classes],
            "picture": [_picture(card) for card in classes],
        },
        "findings": book.findings,
        "tables": [
            {"id": t.id, "title": t.title, "file": t.file, "n": len(t.rows),
             "columns": [{"key": c.key, "title": c.title, "kind": c.kind, "unit": c.unit} for c in t.columns]}
            for t in book.tables
        ],
        "maps": book.maps,
        "atlases": book.atlases,
        "factors": book.factors,
        "links": {"n": len(linked)},
        "glossary": GLOSSARY | book.terms,
        "heat": list(HEAT_COLOURS),
        "series": chunks.series,
        "left_out": book.pictures.left_out,
        "review": None,
    }  # fmt: skip
    return Packed(book.title, _encode(index), tuple(chunks.packed))


def _label(card: dict[str, Any]) -> str | None:
    """The first name proposed that nothing speaks against."""
    names = (label["text"] for label in card["labels"] if label["beats"] is not False)
    return next((name for name in names if name != NO_LABEL), None)


def _selective(features: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """For which class each feature is selective: the names once, and of each feature the number of its name."""
    names = list(dict.fromkeys(card["selective"] for card in features if card["selective"]))
    number = {name: n for n, name in enumerate(names)}
    return {"names": names, "of": [number.get(card["selective"]) for card in features]}


def _picture(card: dict[str, Any]) -> int | None:
    """What stands for a card in a list: its optimized picture, else the region of its strongest example."""
    sightings = card["sightings"]
    top = sightings["top"] if isinstance(sightings, dict) else sightings
    candidates = [portrait["image"] for portrait in card["portraits"]]
    candidates += [number for s in top for number in (s["crop"], s["example"]["image"])]
    candidates += [example["image"] for example in card.get("examples", ())]
    return next((number for number in candidates if number is not None), None)


def _first(card: dict[str, Any]) -> float | None:
    quantity = card["figures"][0]["quantity"] if card["figures"] else None
    return None if quantity is None else quantity["value"]


def _rounded(value: float | None) -> float | None:
    """Enough digits to sort by; cards and tables have them all."""
    return None if value is None else float(f"{value:.5g}")
