"""A run of `mulligan see` in prose: what was asked for, how labels did, what was left out, how to read its cards."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from ....records import FeatureCard, Quantity, Seen
from ....records.seeing import NO_LABEL
from ...pages import environment
from ...phrases import LIMITS, command_of
from ...stored import StoredDocument
from ...text import visible
from ..prose import Entry, Prose

_LABELS = "see-labels"
#: What figures of all units are drawn with: what was proposed, and the controls beside it.
_ROLES = {"labels proposed": "main"}
_NOTHING_KNOWN = {"overseer": None, "twins": None, "rate": None, "sent": {}}


def prose(stored: StoredDocument[Seen], pre: str) -> Prose:
    """What a run with cards says; `pre` begins each of its anchors."""
    labelled = stored.manifest.get("procedure") == _LABELS
    figures = stored.document.figures or {}
    told: dict[str, Any] = {
        "seen": stored.document, "cards": stored.document.cards, "command": command_of(stored.manifest),
        "shows": _shows(stored.document.cards), "labelled": labelled, "pre": pre, "no_label": NO_LABEL,
        "job": _NOTHING_KNOWN | (stored.manifest.get("labels") or {}),
        "medians": [(name, _ROLES.get(name, "control"), q) for name, q in figures.items() if _is_median(q)],
        "others": {name: q for name, q in figures.items() if not _is_median(q)},
        "limit": LIMITS | {"left_out": 200},
    }  # fmt: skip
    page = environment()
    name = "labels" if labelled else "seen"
    together = (Entry(href=f"#{pre}together", text="All units together"),) if labelled else ()
    return Prose(
        before=Markup(page.get_template(f"parts/{name}_before.html.j2").render(told)),
        after=Markup(page.get_template("parts/seen_after.html.j2").render(told)),
        contents_before=together,
        contents_after=(
            Entry(href=f"#{pre}left-out", text="Left out", count=len(stored.document.left_out)),
            Entry(href=f"#{pre}reproduce", text="How to reproduce"),
            Entry(href=f"#{pre}reading", text="How to read this"),
        ),
        title=f"{'Labels of' if labelled else 'Seeing'} {visible(stored.document.network.name, 200)}",
    )


def _is_median(quantity: Quantity) -> bool:
    return quantity.unit.startswith("AUC")


def _shows(cards: tuple[FeatureCard, ...]) -> dict[str, bool]:
    """Of what the page must explain how to read it."""
    sightings = [sighting for card in cards for sighting in (*card.top, *card.levels, *card.bottom)]
    return {
        "portraits": any(card.portraits for card in cards),
        "examples": bool(sightings),
        "regions": any(sighting.heat or sighting.crop for sighting in sightings),
        "classes": any(card.classes for card in cards),
        "labels": any(card.labels for card in cards),
    }
