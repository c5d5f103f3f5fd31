"""Parquet as Hugging Face writes it: images with labels, or texts. Row groups are read one at a time, when needed."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..records import BadInput
from .dataset import Dataset, Raw, checked, digest, numbered
from .labels import Named, collect, from_names, from_numbers
from .pictures import read_picture

HOLD = 1 << 27  # bytes of row groups that are held for random access
_STEP = 64  # rows that are decoded at a time where a row group is not held
_BUFFER = 1 << 20  # bytes that are read at a time, so that not even one column of a row group is read whole


class Column:
    """One column of a Parquet file, by row: rows near each other are cheap to read one after the other.

    Row groups of up to `hold` bytes are kept, as many as fit; of a larger one, only the rows around the last one read.

    Args:
        file: the file. name: the column. field: the field of it that is read, where it is a struct.
    """

    def __init__(self, file: pq.ParquetFile, name: str, field: str | None, *, where: str, hold: int = HOLD) -> None:
        self.file = file
        self.name = name
        self.field = field
        self.where = where
        self.hold = hold
        path = name if field is None else f"{name}.{field}"
        self._path = path
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        self._starts = np.cumsum([0, *(group.num_rows for group in groups)])
        self._sizes = [_size(group, path) for group in groups]
        self._held: OrderedDict[int, pa.Array] = OrderedDict()
        self._batches: Iterator[tuple[int, pa.Array]] = iter(())
        self._window: tuple[int, int, pa.Array] | None = None  # row group, first row in the file, values
        self._next = 0  # the row after the last one read
        self._lock = Lock()

    def take(self, rows: np.ndarray) -> list[Any]:
        """The values of these rows, in their order."""
        with self._lock:
            self._forget_passed(rows)
            values = {row: self._value(row) for row in np.unique(rows).tolist()}
        return [values[row] for row in rows.tolist()]

    def _forget_passed(self, rows: np.ndarray) -> None:
        """Where rows are read one after the other, the groups before them are not needed again."""
        if not len(rows):
            return
        if rows[0] == self._next and len(rows) == rows[-1] - rows[0] + 1:
            here = int(np.searchsorted(self._starts, rows[0], side="right")) - 1
            for group in [held for held in self._held if held < here]:
                del self._held[group]
        self._next = int(rows[-1]) + 1

    def stream(self) -> Iterator[Any]:
        """All values, a few rows in memory at a time."""
        for group in range(self.file.num_row_groups):
            for _, values in self._walk(group):
                for value in values:
                    yield self._python(value)

    def _value(self, row: int) -> Any:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if self._sizes[group] <= self.hold:
            return self._python(self._group(group)[row - int(self._starts[group])])
        if self._window is None or self._window[0] != group or row < self._window[1]:
            self._batches, self._window = self._walk(group), None
        while self._window is None or row >= self._window[1] + len(self._window[2]):
            self._window = (group, *next(self._batches))
        return self._python(self._window[2][row - self._window[1]])

    def _python(self, value: pa.Scalar) -> Any:
        try:
            return value.as_py()
        except UnicodeDecodeError:
            fix = "save it as UTF-8"
            raise BadInput(
                f"the column {self.name!r} holds text that is not UTF-8", where=self.where, fix=fix
            ) from None

    def _group(self, group: int) -> pa.Array:
        if group in self._held:
            self._held.move_to_end(group)
            return self._held[group]
        while self._held and sum(self._sizes[held] for held in self._held) + self._sizes[group] > self.hold:
            self._held.popitem(last=False)
        try:
            table = self.file.read_row_group(group, columns=[self._path], use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise _broken(error, self.where) from None
        self._held[group] = self._values(pa.concat_arrays(table.column(0).chunks))
        return self._held[group]

    def _walk(self, group: int) -> Iterator[tuple[int, pa.Array]]:
        """The values of one row group, a few at a time, each with the row of the first."""
        row = int(self._starts[group])
        try:
            batches = self.file.iter_batches(_STEP, row_groups=[group], columns=[self._path], use_threads=False)
            for batch in batches:
                yield row, self._values(batch.column(0))
                row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _broken(error, self.where) from None

    def _values(self, array: pa.Array) -> pa.Array:
        # Flattened, for the field of a missing struct is missing.
        return array if self.field is None else array.flatten()[array.type.get_field_index(self.field)]


class ParquetImages(Dataset):
    """Encoded images, one a row."""

    def __init__(self, source: str, column: Column, n: int, named: Named | None, notes: tuple[str, ...]) -> None:
        labels, names, more = named if named is not None else (None, None, ())
        super().__init__(source, "images", n, labels=labels, label_names=names, notes=(*more, *notes))
        self.column = column

    def gather(self, indices: Sequence[int] | np.ndarray) -> list[tuple[int, bytes | None]]:
        rows = checked(indices, len(self))
        return list(zip(rows.tolist(), self.column.take(rows), strict=True))

    def decode(self, gathered: tuple[int, bytes | None]) -> Raw:
        row, content = gathered
        return read_picture(self._present(row, content), f"{self.source}, row {row}")

    def _digests(self) -> Iterator[str]:
        for row, content in enumerate(self.column.stream()):
            yield digest(self._present(row, content))

    def _present(self, row: int, content: bytes | None) -> bytes:
        if content is None:
            fix = "save the data with the images embedded"
            raise BadInput("this row holds no image, at most its path", where=f"{self.source}, row {row}", fix=fix)
        return content


class ParquetTexts(Dataset):
    """Texts, one a row. `rows`: where the examples are, since rows without text are none."""

    def __init__(
        self,
        source: str,
        column: Column,
        rows: np.ndarray,
        ids: Sequence[str],
        named: Named | None,
        notes: tuple[str, ...],
    ) -> None:
        labels, names, more = named if named is not None else (None, None, ())
        super().__init__(source, "texts", len(rows), labels=labels, label_names=names, notes=(*more, *notes), ids=ids)
        self.column = column
        self.rows = rows

    def gather(self, indices: Sequence[int] | np.ndarray) -> list[str]:
        return self.column.take(self.rows[checked(indices, len(self))])


def load_parquet(path: Path, source: str, classes: Sequence[str] | None, text_column: str | None) -> Dataset:
    """Images (`image`, a struct of {bytes, path}, or `image.bytes`), or texts (`text`, or `text_column`), and `label`.

    What the file's Hugging Face metadata say of images, class labels and their names is used.

    Raises:
        BadInput: if this is no Parquet file, it has no rows, or none of these columns.
    """
    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER)
    except (pa.ArrowException, OSError) as error:
        raise _broken(error, source) from None
    schema = file.schema_arrow
    if not file.metadata.num_rows:
        raise BadInput("this file holds no rows", where=source, fix="give at least one example")
    features = _features(schema)
    image = None if text_column else _image(schema, features)
    if image is not None:
        named, notes = _labels(file, schema, features, classes, source, None)
        return ParquetImages(source, Column(file, *image, where=source), file.metadata.num_rows, named, notes)
    name = text_column or "text"
    if name not in schema.names or not _is_text(schema.field(name).type):
        wanted = f"no column of text named {name!r}" if text_column else "no column 'image' or 'text'"
        raise BadInput(
            f"this file has {wanted}, but {', '.join(f'{field.name!r} ({field.type})' for field in schema)}",
            where=source,
            fix="rename the column, or name the one that holds texts",
        )
    column = Column(file, name, None, where=source)
    kept: list[int] = []
    ids = numbered(_text_digests(column, kept))
    if not ids:
        raise BadInput(f"no row of the column {name!r} holds text", where=source, fix="give at least one example")
    rows = np.array(kept, dtype=np.int64)
    named, notes = _labels(file, schema, features, classes, source, rows)
    if len(rows) < file.metadata.num_rows:
        notes += (f"Rows without text were passed over: {file.metadata.num_rows - len(rows)}.",)
    return ParquetTexts(source, column, rows, ids, named, notes)


def _text_digests(column: Column, kept: list[int]) -> Iterator[str]:
    for row, text in enumerate(column.stream()):
        if text is not None and text.strip():
            kept.append(row)
            yield digest(text.encode())


def _image(schema: pa.Schema, features: dict[str, Any]) -> tuple[str, str | None] | None:
    """The column that holds encoded images, and its field if it is a struct; None if there is none."""
    declared = [name for name, feature in features.items() if feature.get("_type") == "Image" and name in schema.names]
    for name in ("image", "image.bytes", *declared):
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        if _is_binary(kind):
            return name, None
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type):
            return name, "bytes"
    return None


def _labels(
    file: pq.ParquetFile,
    schema: pa.Schema,
    features: dict[str, Any],
    classes: Sequence[str] | None,
    source: str,
    rows: np.ndarray | None,
) -> tuple[Named | None, tuple[str, ...]]:
    """The labels of `rows` (None: all), and what to note."""
    declared = [
        name for name, feature in features.items() if feature.get("_type") == "ClassLabel" and name in schema.names
    ]
    name = "label" if "label" in schema.names else declared[0] if len(declared) == 1 else None
    if name is None:
        return None, ()
    kind = schema.field(name).type
    types = pa.types
    if not (_is_text(kind) or types.is_integer(kind) or types.is_boolean(kind) or types.is_floating(kind)):
        return None, (f"The column {name!r} was not taken as labels: it holds {kind}.",)
    column = Column(file, name, None, where=source)
    used, names = collect((_label(value, name, source) for value in column.stream()), source)
    used = used if rows is None else used[rows]
    if names is not None:
        return from_names(names, used, classes, source), ()
    known = features.get(name, {}).get("names")
    sound = isinstance(known, list) and all(isinstance(one, str) for one in known)
    return from_numbers(used, known if sound else None, classes, source), ()


def _label(value: Any, name: str, source: str) -> str | int | None:
    if not isinstance(value, float):
        return value
    if math.isnan(value):  # how pandas writes a missing number
        return None
    if not value.is_integer():
        raise BadInput(f"the column {name!r} holds {value}, no label", where=source, fix="give whole numbers or names")
    return int(value)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """What the Hugging Face metadata say of each column; nothing if they are absent or broken."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _size(group: pq.RowGroupMetaData, path: str) -> int:
    """The bytes that a column takes in a row group, uncompressed."""
    columns = (group.column(number) for number in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema == path)


def _broken(error: Exception, source: str) -> BadInput:
    what = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return BadInput(f"this is not a readable Parquet file, {what}", where=source, fix="save it again")
