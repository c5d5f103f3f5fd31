"""From a finished run's folder to records: everything is checked here, so that the renderers need not."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

import msgspec

from ..records import BadInput, Description, ExampleRef, Findings, Portrait, Sighting, Trigger
from ..records.descriptions import SCHEMA as DESCRIPTION_SCHEMA
from ..records.findings import SCHEMA as FINDINGS_SCHEMA

T = TypeVar("T")

_SCHEMA = re.compile(r"(?P<family>[a-z][a-z0-9/_-]*)/(?P<number>[0-9]{1,9})")


class _Head(msgspec.Struct):
    schema: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A finished run as read from its folder.

    Attributes:
        folder: the run's folder, as it was given.
        manifest: how the run came to be: command, versions, seed, resolved configuration.
    """

    folder: Path
    findings: Findings
    description: Description
    manifest: dict[str, Any]

    def inside(self, relative: str) -> Path:
        """The path of a file that the run refers to. Raises BadInput if it would leave the run's folder."""
        return inside(self.folder, relative)

    @property
    def fail_on(self) -> str | None:
        """The severity from which findings fail the audit, where the manifest says so."""
        config = self.manifest.get("config")
        threshold = config.get("fail_on") if isinstance(config, dict) else None
        return threshold if threshold in ("high", "medium", "low", "never") else None


def read_run(path: Path | str) -> Stored:
    """Read a finished run's folder.

    Raises:
        BadInput: if the folder or a file is missing, a file is broken or was written by a newer Mulligan, or a path in
            it leads out of the folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise BadInput("there is no run's folder here", where=folder, fix="give the folder that `mulligan audit` wrote")
    findings = decode(folder / "findings.json", Findings, FINDINGS_SCHEMA)
    description = decode(folder / "description.json", Description, DESCRIPTION_SCHEMA)
    manifest = decode(folder / "manifest.json", dict[str, Any], None)
    for reference in sorted(set(references(findings)) | set(references(description))):
        inside(folder, reference)
    return Stored(folder=folder, findings=findings, description=description, manifest=manifest)


def inside(folder: Path, relative: str) -> Path:
    """`folder / relative`, provided that it stays in the folder even when links are followed.

    Raises:
        BadInput: if the path is absolute (by the rules of any platform), climbs out with "..", holds a NUL, or leads
            through a symbolic link to somewhere else.
    """
    fix = "keep what a run refers to inside its folder, by relative paths"
    foreign = PureWindowsPath(relative)
    if not relative or "\0" in relative or relative.startswith("/") or foreign.drive or foreign.root:
        raise BadInput("a path in this run is not a relative path", where=repr(relative), fix=fix)
    if ".." in foreign.parts:
        raise BadInput("a path in this run leads out of the run's folder", where=repr(relative), fix=fix)
    try:
        base, target = folder.resolve(), (folder / relative).resolve()
    except (OSError, RuntimeError) as error:
        raise BadInput("a path in this run cannot be followed", where=repr(relative), fix=fix) from error
    if not target.is_relative_to(base):
        raise BadInput("a path in this run leads out of the run's folder through a link", where=repr(relative), fix=fix)
    return folder / relative


def decode(path: Path, type_: type[T], schema: str | None) -> T:
    """A JSON file of a run as a record; `schema` is the newest that is known.

    Raises:
        BadInput: if it is missing, broken, or a newer Mulligan wrote it.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        fix = "give the folder of a finished run, or resume this one to its end"
        raise BadInput(f"this run has no {path.name}", where=path, fix=fix) from error
    except OSError as error:
        raise BadInput(
            f"this file cannot be read: {error.strerror}", where=path, fix="check the file and its permissions"
        ) from error
    try:
        _check_schema(path, msgspec.json.decode(data, type=_Head).schema, schema)
        return msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(
            f"this file is broken: {error}",
            where=path,
            fix="run the audit again, or restore the file as it was written",
        ) from error


def _check_schema(path: Path, found: str, expected: str | None) -> None:
    """Refuse a schema that is newer than ours. A manifest's family is the runs layer's affair, its number is not."""
    match = _SCHEMA.fullmatch(found)
    family, number = (match["family"], int(match["number"])) if match else ("", 0)
    if expected is None:
        ours, newest = family, 1
    else:
        ours, _, digits = expected.rpartition("/")
        newest = int(digits)
    if expected is not None and family != ours:
        raise BadInput(
            f"this file's schema is {found!r}, not {expected!r}", where=path, fix="give the folder of an audit"
        )
    if number > newest:
        raise BadInput(
            f"this file has schema {found!r}, and this Mulligan is too old to read it (it knows up to {newest})",
            where=path, fix="install the Mulligan that wrote it, or a newer one",
        )  # fmt: skip


def references(node: object) -> Iterator[str]:
    """Every path that a record refers to."""
    if isinstance(node, ExampleRef):
        if node.image is not None:
            yield node.image
    elif isinstance(node, Portrait):
        yield from (path for path in (node.image, node.alpha) if path is not None)
    elif isinstance(node, Sighting):
        yield from references(node.example)
        yield from (path for path in (node.crop, node.heat) if path is not None)
    elif isinstance(node, Trigger):
        yield from (path for path in (node.generator, node.image, node.mask) if path is not None)
    elif dataclasses.is_dataclass(node):
        for field in dataclasses.fields(node):
            yield from references(getattr(node, field.name))
    elif isinstance(node, tuple):
        for item in node:
            yield from references(item)
