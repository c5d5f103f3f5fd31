"""A run is a folder: a manifest, pieces, arrays, tables, artifacts; each file is written in one step or not at all."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from html import escape
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError

from ..records import BadInput
from .addresses import code_digest, library_versions, mulligan_version
from .array_files import write_arrays
from .files import require_bytes
from .stores import LocalStore, Store, store_at

SCHEMA = "mulligan/run/1"
MANIFEST = "manifest.json"


class Run:
    """A run's folder or location, open for reading and writing.

    Attributes:
        store: where its files lie. manifest: the resolved configuration, versions and status, as in manifest.json.
    """

    def __init__(self, store: Store, manifest: dict[str, Any]) -> None:
        self.store, self.manifest = store, manifest

    @classmethod
    def create(
        cls, command: str, argv: list[str], config: Mapping[str, Any], *, out: Path | str | None = None, seed: int = 0
    ) -> Run:
        """Make a new one at `out`, a folder or a URL that fsspec reaches; else in `runs/{UTC}-{command}-{id8}/`.

        Raises:
            BadInput: if `out` exists and is not empty (earlier runs are never written over), or cannot be reached.
        """
        now = datetime.now(UTC)
        path = out if out is not None else Path("runs") / f"{now:%Y%m%dT%H%M%SZ}-{command}-{secrets.token_hex(4)}"
        store = store_at(path)
        store.begin()
        manifest = {
            "schema": SCHEMA, "procedure": command, "command": ["mulligan", *argv],
            "created": now.isoformat(timespec="seconds"),
            "mulligan": mulligan_version(), "code": code_digest(), "libraries": dict(library_versions()),
            "seed": seed, "config": dict(config), "status": "running",
        }  # fmt: skip
        run = cls(store, manifest)
        run._save()
        return run

    def __repr__(self) -> str:
        return f"<Run {self.location}: {self.manifest.get('procedure')}, {self.manifest.get('status')}>"

    def _repr_html_(self) -> str:
        """The run as a notebook shows it, by what the entry points of `mulligan.displays` make of it."""
        for entry in entry_points(group="mulligan.displays"):
            return entry.load()(self)
        return f"<code>{escape(self.location)}</code>"

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Open an existing run, by its folder or URL.

        Raises:
            BadInput: if it is no run, its manifest is broken, a newer Mulligan wrote it, or it cannot be reached.
        """
        store = store_at(path)
        if not store.exists(MANIFEST):
            raise BadInput(
                "there is no run here (manifest.json is missing)",
                where=store.location,
                fix="give the folder that a Mulligan command wrote",
            )
        file = store.where(MANIFEST)
        try:
            manifest = json.loads(store.read(MANIFEST))
        except (ValueError, RecursionError) as error:  # text that is no UTF-8 is a ValueError too
            raise BadInput("the run's manifest is not valid JSON", where=file, fix="make the run again") from error
        except OSError as error:
            raise BadInput(
                f"the run's manifest cannot be read, {error.strerror}", where=file, fix="check its permissions"
            ) from error
        check_schema(manifest, SCHEMA, file)
        return cls(store, manifest)

    def _save(self) -> None:
        self.write_bytes(MANIFEST, json.dumps(self.manifest, indent=1, sort_keys=True).encode())

    def update(self, **fields: Any) -> None:
        """Set fields of the manifest and save it."""
        self.manifest.update(fields)
        self._save()

    def withdraw(self) -> None:
        """Take back a run on this machine in which nothing was done, so that its place is free again."""
        if isinstance(self.store, LocalStore) and not self.store.names("pieces"):
            self.at(MANIFEST).unlink(missing_ok=True)
            with suppress(OSError):  # the folder was there before, with something in it
                self.path.rmdir()

    # Where it is
    @property
    def location(self) -> str:
        """The folder or URL, as it was given."""
        return self.store.location

    @property
    def path(self) -> Path:
        """The folder of a run on this machine.

        Raises:
            BadInput: if the run lies elsewhere.
        """
        return self._local.path

    def at(self, name: str) -> Path:
        """The path of a file of a run on this machine; refuses names that lead out of it. See `path`."""
        return self._local.at(name)

    @property
    def _local(self) -> LocalStore:
        if not isinstance(self.store, LocalStore):
            raise BadInput("this needs a run in a folder of this machine", where=self.location, fix="copy it here")
        return self.store

    # Files
    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return self.store.exists(name)

    def read_bytes(self, name: str) -> bytes:
        """A whole file; raises FileNotFoundError if it is not there."""
        return self.store.read(name)

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a whole file in one step."""
        with self.replacing(name) as part:
            part.write_bytes(data)

    def replacing(self, name: str) -> AbstractContextManager[Path]:
        """Give a path of this machine to write; when the block ends well, it becomes the run's file in one step.

        Raises:
            DiskFull: if there is no room. BadInput: if it may not be written.
        """
        return self.store.replacing(name)

    def require_room(self, needed: int) -> None:
        """Refuse politely, before the work, if it is known that there is no room for `needed` bytes.

        Raises:
            DiskFull: with both figures.
        """
        free = self.store.room()
        if free is not None:
            require_bytes(free, needed, self.location)

    # Records and plain JSON
    def write_json(self, name: str, value: Any) -> None:
        """Write a record or plain data as JSON."""
        self.write_bytes(name, encode_json(value))

    def read_json(self, name: str, type: Any = Any) -> Any:
        """Read JSON into `type`.

        Raises:
            BadInput: if the file is missing or does not fit.
        """
        where = self.store.where(name)
        try:
            return msgspec.json.decode(self.read_bytes(name), type=type)
        except FileNotFoundError as error:
            raise BadInput(
                "a file of the run is missing", where=where, fix="run the command again with --resume"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise BadInput(
                f"a file of the run cannot be read: {error}", where=where, fix="make the run again"
            ) from error

    # Arrays and tables
    def write_arrays(
        self, name: str, arrays: Mapping[str, np.ndarray], *, notes: Mapping[str, str] | None = None
    ) -> None:
        """Write named arrays as one safetensors file."""
        with self.replacing(name) as part:
            write_arrays(part, arrays, notes or {})

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Read what `write_arrays` wrote.

        Raises:
            BadInput: if the file is missing or torn.
        """
        where = self.store.where(name)
        try:
            return self.store.load_arrays(name)
        except (OSError, SafetensorError) as error:
            raise BadInput(
                "an array file of the run is missing or damaged", where=where, fix="run the command again with --resume"
            ) from error

    def open_arrays(self, name: str) -> AbstractContextManager[Any]:
        """A safetensors file, of which only what is asked for is read.

        It has `keys()`, `metadata()`, `get_tensor(name)` and `get_slice(name)` (`get_shape()`, `[row]`, `[a:b]`), as
        `safetensors.safe_open` does; a file that is missing or torn raises OSError or SafetensorError.
        """
        return self.store.open_arrays(name)

    def write_table(self, name: str, columns: Mapping[str, Any]) -> None:
        """Write columns as one Parquet file."""
        with self.replacing(name) as part:
            pq.write_table(pa.table(dict(columns)), part, compression="zstd")

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Read a Parquet file of the run.

        Raises:
            BadInput: if it is missing or damaged.
        """
        where = self.store.where(name)
        try:
            return pq.read_table(self.store.table(name), columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise BadInput(
                "a table of the run is missing or damaged", where=where, fix="run the command again with --resume"
            ) from error


def check_schema(document: Any, known: str, where: Path | str) -> None:
    """Refuse a document that this version cannot read.

    Raises:
        BadInput: if the schema is absent, another, or of a newer number.
    """
    found = document.get("schema") if isinstance(document, dict) else None
    name, _, number = known.rpartition("/")
    if isinstance(found, str) and re.fullmatch(re.escape(name) + "/[0-9]{1,9}", found):
        if int(found.rpartition("/")[2]) <= int(number):
            return
        raise BadInput(
            f"a newer Mulligan wrote this ({found}; this one reads up to {known})",
            where=where,
            fix="upgrade Mulligan to read it",
        )
    raise BadInput(f"this is not a {name} document", where=where, fix="give a file that Mulligan wrote")


def encode_json(value: Any) -> bytes:
    """A record or plain data as indented JSON; numpy's numbers are numbers."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=1)


def _plain(value: Any) -> Any:
    """numpy's scalars and arrays as JSON has them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no plain data")
