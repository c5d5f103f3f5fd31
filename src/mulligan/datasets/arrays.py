"""Arrays in a NumPy archive (.npz): `x`, and `y` where labels are known.

Nothing is unpickled. `x` is mapped from the disk, not read; a compressed one is unpacked to a nameless file first.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.lib import format as npy

from ..records import BadInput, DiskFull
from .dataset import Dataset, Kind, Raw, checked, numbered
from .labels import Named, collect, from_names, from_numbers

_PIXELS = (np.uint8, np.uint16)


class Arrays(Dataset):
    """Rows of one array.

    Attributes:
        rows: all of them, [example, ...], as stored.
        layout: where the channels of a picture are: "last", "first" or "none"; None if rows are no pictures.
    """

    holds_arrays = True

    def __init__(self, source: str, rows: np.ndarray, named: Named | None) -> None:
        ids, low, high = _examined(rows, source)
        kind, layout, notes = _meaning(rows, low, high)
        labels, names, more = named if named is not None else (None, None, ())
        super().__init__(source, kind, len(rows), labels=labels, label_names=names, notes=(*more, *notes), ids=ids)
        self.rows = rows
        self.layout = layout

    def gather(self, indices: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        return [np.array(self.rows[index]) for index in checked(indices, len(self))]

    def decode(self, gathered: np.ndarray) -> Raw:
        """A picture as [height, width] or [height, width, channel], another array as it is stored."""
        if self.kind != "images":
            return gathered
        pixels = gathered if gathered.dtype.kind in "fb" or gathered.dtype in _PIXELS else gathered.astype(np.uint8)
        return np.moveaxis(pixels, 0, -1) if self.layout == "first" else pixels


def load_arrays(path: Path, source: str, classes: Sequence[str] | None) -> Dataset:
    """The rows of `x`.

    Rows are images if they are [height, width], [height, width, channel] or [channel, height, width] with pixels of
    uint8, uint16, bool, other integers from 0 to 255, or float from 0 to 1; other arrays are passed on as they are.

    Raises:
        BadInput: if this is no such archive, `x` is missing, an array holds objects, NaN or infinite values, or the
            lengths differ.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            if "x" not in members:
                held = ", ".join(repr(name) for name in sorted(members)[:10]) or "no arrays"
                raise BadInput(
                    f"this archive holds no 'x', but {held}",
                    where=source,
                    fix="save it as numpy.savez(FILE, x=..., y=...)",
                )
            rows = _member(archive, path, members["x"], source)
            answers = _member(archive, path, members["y"], source) if "y" in members else None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInput(
            f"this is not a readable .npz file, {error}", where=source, fix="save it with numpy.savez"
        ) from None
    if rows.ndim < 2 or rows.dtype.kind not in "biuf" or rows.dtype.itemsize > 8:
        raise BadInput(
            f"'x' is {rows.dtype} of shape {rows.shape}",
            where=source,
            fix="save numbers as [n, features], or as [n, height, width] with channels last or first if there are any",
        )
    return Arrays(source, rows, None if answers is None else _labels(answers, len(rows), classes, source))


def _labels(answers: np.ndarray, n: int, classes: Sequence[str] | None, source: str) -> Named:
    if answers.ndim == 2 and answers.shape[1] == 1:
        answers = answers[:, 0]
    if answers.ndim != 1 or answers.dtype.kind not in "biuUf":
        fix = "save one whole number or name an example"
        raise BadInput(f"'y' is {answers.dtype} of shape {answers.shape}", where=source, fix=fix)
    if len(answers) != n:
        raise BadInput(f"'x' holds {n} examples and 'y' {len(answers)}", where=source, fix="save one label an example")
    if answers.dtype.kind == "f" and not (np.isfinite(answers).all() and (answers == np.rint(answers)).all()):
        raise BadInput("'y' holds fractions", where=source, fix="save the number of each example's class")
    if answers.dtype.kind == "U":
        used, names = collect(answers.tolist(), source)
        return from_names(names or [], used, classes, source)
    numbers, _ = collect((int(answer) for answer in answers.tolist()), source)
    return from_numbers(numbers, None, classes, source)


def _member(archive: zipfile.ZipFile, path: Path, name: str, source: str) -> np.ndarray:
    """One array of the archive, mapped from the disk."""
    info = archive.getinfo(name)
    file: IO[bytes]
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
        with path.open("rb") as file:
            # The archive's index gives where the local header begins; its own two length fields say where it ends.
            file.seek(info.header_offset + 26)
            start = info.header_offset + 30 + sum(int.from_bytes(file.read(2), "little") for _ in range(2))
            file.seek(start)
            return _mapped(file, start + info.file_size, name, source)
    with tempfile.TemporaryFile() as file:
        try:
            with archive.open(info) as packed:
                shutil.copyfileobj(packed, file, 1 << 20)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise BadInput(
                    f"{name!r} cannot be unpacked, {error}", where=source, fix="save it with numpy.savez"
                ) from None
            place = tempfile.gettempdir()
            raise DiskFull(
                f"no room to unpack {name!r}", where=place, fix="make room, or save with numpy.savez"
            ) from None
        end = file.tell()
        file.seek(0)
        return _mapped(file, end, name, source)


def _mapped(file: IO[bytes], end: int, name: str, source: str) -> np.ndarray:
    """The array whose .npy text begins where `file` stands and ends at byte `end`."""
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, EOFError) as error:
        raise BadInput(
            f"{name!r} is not a NumPy array, {error}", where=source, fix="save it with numpy.savez"
        ) from None
    if dtype.hasobject:
        raise BadInput(
            f"{name!r} holds Python objects, which could run code when read",
            where=source,
            fix="save an array of numbers, all rows of one shape",
        )
    start, size = file.tell(), int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size <= 0 or min(shape, default=1) < 1:
        raise BadInput(f"{name!r} is empty", where=source, fix="save at least one example")
    if start + size > end:
        raise BadInput(f"{name!r} is cut short", where=source, fix="save it again")
    order = "F" if fortran else "C"
    return np.memmap(cast("Any", file), dtype=dtype, mode="r", offset=start, shape=shape, order=order)


def _examined(rows: np.ndarray, source: str) -> tuple[Sequence[str], float, float]:
    """The ids, and the least and largest value, in one pass.

    Raises:
        BadInput: if a value is NaN or infinite.
    """
    stored = rows.dtype.newbyteorder("<")
    header = f"{stored.str}{rows.shape[1:]}".encode()
    low, high = np.inf, -np.inf

    def digests() -> Iterator[str]:
        nonlocal low, high
        for number, row in enumerate(rows):
            least, most = float(row.min()), float(row.max())
            if not (np.isfinite(least) and np.isfinite(most)):
                fix = "remove such examples, or fill them in"
                raise BadInput(f"'x' holds NaN or infinite values, the first in row {number}", where=source, fix=fix)
            low, high = min(low, least), max(high, most)
            yield hashlib.sha256(header + np.ascontiguousarray(row, stored).tobytes()).hexdigest()[:16]

    ids = numbered(digests())
    return ids, low, high


def _meaning(rows: np.ndarray, low: float, high: float) -> tuple[Kind, str | None, tuple[str, ...]]:
    """Whether rows are pictures, where their channels are, and what to note."""
    layout, notes = None, ()
    if rows.ndim == 3:
        layout = "none"
    elif rows.ndim == 4:
        last, first = rows.shape[3] in (1, 3, 4), rows.shape[1] in (1, 3)
        layout = "last" if last else "first" if first else None
        if last and first:
            notes = (f"'x' of shape {rows.shape} was read as [example, height, width, channel].",)
    if layout is None:
        return "arrays", None, ()
    if rows.dtype.kind == "f" and not (low >= 0 and high <= 1):
        note = f"'x' goes from {low:g} to {high:g}, so that it was not taken as pictures, whose pixels are 0 to 1."
        return "arrays", None, (note,)
    if rows.dtype.kind in "iu" and rows.dtype not in _PIXELS and not (low >= 0 and high <= 255):
        note = f"'x' goes from {low:g} to {high:g}, so that it was not taken as pictures, whose pixels are 0 to 255."
        return "arrays", None, (note,)
    return "images", layout, notes
