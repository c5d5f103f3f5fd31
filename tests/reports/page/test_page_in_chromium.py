"""A page in a real browser: silent, reachable by keyboard and by address, readable to assistive software, and true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import reports_builder as builder
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from test_reports_html import HOSTILE, Tree, hostile_run, page_data

from conftest_browser import settled, until
from mulligan.records import Quantity
from mulligan.reports import render_page, write_html
from mulligan.reports.text import shown

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from conftest_browser import Opened, Opener

pytestmark = pytest.mark.browser

UNIT = builder.description().inventory[0].cards[0]
KEY = f"{builder.description().inventory[0].site}:{UNIT.unit}"
CLASS = builder.description().cards[0].output
ADDRESSES = (
    "#/", "#/features", f"#/unit/{KEY}", "#/classes", f"#/class/{CLASS}", "#/finding/F1", "#/tables",
    "#/table/r0-findings?row=F1", "#/links", "#/glossary",
)  # fmt: skip


def ready(opened: Opened, address: str = "") -> Page:
    """The page once what stands behind an address is drawn."""
    page = opened.page
    page.wait_for_selector("html[data-mg-whole]")
    if address:
        page.evaluate("address => { location.hash = address; }", address)
        if address != "#/":
            page.wait_for_selector("mg-page > .stage h1")
        settled(page, 250)
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_bars_the_way_for_assistive_software(run: Path, open_page: Opener, scheme: str) -> None:
    opened = open_page(Path(write_html(run)), scheme=scheme, unguarded=True)
    for address in ADDRESSES:
        page = ready(opened, address)
        found = Axe().run(page)
        told = [
            f"{violation['id']}: {violation['nodes'][0]['html'][:200]} ({len(violation['nodes'])})"
            for violation in found.response["violations"]
        ]
        assert told == [], (address, told)
    assert opened.complaints == []


@pytest.mark.parametrize("width", [1280, 390])
def test_every_address_opens_by_itself_and_fits(run: Path, open_page: Opener, width: int) -> None:
    path = Path(write_html(run))
    for address in ADDRESSES:
        opened = open_page(path.as_uri() + address, width=width)
        page = ready(opened)
        if address != "#/":
            page.wait_for_selector("mg-page > .stage h1")
            assert not page.locator("main#main").is_visible()
        assert opened.overflow() == 0, address
        assert opened.complaints == []
        assert opened.outside == []


@pytest.mark.parametrize("address", ["#/unit/blocks.99:1", "#/class/no such class", "#/table/none", "#/x", "#/map/m9"])
def test_an_address_that_leads_nowhere_says_so(run: Path, open_page: Opener, address: str) -> None:
    opened = open_page(Path(write_html(run)).as_uri() + address)
    page = ready(opened)
    assert "Nothing is here" in page.inner_text("mg-page > .stage")
    page.locator("mg-page > .stage a[href='#/']").first.click()
    page.wait_for_selector("main#main:visible")
    assert opened.complaints == []


def test_a_finding_is_followed_to_its_row_by_keyboard_alone(run: Path, open_page: Opener) -> None:
    opened = open_page(Path(write_html(run)))
    page = ready(opened)

    def tab_to(found: str, most: int = 200) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.evaluate("found => document.activeElement.matches(found)", found):
                return
        raise AssertionError(f"no way by keyboard to {found}")

    page.keyboard.press("Tab")
    until(page, lambda: page.evaluate("document.activeElement.textContent") == "Skip to the text")
    tab_to(".toc a[href='#finding-1']")
    page.keyboard.press("Enter")
    until(page, lambda: page.url.endswith("#finding-1"))
    tab_to("a.from[href^='#/table/r0-findings']")
    page.keyboard.press("Enter")
    page.wait_for_selector("mg-page > .stage h1")
    assert page.evaluate("document.activeElement.localName") == "h1"
    assert "row=F1" in page.url
    assert builder.finding().claim.split("'")[0].strip() in page.inner_text("mg-page > .stage")
    page.go_back()
    page.wait_for_selector("main#main:visible")


def test_every_number_shown_is_that_of_its_row(run: Path, open_page: Opener) -> None:
    """Read what people see, follow each number to its row, and write the row's quantity anew from the data."""
    path = Path(write_html(run))
    index, series = page_data(Tree(path.read_text(encoding="utf-8")))
    rows = {
        table["id"]: dict(zip(series[f"keys:{table['id']}"], series[f"table:{table['id']}"], strict=True))
        for table in index["tables"]
    }
    page = ready(open_page(path))
    checked = 0
    for address in ("#/", f"#/unit/{KEY}", f"#/class/{CLASS}", "#/finding/F1"):
        ready_page = ready_at(page, address)
        for href, text in ready_page:
            table, _, query = href.removeprefix("#/table/").partition("?")
            row = page.evaluate("query => new URLSearchParams(query).get('row')", query)
            assert row in rows[table], href
            written = {words for cell in rows[table][row] for words in told(cell)}
            assert " ".join(text.split()) in written, (address, href, text, written)
            checked += 1
    assert checked > 20


def ready_at(page: Page, address: str) -> list[list[str]]:
    page.evaluate("address => { location.hash = address; }", address)
    settled(page, 400)
    return page.evaluate("""() => [...document.querySelectorAll("a.from")].filter((a) => a.offsetParent !== null)
        .map((a) => [a.getAttribute("href"), a.textContent])""")


def told(cell: Any) -> set[str]:
    """The ways in which a page may write a cell."""
    from mulligan.reports.text import number

    if isinstance(cell, dict) and "value" in cell:
        said = shown(msgspec.convert(cell, Quantity))
        return {" ".join(f"{said.value} {said.interval}".split()), said.value}
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return {" ".join(number(cell).split())}
    return {" ".join(str(cell).split())}


@pytest.mark.parametrize("text", [" ".join(HOSTILE[:5]), " ".join(HOSTILE[5:9]), HOSTILE[-1]])
def test_hostile_text_is_inert_in_every_view(tmp_path: Path, open_page: Opener, text: str) -> None:
    path = Path(write_html(hostile_run(tmp_path / "run", text)))
    index, _ = page_data(Tree(path.read_text(encoding="utf-8")))
    opened = open_page(path, width=390)
    first = {"unit": index["features"]["key"][0], "class": index["classes"]["key"][0]}
    for address in ("#/", "#/features", "#/classes", "#/tables", "#/links", "#/compare", "unit", "class"):
        page = ready(opened)
        page.evaluate(
            "([view, of]) => { location.hash = '#/' + view + (of ? '/' + encodeURIComponent(of) : ''); }",
            [address.removeprefix("#/"), first.get(address, "")],
        )
        settled(page, 200)
        assert opened.overflow() == 0, address
        assert page.evaluate("document.querySelectorAll('mg-page script, mg-page iframe, img[src=x]').length") == 0
        assert page.evaluate(
            "[...document.querySelectorAll('mg-page *')].every(e => !e.getAttributeNames()"
            ".some(n => n.startsWith('on')))"
        )
    assert "owned" not in opened.page.title().replace(HOSTILE[0], "")
    assert opened.complaints == []
    assert opened.outside == []


def test_several_runs_and_one_that_is_broken(run: Path, tmp_path: Path, open_page: Opener) -> None:
    other = builder.build(tmp_path / "other", builder.passing())
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "findings.json").write_text('{"schema": "mulligan/findings/99"}')
    page_file = tmp_path / "page.html"
    page_file.write_text(render_page([run, other, broken, tmp_path / "none"]), encoding="utf-8")
    opened = open_page(page_file)
    page = ready(opened)
    told_missing = page.inner_text("section.problems")
    assert "broken" in told_missing
    assert "newer" in told_missing
    assert "none" in told_missing
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    assert opened.complaints == []


def test_a_page_whose_data_were_cut_off_says_so(run: Path, open_page: Opener) -> None:
    path = Path(write_html(run))
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r'(<script type="text/plain" id="mg-c0">).{40}', r"\1", text), encoding="utf-8")
    opened = open_page(path.as_uri() + f"#/unit/{KEY}")
    page = opened.page
    page.wait_for_selector("html[data-mg-whole]")
    page.wait_for_selector("mg-page > .stage .missing")
    path.write_text(re.sub(r'<script type="application/json" id="mg-index">.*?</script>', "", text), encoding="utf-8")
    opened = open_page(path)
    opened.page.wait_for_selector("mg-page [role=alert]")
    assert "has lost a part of its data" in opened.page.inner_text("mg-page [role=alert]")
    # The verdict is there all the same.
    assert "1 finding fails this audit" in opened.page.inner_text("body")


@pytest.mark.parametrize(("name", "address"), [("article", "#/"), ("unit", f"#/unit/{KEY}")])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_looks_as_it_did(run: Path, tmp_path: Path, open_page: Opener, name: str, address: str, scheme: str) -> None:
    """Blocks of 20 pixels, within a tolerance that other fonts keep to. Delete a picture to have it taken anew."""
    opened = open_page(Path(write_html(run)).as_uri() + address, scheme=scheme)
    page = ready(opened)
    settled(page, 600)
    page.screenshot(path=tmp_path / "now.png")
    now = Image.open(tmp_path / "now.png").convert("RGB").resize((64, 45), Image.Resampling.BOX)
    kept = Path(__file__).parent / "looks" / f"{name}-{scheme}.png"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        now.save(kept)
    difference = np.abs(np.asarray(now, dtype=float) - np.asarray(Image.open(kept).convert("RGB"), dtype=float))
    assert difference.mean() < 6, f"{name} in {scheme} looks otherwise than {kept}"
