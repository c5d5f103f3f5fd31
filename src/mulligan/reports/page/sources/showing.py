"""What audits and runs of `mulligan see` show alike: pictures, examples and drives, each with the row behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ....records import Drive, ExampleRef, Portrait, Quantity, Sighting
from ...pictures import Folder
from ..book import Book, alias, keyed
from ..rows import DRIVE, EXAMPLE, PICTURE, Rows


def plain(quantity: Quantity | None) -> Any:
    """A quantity as the page has it."""
    return None if quantity is None else msgspec.to_builtins(quantity)


class Showing:
    """The pictures, examples and drives of one run on their way into a book."""

    def __init__(self, book: Book, folder: Folder, network: int, run: int, file: str) -> None:
        self.book, self.folder, self.network = book, folder, network
        self.pictures = Rows(book, run, "pictures", "What optimized pictures reach", file, PICTURE)
        self.seen = Rows(book, run, "examples", "Every example shown, and how strongly it was answered", file, EXAMPLE)
        self.drives = Rows(book, run, "drives", "What drives what", file, DRIVE)

    def enter(self) -> None:
        """Put the tables into the book."""
        for rows in (self.drives, self.pictures, self.seen):
            rows.enter()

    def portraits(self, of: str, portraits: Iterable[Portrait]) -> list[Any]:
        """Optimized pictures of a feature or class; `of` is its key."""
        return [self._portrait(of, p) for p in portraits]

    def _portrait(self, of: str, p: Portrait) -> Any:
        cells = [
            of, p.objective, p.reached, p.best, p.twin, p.twin_best, plain(p.natural), p.steps, "; ".join(p.marks),
        ]  # fmt: skip
        return {**self.book.placed(p, self.folder), "table": self.pictures.add(of, cells)}

    def sightings(self, of: str, shown: str, sightings: Iterable[Sighting]) -> list[Any]:
        """Examples in which it was seen; `shown` says as what ("strongest")."""
        return [
            {**self.book.placed(s, self.folder), "table": self._row(of, shown, number, s.example, s.peak)}
            for number, s in enumerate(sightings, 1)
        ]

    def examples(self, of: str, shown: str, examples: Iterable[ExampleRef]) -> list[Any]:
        """Examples in which nobody looked for the place that excites it, as sightings without one."""
        return self.sightings(of, shown, [Sighting(example=example) for example in examples])

    def _row(self, of: str, shown: str, number: int, example: ExampleRef, peak: tuple[int, ...]) -> Any:
        if example.activation is None:
            return None
        label = None if example.label is None else keyed(self.network, example.label)
        answer = None if example.answer is None else keyed(self.network, example.answer)
        place = ", ".join(map(str, peak))
        cells = [of, shown, example.activation, label, answer, example.id, place]
        return self.seen.add(f"{of} {shown} {number}", cells)

    def driving(self, drives: Iterable[Drive]) -> list[Any]:
        """What a unit drives, or what drives an output."""
        return [{**msgspec.to_builtins(drive), "table": self._drive(drive)} for drive in drives]

    def _drive(self, drive: Drive) -> Any:
        unit, output = keyed(self.network, alias(drive.site, drive.unit)), keyed(self.network, drive.output)
        key = f"{unit} to {drive.output}"
        # The same pair stands on the unit's card and on the class's.
        confirmed = "not measured" if drive.confirmed is None else "yes" if drive.confirmed else "no"
        cells = [unit, output, plain(drive.attribution), plain(drive.ablation), plain(drive.control), confirmed]
        if self.drives.rows.get(key) == cells:
            return [self.drives.id, key]
        return self.drives.add(key, cells)
