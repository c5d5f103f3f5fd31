"""How a page carries its data: in inert script tags of its own, or from a server."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from .page.packing import Packed


@cache
def bundle() -> str:
    """The elements' code, built from `web/`."""
    return files("mulligan.reports").joinpath("assets/mulligan.js").read_text(encoding="utf-8")


@cache
def _hash() -> str:
    return base64.b64encode(hashlib.sha256(bundle().encode("utf-8")).digest()).decode("ascii")


def policy(*, served: bool = False) -> str:
    """The page's content security policy: nothing is fetched, and no script runs but the bundle.

    Style attributes carry positions and shades. A served page may ask its own server.
    """
    connect = " connect-src 'self';" if served else ""
    return (
        f"default-src 'none'; script-src 'sha256-{_hash()}';{connect} img-src data:; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(packed: Packed) -> Markup:
    """Index, code and chunks as script tags, in the order in which a browser should meet them."""
    return Markup("\n").join(_tags(packed))


def served() -> Markup:
    """The code alone; `<mg-page base="...">` asks its server for the rest."""
    return Markup("<script>") + Markup(bundle()) + Markup("</script>")


def _tags(packed: Packed) -> Iterator[Markup]:
    # Written as an escape, which JSON allows within strings (the only place where it has it), "<" cannot end the tag.
    index = packed.index.decode("utf-8").replace("<", "\\u003c")
    yield Markup(f'<script type="application/json" id="mg-index">{index}</script>')
    yield served()
    for number, chunk in enumerate(packed.chunks):
        text = base64.b64encode(chunk).decode("ascii")
        yield Markup(f'<script type="text/plain" id="mg-c{number}">{text}</script>')
