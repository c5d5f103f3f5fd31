"""A run of `mulligan see factors` into a book: a handful of parts, what each is, where, how strong and what for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup

from ....records import FACTOR_HATCHES, FactorCard, Factored, FactoredPicture
from ....records.factors import SCHEMA
from ...pages import environment
from ...phrases import LIMITS, command_of
from ...stored import StoredDocument, read_document
from ..addresses import to
from ..book import Book, Column
from ..prose import Entry, Prose
from ..rows import Rows
from .showing import plain

FACTORS = "factors.json"
_FACTOR = (
    Column("number", "Factor"), Column("share", "Share", "quantity"), Column("twin", "On a random twin", "quantity"),
    Column("shuffled", "Of shuffled units", "quantity"), Column("size", "Size", "quantity"),
    Column("attribution", "Gives to the logit", "quantity"), Column("taken_out", "Taken out", "quantity"),
    Column("control", "As much of a shuffled direction", "quantity"),
)  # fmt: skip
_CLASS = (
    Column("number", "Factor"), Column("name", "Class"), Column("change", "Its logit, factor taken out", "quantity"),
    Column("control", "Shuffled direction", "quantity"),
)  # fmt: skip
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_PLAIN = "#808080"


def read_factors(path: Path | str) -> StoredDocument[Factored]:
    """Read the factors of a run.

    Raises:
        BadInput: if the folder or a file is missing, broken or of a newer Mulligan, or a path in it leads out of it.
    """
    stored = read_document(path, FACTORS, Factored, SCHEMA, command="mulligan see factors")
    for picture in stored.document.pictures:
        for name in (picture.overlay, *picture.alone):
            stored.inside(name)
    return stored


def add(book: Book, folder: Path, pre: str) -> Prose:
    """Put factors into a book, and say how they were made in prose.

    Raises:
        BadInput: if the run cannot be read.
    """
    stored = read_factors(folder)
    factored = stored.document
    network = book.network(factored.network)
    run = book.run(
        folder, {"procedure": "see"} | stored.manifest, network, created=factored.created,
        command=command_of(stored.manifest), problems=[stored.unfinished] if stored.unfinished else [],
    )  # fmt: skip
    book.site(network, factored.site, meaning=factored.meaning)
    name = f"f{len(book.factors)}"
    rows = Rows(book, run, "factors", f"Factors of {factored.site}", FACTORS, _FACTOR)
    classes = Rows(book, run, "speaks", "Classes that factors speak for", FACTORS, _CLASS)
    of_all = map(plain, (factored.explained, factored.twin, factored.shuffled))
    together = rows.add("all", ["all", *of_all, None, None, None, None])
    cards = [_card(book, stored, card, rows, classes) for card in factored.cards]
    rows.enter()
    classes.enter()
    book.factors.append({
        "id": name, "title": f"Factors of {factored.network.name}, {factored.site}", "run": run, "network": network,
        "site": factored.site, "kind": factored.kind, "output": factored.output, "of_one": factored.of_one,
        "explained": plain(factored.explained), "twin": plain(factored.twin), "shuffled": plain(factored.shuffled),
        "table": together,
        "elbow": None if factored.elbow is None else msgspec.to_builtins(factored.elbow),
        "factors": [{key: card[key] for key in ("number", "colour", "hatch")} for card in cards],
    })  # fmt: skip
    book.series[f"factors:{name}:cards"] = cards
    book.series[f"factors:{name}:pictures"] = [_picture(book, stored, picture) for picture in factored.pictures]
    return _prose(stored, pre, name, to("table", rows.id))


def _card(
    book: Book, stored: StoredDocument[Factored], card: FactorCard, rows: Rows, classes: Rows
) -> dict[str, Any]:
    """A card as the page holds it; what is no colour or hatching of ours is plain, whatever the file says."""
    effect = card.effect
    table = rows.add(str(card.number), [
        str(card.number), plain(card.share), plain(card.twin), plain(card.shuffled), plain(card.size),
        *(map(plain, (effect.attribution, effect.taken_out, effect.control)) if effect else (None, None, None)),
    ])  # fmt: skip
    speaks = [
        classes.add(f"{card.number}: {one.name}", [str(card.number), one.name, plain(one.change), plain(one.control)])
        for one in card.classes
    ]
    placed = book.placed(card, stored)
    return placed | {
        "colour": card.colour if _COLOUR.fullmatch(card.colour) else _PLAIN,
        "hatch": card.hatch if card.hatch in FACTOR_HATCHES else "level",
        "classes": [one | {"table": row} for one, row in zip(placed["classes"], speaks, strict=True)],
        "table": table,
    }


def _picture(book: Book, stored: StoredDocument[Factored], picture: FactoredPicture) -> dict[str, Any]:
    alone = [book.pictures.number(stored, path) for path in picture.alone]
    return book.placed(picture, stored) | {"alone": alone}


def _prose(stored: StoredDocument[Factored], pre: str, name: str, source: str) -> Prose:
    factored = stored.document
    told: dict[str, Any] = {
        "f": factored, "id": name, "source": source, "command": command_of(stored.manifest),
        "unfinished": stored.unfinished, "pre": pre, "limit": LIMITS | {"left_out": 60},
        "together": [
            ("All factors", "main", factored.explained),
            ("On a random twin", "control", factored.twin),
            ("Of shuffled units", "baseline", factored.shuffled),
        ],
    }  # fmt: skip
    page = environment()
    return Prose(
        before=Markup(page.get_template("parts/factors_before.html.j2").render(told)),
        after=Markup(page.get_template("parts/factors_after.html.j2").render(told)),
        contents_before=(Entry(href=f"#{pre}factors", text="The factors", count=len(factored.cards)),),
        contents_after=(
            Entry(href=f"#{pre}factors-left-out", text="Left out", count=len(factored.left_out)),
            Entry(href=f"#{pre}factors-method", text="How to reproduce"),
            Entry(href=f"#{pre}factors-reading", text="How to read this"),
        ),
        title=f"Factors of {factored.site} in {factored.network.name}",
    )
