"""The page in a real browser: it asks for nothing, runs its own script alone, says nothing on the console, and fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import reports_builder as builder
from test_reports_html import HOSTILE, hostile_run

from conftest_browser import until
from mulligan.reports import write_html, write_index

if TYPE_CHECKING:
    from conftest_browser import Opener

pytestmark = pytest.mark.browser

WHOLE = "html[data-mg-whole]"
EVERYTHING_OPEN = "document.querySelectorAll('details').forEach(d => { d.open = true; })"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_opens_from_disk_and_fits(run: Path, open_page: Opener, width: int, scheme: str) -> None:
    opened = open_page(write_html(run), width=width, scheme=scheme)
    opened.page.wait_for_selector(WHOLE)
    assert opened.overflow() == 0
    opened.page.evaluate(EVERYTHING_OPEN)
    assert opened.overflow() == 0
    assert opened.complaints == []
    assert opened.outside == []
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(22, 24, 27)") == (scheme == "dark")
    assert opened.page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert opened.page.locator("svg.thumb").first.bounding_box()["height"] > 20


def test_hostile_text_runs_nothing_and_fits(tmp_path: Path, open_page: Opener) -> None:
    text = " ".join(HOSTILE[:6]) + "w" * 400
    opened = open_page(write_html(hostile_run(tmp_path / "run", text)), width=360)
    opened.page.wait_for_selector(WHOLE)
    opened.page.evaluate(EVERYTHING_OPEN)
    assert opened.overflow() == 0
    assert opened.page.evaluate("[...document.scripts].filter(s => !s.type).length") == 1
    assert "owned" not in opened.page.title().replace(HOSTILE[0], "")
    assert opened.page.title().startswith("Fail: audit of <script>")
    assert opened.complaints == []
    assert opened.outside == []


def test_the_policy_stops_a_script_that_got_in(run: Path, open_page: Opener) -> None:
    path = write_html(run)
    path.write_text(
        path.read_text(encoding="utf-8").replace("</body>", "<script>document.title='owned'</script></body>"),
        encoding="utf-8",
    )
    opened = open_page(path)
    assert opened.page.title() != "owned"
    assert any("Content Security Policy" in complaint for complaint in opened.complaints)


def test_a_command_is_copied_as_it_was(run: Path, open_page: Opener) -> None:
    opened = open_page(write_html(run), width=360)
    opened.page.locator("#finding-1 >> xpath=ancestor::article >> css=.command").click()
    until(opened.page, lambda: opened.page.evaluate("getSelection().toString()").strip() == builder.finding().reproduce)


def test_the_keyboard_reaches_the_text_first(run: Path, open_page: Opener) -> None:
    opened = open_page(write_html(run))
    opened.page.keyboard.press("Tab")
    until(opened.page, lambda: opened.page.evaluate("document.activeElement.textContent") == "Skip to the text")
    opened.page.keyboard.press("Enter")
    until(opened.page, lambda: opened.page.url.endswith("#main"))


def test_the_index_leads_to_the_report(run: Path, tmp_path: Path, open_page: Opener) -> None:
    write_html(run)
    opened = open_page(write_index(tmp_path / "site", [run], "One network"), width=360)
    assert opened.overflow() == 0
    opened.page.get_by_role("link", name="fashion-small").click()
    until(opened.page, lambda: opened.page.title() == "Fail: audit of fashion-small")
    assert opened.complaints == []
