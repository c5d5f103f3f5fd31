"""Features, cards, previews, evidence, tables and keys of the page, in a browser and held against Python."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import reports_builder as builder
from scipy import stats
from test_reports_html import Tree, hostile_run, page_data

from conftest_browser import settled, until
from mulligan.records import Quantity
from mulligan.reports import render_page, write_html

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from conftest_browser import Opener

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from page_subjects import write_audit

pytestmark = pytest.mark.browser

UNITS = 2000
FOCUSED = "document.activeElement"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 2,000 units."""
    folder = tmp_path_factory.mktemp("large")
    write_audit(folder / "run", units=UNITS, pictures=30, examples=3)
    path = folder / "page.html"
    path.write_text(render_page([folder / "run"]), encoding="utf-8")
    return path


@pytest.fixture
def article(run: Path, open_page: Opener) -> Page:
    return ready(open_page, Path(write_html(run)))


def ready(open_page: Opener, path: Path, address: str = "", **how: Any) -> Page:
    opened = open_page(path.as_uri() + address, **how)
    opened.page.wait_for_selector("html[data-mg-whole]")
    if address:
        opened.page.wait_for_selector("mg-page > .stage h1")
    settled(opened.page, 150)
    return opened.page


def index_of(path: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    return page_data(Tree(path.read_text(encoding="utf-8")))


def names(page: Page) -> list[str]:
    """The keys of the tiles in sight, in the order shown."""
    return page.evaluate(
        "[...document.querySelectorAll('.stage mg-features li > a')].map(a => decodeURIComponent(a.hash.slice(7)))"
    )


# Lists


def test_only_what_is_in_sight_is_drawn_and_all_of_it_is_reached(large: Path, open_page: Opener) -> None:
    page = ready(open_page, large, "#/features")
    tiles = page.locator(".stage mg-features li")
    assert 20 < tiles.count() < 200
    assert tiles.first.get_attribute("aria-setsize") == str(UNITS)
    page.keyboard.press("/")
    until(page, lambda: page.evaluate(f"{FOCUSED}.type") == "search")
    page.locator(".stage [data-i='0']").focus()
    place = f"{FOCUSED}.parentElement.getAttribute('aria-posinset')"
    for key, expected in (("End", UNITS), ("Home", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        page.keyboard.press(key)
        until(page, lambda expected=expected: page.evaluate(place) == str(expected))
        assert page.evaluate(f"{FOCUSED}.getBoundingClientRect().height") > 0
    columns = page.evaluate("[...new Set([...document.querySelectorAll('.stage li')].map(li => li.style.left))].length")
    page.keyboard.press("ArrowDown")
    until(page, lambda: page.evaluate(f"{FOCUSED}.dataset.i") == str(columns))
    # Others come into sight by scrolling; the one that has the focus stays, out of sight.
    page.evaluate("document.querySelector('.stage .window').scrollTop = 6000")
    settled(page)
    assert page.evaluate(f"{FOCUSED}.dataset.i") == str(columns)
    assert tiles.count() < 200
    address = page.evaluate(f"{FOCUSED}.hash")
    page.keyboard.press("Enter")
    page.wait_for_function("address => location.hash === address", arg=address)
    assert page.evaluate(f"{FOCUSED}.localName") == "h1"


def test_features_are_searched_filtered_and_sorted(large: Path, open_page: Opener) -> None:
    index, _ = index_of(large)
    features = index["features"]
    selective = [None if n is None else features["selective"]["names"][n] for n in features["selective"]["of"]]
    page = ready(open_page, large, "#/features?sort=selectivity")
    scores = features["scores"]["selectivity"]
    expected = [features["key"][i] for i in sorted(range(UNITS), key=lambda i: -scores[i])]
    shown = names(page)
    assert shown == expected[: len(shown)]
    page.get_by_role("button", name="largest first").click()
    settled(page, 150)
    shown = names(page)
    assert shown == expected[::-1][: len(shown)]
    assert "sort=-selectivity" in page.url
    search = page.locator(".stage input[type=search]")
    search.fill("class 042")
    settled(page, 200)
    count = sum(name == "class 042" for name in selective)
    assert page.locator(".stage [role=status]").inner_text() == f"{count} of 2\u202f000 features"
    assert {selective[features["key"].index(key)] for key in names(page)} == {"class 042"}
    # The address says what was asked for, and what it says is asked for again.
    page.reload()
    page.wait_for_selector("mg-page > .stage li")
    assert page.locator(".stage [role=status]").inner_text() == f"{count} of 2\u202f000 features"
    search.fill("blocks.3:17")
    settled(page, 200)
    page.locator(".stage select[name=sort]").select_option("")
    until(page, lambda: names(page)[0] == "blocks.3:17")
    page.locator(".stage select[name=site]").select_option("blocks.4")
    search.fill("")
    until(page, lambda: page.locator(".stage [role=status]").inner_text().startswith("200 of"))
    for text in ("((", "[a-", "\\", "'", "<script>", "  "):
        search.fill(text)
        settled(page, 60)
    assert page.locator(".stage mg-features .missing").count() == 0


def test_the_article_is_where_it_was_when_one_comes_back(article: Page) -> None:
    search = article.locator("main mg-features input[type=search]")
    search.fill("blocks.5")
    settled(article, 150)
    link = article.locator("main mg-features li > a").first
    link.scroll_into_view_if_needed()
    before = article.evaluate("scrollY")
    assert before > 500
    link.click()
    article.wait_for_selector("mg-page > .stage h1")
    assert article.title().startswith("blocks.5:")
    article.keyboard.press("Escape")
    article.wait_for_selector("main#main:visible")
    until(article, lambda: abs(article.evaluate("scrollY") - before) <= 2)
    assert search.input_value() == "blocks.5"


# Previews and words


def test_a_unit_is_seen_before_its_link_is_followed(article: Page) -> None:
    preview = article.locator(".preview")
    link = article.locator("main mg-features li > a[href='#/unit/blocks.5:12']")
    link.scroll_into_view_if_needed()
    link.hover()
    preview.wait_for()
    assert "blocks.5:12" in preview.inner_text()
    article.wait_for_selector(".preview .glimpse img")
    assert link.get_attribute("aria-describedby") == preview.get_attribute("id")
    preview.hover()
    settled(article, 300)
    assert preview.count() == 1, "what opens on hover may be entered"
    article.keyboard.press("Escape")
    until(article, lambda: preview.count() == 0)
    assert "#/" not in article.url, "Escape closed the preview and nothing else"
    article.mouse.move(2, 2)
    article.keyboard.press("/")
    for _ in range(30):
        article.keyboard.press("Tab")
        if article.evaluate(f"{FOCUSED}.hash ?? ''").startswith("#/unit/"):
            break
    preview.wait_for()
    article.keyboard.press("Escape")
    until(article, lambda: preview.count() == 0)
    link.dispatch_event("pointerover", {"pointerType": "touch", "bubbles": True})
    settled(article, 300)
    assert preview.count() == 0, "fingers do not hover"


def test_words_are_explained_once_a_section_where_they_stand_in_prose(article: Page) -> None:
    article.wait_for_selector("main a.term")
    settled(article, 300)
    terms = article.evaluate(
        "[...document.querySelectorAll('main > section, main > header')].map(s => [...s.querySelectorAll('a.term')]"
        ".filter(a => !a.closest('[class^=mg-]') && !a.closest('mg-evidence')).map(a => a.hash))"
    )
    assert sum(map(len, terms)) > 5
    assert all(len(found) == len(set(found)) for found in terms)
    bars = "main :is(code, pre, h1, h2, h3, h4, button, bdi) a.term, main a a.term"
    assert article.locator(bars).count() == 0
    term = (
        article.locator("main > section a.term", has_text="placebo")
        .or_(article.locator("main > section a.term", has_text="smallest effect"))
        .first
    )
    term.scroll_into_view_if_needed()
    term.hover()
    article.locator(".preview").wait_for()
    glossary = article.evaluate("document.querySelector('mg-page').book.index.glossary")
    word = article.evaluate("a => decodeURIComponent(a.hash.slice('#/glossary/'.length))", term.element_handle())
    assert glossary[word] in article.locator(".preview").inner_text()


def test_keys_help_skip_and_can_be_turned_off(run: Path, open_page: Opener) -> None:
    page = ready(open_page, Path(write_html(run)), "#/tables")
    page.keyboard.press("?")
    dialog = page.locator("dialog")
    dialog.wait_for()
    dialog.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    page.keyboard.press("g")
    page.keyboard.press("?")
    until(page, lambda: page.url.endswith("#/tables"))
    assert dialog.count() == 0
    page.evaluate("document.querySelector('a.skip').focus()")
    page.keyboard.press("Enter")
    until(page, lambda: page.evaluate(f"{FOCUSED}.localName") == "h1")
    assert page.url.endswith("#/tables"), "the link to the text leads to the view, where one is shown"


# Evidence


def polygon(row: Locator) -> list[tuple[float, float]]:
    """The outline of a density: (per cent of the width, height from 0 to 1)."""
    text = row.locator(".fill").get_attribute("style") or ""
    points = text.partition("polygon(")[2].rpartition(")")[0].split(",")
    found = [tuple(float(part.strip().rstrip("%")) for part in point.split()) for point in points]
    return [(x, (100 - y) / 94) for x, y in found[1:-1]]


def test_evidence_is_drawn_as_the_densities_that_its_caption_says(run: Path, open_page: Opener) -> None:
    page = ready(open_page, Path(write_html(run)), "#/finding/F1")
    chart = page.locator(".stage mg-evidence").first
    chart.locator(".fill").first.wait_for()
    rows = chart.locator(".row:not(.axis)")
    finding = builder.finding()
    quantities = [finding.effect, finding.placebo, finding.baseline]
    assert rows.count() == 3
    for k, q in enumerate(quantities):
        assert q is not None
        assert q.n is not None
        hits = q.value * q.n
        density = stats.beta(hits + 1, q.n - hits + 1)
        for x, height in polygon(rows.nth(k))[::20]:
            share = (x - 4) / 92  # all three stand on one axis from 0 to 1, with a margin of 4 %
            assert height == pytest.approx(density.pdf(share) / density.pdf(q.value), abs=0.012)
        dot = rows.nth(k).locator(".track > svg").get_attribute("x") or ""
        assert float(dot.rstrip("%")) == pytest.approx(4 + 92 * q.value, abs=0.01)
    assert "Beta(k + 1, n − k + 1)" in chart.inner_text()
    line = rows.nth(1).locator(".measured").get_attribute("style") or ""
    assert finding.effect is not None
    assert float(line.partition("left:")[2].rstrip("%;")) == pytest.approx(4 + 92 * finding.effect.value, abs=0.01)
    # Colour is never alone: fillings, outlines and marks differ as well.
    kinds = [rows.nth(k).locator(".density").get_attribute("class") for k in range(3)]
    assert len(set(kinds)) == 3
    backgrounds = [rows.nth(k).locator(".fill").evaluate("e => getComputedStyle(e).backgroundImage") for k in range(3)]
    assert len(set(backgrounds)) == 3


def test_other_quantities_are_normal_as_wide_as_their_interval(tmp_path: Path, open_page: Opener) -> None:
    effect = Quantity(value=2.0, unit="logits", low=1.0, high=4.0, level=0.8, n=30)
    finding = builder.finding(effect=effect, placebo=None, baseline=None)
    run = builder.build(tmp_path / "run", builder.findings(findings=(finding,)))
    page = ready(open_page, Path(write_html(run)), "#/finding/F1")
    chart = page.locator(".stage mg-evidence").first
    chart.locator(".fill").first.wait_for()
    points = polygon(chart.locator(".row:not(.axis)"))
    z = stats.norm.ppf(0.9)
    for x, height in points[::10]:
        value = (x - 4) / 92 * 4
        sd = (1.0 if value < 2 else 2.0) / z
        assert height == pytest.approx(math.exp(-0.5 * ((value - 2) / sd) ** 2), abs=0.012)
    text = chart.inner_text()
    assert "two halves are as wide as the halves of its interval" in text
    assert "Not measured: placebo, black-box baseline" in text


# Cards and tables


def test_a_card_shows_all_that_was_recorded_and_leads_on(article: Page) -> None:
    article.evaluate("location.hash = '#/unit/blocks.5:12'")
    article.locator(".stage mg-card .examples").first.wait_for()
    text = article.locator(".stage").inner_text()
    card = builder.description().inventory[0].cards[0]
    assert card.portrait is not None
    for mark in card.portrait.marks:
        assert mark in text
    for drive in card.drives:
        assert drive.output in text
    assert "Random-weight twin" in text
    assert article.locator(".stage .examples li").count() == len(card.top) + len(card.stratified)
    article.locator(".stage a[rel=next]").click()
    article.wait_for_function("location.hash === '#/unit/blocks.5:40'")
    article.evaluate("location.hash = '#/class/bag'")
    article.locator(".stage mg-class-card a[href='#/unit/blocks.5:12']").first.wait_for()


def test_text_is_shown_with_the_weight_of_each_token(article: Page) -> None:
    article.evaluate("location.hash = '#/unit/layers.3:7'")
    article.locator(".stage .tokens").first.wait_for()
    example = builder.description().inventory[1].cards[0].top[0]
    assert example.tokens is not None
    shown = article.locator(".stage .tokens").first.locator("bdi")
    assert shown.count() == len(example.tokens)
    kinds = [shown.nth(i).get_attribute("class") or "" for i in range(shown.count())]
    assert {kind.removesuffix(" peak") for kind in kinds} <= {"hot", "cold"}
    assert example.weights is not None
    assert [i for i, kind in enumerate(kinds) if "peak" in kind] == [example.weights.index(max(example.weights))]


def test_a_table_is_sorted_searched_and_taken_away(large: Path, open_page: Opener) -> None:
    index, series = index_of(large)
    rows = dict(zip(series["keys:r0-units"], series["table:r0-units"], strict=True))
    columns = [column["key"] for column in next(t for t in index["tables"] if t["id"] == "r0-units")["columns"]]
    page = ready(open_page, large, "#/table/r0-units?sort=-mean")
    page.locator(".sheet .body > [role=row]").first.wait_for()
    assert page.locator(".sheet [role=columnheader][aria-sort=descending]").inner_text().startswith("Mean")
    means = sorted((row[columns.index("mean")] for row in rows.values()), reverse=True)
    first = page.locator(".sheet .body > [role=row]").first.locator("[role=cell].number").first
    assert float(first.inner_text()) == pytest.approx(means[0], rel=0.01)
    page.locator("mg-table input[type=search]").fill("blocks.7:33")
    settled(page, 200)
    row = page.locator(".sheet .body > [role=row]", has=page.locator("a[href='#/unit/blocks.7:33']"))
    row.locator(".go a").click()
    page.locator(".sheet .mine").wait_for()
    assert "row=blocks.7%3A33" in page.url
    assert "blocks.7:33" in page.locator(".rowcard").inner_text()
    page.locator("mg-table input[type=search]").fill("")
    settled(page, 200)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    taken = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"))))
    assert len(taken) == UNITS
    assert [float(line["mean"]) for line in taken] == means
    chosen = next(line for line in taken if line["key"] == "blocks.7:33")
    quantity = rows["blocks.7:33"][columns.index("selectivity")]
    assert float(chosen["selectivity_high"]) == quantity["high"]
    assert chosen["selectivity_unit"] == quantity["unit"]


def test_no_cell_becomes_a_formula_of_a_spreadsheet(tmp_path: Path, open_page: Opener) -> None:
    formula = '=HYPERLINK("http://example.com")'
    page = ready(open_page, Path(write_html(hostile_run(tmp_path / "run", formula))), "#/table/r0-findings")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    taken = list(csv.reader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"))))
    cells = [cell for row in taken for cell in row]
    assert f"'{formula}" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]


@pytest.mark.parametrize(("address", "n"), [("#/classes", 100), ("#/table/r0-units", 200)])
def test_nothing_printed_lies_over_another(large: Path, open_page: Opener, address: str, n: int) -> None:
    page = ready(open_page, large, address)
    page.emulate_media(media="print")
    items = page.locator(".stage .window li, .stage .window .body > [role=row]")
    until(page, lambda: items.count() == n)
    assert page.locator(".stage .window").evaluate("e => e.scrollHeight - e.clientHeight") <= 1


def test_what_is_printed_has_no_windows(large: Path, open_page: Opener) -> None:
    page = ready(open_page, large, "#/features")
    page.emulate_media(media="print")
    frame = page.locator(".stage .window")
    assert frame.evaluate("e => e.scrollHeight - e.clientHeight") <= 1
    items = page.locator(".stage .window li")
    until(page, lambda: items.count() == 200)
    assert re.fullmatch(r"Printed: the first 200 of [\d,\s]+ features. The page has the rest.",
                        page.locator(".stage .printed").inner_text())  # fmt: skip
    assert items.evaluate_all("all => all.every((e) => e.getBoundingClientRect().height > 8)")
    assert not page.locator(".stage .finder").is_visible()
    page.emulate_media(media="screen")
    until(page, lambda: items.count() < 200)


def test_a_short_list_is_printed_whole_with_its_pictures(run: Path, open_page: Opener) -> None:
    page = ready(open_page, Path(write_html(run)), "#/features")
    page.emulate_media(media="print")
    until(page, lambda: page.locator(".stage .window .wait").count() == 0)
    assert page.locator(".stage .printed").count() == 0
