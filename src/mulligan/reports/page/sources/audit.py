"""An audit's folder into a book: the inventory of units, classes, and the tables behind the numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyarrow import ArrowInvalid

from ....records import Behaviour, OutputCard, Quantity, SiteInventory, UnitCard
from ...phrases import command_of
from ...reading import Stored, read_run
from ...text import plural
from ..book import Book, Card, Column, alias, keyed
from ..prose import Prose
from ..rows import Reference, Rows
from .audit_compared import add_compared
from .audit_described import add_described
from .audit_findings import add_checks, add_findings
from .audit_prose import prose
from .showing import Showing, plain

UNITS = "tables/units.parquet"
_DOCUMENT = "description.json"
_CLASS = (
    Column("name", "Class", "class"), Column("n", "Examples", "number"), Column("recall", "Recall", "quantity"),
    Column("answered", "Answered", "number"), Column("confused", "Most often confused with"),
)  # fmt: skip
_UNIT = (
    Column("key", "Unit", "feature"), Column("mean", "Mean", "number"), Column("low", "Least", "number"),
    Column("high", "Largest", "number"), Column("active", "Share active", "number"), Column("for", "Prefers"),
    Column("selectivity", "Selectivity", "quantity"), Column("state", "State"),
)  # fmt: skip
_UNIT_FIELDS = (
    "site", "unit", "mean", "low", "high", "active", "selective_for", "auc", "auc_low", "auc_high", "dead", "saturated",
)  # fmt: skip
_MEDIAN_OF_TWIN = "Random-weight twin, the median of its units"


def add(book: Book, folder: Path, pre: str) -> Prose:
    """Put an audit into a book, and say it in prose.

    Raises:
        BadInput: if the run cannot be read.
    """
    stored = read_run(folder)
    network = book.network(stored.findings.network)
    problems: list[str] = []
    run = book.run(
        folder, {"procedure": "audit"} | stored.manifest, network, created=stored.findings.created,
        command=command_of(stored.manifest), problems=problems,
    )  # fmt: skip
    add_findings(book, stored, network, run)
    add_checks(book, stored, run)
    add_compared(book, stored, run)
    add_described(book, stored, run)
    _Audit(book, stored, network, run, problems).add()
    book.runs[run]["problems"] = problems
    return prose(stored, pre, run, book, network)


class _Audit:
    """What one audit describes, on its way into a book."""

    def __init__(self, book: Book, stored: Stored, network: int, run: int, problems: list[str]) -> None:
        self.book, self.stored, self.network, self.run, self.problems = book, stored, network, run, problems
        self.showing = Showing(book, stored, network, run, _DOCUMENT)
        self.units = Rows(book, run, "units", "Every unit that was described", UNITS, _UNIT)
        self.answers = Rows(book, run, "classes", "How each class is answered", _DOCUMENT, _CLASS)
        self.source = {"run": run, "file": _DOCUMENT}

    def add(self) -> None:
        description = self.stored.description
        rows = self.units_table()
        for inventory in description.inventory:
            self.book.site(self.network, inventory.site, meaning=inventory.meaning, units=inventory.units)
            for unit in inventory.cards:
                self.unit(inventory, unit, rows)
        self.behaviour()
        for card in description.cards:
            self.output(card)
        self.units.enter()
        self.answers.enter()
        self.showing.enter()

    def units_table(self) -> dict[str, Reference]:
        """Every unit that was described, as a feature and a row; no rows if their file is missing or broken."""
        try:
            columns = pq.read_table(self.stored.inside(UNITS)).to_pydict()
            rows = list(zip(*(columns[name] for name in _UNIT_FIELDS), strict=True))
        except FileNotFoundError:
            self.problems.append(f"{UNITS} is missing: only the units that have cards are shown.")
            return {}
        except (OSError, ArrowInvalid, KeyError) as error:
            self.problems.append(f"{UNITS} cannot be read ({error}): only the units that have cards are shown.")
            return {}
        counts = columns.get("auc_n", [None] * len(rows))
        inventories = {one.site: one for one in self.stored.description.inventory}
        entered: dict[str, Reference] = {}
        for count, row in zip(counts, rows, strict=True):
            site, unit, mean, low, high, active, selective_for, auc, auc_low, auc_high, dead, saturated = row
            card = self.book.feature(self.network, alias(site, unit))
            key = card["key"]
            selectivity = None
            if auc is not None and auc == auc:
                measure = _measure(inventories.get(site))
                selectivity = Quantity(value=auc, unit=measure, low=auc_low, high=auc_high, n=count)
                self.book.score("selectivity", key, auc)
            state = "dead" if dead else "saturated" if saturated else ""
            cells = [key, mean, low, high, active, selective_for or "", plain(selectivity), state]
            reference = self.units.add(key, cells)
            entered[key] = reference
            card["range"] = {"mean": mean, "low": low, "high": high, "table": reference}
            if selectivity is not None:
                self.figure(card, f"Selectivity for {selective_for}", plain(selectivity), table=reference)
                if _beats_chance(selectivity, inventories.get(site)):
                    card["selective"] = selective_for
                else:
                    card["notes"] += [_unselective(selectivity, selective_for)]
            self.book.score("mean", key, mean)
            self.book.score("largest", key, high)
            self.book.score("active", key, active)
            if state:
                card["notes"].append(f"This unit is {state} on this data.")
        return entered

    def figure(
        self, card: Card, name: str, quantity: Any, control: Any = None, *, against: str = "", table: Any
    ) -> None:
        """Enter a figure, or replace the one of that name by a fuller one. `against`: what its control is."""
        kept = [figure for figure in card["figures"] if figure["name"] != name]
        figure = {"name": name, "quantity": quantity, "control": control, "against": against, "table": table}
        card["figures"] = [*kept, figure]

    def unit(self, inventory: SiteInventory, unit: UnitCard, rows: dict[str, Reference]) -> None:
        card = self.book.feature(self.network, alias(inventory.site, unit.unit), meaning=inventory.meaning)
        key = card["key"]
        row = rows.get(key)
        self.figure(card, "Share of examples that excite it", plain(unit.active), table=row)
        if unit.selectivity is not None:
            name = f"Selectivity for {unit.selective_for}"
            self.figure(card, name, plain(unit.selectivity), plain(inventory.twin), against=_MEDIAN_OF_TWIN, table=row)
            card["selective"] = unit.selective_for if _beats_chance(unit.selectivity, inventory) else None
            if card["selective"] is None and key not in rows:
                card["notes"].append(_unselective(unit.selectivity, unit.selective_for))
            self.book.score("selectivity", key, unit.selectivity.value)
        card["range"] = {"mean": unit.mean, "low": unit.low, "high": unit.high, "table": row}
        found = {s.example.id: s for s in unit.sightings}
        top = self.showing.examples(key, "strongest", unit.top)
        for number, example in enumerate(unit.top):
            if example.id in found:
                top[number] |= self.book.placed(found[example.id], self.stored)
        card["sightings"]["top"] += top
        card["sightings"]["levels"] += self.showing.examples(key, "level", unit.stratified)
        card["portraits"] += self.showing.portraits(key, [p for p in (unit.portrait,) if p is not None])
        card["drives"] += self.showing.driving(unit.drives)
        card["sources"].append(self.source)

    def behaviour(self) -> None:
        behaviour = self.stored.description.behaviour
        for entry in behaviour.classes if behaviour is not None else ():
            card = self.book.output(self.network, entry.name)
            card["n"] = entry.n
            card["confused"] = [list(pair) for pair in entry.confused_with]
            confused = ", ".join(f"{other} ({n})" for other, n in entry.confused_with[:5])
            cells = [card["key"], entry.n, plain(entry.recall), entry.answered, confused]
            self.figure(card, "Recall", plain(entry.recall), table=self.answers.add(card["key"], cells))

    def output(self, output: OutputCard) -> None:
        card = self.book.output(self.network, output.output)
        key = card["key"]
        if card["n"] is None:  # how many examples are of it nobody knows: `output.n` counts answers
            card["notes"].append(_answered(output.n, self.stored.description.behaviour))
        if output.figure is not None and not card["figures"]:
            self.figure(card, "Figure", plain(output.figure), table=None)
        card["confused"] = card["confused"] or [list(pair) for pair in output.confused_with]
        card["drives"] += self.showing.driving(output.drives)
        card["portraits"] += self.showing.portraits(key, [p for p in (output.portrait,) if p is not None])
        card["sightings"] += self.showing.sightings(
            keyed(self.network, f"class {output.output}"), "strongest", output.sightings
        )
        seen = {s.example.id for s in output.sightings}
        card["examples"] += [self.book.placed(e, self.stored) for e in output.examples if e.id not in seen]
        card["sources"].append(self.source)


_AUC = "AUC"


def _answered(n: int, behaviour: Behaviour | None) -> str:
    """How often an output is answered, where the data do not say how often it would be right."""
    if behaviour is not None and behaviour.task == "language":
        return f"Answered at {plural(n, 'position')} of {plural(behaviour.n, 'text')}."
    return f"Answered for {plural(n, 'example')} of the data; how many are of it, they do not say."


def _measure(inventory: SiteInventory | None) -> str:
    """What the selectivity of a site's units counts."""
    median = inventory.selectivity if inventory is not None else None
    return median.unit.removesuffix(", median over units") if median is not None else f"{_AUC} on held-out examples"


def _beats_chance(selectivity: Quantity, inventory: SiteInventory | None) -> bool:
    """Whether a unit is surely selective: beyond a coin, or, for shares of texts, beyond the units of a random twin."""
    if selectivity.unit.startswith(_AUC):
        floor = 0.5
    else:
        floor = inventory.twin.value if inventory is not None and inventory.twin is not None else 0.0
    return selectivity.low is not None and selectivity.low > floor


def _unselective(selectivity: Quantity, preferred: str | None) -> str:
    floor = "chance" if selectivity.unit.startswith(_AUC) else "the units of a random twin do"
    return (
        f"It was not seen to be selective for any class: on one half of the examples it preferred {preferred}, and on "
        f"the other half it tells that apart no better than {floor}."
    )
