"""Where the files of a run lie: a folder of this machine, or a location that fsspec reaches, such as s3://BUCKET/RUN.

A file appears whole or not at all in both. Of a remote array file only what is asked for travels: its header, then the
bytes of one array or of some of its rows.
"""

from __future__ import annotations

import functools
import os
import posixpath
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
from safetensors import safe_open
from safetensors.numpy import load, load_file

from ..records import BadInput, DiskFull, MulliganError
from .array_files import Header, RemoteArrays, read_header
from .files import closed, inside, is_disk_full, leftovers, replacing

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")
# Where a file that is put appears whole; elsewhere it is written beside its place and moved there.
_IN_ONE_STEP = {"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci"}
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
_HEADERS = 512  # of remote array files, kept so that a second look at one asks for its rows only


class Store(Protocol):
    """Files by name. A name is a path relative to the run; one that leads out is refused with BadInput.

    Reading a file that is not there raises FileNotFoundError; writing raises DiskFull or BadInput.
    """

    @property
    def location(self) -> str:
        """As the user wrote it: a path or a URL."""
        ...

    def where(self, name: str) -> str:
        """The full path or URL of a file, for messages."""
        ...

    def begin(self) -> None:
        """Make ready for a new run; raises BadInput if something lies there."""
        ...

    def exists(self, name: str) -> bool:
        """Whether this file is there."""
        ...

    def names(self, folder: str) -> set[str]:
        """All files below a folder: one listing, however many there are."""
        ...

    def read(self, name: str) -> bytes:
        """A whole file."""
        ...

    def replacing(self, name: str) -> AbstractContextManager[Path]:
        """Give a local path to write; when the block ends well, it becomes the file in one step."""
        ...

    def room(self) -> int | None:
        """Free bytes; None where nobody knows."""
        ...

    def open_arrays(self, name: str) -> AbstractContextManager[Any]:
        """A safetensors file: `keys()`, `metadata()`, `get_tensor(name)`, `get_slice(name)`."""
        ...

    def load_arrays(self, name: str) -> dict[str, np.ndarray]:
        """All arrays of a safetensors file."""
        ...

    def table(self, name: str) -> Any:
        """What pyarrow reads a table from."""
        ...


def store_at(location: str | Path) -> Store:
    """The store of a path or a URL; file:// is a path.

    Raises:
        BadInput: if nothing is known to reach such a URL, the package that does is not installed, or it cannot be
            reached.
    """
    text = os.fspath(location)
    if not _URL.match(text):
        return LocalStore(Path(location))
    if text.startswith("file://"):
        return LocalStore(Path(unquote(urlsplit(text).path)))
    return RemoteStore(text)


class LocalStore:
    """A folder of this machine, or one that several machines share."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def location(self) -> str:
        """See `Store`."""
        return str(self.path)

    def at(self, name: str) -> Path:
        """The path of a file; refuses names that lead out of the folder."""
        return inside(self.path, name)

    def where(self, name: str) -> str:
        """See `Store`."""
        return str(self.at(name))

    def begin(self) -> None:
        """See `Store`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # A process killed before its manifest was there left nothing to resume and nothing to lose.
            left = set(leftovers(self.path / "manifest.json"))
            empty = all(item in left for item in self.path.iterdir())
        except (FileExistsError, NotADirectoryError):
            empty = False
        except PermissionError as error:
            raise closed(self.path) from error
        if not empty:
            raise _taken("this path exists and is not an empty folder", self.location)

    def exists(self, name: str) -> bool:
        """See `Store`."""
        return self.at(name).is_file()

    def names(self, folder: str) -> set[str]:
        """See `Store`."""
        top = os.fspath(self.at(folder))
        return {
            posixpath.join(folder, *Path(parent).relative_to(top).parts, file)
            for parent, _, files in os.walk(top)
            for file in files
        }

    def read(self, name: str) -> bytes:
        """See `Store`."""
        return self.at(name).read_bytes()

    def replacing(self, name: str) -> AbstractContextManager[Path]:
        """See `Store`."""
        return replacing(self.at(name))

    def room(self) -> int | None:
        """See `Store`."""
        return shutil.disk_usage(self.path).free

    def open_arrays(self, name: str) -> AbstractContextManager[Any]:
        """See `Store`."""
        return safe_open(self.at(name), framework="np")

    def load_arrays(self, name: str) -> dict[str, np.ndarray]:
        """See `Store`."""
        return load_file(self.at(name))

    def table(self, name: str) -> Path:
        """See `Store`."""
        return self.at(name)


class RemoteStore:
    """A prefix of a filesystem that fsspec reaches; credentials are what that filesystem finds by itself."""

    def __init__(self, url: str) -> None:
        self._location = url.rstrip("/") if url.rstrip("/").partition("://")[2] else url
        self._files, self._root = _filesystem(self._location)
        protocols = self._files.protocol
        self._one_step = bool(_IN_ONE_STEP & {protocols} if isinstance(protocols, str) else _IN_ONE_STEP & {*protocols})
        self._header = functools.lru_cache(_HEADERS)(self._read_header)

    @property
    def location(self) -> str:
        """See `Store`."""
        return self._location

    def where(self, name: str) -> str:
        """See `Store`."""
        return f"{self._location}/{self._inside(name)}"

    def _inside(self, name: str) -> str:
        clean = posixpath.normpath(name)
        if not name or clean in (".", "..") or clean.startswith(("/", "../")) or re.search(r"[\0\\]|://", name):
            raise BadInput(
                f"the path {name!r} leads out of the run's folder",
                where=self._location,
                fix="do not trust this run; make it again",
            )
        return clean

    def _at(self, name: str) -> str:
        return f"{self._root}/{self._inside(name)}"

    def begin(self) -> None:
        """See `Store`."""
        with self._reaching():
            self._files.invalidate_cache()
            try:
                empty = not self._files.ls(self._root, detail=False)
            except FileNotFoundError:
                empty = True
        if not empty:
            raise _taken("something lies at this location", self.location)

    def exists(self, name: str) -> bool:
        """See `Store`."""
        path = self._at(name)
        with self._reaching():
            self._files.invalidate_cache()
            try:
                return self._files.info(path)["type"] == "file"
            except FileNotFoundError:
                return False

    def names(self, folder: str) -> set[str]:
        """See `Store`."""
        path = self._at(folder)
        with self._reaching():
            # What other machines have written since the last listing must be seen.
            self._files.invalidate_cache()
            try:
                found = self._files.find(path)
            except FileNotFoundError:
                return set()
        # Some filesystems give their paths with a leading stroke, others without.
        return {
            posixpath.join(folder, item[item.index(path.strip("/")) + len(path.strip("/")) + 1 :]) for item in found
        }

    def read(self, name: str) -> bytes:
        """See `Store`."""
        return self._bytes(name, None, None)

    def _bytes(self, name: str, start: int | None, stop: int | None) -> bytes:
        path = self._at(name)
        with self._reaching():
            return self._files.cat_file(path, start=start, end=stop)

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """See `Store`: written to a temporary file of this machine, then put in its place in one step."""
        path = self._at(name)
        try:
            with tempfile.TemporaryDirectory(prefix="mulligan-") as folder:
                part = Path(folder) / "part"
                yield part
                data = part.read_bytes()
        except BaseException as error:
            if isinstance(error, BadInput) or not is_disk_full(error):
                raise
            raise DiskFull(
                "the disk for temporary files is full; what was finished is kept", where=tempfile.gettempdir(),
                fix="free some space or set TMPDIR, then run the same command with --resume",
            ) from error  # fmt: skip
        self._header.cache_clear()
        with self._reaching(writing=True):
            if self._one_step:
                self._files.pipe_file(path, data)
                return
            folder, _, last = path.rpartition("/")
            beside = f"{folder}/.{last}.{uuid.uuid4().hex}.part"
            self._files.makedirs(folder, exist_ok=True)
            try:
                self._files.pipe_file(beside, data)
                self._files.mv(beside, path)
            except BaseException:
                if self._files.exists(beside):
                    self._files.rm_file(beside)
                raise

    def room(self) -> int | None:
        """See `Store`."""
        return None

    @contextmanager
    def open_arrays(self, name: str) -> Iterator[RemoteArrays]:
        """See `Store`."""
        yield RemoteArrays(self._header(name), functools.partial(self._bytes, name))

    def _read_header(self, name: str) -> Header:
        return read_header(functools.partial(self._bytes, name))

    def load_arrays(self, name: str) -> dict[str, np.ndarray]:
        """See `Store`."""
        # Copied: what lies in the bytes read may not be written to.
        return {key: np.array(value) for key, value in load(self.read(name)).items()}

    def table(self, name: str) -> pa.BufferReader:
        """See `Store`."""
        return pa.BufferReader(self.read(name))

    @contextmanager
    def _reaching(self, *, writing: bool = False) -> Iterator[None]:
        """Errors of whichever library as one sentence; a file that is not there stays a FileNotFoundError."""
        try:
            yield
        except Exception as error:
            if isinstance(error, FileNotFoundError) and not writing:
                raise
            raise _unreachable(error, self._location) from error


def _taken(what: str, location: str) -> BadInput:
    return BadInput(
        what, where=location, fix="choose another --out, or finish an interrupted run with --resume"
    )  # fmt: skip


def _filesystem(url: str) -> tuple[Any, str]:
    """fsspec's filesystem of a URL, and the path in it."""
    protocol, _, rest = url.partition("://")
    if not rest or "::" in url:
        raise BadInput("this is no location for a run", where=url, fix="write for example s3://BUCKET/FOLDER")
    if urlsplit(url).password is not None:
        hidden = f"{protocol}://...@{rest.rpartition('@')[2]}"
        raise BadInput(
            "a password in a location would be kept with the run", where=hidden,
            fix="leave it out, and give it as that service's own settings do",
        )  # fmt: skip
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise BadInput(
            "a run at a URL needs a package that is not installed", where=url,
            fix="install it with pip install 'mulligan[remote]'",
        ) from error  # fmt: skip
    try:
        files, root = url_to_fs(url)
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        raise BadInput(
            f"a run at {protocol}:// needs a package that is not installed", where=url,
            fix=f"install it with pip install {package}" if package else str(error),
        ) from error  # fmt: skip
    except Exception as error:
        if isinstance(error, ValueError) and "not known" in str(error):
            raise BadInput(
                f"nothing is known to reach {protocol}:// locations", where=url,
                fix="give a folder, or a URL such as s3://BUCKET/FOLDER",
            ) from error  # fmt: skip
        raise _unreachable(error, url) from error
    return files, root.rstrip("/")


def _unreachable(error: Exception, location: str) -> Exception:
    """One sentence for an error of a filesystem; a fault of our own is given back as it is."""
    foreign = type(error).__module__.partition(".")[0] not in ("builtins", "mulligan")
    if isinstance(error, MulliganError) or not (isinstance(error, OSError) or foreign):
        return error
    text = " ".join(str(error).split())
    if is_disk_full(error):
        return DiskFull(
            "there is no room left at this location; what was finished is kept", where=location,
            fix="make room, then run the same command with --resume",
        )  # fmt: skip
    if "credentials" in f"{type(error).__name__} {text}".lower():
        return BadInput(
            "no credentials were found for this location", where=location,
            fix="give them as that service's own tools take them (for s3, AWS_PROFILE or AWS_ACCESS_KEY_ID)",
        )  # fmt: skip
    if isinstance(error, PermissionError):
        return BadInput(
            f"these credentials may not use this location ({text})" if text else "this location may not be used",
            where=location, fix="ask for the right to list, read and write there",
        )  # fmt: skip
    if isinstance(error, FileNotFoundError):
        return BadInput("there is no such bucket or folder", where=location, fix="make it first, or check its name")
    return BadInput(
        f"this location cannot be reached, {text or type(error).__name__}", where=location,
        fix="check the address and the network, then run the same command with --resume",
    )  # fmt: skip
