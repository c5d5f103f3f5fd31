"""A run of `mulligan see atlas` into a book: the tile pyramid of one network, or of two on one layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup

from ....records import Atlas, AtlasCell, AtlasLevel, BadInput, Beside
from ....records.atlas import ATLAS_SCHEMA
from ...charts import beside_rows
from ...pages import environment
from ...phrases import LIMITS, command_of
from ...stored import StoredDocument, read_document
from ..addresses import to
from ..book import Book
from ..prose import Entry, Prose
from .figures import Figures

ATLAS = "atlas.json"
#: Pixels along a side up to which a tile goes into a page as it is: `visualization/atlas` makes none larger.
TILE_SIDE = 1024
#: Cells along a side that a page can draw.
MOST_CELLS = 1024


def read_atlas(path: Path | str) -> StoredDocument[Atlas]:
    """Read the index of an atlas.

    Raises:
        BadInput: if the folder or a file is missing, broken or of a newer Mulligan, a path leads out of the folder, or
            a zoom has no size.
    """
    stored = read_document(path, ATLAS, Atlas, ATLAS_SCHEMA, command="mulligan see atlas")
    for level in _levels(stored.document):
        if not 1 <= level.side <= MOST_CELLS:
            fix = "make the atlas again with --zooms of a few dozen"
            raise BadInput(f"a zoom of this atlas has {level.side} cells along a side", where=stored.folder, fix=fix)
        for name in (level.cells, *(tile.image for tile in level.tiles)):
            stored.inside(name)
    return stored


def add(book: Book, folder: Path, pre: str) -> Prose:
    """Put an atlas into a book, and say how it was made in prose.

    Raises:
        BadInput: if the run cannot be read.
    """
    stored = read_atlas(folder)
    atlas = stored.document
    number = len(book.atlases)
    networks = [book.network(atlas.network)]
    if atlas.against is not None:
        networks.append(book.network(atlas.against.network))
    run = book.run(
        folder, {"procedure": "see"} | stored.manifest, networks[0], created=atlas.created,
        command=command_of(stored.manifest), problems=[stored.unfinished] if stored.unfinished else [],
    )  # fmt: skip
    book.site(networks[0], atlas.site, meaning=atlas.meaning, units=atlas.units)
    name = f"a{number}"
    figures = Figures(book, run, ATLAS)
    of_layout = figures.add(atlas.figures)
    levels = _drawn(book, stored, name, figures)
    panes = [{"network": networks[0], "site": atlas.site, "activations": atlas.activations, "levels": levels[0]}]
    against = None
    if atlas.against is not None:
        other = atlas.against
        panes.append(
            {"network": networks[1], "site": other.site, "activations": other.activations, "levels": levels[1]}
        )
        against = {"map": other.map, "pairs": other.pairs, "outside": other.outside,
                   "figures": figures.add((other.explained, *other.figures), "two networks")}  # fmt: skip
    of = f"{atlas.network.name}, {atlas.site}"
    book.atlases.append({
        "id": name, "title": f"Activation atlas of {of}", "run": run, "network": networks[0], "target": atlas.target,
        "meaning": atlas.meaning, "panes": panes, "against": against, "figures": of_layout,
    })  # fmt: skip
    figures.enter()
    return _prose(stored, pre, book, number, figures.table)


def _prose(stored: StoredDocument[Atlas], pre: str, book: Book, number: int, table: str) -> Prose:
    atlas = stored.document
    entry = book.atlases[number]
    said = [level for pane in entry["panes"] for level in pane["levels"] if level["why"]]
    told: dict[str, Any] = {
        "atlas": atlas, "entry": entry, "said": said, "fullest": _fullest(book, entry), "rows": beside_rows,
        "source": to("table", table),
        "command": command_of(stored.manifest), "unfinished": stored.unfinished, "pre": pre,
        "limit": LIMITS | {"left_out": 30},
    }  # fmt: skip
    page = environment()
    return Prose(
        before=Markup(page.get_template("parts/atlas_before.html.j2").render(told)),
        after=Markup(page.get_template("parts/atlas_after.html.j2").render(told)),
        contents_before=(
            Entry(href=f"#{pre}atlas", text="The atlas"),
            Entry(href=f"#{pre}atlas-figures", text="How far to trust it"),
        ),
        contents_after=(Entry(href=f"#{pre}atlas-method", text="How it was made"),),
        title=f"Activation atlas of {atlas.network.name}, {atlas.site}",
    )


def _levels(atlas: Atlas) -> tuple[AtlasLevel, ...]:
    return atlas.levels + (atlas.against.levels if atlas.against is not None else ())


def _drawn(book: Book, stored: StoredDocument[Atlas], name: str, figures: Figures) -> list[list[dict[str, Any]]]:
    """Every zoom of every network, coarse zooms first, so that what does not fit into the page is the finest."""
    atlas = stored.document
    pyramids = [atlas.levels, atlas.against.levels if atlas.against is not None else ()]
    found: list[list[dict[str, Any]]] = [[], []]
    for level, k in sorted(((level, k) for k, levels in enumerate(pyramids) for level in levels), key=_coarse):
        drawn = _level(book, stored, level, f"atlas:{name}:{k}:{level.side}")
        found[k].append(drawn | {"figures": figures.add(level.figures, "second network" if k else "")})
    return found


def _coarse(of: tuple[AtlasLevel, int]) -> tuple[int, int]:
    return of[0].side, of[1]


def _level(book: Book, stored: StoredDocument[Atlas], level: AtlasLevel, series: str) -> dict[str, Any]:
    why: list[str] = []
    full = book.pictures.left_out
    tiles = [
        {"row": tile.row, "column": tile.column, "rows": tile.rows, "columns": tile.columns,
         "picture": book.pictures.number(stored, tile.image, side=TILE_SIDE)}
        for tile in level.tiles
    ]  # fmt: skip
    gone = sum(tile["picture"] is None for tile in tiles)
    if gone:
        lost = "it is full" if book.pictures.left_out > full else "they are missing from the run's folder, or broken"
        why.append(f"{gone} of {len(tiles)} tiles are not on this page: {lost}.")
    cells: tuple[AtlasCell, ...] = ()
    try:
        cells = msgspec.json.decode(stored.inside(level.cells).read_bytes(), type=tuple[AtlasCell, ...])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        why.append(f"What is in its cells is not known: {level.cells} is missing or broken.")
    book.series[series] = msgspec.to_builtins(cells)
    return {
        "side": level.side, "pixels": level.pixels, "tiles": tiles, "cells": series, "kept": level.kept,
        "drawn": level.drawn, "thin": level.thin, "thin_activations": level.thin_activations,
        "named": purer(level.figures), "why": " ".join(why),
    }  # fmt: skip


def purer(figures: Sequence[Beside]) -> bool:
    """Whether cells are surely purer in labels than by chance: else a cell's commonest label says nothing of it."""
    for figure in figures:
        low, highs = figure.shown.low, [quantity.high for _, quantity in figure.controls]
        if low is not None and highs and all(high is not None and low > high for high in highs):
            return True
    return False


def _fullest(book: Book, entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells of the coarsest zoom that hold most, for readers without script."""
    levels = entry["panes"][0]["levels"]
    cells = book.series[levels[0]["cells"]] if levels else ()
    return sorted(cells, key=lambda cell: -cell["n"])[:24]
