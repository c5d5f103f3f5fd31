"""Writing so that a file is either whole or absent, and never leaving the run's folder."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..records import BadInput, DiskFull


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, it becomes `path` in one step.

    A process killed halfway leaves at most a file named `.NAME.XXXX.part`, which readers ignore.

    Raises:
        DiskFull: if the disk has no room; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        yield part
        with open(part, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if is_disk_full(error):
            raise DiskFull(
                "the disk is full; what was finished is kept", where=path.parent,
                fix="free some space or choose another folder with --out, then run the same command with --resume",
            ) from error  # fmt: skip
        raise


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, from whichever library, means that a disk or a quota is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    text = str(error)
    return "No space left on device" in text or "os error 28" in text or "StorageFull" in text


def require_room(folder: Path, needed: int) -> None:
    """Refuse politely, before the work, if `folder`'s disk has less than `needed` bytes.

    Raises:
        DiskFull: with both figures.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFull(
            f"about {needed / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free", where=folder,
            fix="free some space or choose another folder with --out",
        )  # fmt: skip


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file in one step (see `replacing`)."""
    with replacing(path) as part:
        part.write_bytes(data)


def inside(folder: Path, name: str) -> Path:
    """The path of `name` in `folder`.

    Raises:
        BadInput: if it would lie outside (an absolute path, "..", a link that leads out).
    """
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise BadInput(
            f"the path {name!r} leads out of the run's folder", where=folder, fix="do not trust this run; make it again"
        )
    return path
