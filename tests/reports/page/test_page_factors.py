"""The page of factors: everything that was stored is shown beside its control, and nothing in it can do harm."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from explored_builder import EVIL, accessible, at, card, factored, some_factors, written
from reports_builder import share

from conftest_browser import settled, until
from mulligan.records import FACTOR_COLOURS, BadInput, ElbowCurve, FactorCard, LeftOut, Quantity
from mulligan.reports import write_html
from mulligan.reports.page.sources.factors import read_factors

if TYPE_CHECKING:
    from conftest_browser import Opener


def test_everything_is_said(tmp_path: Path) -> None:
    tree, index, series = written(some_factors(tmp_path / "run"))
    for said in (
        "blocks.5 in 3 parts", "The block's output.", "both signs of each unit", "400 of 500 examples looked through",
        "7 x 7 places", "tabby", "not confirmed", "its gradient is NaN", "3 units are zero at every place.",
        "mulligan see factors net blocks.5", "dictionaries/factors-12345678.safetensors",
    ):  # fmt: skip
        assert said in tree.words, said
    (entry,) = index["factors"]
    assert [factor["number"] for factor in entry["factors"]] == [1, 2, 3]
    assert entry["elbow"]["suggested"] == 3
    cards = series["factors:f0:cards"]
    assert cards[0]["portrait"]["image"] is not None
    assert [series["pictures"][n]["w"] for n in series["factors:f0:pictures"][0]["alone"]] == [96, 96, 96]
    # Every number leads to its row: of each factor, of all together, of each class that one speaks for.
    speaks = [one["table"] for one_card in cards for one in one_card["classes"]]
    for table, key in (entry["table"], *(one_card["table"] for one_card in cards), *speaks):
        assert key in series[f"keys:{table}"]
    row = series["table:r0-factors"][series["keys:r0-factors"].index("1")]
    assert row[1] == cards[0]["share"]


def test_of_components_other_words_are_said(tmp_path: Path) -> None:
    document = factored(kind="pca", negatives="none", elbow=ElbowCurve(counts=(1, 2), explained=(0.1, 0.2)))
    words = written(some_factors(tmp_path / "run", document))[0].words
    assert "principal components" in words
    assert "about their mean" in words
    assert "never below zero" not in words


def test_little_is_shown_without_breaking(tmp_path: Path) -> None:
    bare = FactorCard(number=1, colour=FACTOR_COLOURS[0], hatch="level", feature="a@b:0", share=share(0.5))
    document = factored(cards=(bare,), pictures=(), elbow=None, left_out=(), notes=(), twin=None, shuffled=None)
    tree, _, series = written(some_factors(tmp_path / "run", document))
    assert "not measured" in tree.words
    assert "Nothing that was asked for was left out." in tree.words
    assert series["factors:f0:pictures"] == []


@pytest.mark.parametrize("colour", ["red", "#12345", "#e69f00;background:url(//x)", ""])
def test_no_colour_of_a_stranger_gets_in(tmp_path: Path, colour: str) -> None:
    odd = dataclasses.replace(card(0), colour=colour, hatch="x onload=1")
    _, index, series = written(some_factors(tmp_path / "run", factored(cards=(odd, card(1)))))
    for looks in (index["factors"][0]["factors"], series["factors:f0:cards"]):
        assert [(look["colour"], look["hatch"]) for look in looks] == [
            ("#808080", "level"), (FACTOR_COLOURS[1], "falling"),
        ]  # fmt: skip


def test_hostile_text_is_only_text(tmp_path: Path) -> None:
    document = factored(site=EVIL, output=EVIL, notes=(EVIL,), left_out=(LeftOut(what=EVIL, why=EVIL),))
    tree, _, _ = written(some_factors(tmp_path / "run", document))
    assert "<script>alert" not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "\u202e" not in tree.words


def test_paths_that_lead_out_and_files_that_are_not_ours(tmp_path: Path) -> None:
    first = card(0)
    assert first.portrait is not None
    out = dataclasses.replace(first, portrait=dataclasses.replace(first.portrait, image="../../secret.png"))
    with pytest.raises(BadInput, match="leads out of the run's folder"):
        read_factors(some_factors(tmp_path / "a", factored(cards=(out,))))
    lit = dataclasses.replace(factored().pictures[0], alone=("/etc/passwd",))
    with pytest.raises(BadInput, match="not a relative path"):
        read_factors(some_factors(tmp_path / "c", factored(pictures=(lit,))))
    folder = some_factors(tmp_path / "b")
    document = json.loads((folder / "factors.json").read_text())
    (folder / "factors.json").write_text(json.dumps(document | {"schema": "mulligan/factors/9"}))
    with pytest.raises(BadInput, match="too old to read it"):
        read_factors(folder)
    (folder / "factors.json").unlink()
    with pytest.raises(BadInput, match=r"has no factors\.json"):
        read_factors(folder)
    with pytest.raises(BadInput, match="no run's folder"):
        read_factors(tmp_path / "nowhere")


def test_quantities_keep_their_intervals(tmp_path: Path) -> None:
    bare = dataclasses.replace(card(0), share=Quantity(value=0.25, unit="share", n=1))
    assert "no interval" in written(some_factors(tmp_path / "run", factored(cards=(bare,))))[0].words


def opened_at(open_page: Opener, folder: Path, address: str = "#/factors/f0", **more: Any) -> Any:
    opened = open_page(Path(write_html(folder)), **more)
    return opened, at(opened, address)


@pytest.mark.browser
def test_a_factor_is_lit_alone_where_it_is(tmp_path: Path, open_page: Opener) -> None:
    opened, page = opened_at(open_page, some_factors(tmp_path / "run"))
    figures = page.locator("main.view .factored figure")
    alts = "() => [...document.querySelectorAll('main.view .factored .two')].map(e => e.querySelectorAll('img')[1].alt)"
    until(page, lambda: all("under its factors' colours" in alt for alt in page.evaluate(alts)))
    chip = page.locator("main.view .legend button").nth(1)
    chip.hover()
    settled(page, 300)
    lit = page.evaluate(alts)
    assert lit[0].startswith("Where factor 2 is in this picture")  # stored with the picture
    assert "under its factors' colours" in lit[1]  # not stored: faded, and said in words
    assert "unlit" in (figures.nth(1).get_attribute("class") or "")
    assert "Factor 2 explains 20 % here" in figures.nth(1).inner_text()
    page.mouse.move(0, 0)
    chip.focus()
    page.keyboard.press("Enter")
    until(page, lambda: page.url.endswith("#/factors/f0?factor=2"))
    assert page.locator("main.view details.unit").nth(1).evaluate("d => d.open")
    # A part of a thousandth is not in the legend of the picture: its colour is nowhere to be seen.
    assert "rest 30 %" in figures.nth(0).inner_text()
    assert "0.1 %" not in figures.nth(0).inner_text()
    assert opened.complaints == []
    assert opened.outside == []


@pytest.mark.browser
def test_a_card_answers_what_where_how_strong_and_why(tmp_path: Path, open_page: Opener) -> None:
    _, page = opened_at(open_page, some_factors(tmp_path / "run"), "#/factors/f0?factor=1")
    cards = page.locator("main.view details.unit")
    settled(page, 300)
    told = " ".join(cards.nth(0).inner_text().split())
    for said in (
        "What is it?", "Where is it strongest?", "How strong is it?", "Why did it matter for tabby? confirmed",
        "On this picture", "lynx", "blocks.5:12 (0.8), blocks.5:3 (−0.2)", "Not measured: same rank, random twin.",
    ):  # fmt: skip
        assert said in told, said
    cards.nth(1).locator("summary").click()
    cards.nth(2).locator("summary").click()
    until(page, lambda: "fires less than real examples" in cards.nth(1).inner_text())
    assert "No picture was made." in cards.nth(2).inner_text()
    # A number leads to its row.
    href = cards.nth(0).locator("a.from").first.get_attribute("href")
    assert href == "#/table/r0-factors?row=1"
    page = at(open_page(tmp_path / "run" / "report.html"), href)
    assert "Factors of blocks.5" in page.inner_text("main.view")


@pytest.mark.browser
def test_the_curve_stays_in_its_box(tmp_path: Path, open_page: Opener) -> None:
    wild = ElbowCurve(counts=(1, 2, 3), explained=(-0.2, 0.5, 1.4), suggested=2)
    _, page = opened_at(open_page, some_factors(tmp_path / "run", factored(elbow=wild)))
    circles = page.evaluate(
        "() => [...document.querySelectorAll('main.view .curve circle')].map((c) => [+c.getAttribute('cx'), "
        "+c.getAttribute('cy'), c.classList.contains('bend')])"
    )
    assert len(circles) == 3
    assert all(34 <= x <= 300 and 0 <= y <= 92 for x, y, _ in circles)
    assert [bend for _, _, bend in circles] == [False, True, False]
    assert "bends most at 2" in page.inner_text("main.view")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")])
def test_the_page_fits_and_bars_nobody(tmp_path: Path, open_page: Opener, width: int, scheme: str) -> None:
    folder = some_factors(tmp_path / "run", factored(6))
    opened, page = opened_at(open_page, folder, "#/factors/f0?factor=1", width=width, scheme=scheme, unguarded=True)
    assert opened.overflow() == 0
    assert accessible(page) == []
    # Each swatch has its own colour and its own hatching, and its number is written.
    looks = page.evaluate(
        "() => [...document.querySelectorAll('main.view .legend .swatch')].map((s) => { const c = getComputedStyle(s);"
        " return c.backgroundColor + c.backgroundImage + s.textContent; })"
    )
    assert len(set(looks)) == 6
    page = at(opened, "#/factors/nowhere")
    assert "This page has no factors named" in page.inner_text("main.view")
    assert opened.complaints == []


def test_contents_lead_to_what_is_there(tmp_path: Path) -> None:
    """A page with tables, and neither features nor classes."""
    tree, index, _ = written(some_factors(tmp_path / "run"))
    links = [a["href"] for tag, a in tree.elements if tag == "a" and a.get("href", "").startswith("#")]
    ids = {a["id"] for _, a in tree.elements if "id" in a}
    assert index["tables"]
    assert {link[1:] for link in links if not link.startswith("#/")} <= ids
