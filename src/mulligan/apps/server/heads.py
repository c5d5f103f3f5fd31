"""What the list of runs says of each: read from the first fields of its files, and kept until they change."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ...records import BadInput
from ...runs import check_schema
from ...runs.run import SCHEMA as RUN_SCHEMA
from .shelf import MARKS

#: Beyond this, a file is not read for the list; the run's page reads it.
LARGEST = 64 * 2**20
#: One kind of document a file, and what its run is called.
DOCUMENTS = {
    "findings.json": ("mulligan/findings/1", "audit"), "seen.json": ("mulligan/seen/1", "units"),
    "atlas.json": ("mulligan/atlas/1", "atlas"), "maps.json": ("mulligan/maps/1", "maps"),
    "factors.json": ("mulligan/factors/1", "factors"),
}  # fmt: skip
Stamp = tuple[tuple[str, int, int], ...]


class _Network(msgspec.Struct):
    name: str = ""
    identity: str = ""


class _Document(msgspec.Struct):
    schema: str = ""
    verdict: str | None = None
    network: _Network | None = None
    findings: list[msgspec.Raw] = []
    cards: list[msgspec.Raw] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A run in the list.

    Attributes:
        folder: its name. kind: "audit", "units", "atlas"... network: its name; "" if no file tells.
        identity: the network's. created, command: from the manifest.
        verdict: of an audit. holds: what is in it, in words. problems: what is wrong or missing, a sentence each.
        address: known of the run wherever its folder lies.
    """

    folder: str
    kind: str = ""
    network: str = ""
    identity: str = ""
    created: str = ""
    command: str = ""
    verdict: str | None = None
    holds: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    address: str = ""


class Heads:
    """Heads of runs, read again when their files change."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[Stamp, Head]] = {}

    def of(self, folder: Path) -> Head:
        """The head of a run; whatever is wrong with it stands in its problems."""
        stamp = stamp_of(folder, deep=False)
        kept = self._kept.get(folder)
        if kept is None or kept[0] != stamp:
            kept = self._kept[folder] = (stamp, read_head(folder))
        return kept[1]


def stamp_of(folder: Path, *, deep: bool = True) -> Stamp:
    """What changes when a run does: size and time of each document and, if `deep`, of its tables and folders."""
    return tuple(sorted(_stamps(folder, deep)))


def _stamps(folder: Path, deep: bool) -> Iterator[tuple[str, int, int]]:
    names = list(MARKS)
    if deep:
        names += [entry.name for entry in _entries(folder) if entry.is_dir()]
        names += [f"tables/{entry.name}" for entry in _entries(folder / "tables")]
    for name in dict.fromkeys(names):
        try:
            status = os.stat(folder / name)
        except OSError:
            continue
        yield name, status.st_size, status.st_mtime_ns


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def read_head(folder: Path) -> Head:
    """Read it now."""
    problems: list[str] = []
    manifest = _manifest(folder, problems)
    fields: dict[str, Any] = {"kind": "", "network": "", "identity": "", "verdict": None}
    holds: list[str] = []
    for name, (schema, kind) in DOCUMENTS.items():
        if not (folder / name).is_file():
            continue
        fields["kind"] = fields["kind"] or kind
        document = _document(folder / name, schema, problems)
        if document is None:
            continue
        if document.network is not None:
            fields |= {"network": document.network.name, "identity": document.network.identity}
        if name == "findings.json":
            fields["verdict"] = document.verdict
            holds.append(_count(len(document.findings), "finding"))
        if document.cards:
            holds.append(_count(len(document.cards), "card"))
    status = manifest.get("status")
    if status in ("running", "interrupted"):
        words = {"running": "is not finished, or was stopped in its middle", "interrupted": "was interrupted"}
        problems.append(f"This run {words[status]}: it holds only what was done until then.")
    elif not fields["kind"] and manifest.get("procedure") != "record":
        problems.append("This run holds no document that a page could show.")
    fields["kind"] = fields["kind"] or _text(manifest.get("procedure"))
    words = manifest.get("command")
    return Head(
        folder=folder.name, holds=tuple(holds), problems=tuple(problems), address=address_of(folder, manifest),
        created=_text(manifest.get("created")), **fields,
        command=" ".join(map(str, words)) if isinstance(words, list) else "",
    )  # fmt: skip


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _manifest(folder: Path, problems: list[str]) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        problems.append("This run has lost manifest.json, which says how it was made.")
        return {}
    try:
        manifest = msgspec.json.decode(path.read_bytes())
        check_schema(manifest, RUN_SCHEMA, path.name)
    except BadInput as error:
        problems.append(f"{str(error)[:1].upper()}{str(error)[1:]}")
        return {}
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        problems.append(f"manifest.json cannot be read: {error}.")
        return {}
    return manifest


def _document(path: Path, schema: str, problems: list[str]) -> _Document | None:
    try:
        size = path.stat().st_size
        if size > LARGEST:
            problems.append(f"{path.name} is large ({size / 2**20:,.0f} MiB): its page takes a while to open.")
            return None
        document = msgspec.json.decode(path.read_bytes(), type=_Document)
        check_schema({"schema": document.schema}, schema, path.name)
    except BadInput as error:
        problems.append(f"{str(error)[:1].upper()}{str(error)[1:]}")
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problems.append(f"{path.name} cannot be read: {error}.")
    else:
        return document
    return None


def address_of(folder: Path, manifest: dict[str, Any] | None = None) -> str:
    """What a run is known by wherever it lies: a digest of how and when it was made; without a manifest, its name."""
    if manifest is None:
        manifest = _manifest(folder, [])
    birth = [manifest.get(name) for name in ("created", "command", "code", "seed")]
    if birth[0] is None:
        birth = [folder.name]
    return "run:" + hashlib.sha256(msgspec.json.encode(birth)).hexdigest()[:24]
