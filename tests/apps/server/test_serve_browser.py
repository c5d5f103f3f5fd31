"""Reviewing in a real browser: two readers blind to each other, a third who settles, hostile text, lost windows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import reports_builder
from serve_samples import seen_run
from test_serve_command import Server

if TYPE_CHECKING:
    from conftest_browser import Opened, Opener

pytestmark = pytest.mark.browser
HOSTILE = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    runs = tmp_path_factory.mktemp("served") / "runs"
    seen_run(runs / "first", label=HOSTILE)
    reports_builder.build(runs / "audit")
    started = Server(runs, "--port", 0)
    yield started
    started.end()


def enter(server: Server, open_page: Opener, name: str, *, run: str = "first", width: int = 1280) -> Opened:
    """Somebody opens a run's review queue with the token, and says who they are."""
    opened = open_page(f"{server.base}/runs/{run}/?token={server.token}#/review", width=width)
    opened.page.fill("#rv-reader", name)
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_selector(".rv-layers td.act button")
    return opened


def read(opened: Opened, key: str, text: str) -> None:
    opened.page.goto(opened.page.url.partition("#")[0] + f"#/review/{key}")
    opened.page.wait_for_selector(f"h1:has-text('{key}')")
    opened.page.fill("#rv-text", text)
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_selector(".rv-said li")


def said(opened: Opened) -> list[str]:
    return opened.page.locator(".rv-said li").all_inner_texts()


def sound(*people: Opened) -> None:
    for opened in people:
        assert opened.complaints == []
        assert all(url.startswith(("http://127.0.0.1", "data:")) for url in opened.requests)
        assert opened.overflow() == 0
        assert opened.page.title() != "run"


def test_the_token_leaves_the_address(server: Server, open_page: Opener) -> None:
    opened = open_page(f"{server.base}/?token={server.token}")
    opened.page.wait_for_selector("text=This tab may write")
    assert server.token not in opened.page.url
    opened.page.click("h2 a:has-text('first')")
    opened.page.wait_for_selector("mg-served")
    opened.page.click("mg-served >> text=Review")
    opened.page.wait_for_selector("#rv-reader")
    assert server.token not in opened.page.url
    sound(opened)


def test_two_readers_and_a_third(server: Server, open_page: Opener) -> None:
    ann, ben = enter(server, open_page, "Ann"), enter(server, open_page, "Ben", width=390)
    ann.page.locator(".rv-layers td.act button").nth(0).click()
    ann.page.wait_for_selector("text=Read the next one")
    ben.page.locator(".rv-layers td.act button").nth(1).click()
    ben.page.wait_for_selector("text=Read the next one")
    read(ann, "blocks.0:0", f"dogs {HOSTILE}")
    read(ann, "blocks.0:1", "Red  things")
    ben.page.goto(f"{server.base}/runs/first/#/review/blocks.0:0")
    ben.page.wait_for_selector("text=You are to read it on your own")
    assert "dogs" not in ben.page.content()
    read(ben, "blocks.0:0", "cats")
    assert said(ben)[0].startswith(f"dogs {HOSTILE}")
    read(ben, "blocks.0:1", "red things")
    ben.page.wait_for_selector("text=The readers agree")
    cy = enter(server, open_page, "Cy")
    cy.page.wait_for_selector("text=How far readers agree")
    assert "0.5" in cy.page.locator("mg-review").inner_text()
    cy.page.goto(f"{server.base}/runs/first/#/review/blocks.0:0")
    cy.page.fill("#rv-wording", "animals")
    cy.page.click("button:has-text('Settle')")
    cy.page.wait_for_selector(".rv-said li.stands:has-text('animals')")
    sound(ann, ben, cy)


def test_a_second_window_does_not_overwrite(server: Server, open_page: Opener) -> None:
    one = enter(server, open_page, "Dan")
    other = enter(server, open_page, "dan")
    for opened in (one, other):
        opened.page.goto(f"{server.base}/runs/first/#/review/blocks.1:7")
        opened.page.wait_for_selector("text=Nobody has labelled it yet")
    read(one, "blocks.1:7", "sky")
    other.page.fill("#rv-text", "sea")
    other.page.keyboard.press("Enter")
    other.page.wait_for_selector("text=has written here since")
    assert [text.split()[0] for text in said(other)] == ["sky"]
    # What was typed is still there, and can be written once it was seen what it replaces.
    assert other.page.input_value("#rv-text") == "sea"
    other.page.keyboard.press("Enter")
    other.page.wait_for_selector(".rv-said li:has-text('sea')")


def test_a_finding_is_judged(server: Server, open_page: Opener) -> None:
    opened = enter(server, open_page, "Eve", run="audit")
    form = opened.page.locator("mg-review-finding form").first
    form.locator("input[value=rejected]").check()
    form.locator("textarea").fill(HOSTILE)
    form.locator("button").click()
    opened.page.wait_for_selector("mg-review-finding li:has-text('rejected')")
    assert HOSTILE in opened.page.locator("mg-review-finding li").first.inner_text()
    sound(opened)


def test_without_the_token_nothing_can_be_written(server: Server, open_page: Opener) -> None:
    opened = open_page(f"{server.base}/runs/first/#/review")
    opened.page.wait_for_selector("#rv-token")
    assert opened.page.locator(".rv-layers td.act button").count() == 0
    opened.page.fill("#rv-token", server.token)
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_selector("#rv-reader")
    sound(opened)


def test_a_page_from_disk_offers_none_of_it(tmp_path: Path, open_page: Opener) -> None:
    from mulligan.reports.page import render_page

    run = seen_run(tmp_path / "run")
    (tmp_path / "page.html").write_text(render_page([run]), encoding="utf-8")
    opened = open_page(tmp_path / "page.html")
    opened.page.wait_for_selector("html[data-mg-whole]")
    assert opened.page.locator("mg-served").count() == 0
    assert opened.complaints == []
