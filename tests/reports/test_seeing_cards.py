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
from test_reports_html import HOSTILE, Tree, page_data

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
from mulligan.reports import write_html
from mulligan.reports.page import pictures as page_pictures

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


def tree_of(run: Path) -> Tree:
    return Tree(Path(write_html(run)).read_text(encoding="utf-8"))


def test_the_prose_says_what_was_looked_at_and_left_out(cards: Path) -> None:
    words = tree_of(cards).words
    for said in ("Seeing fashion-small", "2 features of this network", "no unit 999", "mulligan see examples m"):
        assert said in words, said


def test_the_page_holds_each_card_with_its_controls(cards: Path) -> None:
    index, series = page_data(tree_of(cards))
    assert index["features"]["key"] == ["blocks.5:12", "blocks.5:13"]
    assert index["features"]["label"] == ["handles", None]
    assert index["sites"]["meaning"] == ["after the block's addition"]
    first, second = series["features"]
    (portrait,) = first["portraits"]
    assert (portrait["reached"], portrait["best"], portrait["twin"], portrait["twin_best"]) == (8.1, 9.5, 2.5, 1.5)
    assert portrait["marks"] == ["fires less than real examples"]
    assert (first["labels"][0]["auc"]["value"], first["labels"][0]["twin"]["value"]) == (0.91, 0.52)
    assert [len(first["sightings"][kind]) for kind in ("top", "levels", "bottom")] == [3, 2, 1]
    assert [row[:2] for row in first["classes"]] == [["bag", 9], ["coat", 2]]
    assert first["classes"][0][2]["value"] == 1.1
    assert any("Near-duplicates" in note and "2" in note for note in first["notes"])
    assert second["notes"] == ["It never fires on these data."]
    assert len({picture["src"] for picture in series["pictures"]}) == len(series["pictures"])


def test_headings_and_contents_lead_where_they_say(cards: Path) -> None:
    tree = tree_of(cards)
    ids = [attributes["id"] for _, attributes in tree.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for tag, a in tree.elements if tag == "a" and not a["href"].startswith("#/")}
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
    tree = tree_of(folder)
    assert not [name for _, attributes in tree.elements for name in attributes if name.startswith("on")]
    plain = tree_of(build(tmp_path / "plain", notes=("A note.",)))
    assert {tag for tag, _ in tree.elements} <= {tag for tag, _ in plain.elements}
    index, series = page_data(tree)
    assert index["features"]["label"] == [text]
    assert series["features"][0]["labels"][0]["author"] == text


def test_paths_that_lead_out_are_refused(tmp_path: Path) -> None:
    for change in ({"crop": "../../x.png"}, {"heat": "/etc/passwd"}, {"example": builder.picture(0, image="../x.png")}):
        folder = build(tmp_path / str(len(list(tmp_path.iterdir()))), cards=(card(top=(seen_at(0, **change),)),))
        with pytest.raises(BadInput, match="path in this run"):
            write_html(folder)


def test_a_full_page_says_what_does_not_fit(cards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_pictures, "BUDGET", 2000)
    tree = tree_of(cards)
    assert "pictures did not fit into this page; all are in the runs' folders" in tree.words
    index, series = page_data(tree)
    assert index["left_out"] > 0
    assert None in [s["heat"] for s in series["features"][0]["sightings"]["top"]]


def test_a_missing_picture_and_a_missing_file_are_said(cards: Path) -> None:
    (cards / "artifacts/units/12.png").unlink()
    tree = tree_of(cards)
    assert "1 picture could not be read" in tree.words
    assert page_data(tree)[1]["features"][0]["portraits"][0]["image"] is None
    (cards / "seen.json").unlink()
    with pytest.raises(BadInput, match=r"seen\.json"):
        write_html(cards)


def test_the_same_run_gives_the_same_page_without_torch(cards: Path) -> None:
    first = write_html(cards)
    assert first == cards / "report.html"
    before = (cards / "report.html").read_bytes()
    code = (
        "import sys; from mulligan.reports import write_html; write_html(sys.argv[1]);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(cards)], check=True)
    assert (cards / "report.html").read_bytes() == before


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_opens_from_disk_and_fits(cards: Path, open_page: Opener, width: int, scheme: str) -> None:
    opened = open_page(Path(write_html(cards)), width=width, scheme=scheme)
    opened.page.wait_for_selector("html[data-mg-whole]")
    assert opened.overflow() == 0
    opened.page.goto(opened.page.url + "#/unit/blocks.5:12")
    opened.page.wait_for_selector("h1:has-text('blocks.5:12')")
    words = " ".join(opened.page.inner_text("body").split())
    for said in ("8.1", "9.5", "2.5", "fires less than real examples", "handles", "0.91", "0.52", "bag"):
        assert said in words, said
    assert opened.overflow() == 0
    opened.page.wait_for_function("document.images.length > 3")
    # A heat map beside its example is told in the same words, once.
    assert opened.page.evaluate("[...document.images].filter(i => i.alt.length > 10).length") >= 6
    assert opened.page.evaluate("[...document.images].every(i => i.hasAttribute('alt'))")
    assert opened.complaints == []
    assert opened.outside == []
