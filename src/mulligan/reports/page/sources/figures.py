"""Figures beside their controls, as a table of the run that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ....records import Beside
from ..book import Book, Column
from ..rows import Rows

_FIGURE = (Column("name", "Figure"), Column("of", "Of"), Column("value", "Value", "quantity"))
SHOWN = "what is shown"


class Figures:
    """The figures of one run, entered one after another."""

    def __init__(self, book: Book, run: int, file: str) -> None:
        self._rows = Rows(book, run, "figures", "Figures and their controls", file, _FIGURE)

    @property
    def table(self) -> str:
        """The table's id."""
        return self._rows.id

    def add(self, figures: Sequence[Beside], at: str = "") -> list[dict[str, Any]]:
        """Figures as plain data, each value with where it lies. `at` says of what, where names alone do not."""
        return [self._add(figure, f"{at}: {figure.name}" if at else figure.name) for figure in figures]

    def _add(self, figure: Beside, name: str) -> dict[str, Any]:
        def enter(of: str, value: Any) -> list[str]:
            return self._rows.add(name if of == SHOWN else f"{name}, {of}", [name, of, value])

        shown = msgspec.to_builtins(figure.shown)
        table = enter(SHOWN, shown)
        controls = [[of, value, enter(of, value)] for of, value in msgspec.to_builtins(figure.controls)]
        return {"name": figure.name, "shown": shown, "controls": controls, "table": table}

    def enter(self) -> None:
        """Put the table into the book, if it has any row."""
        self._rows.enter()
