"""Runs of `mulligan see` as pages, without torch."""

from __future__ import annotations

import importlib
from pathlib import Path

from ...runs import Run

#: What a run holds, and what renders it. Of runs with cards, those that named units have a page of their own.
_PAGES = {
    "atlas.json": "atlas:write_atlas_page",
    "maps.json": "maps:write_maps_page",
    "factors.json": "factors:write_factors",
    "seen.json": "cards:write_cards",
}
_LABELS = "labels:write_labels_page"


def write_page(run: Path | str) -> Path | str | None:
    """Render a finished run of `mulligan see` as RUN/report.html; says where it is, or None if it is another run.

    Raises:
        BadInput: if the run cannot be read, or its folder cannot be written to.
    """
    opened = Run.open(run)
    found = next((page for document, page in _PAGES.items() if opened.has(document)), None)
    if found is None:
        return None
    module, _, name = (_LABELS if opened.manifest.get("procedure") == "see-labels" else found).partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)(run)
