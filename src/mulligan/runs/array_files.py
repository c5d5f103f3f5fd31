"""Array files (safetensors): written in one go, and read piece by piece where they lie elsewhere.

The format: 8 bytes for the length of the header (little-endian), the header as JSON (name to dtype, shape and offsets,
and "__metadata__"), then the data. Source: https://github.com/huggingface/safetensors

We write them ourselves: the library writes to a temporary file of a name of its own, which a killed process leaves
behind for good, and it orders the header by chance, while two machines that do a piece should write the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from ..records import MulliganError

Fetch = Callable[[int | None, int | None], bytes]

_FIRST = 65_536  # bytes; headers of recordings are a few thousand
_LONGEST = 100_000_000  # what the format allows
_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1", "C64": "<c8",
}  # fmt: skip
_NAMES = {np.dtype(text): name for name, text in _TYPES.items()}


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> None:
    """Write a safetensors file; equal arrays and notes give equal bytes.

    Raises:
        MulliganError: if the format has no word for a dtype.
    """
    held = {name: np.asarray(array) for name, array in arrays.items()}
    # The widest numbers first, as the library does: each array then begins at a multiple of its numbers' width.
    order = sorted(held, key=lambda name: (-held[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(notes.items()))} if notes else {}
    at = 0
    for name in order:
        kind = _NAMES.get(held[name].dtype.newbyteorder("<"))
        if kind is None:
            raise MulliganError(f"arrays of {held[name].dtype} cannot be stored ({name}).")
        header[name] = {
            "dtype": kind, "shape": list(held[name].shape), "data_offsets": [at, at + held[name].nbytes],
        }  # fmt: skip
        at += held[name].nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            array = held[name].astype(held[name].dtype.newbyteorder("<"), order="C", copy=False)
            file.write(array.reshape(-1).view(np.uint8).data)


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file holds, and at which byte its data begin."""

    entries: Mapping[str, Mapping[str, Any]]
    notes: Mapping[str, str]
    data: int


def read_header(fetch: Fetch) -> Header:
    """Read a header: one request, or two if it is long.

    Raises:
        SafetensorError: if it is torn or no such header.
    """
    first = fetch(0, _FIRST)
    length = int.from_bytes(first[:8], "little")
    if len(first) < 8 or length > _LONGEST:
        raise SafetensorError("no header of a safetensors file")
    data = 8 + length
    if data > len(first) == _FIRST:
        first += fetch(_FIRST, data)
    if data > len(first):
        raise SafetensorError("the header is cut short")
    try:
        entries = json.loads(first[8:data])
        notes = entries.pop("__metadata__", {})
        for entry in entries.values():
            start, stop = entry["data_offsets"]
            if stop - start != math.prod(entry["shape"]) * np.dtype(_TYPES[entry["dtype"]]).itemsize or start < 0:
                raise ValueError("shape and offsets do not agree")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SafetensorError(f"no header of a safetensors file: {error}") from error
    # Where the first bytes hold all there is, a file that is cut short shows at once; else when its data are read.
    whole = data + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if len(first) < min(whole, _FIRST):
        raise SafetensorError("the data are cut short")
    return Header(entries, notes, data)


class RemoteArrays:
    """What `safetensors.safe_open(..., framework="np")` gives, as far as runs use it."""

    def __init__(self, header: Header, fetch: Fetch) -> None:
        self._header, self._fetch = header, fetch

    def keys(self) -> list[str]:
        """The names of the arrays."""
        return sorted(self._header.entries)

    def metadata(self) -> dict[str, str]:
        """The notes in the header."""
        return dict(self._header.notes)

    def get_tensor(self, name: str) -> np.ndarray:
        """One whole array."""
        part = self.get_slice(name)
        return part[:] if part.get_shape() else part.whole()

    def get_slice(self, name: str) -> RemoteSlice:
        """One array, of which some rows will be asked for."""
        if name not in self._header.entries:
            raise SafetensorError(f"there is no array {name!r}")
        return RemoteSlice(self._header.entries[name], self._header.data, self._fetch)


class RemoteSlice:
    """One array of a remote file: `part[3]` and `part[10:20]` read these rows alone."""

    def __init__(self, entry: Mapping[str, Any], data: int, fetch: Fetch) -> None:
        self._shape, self._dtype = [int(size) for size in entry["shape"]], np.dtype(_TYPES[entry["dtype"]])
        self._begin, self._fetch = data + int(entry["data_offsets"][0]), fetch

    def get_shape(self) -> list[int]:
        """The shape of the whole array."""
        return list(self._shape)

    def whole(self) -> np.ndarray:
        """All of it, whatever its shape."""
        return self._read(0, math.prod(self._shape), self._shape)

    def __getitem__(self, rows: int | slice) -> np.ndarray:
        if not self._shape:
            raise IndexError("a single number has no rows")
        size = math.prod(self._shape[1:])
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self._shape[0])
            if step < 1:
                raise IndexError("rows are read in their order")
            found = self._read(start * size, max(stop, start) * size, [max(stop - start, 0), *self._shape[1:]])
            return found[::step]
        row = rows + self._shape[0] if rows < 0 else rows
        if not 0 <= row < self._shape[0]:
            raise IndexError(f"there are {self._shape[0]} rows, and not row {rows}")
        return self._read(row * size, (row + 1) * size, self._shape[1:])

    def _read(self, start: int, stop: int, shape: list[int]) -> np.ndarray:
        """Numbers `start` to `stop` of the array, flattened."""
        width = self._dtype.itemsize
        if stop == start:
            return np.zeros(shape, self._dtype)
        data = self._fetch(self._begin + start * width, self._begin + stop * width)
        if len(data) != (stop - start) * width:
            raise SafetensorError("the data are cut short")
        return np.frombuffer(data, self._dtype).reshape(shape).copy()
