"""RUN/report.html of an atlas: one page with its zooms, which are switched without script, and pages of finer ones."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from PIL import Image

from ...records import Atlas, AtlasCell, AtlasLevel, BadInput, Beside, Quantity
from ...records.atlas import ATLAS_SCHEMA
from ...runs import Run, check_schema
from ..pages import environment
from ..phrases import command_of

PAGE_BYTES = 12_000_000  # of pictures in one page
_TIPS = 4200  # cells of one page that say what is in them when they are pointed at
_NAMES = 26  # names that are written on a map
_LISTED = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One tile in the page; all in per cent of the plane."""

    uri: str
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A name that is written on the map, at its middle, in per cent of the plane."""

    text: str
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Zoom:
    """One zoom as the page shows it. `page`: it is on a page of its own; `why`: it is not shown, in words."""

    key: str
    level: AtlasLevel
    tiles: tuple[Tile, ...] = ()
    cells: tuple[AtlasCell, ...] = ()
    words: tuple[Word, ...] = ()
    tips: bool = True
    page: str | None = None
    why: str = ""

    @property
    def fullest(self) -> tuple[AtlasCell, ...]:
        """The cells that are listed in words."""
        return self.cells[:_LISTED]


def write_atlas_page(run: Run | Path | str) -> str:
    """Render RUN/report.html, and RUN/zoom-SIDE.html for each zoom that the page has no room for; says where it is.

    Raises:
        BadInput: if the run cannot be read, or its folder cannot be written to.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    check_schema(opened.read_json("atlas.json"), ATLAS_SCHEMA, opened.store.where("atlas.json"))
    atlas: Atlas = opened.read_json("atlas.json", Atlas)
    first, room = _zooms(opened, atlas, atlas.levels, "a", PAGE_BYTES)
    second: list[Zoom] = []
    if atlas.against is not None:
        second, room = _zooms(opened, atlas, atlas.against.levels, "b", room)
    text = (
        environment()
        .get_template("seeing/atlas.html.j2")
        .render(atlas=atlas, zooms=first, others=second, rows=rows, command=command_of(opened.manifest))
    )
    opened.write_bytes("report.html", text.encode("utf-8"))
    return str(opened.store.where("report.html"))


def rows(figures: Sequence[Beside]) -> list[tuple[str, str, Quantity | None]]:
    """Figures as a chart takes them: what is shown, then its controls."""
    found: list[tuple[str, str, Quantity | None]] = []
    for figure in figures:
        found.append((figure.name, "main", figure.shown))
        found += [(name, "control", quantity) for name, quantity in figure.controls]
    return found


def _zooms(run: Run, atlas: Atlas, levels: Sequence[AtlasLevel], key: str, room: int) -> tuple[list[Zoom], int]:
    found: list[Zoom] = []
    for level in levels:
        name = f"{key}{level.side}"
        try:
            pictures = [run.read_bytes(tile.image) for tile in level.tiles]
        except FileNotFoundError:
            found.append(Zoom(key=name, level=level, why="its tiles are missing from the run's folder"))
            continue
        total = sum(map(len, pictures))
        if total > PAGE_BYTES:
            found.append(Zoom(key=name, level=level, why="it is too large for a page; its tiles are in the folder"))
            continue
        zoom = _zoom(run, level, pictures, name)
        if total <= room:
            room -= total
            found.append(zoom)
        else:
            page = f"zoom-{name}.html"
            text = environment().get_template("seeing/zoom.html.j2").render(atlas=atlas, zoom=zoom)
            run.write_bytes(page, text.encode("utf-8"))
            found.append(Zoom(key=name, level=level, page=page))
    return found, room


def _zoom(run: Run, level: AtlasLevel, pictures: Sequence[bytes], key: str) -> Zoom:
    cells = msgspec.json.decode(run.read_bytes(level.cells), type=tuple[AtlasCell, ...])
    tiles = tuple(
        Tile(
            uri=_uri(picture, tile.image), left=100 * tile.column / level.side, top=100 * tile.row / level.side,
            width=100 * tile.columns / level.side, height=100 * tile.rows / level.side,
        )
        for tile, picture in zip(level.tiles, pictures, strict=True)
    )  # fmt: skip
    written = tuple(words(cells, level.side)) if purer(level) else ()
    return Zoom(key=key, level=level, tiles=tiles, cells=cells, words=written, tips=len(cells) <= _TIPS)


def purer(level: AtlasLevel) -> bool:
    """Whether cells are surely purer in labels than by chance: else a cell's commonest label says nothing of it."""
    for figure in level.figures:
        low, highs = figure.shown.low, [quantity.high for _, quantity in figure.controls]
        if low is not None and highs and all(high is not None and low > high for high in highs):
            return True
    return False


def words(cells: Sequence[AtlasCell], side: int) -> list[Word]:
    """Names on the map: each label where most of its activations lie together, as far as names do not overlap."""
    claims = sorted(
        ((n, cell.row, cell.column, label) for cell in cells for label, n in cell.labels[:1]),
        key=lambda claim: (-claim[0], claim[1], claim[2]),
    )
    found: list[Word] = []
    said: set[str] = set()
    for _, row, column, label in claims:
        x, y = 100 * (column + 0.5) / side, 100 * (row + 0.5) / side
        wide = 1.1 * min(len(label), 18) + 2
        x = min(max(x, wide / 2), 100 - wide / 2)
        if label in said or len(found) >= _NAMES:
            continue
        if any(abs(w.y - y) < 3.6 and abs(w.x - x) < (wide + 1.1 * min(len(w.text), 18) + 2) / 2 for w in found):
            continue
        said.add(label)
        found.append(Word(text=label, x=x, y=y))
    return found


def _uri(data: bytes, name: str) -> str:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:  # nothing else goes into a page
            picture.verify()
    except (OSError, ValueError, SyntaxError) as error:
        raise BadInput("a tile of the atlas cannot be read", where=name, fix="run the command with --resume") from error
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"
