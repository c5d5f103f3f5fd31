"""The page of factors: everything that was stored is shown beside its control, and nothing in it can do harm."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from reports_builder import amount, share

from mulligan.records import (
    FACTOR_COLOURS,
    FACTOR_HATCHES,
    BadInput,
    ClassEffect,
    DataRecord,
    ElbowCurve,
    ExampleRef,
    FactorCard,
    Factored,
    FactoredPicture,
    FactorEffect,
    LeftOut,
    NetworkRecord,
    Portrait,
    Quantity,
    Sighting,
)
from mulligan.reports.seeing.factors import curve, read_factors, swatch, write_factors
from mulligan.runs import Run

if TYPE_CHECKING:
    from conftest_browser import Opener

SHARE = "share of the squared activation"


def effect(value: float, *, confirmed: bool | None) -> FactorEffect:
    taken = amount(-value, 0.2, "change of the logit", 24)
    control = amount(0.02, 0.1, "change of the logit", 24)
    given = amount(value, 0.2, "logits, by integrated gradients from zero", 24)
    return FactorEffect(output="tabby", attribution=given, taken_out=taken, control=control, confirmed=confirmed)


def example(number: int) -> ExampleRef:
    image = f"artifacts/{number}.png"
    return ExampleRef(id=f"id{number}", label="tabby", answer="tiger", activation=3.2, image=image)


def card(k: int) -> FactorCard:
    return FactorCard(
        number=k + 1,
        colour=FACTOR_COLOURS[k],
        hatch=FACTOR_HATCHES[k % 6],
        feature=f"blocks.5@factors-12345678:{k}",
        share=share(0.4 - 0.05 * k, unit=SHARE),
        twin=share(0.3, unit=SHARE) if k else None,
        shuffled=share(0.2, unit=SHARE),
        size=amount(1.5, 0.1, "length of its part of the activation, mean over places"),
        largest=7.5,
        units=((12, 0.8), (3, -0.2)),
        portrait=Portrait(
            objective=f"blocks.5@factors-12345678:{k}",
            image="artifacts/0.png",
            reached=4.0 - k,
            steps=64,
            best=3.5,
            best_example="id1",
            examples=100,
            twin=0.5,
            twin_best=0.75,
            marks=("fires less than real examples",) if k else (),
        )
        if k < 2
        else None,
        strongest=(Sighting(example=example(1), peak=(2, 3), heat="artifacts/2.png"),),
        effect=effect(1.2 - k, confirmed=k == 0),
        here=effect(0.9, confirmed=None) if k == 0 else None,
        classes=(ClassEffect(name="lynx", change=amount(-1.0, 0.3, "change of the logit", 6), control=share(0.1)),),
    )


def factored(count: int = 3, **more) -> Factored:
    asked = {
        "mulligan": "0.1",
        "created": "2026-01-01",
        "seconds": 12.3,
        "network": NetworkRecord(name="net", identity="sha256:ab", parameters=10, classes=("tabby", "tiger", "lynx")),
        "data": DataRecord(source="photographs", identity="sha256:cd", n=500),
        "site": "blocks.5",
        "meaning": "the block's output",
        "grid": (7, 7),
        "kind": "nmf",
        "negatives": "two-sided",
        "activations": 3000,
        "examples": 100,
        "scanned": 400,
        "explained": share(0.8, unit=SHARE),
        "twin": share(0.7, unit=SHARE),
        "shuffled": share(0.3, unit=SHARE),
        "elbow": ElbowCurve(counts=(1, 2, 3, 4), explained=(0.3, 0.6, 0.75, 0.78), suggested=3),
        "output": "tabby",
        "cards": tuple(card(k) for k in range(count)),
        "pictures": (
            FactoredPicture(
                example=example(1),
                overlay="artifacts/2.png",
                shares=(0.5, 0.2, 0.001, 0.299),
                alone=("artifacts/1.png", "artifacts/2.png", "artifacts/0.png"),
            ),
            FactoredPicture(example=example(2), overlay="artifacts/1.png", shares=(0.1, 0.2, 0.3, 0.4)),
        ),
        "dictionary": "dictionaries/factors-12345678.safetensors",
        "left_out": (LeftOut(what="the picture of factor 3", why="its gradient is NaN"),),
        "notes": ("3 units are zero at every place.",),
    }
    return Factored(**(asked | more))


def stored(folder: Path, document: Factored | None = None) -> Path:
    run = Run.create("see", ["see", "factors", "net", "blocks.5"], {}, out=folder)
    for k in range(3):
        with run.replacing(f"artifacts/{k}.png") as part:
            Image.new("RGB", (96, 96), (40 * k, 90, 120)).save(part, "PNG")
    run.write_json("factors.json", document or factored())
    return folder


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.partition("<body>")[2]))


def test_everything_is_said(tmp_path: Path) -> None:
    page = Path(write_factors(stored(tmp_path / "run"))).read_text(encoding="utf-8")
    text = words(page)
    for said in (
        "blocks.5 in 3 parts", "The block&#39;s output.", "both signs of each unit",
        "400 of 500 examples looked through", "7 x 7 places", "tabby", "confirmed", "not confirmed",
        "12 (0.8), 3 (−0.2)",
        "fires less than real examples",
        "lynx", "rest 30 %", "its gradient is NaN", "3 units are zero at every place.", "bends most at 3",
        "mulligan see factors net blocks.5", "dictionaries/factors-12345678.safetensors", "No picture was made.",
        "Not measured: same rank, random twin.", "On this picture",
    ):  # fmt: skip
        assert said in text, said
    assert page.count("<article") == 3
    # A part of a thousandth is not in the legend of the picture: its colour is nowhere to be seen.
    assert text.index("50 %") < text.index("rest 30 %")
    assert "0 %" not in re.findall(r"rest|\b\d+ %", text)[:4]


def test_of_components_other_words_are_said(tmp_path: Path) -> None:
    document = factored(kind="pca", negatives="none", elbow=ElbowCurve(counts=(1, 2, 3), explained=(0.1, 0.2, 0.3)))
    text = words(Path(write_factors(stored(tmp_path / "run", document))).read_text(encoding="utf-8"))
    assert "principal components" in text
    assert "about their mean" in text
    assert "The curve has no bend" in text
    assert "never below zero" not in text


def test_little_is_shown_without_breaking(tmp_path: Path) -> None:
    bare = FactorCard(number=1, colour=FACTOR_COLOURS[0], hatch="level", feature="a@b:0", share=share(0.5))
    document = factored(cards=(bare,), pictures=(), elbow=None, left_out=(), notes=(), twin=None, shuffled=None)
    text = words(Path(write_factors(stored(tmp_path / "run", document))).read_text(encoding="utf-8"))
    assert "not measured" in text
    assert "Nothing that was asked for was left out." in text


@pytest.mark.parametrize("colour", ["red", "#12345", "#e69f00;background:url(//x)", ""])
def test_no_colour_of_a_stranger_gets_in(colour: str) -> None:
    odd = dataclasses.replace(card(0), colour=colour, hatch="x onload=1")
    assert (swatch(odd).colour, swatch(odd).hatch) == ("#808080", "level")
    assert swatch(card(1)).colour == FACTOR_COLOURS[1]


def test_hostile_text_is_only_text(tmp_path: Path) -> None:
    evil = '<script>owned()</script>"\u202e'
    document = factored(site=evil, output=evil, notes=(evil,), left_out=(LeftOut(what=evil, why=evil),))
    page = Path(write_factors(stored(tmp_path / "run", document))).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "\u202e" not in page


def test_paths_that_lead_out_and_files_that_are_not_ours(tmp_path: Path) -> None:
    out = dataclasses.replace(card(0), portrait=dataclasses.replace(card(0).portrait, image="../../secret.png"))
    with pytest.raises(BadInput, match="leads out of the run's folder"):
        read_factors(stored(tmp_path / "a", factored(cards=(out,))))
    folder = stored(tmp_path / "b")
    document = json.loads((folder / "factors.json").read_text())
    (folder / "factors.json").write_text(json.dumps(document | {"schema": "mulligan/factors/9"}))
    with pytest.raises(BadInput, match="too old to read it"):
        read_factors(folder)
    (folder / "factors.json").unlink()
    with pytest.raises(BadInput, match=r"has no factors\.json"):
        read_factors(folder)
    with pytest.raises(BadInput, match="no run's folder"):
        read_factors(tmp_path / "nowhere")


def test_the_curve_stays_in_its_box() -> None:
    drawn = curve(ElbowCurve(counts=(1, 2, 3), explained=(-0.2, 0.5, 1.4), suggested=2))
    assert all(34 <= x <= 300 and 0 <= y <= 92 for x, y, _, _ in drawn.points)
    assert [n for _, _, n, _ in drawn.points] == [1, 2, 3]
    assert curve(ElbowCurve(counts=(1,), explained=(0.0,))).points[0][0] == 34
    assert curve(ElbowCurve(counts=(), explained=())).points == ()


def test_quantities_keep_their_intervals(tmp_path: Path) -> None:
    bare = dataclasses.replace(card(0), size=Quantity(value=2.0, unit="length", n=1))
    text = words(Path(write_factors(stored(tmp_path / "run", factored(cards=(bare,))))).read_text(encoding="utf-8"))
    assert "no interval" in text


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_opens_from_disk_and_fits(tmp_path: Path, open_page: Opener, width: int, scheme: str) -> None:
    opened = open_page(Path(write_factors(stored(tmp_path / "run", factored(6)))), width=width, scheme=scheme)
    assert opened.overflow() == 0
    assert opened.complaints == []
    assert opened.outside == []
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(22, 24, 27)") == (scheme == "dark")
    assert opened.page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    # Each swatch has its own colour and its own hatching, and its number is written.
    looks = opened.page.evaluate(
        "[...document.querySelectorAll('.rows .swatch')].map(s => { const c = getComputedStyle(s);"
        " return c.backgroundColor + c.backgroundImage + s.textContent })"
    )
    assert len(set(looks)) == 6
    if width > 1000:  # the rows need no scrolling where there is room
        assert opened.page.evaluate("(() => { const t = document.querySelector('.rows').parentElement;"
                                    " return t.scrollWidth - t.clientWidth })()") == 0  # fmt: skip
