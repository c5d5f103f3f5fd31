"""A run of `mulligan see maps` into a book: the same examples as points at one layer after another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ....records import BadInput, Maps
from ....records.atlas import MAPS_SCHEMA
from ...charts import beside_rows
from ...pages import environment
from ...phrases import LIMITS, command_of
from ...stored import StoredDocument, read_document
from ..addresses import to
from ..book import Book
from ..prose import Entry, Prose
from .figures import Figures

MAPS = "maps.json"
#: A coordinate in a page is a whole number up to this: finer than any screen, and short to write.
FINEST = 65535
#: Points in one item of a series, so that a chunk holds one or two.
BLOCK = 4096


def read_maps(path: Path | str) -> StoredDocument[Maps]:
    """Read the maps of a run.

    Raises:
        BadInput: if the folder or a file is missing, broken or of a newer Mulligan, a path in it leads out of it, or
            there is not one point and one group for each example.
    """
    stored = read_document(path, MAPS, Maps, MAPS_SCHEMA, command="mulligan see maps")
    maps = stored.document
    counts = {len(maps.group_of), *(len(site.points) for site in maps.maps)}
    if counts - {len(maps.examples)}:
        raise BadInput(
            f"these maps have {len(maps.examples)} examples, and points or groups for {max(counts)}",
            where=stored.folder / MAPS, fix="run `mulligan see maps` again",
        )  # fmt: skip
    return stored


def add(book: Book, folder: Path, pre: str) -> Prose:
    """Put maps into a book, and say how they were made in prose.

    Raises:
        BadInput: if the run cannot be read.
    """
    stored = read_maps(folder)
    maps = stored.document
    network = book.network(maps.network)
    run = book.run(
        folder, {"procedure": "see"} | stored.manifest, network, created=maps.created,
        command=command_of(stored.manifest), problems=[stored.unfinished] if stored.unfinished else [],
    )  # fmt: skip
    name = f"m{len(book.maps)}"
    figures = Figures(book, run, MAPS)
    book.maps.append({
        "id": name, "title": f"Maps of {maps.network.name}", "run": run, "network": network, "n": len(maps.examples),
        "laid_out": maps.laid_out, "groups": maps.groups,
        "sites": [
            {"site": site.site, "meaning": site.meaning, "units": site.units,
             "figures": figures.add(site.figures, site.site)}
            for site in maps.maps
        ],
    })  # fmt: skip
    figures.enter()
    groups = [group if 0 <= group < len(maps.groups) else -1 for group in maps.group_of]
    book.series[f"map:{name}:groups"] = _blocks(groups)
    for k, site in enumerate(maps.maps):
        book.site(network, site.site, meaning=site.meaning, units=site.units)
        book.series[f"map:{name}:{k}"] = _blocks([_whole(value) for point in site.points for value in point], 2)
    book.series[f"map:{name}:examples"] = [book.placed(example, stored) for example in maps.examples]
    return _prose(stored, pre, name, to("table", figures.table))


def _prose(stored: StoredDocument[Maps], pre: str, name: str, source: str) -> Prose:
    maps = stored.document
    told: dict[str, Any] = {
        "maps": maps, "id": name, "rows": beside_rows, "source": source, "command": command_of(stored.manifest),
        "unfinished": stored.unfinished, "pre": pre, "limit": LIMITS | {"left_out": 30},
    }  # fmt: skip
    page = environment()
    return Prose(
        before=Markup(page.get_template("parts/maps_before.html.j2").render(told)),
        after=Markup(page.get_template("parts/maps_after.html.j2").render(told)),
        contents_before=(
            Entry(href=f"#{pre}maps", text="The maps"),
            Entry(href=f"#{pre}maps-figures", text="How far to trust them"),
        ),
        contents_after=(Entry(href=f"#{pre}maps-method", text="How they were made"),),
        title=f"Maps of {maps.network.name}",
    )


def _blocks(values: Sequence[int], each: int = 1) -> list[Sequence[int]]:
    """A flat list in items of BLOCK points, `each` numbers to a point."""
    return [values[at : at + BLOCK * each] for at in range(0, len(values), BLOCK * each)]


def _whole(value: float) -> int:
    """A coordinate from 0 to 1 as a whole number; what is no such number lies on the border."""
    return round(FINEST * min(max(value, 0.0), 1.0)) if not math.isnan(value) else 0
