"""The page of cards: what it says, that hostile names stay inert, and that it opens anywhere."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
import reports_builder as builder
from test_reports_html import HOSTILE, Tree

from mulligan.records import (
    BadInput,
    DataRecord,
    FeatureCard,
    Label,
    LeftOut,
    NetworkRecord,
    Portrait,
    Quantity,
    Seen,
    Sighting,
)
from mulligan.reports import pictures as page_pictures
from mulligan.reports.seeing import write_page
from mulligan.reports.seeing.cards import read_seen, write_cards

if TYPE_CHECKING:
    from conftest_browser import Opener


def seen_at(i: int, **changes) -> Sighting:
    base = Sighting(
        example=builder.picture(i),
        peak=(2, 3),
        box=(4, 6, 14, 16),
        crop=f"artifacts/regions/{i}-crop.png",
        heat=f"artifacts/regions/{i}-heat.png",
    )
    return dataclasses.replace(base, **changes)


def auc(value: float) -> Quantity:
    return Quantity(value=value, unit="AUC", low=value - 0.05, high=value + 0.05, n=80)


def card(**changes) -> FeatureCard:
    base = FeatureCard(
        feature="blocks.5:12",
        meaning="after the block's addition",
        portraits=(
            Portrait(
                objective="blocks.5:12", image="artifacts/units/12.png", alpha="artifacts/units/12a.png", reached=8.1,
                best=9.5, best_example="test/00000", examples=898, twin=2.5, twin_best=1.5, natural=auc(0.7), steps=96,
                marks=("fires less than real examples",),
            ),
        ),
        top=tuple(seen_at(i) for i in range(3)),
        levels=(seen_at(3), seen_at(4, crop=None, box=(0, 0, 28, 28))),
        bottom=(seen_at(5, crop=None, heat=None, box=None, peak=()),),
        classes=(("bag", 9), ("coat", 2)),
        chance=(Quantity(value=1.1, unit="of 11 drawn at random", low=0, high=3, n=11),),
        strongest=11,
        duplicates=2,
        heat=(0.0, 9.5),
        labels=(Label(text="handles", overseer="vocabulary", auc=auc(0.91), twin=auc(0.52)),),
        notes=("From 0 to 9.5 on these data.",),
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def build(folder: Path, **changes) -> Path:
    base = Seen(
        mulligan="0.1.0",
        created="2026-01-01T10:00:00+00:00",
        seconds=3.2,
        network=NetworkRecord(name="fashion-small", identity="sha256:0f", parameters=10, classes=builder.CLOTHES),
        data=DataRecord(source="fashion/test.parquet", identity="sha256:a1", n=898),
        cards=(card(), card(feature="blocks.5:13", portraits=(), top=(), levels=(), bottom=(), classes=(), heat=None,
                            labels=(), duplicates=0, notes=("It never fires on these data.",))),
        left_out=(LeftOut(what="blocks.5:999", why="there is no unit 999"),),
    )  # fmt: skip
    seen = dataclasses.replace(base, **changes)
    for i in range(6):
        builder.paint(folder / f"artifacts/examples/{i}.png", i)
        for what in ("crop", "heat"):
            builder.paint(folder / f"artifacts/regions/{i}-{what}.png", i + 10 * (what == "heat"), 40)
    for name in ("12", "12a"):
        builder.paint(folder / f"artifacts/units/{name}.png", 77, 96)
    (folder / "seen.json").write_bytes(msgspec.json.encode(seen))
    manifest = {"schema": "mulligan/run/1", "procedure": "see", "command": ["mulligan", "see", "examples", "m"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    return build(tmp_path / "run")


def test_the_page_says_what_was_seen_beside_its_controls(cards: Path) -> None:
    text = Tree(write_cards(cards).read_text(encoding="utf-8")).text
    for said in (
        "blocks.5:12", "after the block's addition", "8.1", "9.5", "2.5", "fires less than real examples",
        "2 near-duplicates left out", "handles", "0.91", "0.52", "of 11 drawn at random", "It never fires",
        "there is no unit 999", "0 or less", "mulligan see examples m",
    ):  # fmt: skip
        assert said in " ".join(text.split()), said


def test_every_picture_has_words_and_is_in_the_page(cards: Path) -> None:
    tree = Tree(write_cards(cards).read_text(encoding="utf-8"))
    images = [attributes for tag, attributes in tree.elements if tag == "img"]
    assert len(images) == 2
    assert all(image["alt"] and image["src"].startswith("data:") for image in images)
    drawn = [attributes for tag, attributes in tree.elements if tag == "svg" and attributes.get("role") == "img"]
    assert len(drawn) == 3 * 2 + 2 + 2 + 1
    assert all(len(svg["aria-label"]) > 10 for svg in drawn)
    assert any("row 2, column 3" in svg["aria-label"] and "4 to 14 across" in svg["aria-label"] for svg in drawn)
    used = {attributes["href"] for tag, attributes in tree.elements if tag == "use"}
    assert used == {"#" + attributes["id"] for tag, attributes in tree.elements if tag == "image"}
    assert not [tag for tag, _ in tree.elements if tag in ("script", "link", "iframe")]


def test_headings_and_contents_lead_where_they_say(cards: Path) -> None:
    tree = Tree(write_cards(cards).read_text(encoding="utf-8"))
    ids = [attributes["id"] for _, attributes in tree.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for tag, attributes in tree.elements if tag == "a"}
    assert links <= set(ids)
    labelled = {attributes["aria-labelledby"] for _, attributes in tree.elements if "aria-labelledby" in attributes}
    assert labelled <= set(ids)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_inert(tmp_path: Path, text: str) -> None:
    label = Label(text=text, overseer=text, author=text, date=text)
    mean = builder.picture(0, label=text, answer=text, id=text)
    odd = card(
        feature=text, meaning=text, notes=(text,), labels=(label,), classes=((text, 3),),
        top=(seen_at(0, example=mean),),
        portraits=(Portrait(objective=text, image="artifacts/units/12.png", reached=1.0, steps=1, marks=(text,)),),
    )  # fmt: skip
    folder = build(tmp_path / "run", cards=(odd,), left_out=(LeftOut(what=text, why=text),), notes=(text,))
    tree = Tree(write_cards(folder).read_text(encoding="utf-8"))
    assert not [tag for tag, _ in tree.elements if tag in ("script", "iframe")]
    assert not [name for _, attributes in tree.elements for name in attributes if name.startswith("on")]
    plain = Tree(write_cards(build(tmp_path / "plain")).read_text(encoding="utf-8"))
    assert {tag for tag, _ in tree.elements} <= {tag for tag, _ in plain.elements}


def test_paths_that_lead_out_are_refused(tmp_path: Path) -> None:
    for change in ({"crop": "../../x.png"}, {"heat": "/etc/passwd"}, {"example": builder.picture(0, image="../x.png")}):
        folder = build(tmp_path / str(len(list(tmp_path.iterdir()))), cards=(card(top=(seen_at(0, **change),)),))
        with pytest.raises(BadInput, match="path in this run"):
            read_seen(folder)


def test_a_full_page_says_what_does_not_fit(cards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_pictures, "PAGE_BYTES", 2000)
    text = Tree(write_cards(cards).read_text(encoding="utf-8")).text
    assert "did not fit into this page; all are in artifacts/" in " ".join(text.split())
    assert "not shown: the page is full" in text


def test_a_missing_picture_and_a_missing_file_are_said(cards: Path) -> None:
    (cards / "artifacts/units/12.png").unlink()
    assert "the picture is missing" in write_cards(cards).read_text(encoding="utf-8")
    (cards / "seen.json").unlink()
    with pytest.raises(BadInput, match=r"no seen\.json"):
        write_cards(cards)


def test_the_same_run_gives_the_same_page_without_torch(cards: Path) -> None:
    first = write_page(cards)
    assert first == cards / "report.html"
    before = first.read_bytes()
    code = (
        "import sys; from mulligan.reports.seeing import write_page; write_page(sys.argv[1]);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(cards)], check=True)
    assert first.read_bytes() == before


def test_another_run_is_none_of_its_business(tmp_path: Path) -> None:
    assert write_page(builder.build(tmp_path / "run")) is None


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_opens_from_disk_and_fits(cards: Path, open_page: Opener, width: int, scheme: str) -> None:
    opened = open_page(write_cards(cards), width=width, scheme=scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert opened.overflow() == 0
    assert opened.complaints == []
    assert opened.outside == []
    assert opened.page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert opened.page.locator("svg.thumb").first.bounding_box()["height"] > 20
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.textContent") == "Skip to the text"
