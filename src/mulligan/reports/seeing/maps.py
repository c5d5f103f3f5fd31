"""RUN/report.html of maps: one small map a layer, in which one example can be followed without script."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...records import ExampleRef, Maps, SiteMap
from ...records.atlas import MAPS_SCHEMA
from ...runs import Run
from ..pages import environment
from ..phrases import captions, command_of
from ..pictures import Pictures
from ..reading import decode, inside, references
from ..remote import copied, is_remote
from ..writing import write_atomically
from .atlas import rows

SHAPES = 12  # drawn by the template; a group's number says which it has


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMaps:
    """A run of `mulligan see maps` as read from its folder."""

    folder: Path
    maps: Maps
    manifest: dict[str, Any]

    def inside(self, relative: str) -> Path:
        """The path of a file that the run refers to. Raises BadInput if it would leave the run's folder."""
        return inside(self.folder, relative)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One example in one map: where it is, in per cent of the map."""

    number: int
    x: float
    y: float
    group: int
    example: ExampleRef


def read_maps(path: Path | str) -> StoredMaps:
    """Read the maps of a run.

    Raises:
        BadInput: if the folder or a file is missing, broken or of a newer Mulligan, or a path in it leads out of it.
    """
    folder = Path(path)
    maps = decode(folder / "maps.json", Maps, MAPS_SCHEMA)
    for reference in sorted(set(references(maps))):
        inside(folder, reference)
    return StoredMaps(folder=folder, maps=maps, manifest=decode(folder / "manifest.json", dict[str, Any], None))


def write_maps_page(run: Path | str) -> Path | str:
    """Render the maps of a run as RUN/report.html; returns its path, or its URL if the run lies elsewhere.

    Raises:
        BadInput: if the run cannot be read, or its folder cannot be written to.
    """
    if not is_remote(run):
        stored = read_maps(run)
        return write_atomically(stored.folder / "report.html", render_maps(stored))
    opened = Run.open(run)
    with copied(opened) as folder:
        opened.write_bytes("report.html", render_maps(read_maps(folder)).encode("utf-8"))
    return opened.store.where("report.html")


def render_maps(stored: StoredMaps) -> str:
    """The page of a run that was read."""
    return (
        environment()
        .get_template("seeing/maps.html.j2")
        .render(
            maps=stored.maps,
            points=lambda site: points(stored.maps, site),
            pictures=Pictures(stored),
            captions=captions,
            rows=rows,
            shapes=SHAPES,
            command=command_of(stored.manifest),
        )
    )


def points(maps: Maps, site: SiteMap) -> list[Point]:
    """What one map draws."""
    return [
        Point(number=number, x=2 + 96 * x, y=2 + 96 * y, group=group, example=example)
        for number, ((x, y), group, example) in enumerate(zip(site.points, maps.group_of, maps.examples, strict=True))
    ]
