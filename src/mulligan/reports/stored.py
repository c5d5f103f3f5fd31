"""A run of `mulligan see` as read from its folder: one document, checked, and the manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..records import BadInput
from .reading import decode, inside, references

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDocument(Generic[T]):
    """What a run says (`document`), how it came to be (`manifest`), and where its files are (`folder`)."""

    folder: Path
    document: T
    manifest: dict[str, Any]

    def inside(self, relative: str) -> Path:
        """The path of a file that the run refers to. Raises BadInput if it would leave the run's folder."""
        return inside(self.folder, relative)

    @property
    def unfinished(self) -> str:
        """Why the run is not whole, in words; "" where it is."""
        status = self.manifest.get("status", "finished")
        if status == "finished":
            return ""
        return "It was not finished when this page was written: what was done by then is shown."


def read_document(path: Path | str, name: str, type_: type[T], schema: str, *, command: str) -> StoredDocument[T]:
    """Read the document `name` of a run.

    Args:
        schema: the newest that is known. command: what writes such a run, for the error.

    Raises:
        BadInput: if the folder or a file is missing, broken or of a newer Mulligan, or a path in it leads out of it.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise BadInput("there is no run's folder here", where=folder, fix=f"give the folder that `{command}` wrote")
    document = decode(folder / name, type_, schema)
    for reference in sorted(set(references(document))):
        inside(folder, reference)
    manifest = decode(folder / "manifest.json", dict[str, Any], None)
    return StoredDocument(folder=folder, document=document, manifest=manifest)
