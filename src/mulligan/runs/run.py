"""A run is a folder: a manifest, pieces, arrays, tables, artifacts; each file is written in one step or not at all."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..records import BadInput
from .addresses import code_digest, library_versions, mulligan_version
from .files import closed, inside, leftovers, replacing, write_bytes

SCHEMA = "mulligan/run/1"
MANIFEST = "manifest.json"


class Run:
    """A run's folder, open for reading and writing.

    Attributes:
        path: the folder. manifest: the resolved configuration, versions and status, as in manifest.json.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    def create(
        cls, command: str, argv: list[str], config: Mapping[str, Any], *, out: Path | None = None, seed: int = 0
    ) -> Run:
        """Make a new folder: `out`, or `runs/{UTC}-{command}-{id8}/`.

        Raises:
            BadInput: if `out` exists and is not empty: earlier runs are never written over.
        """
        now = datetime.now(UTC)
        path = out if out is not None else Path("runs") / f"{now:%Y%m%dT%H%M%SZ}-{command}-{secrets.token_hex(4)}"
        try:
            path.mkdir(parents=True, exist_ok=True)
            # A process killed before its manifest was there left nothing to resume and nothing to lose.
            left = set(leftovers(path / MANIFEST))
            empty = all(item in left for item in path.iterdir())
        except (FileExistsError, NotADirectoryError):
            empty = False
        except PermissionError as error:
            raise closed(path) from error
        if not empty:
            raise BadInput(
                "this path exists and is not an empty folder", where=path,
                fix="choose another --out, or finish an interrupted run with --resume",
            )  # fmt: skip
        manifest = {
            "schema": SCHEMA, "procedure": command, "command": ["mulligan", *argv],
            "created": now.isoformat(timespec="seconds"),
            "mulligan": mulligan_version(), "code": code_digest(), "libraries": dict(library_versions()),
            "seed": seed, "config": dict(config), "status": "running",
        }  # fmt: skip
        run = cls(path, manifest)
        run._save()
        return run

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Open an existing run.

        Raises:
            BadInput: if it is no run, its manifest is broken, or a newer Mulligan wrote it.
        """
        path = Path(path)
        file = path / MANIFEST
        if not file.is_file():
            raise BadInput(
                "there is no run here (manifest.json is missing)",
                where=path,
                fix="give the folder that a Mulligan command wrote",
            )
        try:
            manifest = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:  # text that is no UTF-8 is a ValueError too
            raise BadInput("the run's manifest is not valid JSON", where=file, fix="make the run again") from error
        except OSError as error:
            raise BadInput(
                f"the run's manifest cannot be read, {error.strerror}", where=file, fix="check its permissions"
            ) from error
        check_schema(manifest, SCHEMA, file)
        return cls(path, manifest)

    def _save(self) -> None:
        write_bytes(self.path / MANIFEST, json.dumps(self.manifest, indent=1, sort_keys=True).encode())

    def update(self, **fields: Any) -> None:
        """Set fields of the manifest and save it."""
        self.manifest.update(fields)
        self._save()

    def at(self, name: str) -> Path:
        """The path of a file in this run; refuses names that lead out of it."""
        return inside(self.path, name)

    # Records and plain JSON
    def write_json(self, name: str, value: Any) -> Path:
        """Write a record or plain data as JSON."""
        path = self.at(name)
        write_bytes(path, msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=1))
        return path

    def read_json(self, name: str, type: Any = Any) -> Any:
        """Read JSON into `type`.

        Raises:
            BadInput: if the file is missing or does not fit.
        """
        path = self.at(name)
        try:
            return msgspec.json.decode(path.read_bytes(), type=type)
        except FileNotFoundError as error:
            raise BadInput(
                "a file of the run is missing", where=path, fix="run the command again with --resume"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise BadInput(
                f"a file of the run cannot be read: {error}", where=path, fix="make the run again"
            ) from error

    # Arrays and tables
    def write_arrays(
        self, name: str, arrays: Mapping[str, np.ndarray], *, notes: Mapping[str, str] | None = None
    ) -> Path:
        """Write named arrays as one safetensors file."""
        path = self.at(name)
        with replacing(path) as part:
            # Not `ascontiguousarray`, which makes a single number an array of one.
            save_file(
                {key: np.asarray(value, order="C") for key, value in arrays.items()}, part, metadata=dict(notes or {})
            )
        return path

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Read what `write_arrays` wrote.

        Raises:
            BadInput: if the file is missing or torn.
        """
        path = self.at(name)
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise BadInput(
                "an array file of the run is missing or damaged", where=path, fix="run the command again with --resume"
            ) from error

    def write_table(self, name: str, columns: Mapping[str, Any]) -> Path:
        """Write columns as one Parquet file."""
        path = self.at(name)
        with replacing(path) as part:
            pq.write_table(pa.table(dict(columns)), part, compression="zstd")
        return path

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Read a Parquet file of the run.

        Raises:
            BadInput: if it is missing or damaged.
        """
        path = self.at(name)
        try:
            return pq.read_table(path, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise BadInput(
                "a table of the run is missing or damaged", where=path, fix="run the command again with --resume"
            ) from error


def check_schema(document: Any, known: str, where: Path) -> None:
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


def _plain(value: Any) -> Any:
    """numpy's scalars and arrays as JSON has them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no plain data")
