"""What a reader meets first: title before contents, names that can be told apart, ways from a card to what names it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import reports_builder as builder
from test_words import answers

import mulligan
from conftest_browser import settled, until
from mulligan.reports import write_html

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from conftest_browser import Opener

pytestmark = pytest.mark.browser

FINDING = builder.finding()
SITE = builder.description().inventory[0].site


def at(run: Path, open_page: Opener, address: str = "", width: int = 1280) -> Page:
    page = open_page(Path(write_html(run)).as_uri() + address, width=width).page
    page.wait_for_selector("html[data-mg-whole]")
    settled(page, 250)
    return page


def test_a_phone_shows_the_title_before_the_contents_of_the_page(run: Path, open_page: Opener) -> None:
    page = at(run, open_page, width=390)
    assert not page.is_visible(".toc a")
    assert page.evaluate("document.querySelector('main h1').getBoundingClientRect().top") < 150
    page.click(".toc summary")
    until(page, lambda: page.is_visible(".toc a"))


def test_a_wide_window_shows_the_contents(run: Path, open_page: Opener) -> None:
    assert at(run, open_page).is_visible(".toc a")


@pytest.mark.parametrize("width", [1280, 390])
def test_no_column_of_the_checks_is_out_of_sight(run: Path, open_page: Opener, width: int) -> None:
    page = at(run, open_page, width=width)
    hidden = page.evaluate("(() => { const table = document.querySelector('table.checks').parentElement;"
                           " return table.scrollWidth - table.clientWidth; })()")  # fmt: skip
    assert hidden <= 0


def test_a_class_leads_to_the_findings_that_name_it(run: Path, open_page: Opener) -> None:
    assert FINDING.target is not None
    page = at(run, open_page, f"#/class/{FINDING.target}")
    page.wait_for_selector(f".view a[href='#/finding/{FINDING.id}']")


def test_a_unit_without_a_card_is_said_to_have_none(run: Path, open_page: Opener) -> None:
    page = at(run, open_page, f"#/finding/{FINDING.id}")
    where = FINDING.where
    assert where is not None
    assert where.units
    told = page.inner_text("mg-finding")
    links = page.locator("mg-finding a[href^='#/unit/']").count()
    assert (links == len(where.units)) != ("card" in told)


def test_a_class_is_found_without_the_spaces_about_its_name(run: Path, open_page: Opener) -> None:
    name = builder.description().cards[0].output
    page = at(run, open_page, f"#/class/%20{name}%20")
    assert page.inner_text(".stage h1") == name


def test_spaces_at_the_ends_of_a_name_are_seen(run: Path, open_page: Opener) -> None:
    page = at(run, open_page)
    given = ["of", " of", "  of the ", "", " "]
    assert answers(page, "spaced", [[name] for name in given]) == ["of", "␣of", "␣␣of the␣", "", "␣"]


@pytest.mark.parametrize("pictured", [True, False])
def test_features_are_a_list_where_none_has_a_picture(run: Path, open_page: Opener, pictured: bool) -> None:
    page = at(run, open_page)
    if not pictured:
        page.evaluate("document.querySelector('mg-page').book.index.features.picture.fill(null)")
    page.evaluate("location.hash = '#/features'")
    page.wait_for_selector(".stage .window li")
    button = page.locator(".stage").get_by_role("button", name="As a list")
    assert page.locator(".stage .window.tiles").count() == int(pictured)
    for listed in (pictured, not pictured):
        button.click()
        until(page, lambda listed=listed: button.get_attribute("aria-pressed") == str(listed).lower())


def test_views_lead_back_to_a_report(run: Path, open_page: Opener) -> None:
    assert at(run, open_page, "#/features").inner_text(".back a").startswith("← Report:")


def test_a_range_is_no_interval(run: Path, open_page: Opener) -> None:
    page = at(run, open_page, f"#/unit/{SITE}:{builder.description().inventory[0].cards[0].unit}")
    band = page.locator("line.range")
    assert band.count() == 1
    figure = page.locator(".figure", has=band)
    assert figure.locator(".whisker").count() == 0
    assert ", from " in figure.inner_text()


def test_no_style_looks_into_cards_and_lists() -> None:
    """`:has()` into these is asked anew at every change: it made the style of a card thirty times as dear."""
    css = (Path(mulligan.__file__).parent / "reports/assets/page.css").read_text(encoding="utf-8")
    looked = re.findall(r":has\(([^()]*)\)", css)
    assert set(looked) == {"> mg-page", "> .toc"}
