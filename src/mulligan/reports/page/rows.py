"""Tables in the making. A row that is entered answers with where it lies, so that what shows its numbers can say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .book import Book, Column, Table

#: A table's id and the key of one of its rows.
Reference = list[str]

PICTURE = (
    Column("key", "Feature", "feature"), Column("objective", "Climbed"), Column("reached", "Reaches", "number"),
    Column("best", "Best example", "number"), Column("twin", "On a random-weight twin", "number"),
    Column("twin_best", "Best example on it", "number"), Column("natural", "By natural ways", "quantity"),
    Column("steps", "Steps", "number"), Column("marks", "Marks"),
)  # fmt: skip
EXAMPLE = (
    Column("key", "Feature", "feature"), Column("shown", "Shown as"), Column("activation", "Activation", "number"),
    Column("label", "Class", "class"), Column("answer", "Answered", "class"), Column("example", "Example"),
    Column("peak", "Strongest at"),
)  # fmt: skip
DRIVE = (
    Column("unit", "Unit", "feature"), Column("output", "Output", "class"),
    Column("attribution", "Attribution", "quantity"), Column("ablation", "Ablation, measured", "quantity"),
    Column("control", "Ablation of a random unit", "quantity"), Column("confirmed", "Confirmed"),
)  # fmt: skip


@dataclass(slots=True)
class Rows:
    """The rows of one table of a run, by their keys. `file` is where in the run's folder all of it lies."""

    book: Book
    run: int
    kind: str
    title: str
    file: str
    columns: tuple[Column, ...]
    rows: dict[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """How the table is addressed."""
        return f"{self.book.runs[self.run]['id']}-{self.kind}"

    def add(self, key: str, cells: Sequence[Any]) -> Reference:
        """Enter a row and say where it lies; a second one of the same key is numbered."""
        free, number = key, 1
        while free in self.rows:
            number += 1
            free = f"{key} ({number})"
        self.rows[free] = cells
        return [self.id, free]

    def enter(self) -> None:
        """Put the table into the book, if it has any row."""
        if self.rows:
            self.book.tables.append(Table(
                id=self.id, title=self.title, file=self.file, columns=self.columns, rows=list(self.rows.values()),
                keys=list(self.rows),
            ))  # fmt: skip
