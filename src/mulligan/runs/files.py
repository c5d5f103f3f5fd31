"""Writing so that a file is either whole or absent, and never leaving the run's folder."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import platform
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from ..records import BadInput, DiskFull

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block has written it and ends well, it becomes `path` in one step.

    A process killed halfway leaves at most a file named `.NAME.WRITER.part`, which readers ignore and the next writer
    of the same file removes.

    Raises:
        DiskFull: if the disk has no room; nothing is left behind.
        BadInput: if the folder may not be written.
    """
    part = path.parent / f".{path.name}.{_writer()}-{uuid.uuid4().hex[:8]}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        yield part
        with open(part, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, BadInput):
            raise
        if is_disk_full(error):
            raise DiskFull(
                "the disk is full; what was finished is kept", where=path.parent,
                fix="free some space or choose another folder with --out, then run the same command with --resume",
            ) from error  # fmt: skip
        if isinstance(error, OSError) and error.errno in _CLOSED:
            raise closed(path.parent) from error
        raise


def closed(folder: Path) -> BadInput:
    """What is said of a folder that may not be written."""
    return BadInput(
        "this folder may not be written", where=folder, fix="change its permissions, or choose another with --out"
    )


def _writer() -> str:
    """This machine and process, so that another can tell whether a temporary file's writer is still at work."""
    return f"{_machine()}-{os.getpid()}"


@functools.cache
def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:12]


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes of this machine left of `path`."""
    for part in leftovers(path):
        machine, pid, _ = part.name.removesuffix(".part").rpartition(".")[2].split("-")
        if machine == _machine() and not psutil.pid_exists(int(pid)):
            part.unlink(missing_ok=True)


def leftovers(path: Path) -> list[Path]:
    """Temporary files of `path`: a killed process's, or one's that is writing now."""
    name = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{12}-\d+-[0-9a-f]{8}\.part")
    with os.scandir(path.parent) as entries:
        return [Path(entry.path) for entry in entries if name.fullmatch(entry.name)]


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, from whichever library, means that a disk or a quota is full."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    text = str(error)
    # Libraries written in Rust or C++ give the number in their text only.
    return any(f"os error {number})" in text or f"errno {number}]" in text for number in _FULL) or "StorageFull" in text


def require_room(folder: Path, needed: int) -> None:
    """Refuse politely, before the work, if `folder`'s disk has less than `needed` bytes.

    Raises:
        DiskFull: with both figures.
    """
    require_bytes(shutil.disk_usage(folder).free, needed, folder)


def require_bytes(free: int, needed: int, where: object) -> None:
    """The same, where it is known how many bytes are free."""
    if free < needed:
        raise DiskFull(
            f"about {needed / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free", where=where,
            fix="free some space or choose another folder with --out",
        )  # fmt: skip


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file in one step (see `replacing`)."""
    with replacing(path) as part:
        part.write_bytes(data)


def inside(folder: Path, name: str) -> Path:
    """The path of `name` in `folder`.

    Raises:
        BadInput: if it would lie outside (an absolute path, "..", a link that leads out), or is no path.
    """
    try:
        root = folder.resolve()
        path = (root / name).resolve()
        if path.is_relative_to(root):
            return path
    except (ValueError, RuntimeError, OSError):  # a null character; links in a circle, which not all Pythons name alike
        pass
    raise BadInput(
        f"the path {name!r} leads out of the run's folder", where=folder, fix="do not trust this run; make it again"
    )
