"""The rest of an audit's numbers as tables: illusions, sites, the reliability of confidence, coverage."""

from __future__ import annotations

from ...phrases import other_figures
from ...reading import Stored
from ..book import Book, Column
from ..rows import Rows
from .showing import plain

_DOCUMENT = "description.json"
_ILLUSION = (
    Column("sentence", "Illusion"), Column("kind", "Kind"), Column("effect", "Effect", "quantity"),
    Column("placebo", "Placebo", "quantity"), Column("margin", "Margin", "quantity"),
)  # fmt: skip
_SITE = (
    Column("site", "Site"), Column("units", "Units", "number"), Column("n", "Examples", "number"),
    Column("dead", "Dead", "number"), Column("twin_dead", "Dead of the random twin", "number"),
    Column("saturated", "Saturated", "number"), Column("duplicates", "Pairs of duplicates", "number"),
    Column("selectivity", "Selectivity, the median", "quantity"), Column("twin", "The random twin's", "quantity"),
)  # fmt: skip
_DUPLICATE = (
    Column("site", "Site"), Column("first", "Unit", "number"), Column("second", "and unit", "number"),
    Column("correlation", "Correlation", "number"),
)  # fmt: skip
_BIN = (
    Column("low", "Confidence from", "number"), Column("high", "to", "number"), Column("n", "Answers", "number"),
    Column("confidence", "Mean confidence", "number"), Column("accuracy", "Share right", "quantity"),
)  # fmt: skip
_COVERAGE = (
    Column("what", "What"), Column("examined", "Examined", "number"), Column("total", "Of", "number"),
    Column("unit", "Unit"), Column("why", "Why not the rest"),
)  # fmt: skip
_FIGURE = (Column("name", "Figure"), Column("value", "Value", "quantity"))


def add_described(book: Book, stored: Stored, run: int) -> None:
    """Enter what the page's sections say and no card has."""
    description = stored.description
    rows = Rows(book, run, "illusions", "Illusions", _DOCUMENT, _ILLUSION)
    for number, one in enumerate(description.illusions):
        cells = [one.sentence, one.kind, plain(one.effect), plain(one.placebo), plain(one.margin)]
        rows.add(str(number), cells)
    rows.enter()
    sites = Rows(book, run, "sites", "Site by site", _DOCUMENT, _SITE)
    pairs = Rows(book, run, "duplicates", "Units that are nearly the same", _DOCUMENT, _DUPLICATE)
    for site in description.inventory:
        counts = [len(site.dead), site.twin_dead, len(site.saturated), len(site.duplicates)]
        sites.add(site.site, [site.site, site.units, site.n, *counts, plain(site.selectivity), plain(site.twin)])
        for first, second, correlation in site.duplicates:
            pairs.add(f"{site.site}:{first}:{second}", [site.site, first, second, correlation])
    sites.enter()
    pairs.enter()
    bins = Rows(book, run, "reliability", "Is its confidence to be trusted?", _DOCUMENT, _BIN)
    for one in description.behaviour.reliability if description.behaviour is not None else ():
        accuracy = plain(one.accuracy) if one.n else None
        bins.add(f"{one.low}", [one.low, one.high, one.n, one.confidence if one.n else None, accuracy])
    bins.enter()
    lines = Rows(book, run, "coverage", "Coverage", _DOCUMENT, _COVERAGE)
    for number, line in enumerate(description.coverage):
        lines.add(str(number), [line.what, line.examined, line.total, line.unit, line.why])
    lines.enter()
    others = Rows(book, run, "other-figures", "Other figures", _DOCUMENT, _FIGURE)
    for name, quantity in other_figures(description)[0].items():
        others.add(name, [name, plain(quantity)])
    others.enter()
