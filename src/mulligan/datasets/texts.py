"""Texts as lines: plain (.txt), or one JSON object a line (.jsonl). Only the place of each line is held in memory."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..records import BadInput
from .dataset import Dataset, checked, digest, numbered
from .labels import Named, collect, from_names, from_numbers

_LONGEST = 1 << 24  # bytes of a line: a longer one is no line of text


class Texts(Dataset):
    """Lines of a file.

    Attributes:
        path: the file.
        starts, lengths: where each example's line lies, in bytes.
        field: what holds the text in a line's JSON object; None: the line is the text.
    """

    def __init__(
        self,
        source: str,
        path: Path,
        places: tuple[array[int], array[int]],
        field: str | None,
        ids: Sequence[str],
        named: Named | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        labels, names, more = named if named is not None else (None, None, ())
        super().__init__(source, "texts", len(ids), labels=labels, label_names=names, notes=(*more, *notes), ids=ids)
        self.path = path
        self.starts, self.lengths = (np.array(place, dtype=np.int64) for place in places)
        self.field = field
        self._state = _state(path)

    def gather(self, indices: Sequence[int] | np.ndarray) -> list[str]:
        rows = checked(indices, len(self))
        if _state(self.path) != self._state:
            raise BadInput("this file has changed since it was opened", where=self.source, fix="start again")
        texts: dict[int, str] = {}
        with self.path.open("rb") as file:
            for row in np.unique(rows).tolist():
                file.seek(int(self.starts[row]))
                line = file.read(int(self.lengths[row])).decode("utf-8")
                texts[row] = line if self.field is None else json.loads(line)[self.field]
        return [texts[row] for row in rows.tolist()]


def load_lines(path: Path, source: str) -> Dataset:
    """A .txt file: one example a line that is not blank, with the spaces that the line has.

    Raises:
        BadInput: if no line holds text, or a line is not UTF-8.
    """
    places = array("q"), array("q")

    def digests() -> Iterator[str]:
        for _, start, line in _lines(path, source):
            places[0].append(start)
            places[1].append(len(line))
            yield digest(line)

    ids = numbered(digests())
    if not ids:
        raise BadInput("this file holds no text", where=source, fix="give one example a line")
    return Texts(source, path, places, None, ids)


def load_json_lines(path: Path, source: str, classes: Sequence[str] | None, text_column: str | None) -> Dataset:
    """A .jsonl file: one object a line, its text under `text_column` ("text"), its class under "label" if it is known.

    Raises:
        BadInput: if a line is no such object (its number is given), or none holds text.
    """
    field = text_column or "text"
    places = array("q"), array("q")
    answers: list[str | int | None] = []
    blank = 0

    def digests() -> Iterator[str]:
        nonlocal blank
        for number, start, line in _lines(path, source):
            text, label = _record(line, field, f"{source}, line {number}")
            if not text.strip():
                blank += 1
                continue
            places[0].append(start)
            places[1].append(len(line))
            answers.append(label)
            yield digest(text.encode())

    ids = numbered(digests())
    if not ids:
        raise BadInput("this file holds no text", where=source, fix=f'give one object a line, as {{"{field}": "..."}}')
    named = None
    if any(answer is not None for answer in answers):
        used, names = collect(answers, source)
        named = from_numbers(used, None, classes, source) if names is None else from_names(names, used, classes, source)
    notes = (f"Lines without text were passed over: {blank}.",) if blank else ()
    return Texts(source, path, places, field, ids, named, notes)


def _lines(path: Path, source: str) -> Iterator[tuple[int, int, bytes]]:
    """Number (from 1), place and bytes of each line that is not blank, its end left out."""
    with path.open("rb") as file:
        for number, (start, line) in enumerate(_pieces(file), 1):
            if len(line) > _LONGEST:
                what = f"line {number} is longer than {_LONGEST >> 20} MiB"
                raise BadInput(what, where=source, fix="give one example a line")
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                raise BadInput(f"line {number} is not UTF-8 text", where=source, fix="save the file as UTF-8") from None
            if text.strip():
                yield number, start, line


def _pieces(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    start = 0
    while line := file.readline(_LONGEST + 2):
        here, start = start, start + len(line)
        if not here and line.startswith(b"\xef\xbb\xbf"):  # a mark that some editors put before UTF-8
            here, line = 3, line[3:]
        yield here, line.rstrip(b"\r\n")


def _record(line: bytes, field: str, where: str) -> tuple[str, str | int | None]:
    """The text and label of one line."""
    fix = f'write one object a line, as {{"{field}": "...", "label": 0}}'
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"this line is not JSON, {error}", where=where, fix=fix) from None
    if not isinstance(record, dict):
        raise BadInput("this line is no JSON object", where=where, fix=fix)
    text, label = record.get(field), record.get("label")
    if not isinstance(text, str):
        keys = ", ".join(map(repr, list(record)[:10])) or "nothing"
        raise BadInput(f"this line has no text under {field!r}, but {keys}", where=where, fix=fix)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput("this line's text is not valid Unicode", where=where, fix="remove lone surrogates") from None
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if not (label is None or isinstance(label, str | int)):
        raise BadInput(f"the label {label!r} is neither a number nor a name", where=where, fix=fix)
    return text, label


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns
