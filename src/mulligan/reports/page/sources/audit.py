"""An audit's folder into a book: findings, the inventory of units, classes, and the tables behind the numbers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
from pyarrow import ArrowInvalid

from ....records import Finding, Findings, OutputCard, Quantity, SiteInventory, UnitCard
from ...phrases import command_of
from ...reading import Stored, read_run
from ...wording import state
from ..book import Book, Card, Column, Table, alias, keyed
from ..prose import Prose
from .audit_prose import prose

UNITS = "tables/units.parquet"
_FINDING = (
    Column("id", "Finding", "text"), Column("claim", "Claim"), Column("kind", "Kind"), Column("severity", "Severity"),
    Column("effect", "Effect", "quantity"), Column("placebo", "Placebo", "quantity"),
    Column("baseline", "Baseline", "quantity"), Column("p", "p", "number"),
    Column("p_adjusted", "p adjusted", "number"),
    Column("before", "Before the edit", "quantity"), Column("after", "After it", "quantity"),
    Column("control", "After a random edit", "quantity"),
)  # fmt: skip
_CHECK = (
    Column("name", "Check"), Column("state", "State"), Column("examined", "Examined", "number"),
    Column("smallest", "Smallest effect caught", "quantity"), Column("target", "Promised", "number"),
    Column("seconds", "Seconds", "number", "s"), Column("why", "Why"),
)  # fmt: skip
_CLASS = (
    Column("name", "Class", "class"), Column("n", "Examples", "number"), Column("recall", "Recall", "quantity"),
    Column("answered", "Answered", "number"), Column("confused", "Most often confused with"),
)  # fmt: skip
_UNIT = (
    Column("key", "Unit", "feature"), Column("mean", "Mean", "number"), Column("low", "Least", "number"),
    Column("high", "Largest", "number"), Column("active", "Share active", "number"), Column("for", "Selective for"),
    Column("selectivity", "Selectivity (AUC)", "quantity"), Column("state", "State"),
)  # fmt: skip
_DRIVE = (
    Column("unit", "Unit", "feature"), Column("output", "Output", "class"),
    Column("attribution", "Attribution", "quantity"), Column("ablation", "Ablation, measured", "quantity"),
    Column("control", "Ablation of a random unit", "quantity"), Column("confirmed", "Confirmed"),
)  # fmt: skip


def add(book: Book, folder: Path, pre: str) -> Prose:
    """Put an audit into a book, and say it in prose.

    Raises:
        BadInput: if the run cannot be read.
    """
    stored = read_run(folder)
    findings = stored.findings
    network = book.network(findings.network)
    problems: list[str] = []
    run = book.run(
        folder, {"procedure": "audit"} | stored.manifest, network, created=findings.created,
        command=command_of(stored.manifest), problems=problems,
    )  # fmt: skip
    _Audit(book, stored, network, run, problems).add()
    book.runs[run]["problems"] = problems
    return prose(stored, pre, run)


class _Audit:
    """One audit on its way into a book."""

    def __init__(self, book: Book, stored: Stored, network: int, run: int, problems: list[str]) -> None:
        self.book, self.stored, self.network, self.run, self.problems = book, stored, network, run, problems
        self.drives: dict[str, list[Any]] = {}

    def add(self) -> None:
        description = self.stored.description
        self.findings(self.stored.findings)
        units = self.units_table()
        for inventory in description.inventory:
            self.book.site(self.network, inventory.site, meaning=inventory.meaning, units=inventory.units)
            for unit in inventory.cards:
                self.unit(inventory, unit, units)
        self.behaviour()
        for card in description.cards:
            self.output(card)
        if self.drives:
            self.table("drives", "What drives what", "description.json", _DRIVE, self.drives)

    def table(self, kind: str, title: str, file: str, columns: tuple[Column, ...], rows: dict[str, list[Any]]) -> str:
        """Enter a table of this run; returns its id."""
        name = f"{self.book.runs[self.run]['id']}-{kind}"
        self.book.tables.append(
            Table(id=name, title=title, file=file, columns=columns, rows=list(rows.values()), keys=list(rows))
        )
        return name

    def findings(self, document: Findings) -> None:
        for lead, items in ((False, document.findings), (True, document.leads)):
            for finding in items:
                self.book.findings.append({
                    "id": finding.id, "kind": finding.kind, "severity": finding.severity, "claim": finding.claim,
                    "run": self.run, "lead": lead,
                })  # fmt: skip
        rows = {f.id: _finding_row(f) for f in (*document.findings, *document.leads)}
        self.table("findings", "Findings and leads", "findings.json", _FINDING, rows)
        checks = {
            check.name: [
                check.name, state(check), check.examined, _plain(check.smallest_effect), check.target_effect,
                check.seconds, check.why,
            ]
            for check in document.checks
        }  # fmt: skip
        self.table("checks", "Checks", "findings.json", _CHECK, checks)

    def units_table(self) -> str | None:
        """Every unit that was described, as features and as a table; None if its file is missing or broken."""
        file = self.stored.inside(UNITS)
        try:
            columns = pq.read_table(file).to_pydict()
            rows = list(zip(*(columns[name] for name in _UNIT_FIELDS), strict=True))
        except FileNotFoundError:
            self.problems.append(f"{UNITS} is missing: only the units that have cards are shown.")
            return None
        except (OSError, ArrowInvalid, KeyError) as error:
            self.problems.append(f"{UNITS} cannot be read ({error}): only the units that have cards are shown.")
            return None
        table: dict[str, list[Any]] = {}
        name = f"{self.book.runs[self.run]['id']}-units"
        for site, unit, mean, low, high, active, selective_for, auc, auc_low, auc_high, dead, saturated in rows:
            card = self.book.feature(self.network, alias(site, unit))
            key = card["key"]
            card["range"] = {"mean": mean, "low": low, "high": high}
            selectivity = None
            if auc is not None and auc == auc:
                selectivity = _plain(Quantity(value=auc, unit="AUC on held-out examples", low=auc_low, high=auc_high))
                self.figure(card, f"Selectivity for {selective_for}", selectivity, table=(name, key))
                self.book.score("selectivity", key, auc)
            self.book.score("mean", key, mean)
            self.book.score("largest", key, high)
            self.book.score("active", key, active)
            words = "dead" if dead else "saturated" if saturated else ""
            if words:
                card["notes"].append(f"This unit is {words} on this data.")
            table[key] = [key, mean, low, high, active, selective_for or "", selectivity, words]
        return self.table("units", "Every unit that was described", UNITS, _UNIT, table)

    def figure(self, card: Card, name: str, quantity: Any, control: Any = None, table: Any = None) -> None:
        """Enter a figure, or replace the one of that name by a fuller one."""
        kept = [figure for figure in card["figures"] if figure["name"] != name]
        card["figures"] = [*kept, {"name": name, "quantity": quantity, "control": control, "table": table}]

    def unit(self, inventory: SiteInventory, unit: UnitCard, table: str | None) -> None:
        card = self.book.feature(self.network, alias(inventory.site, unit.unit), meaning=inventory.meaning)
        key = card["key"]
        row = (table, key) if table else None
        self.figure(card, "Share of examples that excite it", _plain(unit.active), table=row)
        if unit.selectivity is not None:
            name = f"Selectivity for {unit.selective_for}"
            self.figure(card, name, _plain(unit.selectivity), _plain(inventory.twin), row)
            self.book.score("selectivity", key, unit.selectivity.value)
        card["range"] = {"mean": unit.mean, "low": unit.low, "high": unit.high}
        sightings = {s.example.id: s for s in unit.sightings}
        card["sightings"]["top"] += [self.sighting(e, sightings.get(e.id)) for e in unit.top]
        card["sightings"]["levels"] += [self.sighting(e, None) for e in unit.stratified]
        if unit.portrait is not None:
            card["portraits"].append(self.book.placed(unit.portrait, self.stored))
        card["drives"] += self.driving(unit.drives)
        card["sources"].append({"run": self.run, "file": "description.json"})

    def sighting(self, example: Any, sighting: Any) -> dict[str, Any]:
        if sighting is not None:
            return self.book.placed(sighting, self.stored)
        return {
            "example": self.book.placed(example, self.stored), "peak": [], "box": None, "crop": None, "heat": None,
        }  # fmt: skip

    def driving(self, drives: Iterable[Any]) -> list[Any]:
        out = []
        for drive in drives:
            out.append(msgspec.to_builtins(drive))
            unit = keyed(self.network, alias(drive.site, drive.unit))
            confirmed = "not measured" if drive.confirmed is None else "yes" if drive.confirmed else "no"
            self.drives[f"{unit} to {drive.output}"] = [
                unit, keyed(self.network, drive.output), _plain(drive.attribution), _plain(drive.ablation),
                _plain(drive.control), confirmed,
            ]  # fmt: skip
        return out

    def behaviour(self) -> None:
        behaviour = self.stored.description.behaviour
        if behaviour is None or not behaviour.classes:
            return
        rows: dict[str, list[Any]] = {}
        name = f"{self.book.runs[self.run]['id']}-classes"
        for entry in behaviour.classes:
            card = self.book.output(self.network, entry.name)
            card["n"] = entry.n
            card["confused"] = [list(pair) for pair in entry.confused_with]
            self.figure(card, "Recall", _plain(entry.recall), table=(name, card["key"]))
            confused = ", ".join(f"{other} ({n})" for other, n in entry.confused_with[:5])
            rows[card["key"]] = [card["key"], entry.n, _plain(entry.recall), entry.answered, confused]
        self.table("classes", "How each class is answered", "description.json", _CLASS, rows)

    def output(self, output: OutputCard) -> None:
        card = self.book.output(self.network, output.output)
        card["n"] = card["n"] if card["n"] is not None else output.n
        if output.figure is not None and not card["figures"]:
            self.figure(card, "Figure", _plain(output.figure))
        card["confused"] = card["confused"] or [list(pair) for pair in output.confused_with]
        card["drives"] += self.driving(output.drives)
        if output.portrait is not None:
            card["portraits"].append(self.book.placed(output.portrait, self.stored))
        card["sightings"] += [self.book.placed(s, self.stored) for s in output.sightings]
        seen = {s.example.id for s in output.sightings}
        card["examples"] += [self.book.placed(e, self.stored) for e in output.examples if e.id not in seen]
        card["sources"].append({"run": self.run, "file": "description.json"})


_UNIT_FIELDS = (
    "site", "unit", "mean", "low", "high", "active", "selective_for", "auc", "auc_low", "auc_high", "dead", "saturated",
)  # fmt: skip


def _finding_row(f: Finding) -> list[Any]:
    causal = f.causal
    return [
        f.id, f.claim, f.kind, f.severity, _plain(f.effect), _plain(f.placebo), _plain(f.baseline), f.p, f.p_adjusted,
        _plain(causal.before if causal else None), _plain(causal.after if causal else None),
        _plain(causal.control if causal else None),
    ]  # fmt: skip


def _plain(quantity: Quantity | None) -> Any:
    return None if quantity is None else msgspec.to_builtins(quantity)
