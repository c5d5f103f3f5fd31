"""What drives what: every drive of the cards once, drawn with its sign and how sure it is, and told in a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import reports_builder as builder
from explored_builder import EVIL, accessible, at, written
from reports_builder import amount

from conftest_browser import until
from mulligan.records import Drive, OutputCard
from mulligan.reports import write_html
from mulligan.reports.page import Book
from mulligan.reports.page.links import links

if TYPE_CHECKING:
    from conftest_browser import Opener


def drive(unit: int, output: str, attribution: float, ablation: float | None, confirmed: bool | None) -> Drive:
    measured = None if ablation is None else amount(ablation, 0.1, "change of the logit", 12)
    control = None if ablation is None else amount(0.01, 0.1, "change of the logit", 12)
    return Drive(
        site="net.0", unit=unit, output=output, attribution=amount(attribution, 0.1, "logit, to first order", 12),
        ablation=measured, control=control, confirmed=confirmed,
    )  # fmt: skip


def audited(folder: Path, *cards: OutputCard) -> Path:
    """An audit whose class cards alone say what drives them."""
    described = builder.description()
    inventory = tuple(
        dataclasses.replace(site, cards=tuple(dataclasses.replace(unit, drives=()) for unit in site.cards))
        for site in described.inventory
    )
    return builder.build(folder, None, dataclasses.replace(described, cards=cards, inventory=inventory))


def some_links(folder: Path, n: int = 4) -> Path:
    dress = (
        drive(1, "dress", 0.9, -0.8, True), drive(2, "dress", -0.7, 0.6, True), drive(3, "dress", 0.5, 0.05, False),
        *(drive(4 + k, "dress", 0.4 - 0.005 * k, None, None) for k in range(n - 3)),
    )  # fmt: skip
    coat = (drive(1, "coat", 0.3, -0.2, True), drive(2, EVIL, 0.2, None, None))
    return audited(folder, OutputCard(output="dress", n=5, figure=None, drives=dress),
                   OutputCard(output="coat", n=5, figure=None, drives=coat))  # fmt: skip


def test_every_drive_is_an_edge_once(tmp_path: Path) -> None:
    _, index, series = written(some_links(tmp_path / "run"))
    rows = series["links"]
    assert index["links"] == {"n": len(rows)} == {"n": 6}
    assert [row[:2] for row in rows][:3] == [["net.0:1", "dress"], ["net.0:2", "dress"], ["net.0:3", "dress"]]
    assert rows[0][3]["value"] == -0.8
    assert rows[0][5] is True
    assert rows[3][3:6] == [None, None, None]
    for row in rows:
        assert row[6][1] in series[f"keys:{row[6][0]}"]


def test_what_was_measured_stands_before_what_was_not() -> None:
    book = Book()
    plain = {"site": "a", "unit": 1, "output": "x", "attribution": 1, "control": None, "confirmed": None}
    book.feature(0, "a:1")["drives"] = [plain | {"ablation": None}]
    book.output(0, "x")["drives"] = [plain | {"ablation": 5, "confirmed": True}, plain | {"ablation": 6}]
    assert [row[3] for row in links(book)] == [5]
    other = Book()
    other.output(1, "x")["drives"] = [plain | {"ablation": None}]
    assert links(other)[0][:2] == ["1~a:1", "1~x"]


@pytest.mark.browser
def test_a_wide_graph_is_printed_whole(tmp_path: Path, open_page: Opener) -> None:
    folder = some_links(tmp_path / "run")
    written(folder)
    page = at(open_page(folder / "report.html"), "#/links")
    width = "e => e.getBoundingClientRect().width"
    graph = page.locator(".stage .links-graph .graph")
    graph.evaluate("e => e.style.cssText += ';width: 1320px; --wide: 1320'")
    assert graph.evaluate(width) == 1320
    page.emulate_media(media="print")
    until(page, lambda: abs(graph.evaluate(width) - 660) < 2)


@pytest.mark.browser
def test_cards_lead_to_where_they_are_linked(tmp_path: Path, open_page: Opener) -> None:
    """A unit that only a class's card speaks of is linked from its own card too."""
    known = drive(12, "dress", 0.9, -0.8, True)
    dress = (dataclasses.replace(known, site="blocks.5"), drive(2, "dress", -0.7, 0.6, True))
    coat = (dataclasses.replace(known, site="blocks.5", output="coat"),)
    folder = audited(tmp_path / "run", OutputCard(output="dress", n=5, figure=None, drives=dress),
                     OutputCard(output="coat", n=5, figure=None, drives=coat))  # fmt: skip
    _, _, series = written(folder)
    edges = {card["key"]: card["links"] for card in (*series["features"], *series["classes"])}
    assert {key: n for key, n in edges.items() if n} == {"dress": 2, "coat": 1, "blocks.5:12": 2}
    page = at(open_page(folder / "report.html"), "#/class/dress")
    link = page.locator("mg-class-card a[href='#/links?at=dress']")
    assert link.inner_text() == "What drives what around it, as a graph of 2 edges"
    link.click()
    page.wait_for_selector(".graph .node[aria-current=true]")
    assert "dress" in page.locator(".graph .node[aria-current=true]").inner_text()
    page.evaluate("location.hash = '#/unit/blocks.5:12'")
    page.locator("mg-card a[href^='#/links?at=blocks.5']").click()
    until(page, lambda: "blocks.5:12" in page.locator(".graph .node[aria-current=true]").get_attribute("aria-label"))
    page.evaluate("location.hash = '#/unit/blocks.5:40'")
    page.wait_for_selector(".view h1:has-text('blocks.5:40')")
    until(page, lambda: page.locator("mg-card [aria-busy]").count() == 0 and page.locator("mg-card section").count())
    assert page.locator("mg-card a[href^='#/links']").count() == 0


@pytest.mark.browser
def test_edges_say_their_sign_and_how_sure_they_are(tmp_path: Path, open_page: Opener) -> None:
    opened = open_page(Path(write_html(some_links(tmp_path / "run"))))
    page = at(opened, "#/links?at=dress")
    edges = page.evaluate(
        "() => [...document.querySelectorAll('main.view .graph .edge')].map((e) => [e.classList[1], "
        "!!e.querySelector('.head'), getComputedStyle(e.querySelector('.line')).strokeDasharray])"
    )
    # In the order of their strength; the last two are of the neighbours.
    assert [edge[:2] for edge in edges[:4]] == [
        ["confirmed", True], ["confirmed", False], ["unmeasured", True], ["unconfirmed", False],
    ]  # fmt: skip
    assert edges[0][2] == "none"
    assert len({edge[2] for edge in edges}) == 3
    rows = page.locator("main.view .links-table tbody tr")
    assert [rows.nth(k).locator("td").first.inner_text() for k in range(4)] == [
        "raises", "lowers", "may raise", "may lower",
    ]  # fmt: skip
    assert rows.count() == len(edges) == 6
    columns = page.evaluate(
        "() => [...document.querySelectorAll('main.view .node')].map((n) => [n.classList.contains('output'), "
        "n.getBoundingClientRect().left])"
    )
    assert max(left for output, left in columns if not output) < min(left for output, left in columns if output)
    assert opened.complaints == []


@pytest.mark.browser
def test_the_focus_moves_along_by_keyboard(tmp_path: Path, open_page: Opener) -> None:
    opened = open_page(Path(write_html(some_links(tmp_path / "run"))))
    page = at(opened, "#/links")
    focused = page.locator("main.view .node[aria-current=true]")
    assert focused.get_attribute("aria-label") == "Output dress, in focus"  # most was measured of it
    page.locator("main.view .node", has_text=":1").first.focus()
    page.keyboard.press("Enter")
    until(page, lambda: page.url.endswith("at=net.0%3A1"))
    assert focused.get_attribute("aria-label") == "Unit net.0:1, in focus"
    assert page.evaluate("document.activeElement.ariaLabel") == "Unit net.0:1, in focus"  # the keyboard is not lost
    assert {"coat", "dress"} <= set(page.locator("main.view .node.output").all_inner_texts())


@pytest.mark.browser
def test_no_more_than_forty_edges_and_what_is_left_is_said(tmp_path: Path, open_page: Opener) -> None:
    opened = open_page(Path(write_html(some_links(tmp_path / "run", 60))), width=360, unguarded=True)
    page = at(opened, "#/links?at=dress")
    assert page.locator("main.view .graph .edge").count() == 40
    assert "22 more are left out" in page.inner_text("main.view")
    assert opened.overflow() == 0
    assert accessible(page) == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_names_and_addresses_that_lead_nowhere(tmp_path: Path, open_page: Opener, scheme: str) -> None:
    opened = open_page(Path(write_html(some_links(tmp_path / "run"))), scheme=scheme, unguarded=True)
    page = at(opened, "#/links?at=net.0:2")
    assert "[U+202E]" in page.inner_text("main.view")
    assert "\u202e" not in page.inner_text("main.view")
    assert accessible(page) == []
    page = at(opened, "#/links?at=trousers%3Cscript%3E")
    assert "Nothing is known of what “trousers<script>” drives" in page.inner_text("main.view")
    page.get_by_role("button", name="coat", exact=True).click()
    until(page, lambda: page.locator("main.view .graph .edge").count() > 0)
    assert opened.complaints == []
