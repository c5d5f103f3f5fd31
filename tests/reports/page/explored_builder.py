"""Runs of atlases, maps and factors made by hand, and pages of them opened at an address."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from PIL import Image

from conftest_browser import settled

sys.path.insert(0, str(Path(__file__).parents[1]))

from reports_builder import amount, share
from test_reports_html import Tree, page_data

from mulligan.records import (
    FACTOR_COLOURS,
    FACTOR_HATCHES,
    Atlas,
    AtlasAgainst,
    AtlasCell,
    AtlasLevel,
    AtlasTile,
    Beside,
    ClassEffect,
    DataRecord,
    ElbowCurve,
    ExampleRef,
    FactorCard,
    Factored,
    FactoredPicture,
    FactorEffect,
    LeftOut,
    Maps,
    NetworkRecord,
    Portrait,
    Quantity,
    Sighting,
    SiteMap,
)
from mulligan.reports import write_html
from mulligan.runs import Run

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from conftest_browser import Opened

EVIL = "<script>alert(1)</script>\u202eevil"
NETWORK = NetworkRecord(name=EVIL, identity="sha256:0", parameters=1, classes=("a", "b"))
SECOND = NetworkRecord(name="second", identity="sha256:9", parameters=1, classes=("a", "b"))
DATA = DataRecord(source="data", identity="sha256:1", n=4)
FIGURE = Beside(
    name="neighbours kept",
    shown=Quantity(value=0.9, unit="trustworthiness", low=0.8, high=0.95, n=10),
    controls=(("random twin", Quantity(value=0.5, unit="trustworthiness", low=0.4, high=0.6, n=10)),),
)
SHARE = "share of the squared activation"


def written(run: Path) -> tuple[Tree, dict[str, Any], dict[str, list[Any]]]:
    """The page of a run: its elements, its index, and every series."""
    tree = Tree(Path(write_html(run)).read_text(encoding="utf-8"))
    return tree, *page_data(tree)


def at(opened: Opened, address: str) -> Page:
    """The page when the view behind an address is there."""
    page = opened.page
    page.wait_for_selector("html[data-mg-whole]")
    page.evaluate("address => { location.hash = address; }", address)
    page.wait_for_selector("mg-page > .stage h1")
    settled(page, 400)
    return page


def accessible(page: Page) -> list[str]:
    """What bars the way for assistive software."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:160]} ({len(one['nodes'])})" for one in found]


def tile(folder: Path, name: str, side: int = 128) -> None:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, "JPEG")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out.getvalue())


def level(folder: Path, place: str, side: int, labels: tuple[str, ...], *, drawn: int = 4) -> AtlasLevel:
    """One zoom: cells on the diagonal, the first the fullest, each pushing to "b"."""
    tile(folder, f"{place}/{side}/0-0.jpg")
    effect = Quantity(value=1.5, unit="logit", low=1.0, high=2.0, n=6)
    unsure = Quantity(value=0.1, unit="logit", low=-0.2, high=0.4, n=6)
    cells = [
        AtlasCell(
            row=k, column=k, n=9 - k, labels=((label, 5),), drawn=k < drawn,
            effects=(("b", Quantity(value=1.5 + k, unit="logit", low=1.0, high=3.0 + k, n=6) if k else effect),
                     ("a", unsure)),
        )
        for k, label in enumerate(labels)
    ]  # fmt: skip
    (folder / place / f"{side}.json").write_bytes(msgspec.json.encode(cells))
    return AtlasLevel(
        side=side, pixels=16, cells=f"{place}/{side}.json", kept=len(cells), drawn=drawn, thin=2, thin_activations=3,
        tiles=(AtlasTile(row=0, column=0, rows=side, columns=side, image=f"{place}/{side}/0-0.jpg"),),
        figures=(FIGURE,),
    )  # fmt: skip


def an_atlas(folder: Path, sides: tuple[int, ...] = (8, 16), *, second: bool = False, **more: Any) -> Path:
    """A run of `mulligan see atlas`; with `second`, of two networks on one layout."""
    run = Run.create("see", ["see", "atlas", "x"], {}, out=folder)
    labels = (EVIL, "label 1", "label 2", "label 3")
    against = None
    if second:
        levels = tuple(level(folder, "atlas/against", side, labels[1:]) for side in sides)
        against = AtlasAgainst(
            network=SECOND, site="blocks.1", activations=20, map="ridge", pairs="the same places", explained=FIGURE,
            outside=0, levels=levels, figures=(FIGURE,),
        )  # fmt: skip
    asked: dict[str, Any] = {
        "network": NETWORK, "data": DATA, "site": "blocks.1", "meaning": "what comes out", "units": 3, "pictures": 4,
        "draws": 2, "repeated": 0, "activations": 30, "fitted": 30, "components": 3, "explained": 1.0, "outside": 1,
        "fewest": 3, "shrinkage": 0.1, "levels": tuple(level(folder, "atlas", side, labels) for side in sides),
        "figures": (FIGURE,), "against": against,
    }  # fmt: skip
    run.write_json("atlas.json", Atlas(**(asked | more)))
    run.update(status="finished")
    return folder


def some_maps(folder: Path, n: int = 5, **more: Any) -> Path:
    """A run of `mulligan see maps`: two layers, examples along a line."""
    run = Run.create("see", ["see", "maps", "x"], {}, out=folder)
    (folder / "artifacts").mkdir(exist_ok=True)
    Image.new("RGB", (32, 32), (90, 120, 40)).save(folder / "artifacts/0.png")
    examples = tuple(
        ExampleRef(
            id=f"{k:016x}", label=EVIL if k == 0 else f"label {k}", answer="b", image="artifacts/0.png" if k else None
        )
        for k in range(n)
    )
    maps = tuple(
        SiteMap(
            site=f"blocks.{layer}", meaning="what comes out", units=3, figures=(FIGURE,),
            points=tuple(((k + 0.5) / n, 0.25 + 0.5 * layer) for k in range(n)),
        )
        for layer in range(2)
    )  # fmt: skip
    asked: dict[str, Any] = {
        "network": NETWORK, "data": DATA, "laid_out": n, "examples": examples, "groups": ("one", "two"),
        "group_of": tuple(k % 2 if k < n - 1 else -1 for k in range(n)), "maps": maps,
    }  # fmt: skip
    run.write_json("maps.json", Maps(**(asked | more)))
    run.update(status="finished")
    return folder


def effect(value: float, *, confirmed: bool | None) -> FactorEffect:
    taken = amount(-value, 0.2, "change of the logit", 24)
    control = amount(0.02, 0.1, "change of the logit", 24)
    given = amount(value, 0.2, "logits, by integrated gradients from zero", 24)
    return FactorEffect(output="tabby", attribution=given, taken_out=taken, control=control, confirmed=confirmed)


def example(number: int) -> ExampleRef:
    image = f"artifacts/{number}.png"
    return ExampleRef(id=f"id{number}", label="tabby", answer="tiger", activation=3.2, image=image)


def card(k: int) -> FactorCard:
    portrait = Portrait(
        objective=f"blocks.5@factors-12345678:{k}", image="artifacts/0.png", reached=4.0 - k, steps=64, best=3.5,
        best_example="id1", examples=100, twin=0.5, twin_best=0.75,
        marks=("fires less than real examples",) if k else (),
    )  # fmt: skip
    return FactorCard(
        number=k + 1, colour=FACTOR_COLOURS[k], hatch=FACTOR_HATCHES[k % 6], feature=f"blocks.5@factors-12345678:{k}",
        share=share(0.4 - 0.05 * k, unit=SHARE), twin=share(0.3, unit=SHARE) if k else None,
        shuffled=share(0.2, unit=SHARE), size=amount(1.5, 0.1, "length of its part of the activation"), largest=7.5,
        units=((12, 0.8), (3, -0.2)), portrait=portrait if k < 2 else None,
        strongest=(Sighting(example=example(1), peak=(2, 3), heat="artifacts/2.png"),),
        effect=effect(1.2 - k, confirmed=k == 0), here=effect(0.9, confirmed=None) if k == 0 else None,
        classes=(ClassEffect(name="lynx", change=amount(-1.0, 0.3, "change of the logit", 6), control=share(0.1)),),
    )  # fmt: skip


def factored(count: int = 3, **more: Any) -> Factored:
    asked: dict[str, Any] = {
        "mulligan": "0.1", "created": "2026-01-01", "seconds": 12.3,
        "network": NetworkRecord(name="net", identity="sha256:ab", parameters=10, classes=("tabby", "tiger", "lynx")),
        "data": DataRecord(source="photographs", identity="sha256:cd", n=500), "site": "blocks.5",
        "meaning": "the block's output", "grid": (7, 7), "kind": "nmf", "negatives": "two-sided", "activations": 3000,
        "examples": 100, "scanned": 400, "explained": share(0.8, unit=SHARE), "twin": share(0.7, unit=SHARE),
        "shuffled": share(0.3, unit=SHARE),
        "elbow": ElbowCurve(counts=(1, 2, 3, 4), explained=(0.3, 0.6, 0.75, 0.78), suggested=3), "output": "tabby",
        "cards": tuple(card(k) for k in range(count)),
        "pictures": (
            FactoredPicture(
                example=example(1), overlay="artifacts/2.png", shares=(0.5, 0.2, 0.001, 0.299),
                alone=("artifacts/1.png", "artifacts/2.png", "artifacts/0.png"),
            ),
            FactoredPicture(example=example(2), overlay="artifacts/1.png", shares=(0.1, 0.2, 0.3, 0.4)),
        ),
        "dictionary": "dictionaries/factors-12345678.safetensors",
        "left_out": (LeftOut(what="the picture of factor 3", why="its gradient is NaN"),),
        "notes": ("3 units are zero at every place.",),
    }  # fmt: skip
    return Factored(**(asked | more))


def some_factors(folder: Path, document: Factored | None = None) -> Path:
    """A run of `mulligan see factors`."""
    run = Run.create("see", ["see", "factors", "net", "blocks.5"], {}, out=folder)
    for k in range(3):
        with run.replacing(f"artifacts/{k}.png") as part:
            Image.new("RGB", (96, 96), (40 * k, 90, 120)).save(part, "PNG")
    run.write_json("factors.json", document or factored())
    run.update(status="finished")
    return folder
