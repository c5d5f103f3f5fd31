"""Labels as data name them, to the numbers of the network's classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int64

from ..records import BadInput
from .dataset import Labels

WORDNET = re.compile(r"^(n\d{8})(?:_(?P<name>.*))?$", re.DOTALL)
_SHOWN = 5

Named = tuple[Labels, tuple[str, ...] | None, tuple[str, ...]]  # labels, label names, notes


def plain(name: str) -> str:
    """A name as it is compared: case, underscores and repeated spaces do not count."""
    return " ".join(name.replace("_", " ").casefold().split())


class Classes:
    """The names of a network's classes, to be found by what data call them.

    A name that fits several classes is found only where it is written exactly as one of them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._exact: dict[str, int | None] = {}
        self._plain: dict[str, int | None] = {}
        self._any: dict[str, set[int]] = {}
        for index, name in enumerate(self.names):
            for key in {plain(name), *map(plain, name.split(","))}:
                self._any.setdefault(key, set()).add(index)
            for table, key in ((self._exact, name), (self._plain, plain(name))):
                table[key] = None if key in table else index

    def find(self, name: str) -> int | None:
        """The one class of this name, or None."""
        if name in self._exact:
            return self._exact[name]
        return self._plain.get(plain(name))

    def find_any(self, name: str) -> set[int]:
        """All classes that this name fits, commas in a class's name taken to part synonyms."""
        return self._any.get(plain(name), set())


def from_names(
    names: Sequence[str], used: Int64[np.ndarray, " example"], classes: Sequence[str] | None, where: str
) -> Named:
    """Labels that data give by name.

    Args:
        names: distinct names; `used`: which of them each example has, -1 for none.
        classes: the network's classes; None: the names in sorted order become the classes.
        where: the file or folder, for the error.

    Raises:
        BadInput: if a name that is used is not one class's.
    """
    target = Classes(sorted(names) if classes is None else classes)
    occurring = [names[int(index)] for index in np.unique(used[used >= 0])]
    found = {name: target.find(name) for name in occurring}
    missing = [name for name, index in found.items() if index is None]
    if missing:
        raise BadInput(
            f"{_listed(missing)} no single one of the network's {len(target.names)} classes ({_quoted(target.names)})",
            where=where,
            fix="rename the labels, or give the class names that the data use with --classes",
        )
    table = np.array([-1 if (index := found.get(name)) is None else index for name in names] + [-1], dtype=np.int64)
    return table[used], target.names, ()


def from_numbers(numbers: Labels, names: Sequence[str] | None, classes: Sequence[str] | None, where: str) -> Named:
    """Labels that data give by number.

    Args:
        numbers: -1 for unknown.
        names: what the data say that the numbers mean, where they do. Names that fit the network's classes decide;
            names that do not are passed over, with a note, if there are as many of them as classes.
        classes: the network's classes. where: the file, for the error.

    Raises:
        BadInput: if a number is out of range, or the names fit the network's classes neither by name nor by count.
    """
    for limit, of in ((names, "the names in the data"), (classes if names is None else None, "the network's classes")):
        if limit is not None and numbers.size and numbers.max() >= len(limit):
            raise BadInput(
                f"label {numbers.max()} is out of range, for {of} are {len(limit)}, counted from 0",
                where=where,
                fix="count labels from 0, and give as many class names",
            )
    if numbers.size and numbers.min() < -1:
        raise BadInput(f"label {numbers.min()} is below 0", where=where, fix="count labels from 0, -1 for unknown")
    if classes is None or names is None:
        given = classes if names is None else names
        return numbers, None if given is None else tuple(given), ()
    if tuple(names) == tuple(classes):
        return numbers, tuple(classes), ()
    try:
        labels, label_names, _ = from_names(names, numbers, classes, where)
    except BadInput:
        if len(names) != len(classes):
            raise
        return numbers, tuple(classes), ("Labels were taken by number: the data name them otherwise than the network.",)
    moved = "" if np.array_equal(labels, numbers) else ", which are in another order"
    return labels, label_names, (f"Labels were matched to the network's classes by name{moved}.",)


def collect(values: Iterable[str | int | None], where: str) -> tuple[Int64[np.ndarray, " example"], list[str] | None]:
    """A column of labels as numbers: the labels themselves if they are numbers, else places in the names returned.

    Raises:
        BadInput: if names and numbers are mixed, or a number is too large.
    """
    numbers: list[int] = []
    names: dict[str, int] = {}
    kinds: set[type] = set()
    for value in values:
        if value is None:
            numbers.append(-1)
            continue
        kinds.add(str if isinstance(value, str) else int)
        numbers.append(names.setdefault(value, len(names)) if isinstance(value, str) else int(value))
    if len(kinds) > 1:
        raise BadInput("some labels are numbers and some are names", where=where, fix="write all of them the same way")
    try:
        return np.array(numbers, dtype=np.int64), list(names) if str in kinds else None
    except OverflowError:
        raise BadInput("a label is too large", where=where, fix="count labels from 0") from None


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"the label {names[0]!r} is"
    return f"{len(names)} labels ({_quoted(names)}) are each"


def _quoted(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return f"{shown}..." if len(names) > _SHOWN else shown
