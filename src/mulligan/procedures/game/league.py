"""The league as one static page, and as JSON: auditors, people among them, ranked."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ...records import Quantity
from ...runs import replacing
from .entries import TRACKS
from .ledger import Ledger, Line
from .rounds import LEDGER
from .tables import PERSON, Cell, Table, tables, text

PAGE, TABLES = "league.html", "tables.json"


def write_league(game: Path) -> Path:
    """Write GAME/league.html and GAME/tables.json from the ledger; gives the page's path.

    Raises:
        BadInput: if there is no ledger, or it is broken.
    """
    lines = Ledger(game / LEDGER).lines()
    made = tables(lines) if lines else []
    for name, content in ((TABLES, as_json(made)), (PAGE, render(lines, made).encode())):
        with replacing(game / name) as part:
            part.write_bytes(content)
    return game / PAGE


def as_json(made: list[Table]) -> bytes:
    """Tables with full figures."""
    return msgspec.json.format(msgspec.json.encode({"schema": "mulligan/league/1", "tables": made}), indent=1)


def render(lines: list[Line], made: list[Table]) -> str:
    """The page: it needs no script and fetches nothing."""
    round = lines[0]["round"] if lines else {}
    roles = [line["role"] for line in lines if line.get("step") == "network" and line["released"]]
    track = round.get("track", "B")
    return _environment().get_template("league.html.j2").render(
        name=round.get("name", "?"), track=track, about=TRACKS.get(track, ""), seconds=f"{round.get('seconds', 0):g}",
        planted=roles.count("plant"), calibration=roles.count("calibration"), tests=roles.count("test"), tables=made,
        loose=any(line.get("step") == "audit" and not line["isolated"] for line in lines),
    )  # fmt: skip


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mulligan.procedures.game"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["cell"] = _cell
    return environment


def _cell(cell: Cell) -> Markup:
    if isinstance(cell, Quantity) and cell.low is not None and cell.high is not None:
        interval = Markup('<span class="interval">[{:.2f}, {:.2f}]</span>').format(cell.low, cell.high)
        return Markup("{:.2f} {}").format(cell.value, interval)
    if isinstance(cell, str) and cell.startswith(PERSON):
        return Markup('<span class="person">{}</span>').format(cell.removeprefix(PERSON))
    return escape(text(cell))
