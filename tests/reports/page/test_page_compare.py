"""Two audits side by side: what both found, what one found, and careful words about figures that differ."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import reports_builder as builder
from explored_builder import EVIL, accessible, an_atlas, at
from reports_builder import share
from test_reports_html import Tree, page_data

from conftest_browser import settled, until
from mulligan.records import Findings
from mulligan.reports import render_page

if TYPE_CHECKING:
    from conftest_browser import Opener


def other(folder: Path, *, data: str | None = None, **changes: Any) -> Path:
    """An audit of another network of the same kind: its findings, its figures and its classes are other ones."""
    found: Findings = builder.findings()
    network = dataclasses.replace(found.network, name=EVIL, identity="sha256:ffff")
    source = found.data if data is None else dataclasses.replace(found.data, identity=data)
    first, *rest = found.findings
    again = dataclasses.replace(first, id="F7", effect=share(0.2), claim="The same, put into other words.")
    new = dataclasses.replace(first, id="F8", kind="patch", claim="A yellow square is answered 'bag'.", target="bag")
    behaviour = builder.behaviour()
    classes = tuple(dataclasses.replace(one, recall=share(0.1, one.n)) if k == 3 else one
                    for k, one in enumerate(behaviour.classes))  # fmt: skip
    figures = {name: share(0.2, 1000, q.unit) for name, q in list(behaviour.figures.items())[:1]}
    described = builder.description(
        behaviour=dataclasses.replace(behaviour, classes=classes, figures=behaviour.figures | figures)
    )
    assert rest is not None
    replaced = dataclasses.replace(found, network=network, data=source, findings=(again, new), **changes)
    return builder.build(folder, replaced, described)


def page_of(folder: Path, *runs: Path) -> Path:
    page = folder / "page.html"
    page.write_text(render_page(runs), encoding="utf-8")
    return page


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_index_says_what_is_compared(run: Path, tmp_path: Path) -> None:
    index, series = page_data(Tree(page_of(tmp_path, run, other(tmp_path / "b")).read_text(encoding="utf-8")))
    audits = [entry["audit"] for entry in index["runs"]]
    assert [audit["word"] for audit in audits] == ["Fail", "Fail"]
    assert audits[0]["data"]["identity"] == audits[1]["data"]["identity"]
    for audit in audits:
        for figure in audit["figures"]:
            assert figure["table"][1] in series[f"keys:{figure['table'][0]}"]
    assert audits[0]["figures"][0]["controls"][0][0] == "random-weight twin"


@pytest.mark.browser
def test_findings_are_matched_and_figures_laid_on_one_axis(run: Path, tmp_path: Path, open_page: Opener) -> None:
    opened = open_page(page_of(tmp_path, run, other(tmp_path / "b")))
    page = at(opened, "#/compare")
    page.wait_for_selector("main.view mg-compare h3")
    told = words(page.inner_text("main.view"))
    both, first, second = told.index("In both"), told.index("Only in the first"), told.index("Only in the second")
    assert both < first < second
    claim = words(builder.findings().findings[0].claim)
    assert both < told.index(claim) < first
    assert "The same, put into other words." not in told  # it is one with the first's
    assert told.index("A yellow square is answered 'bag'.") > second
    assert "an audit finds what it looks for, to the power that it had" in told
    assert "Overlapping intervals do not show that two figures are equal" in told
    assert "intervals do not overlap" in told
    assert "intervals overlap" in told
    assert "audited on different data" not in told
    # The class that is answered otherwise comes first.
    rows = page.locator("main.view [aria-label='Recall of each class'] tbody tr")
    assert rows.first.locator("th").inner_text() == builder.behaviour().classes[3].name
    assert rows.count() == 20
    page.get_by_role("button", name="Show more of 45 classes").click()
    until(page, lambda: rows.count() == 45)
    # Two marks of two shapes on each axis.
    versus = page.locator("main.view .versus").first
    assert versus.locator("circle.mark.main").count() >= 1
    assert versus.locator("rect.mark.baseline").count() >= 1
    assert versus.locator("a.from").first.get_attribute("href").startswith("#/table/")
    assert opened.complaints == []
    assert opened.outside == []


@pytest.mark.browser
def test_units_of_one_name_stand_beside_a_warning(run: Path, tmp_path: Path, open_page: Opener) -> None:
    page = at(open_page(page_of(tmp_path, run, other(tmp_path / "b"))), "#/compare")
    page.wait_for_selector("main.view .twins")
    assert "The same number in another network need not be the same feature" in page.inner_text("main.view")
    links = page.locator("main.view .twins li").first.locator("a")
    mine, theirs = (links.nth(k).get_attribute("href") for k in range(2))
    assert mine.startswith("#/unit/")
    assert theirs == mine.replace("#/unit/", "#/unit/1~")


@pytest.mark.browser
def test_what_cannot_be_compared_is_told(run: Path, tmp_path: Path, open_page: Opener) -> None:
    data = other(tmp_path / "b", data="sha256:elsewhere")
    atlas = an_atlas(tmp_path / "atlas", (8,))
    opened = open_page(page_of(tmp_path, run, data, atlas))
    page = at(opened, "#/compare")
    page.wait_for_selector("main.view select")
    assert "audited on different data: figures may differ for that reason alone" in page.inner_text("main.view")
    page.locator("main.view select").nth(1).select_option(index=2)
    settled(page, 200)
    told = page.inner_text("main.view")
    assert "has no audit on this page" in told
    assert "no site of one name" in told
    assert "\u202e" not in told
    assert "a=0&b=2" in page.url
    alone = at(open_page(page_of(tmp_path, run)), "#/compare")
    assert "nothing to lay beside it" in alone.inner_text("main.view")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_it_fits_and_bars_nobody(run: Path, tmp_path: Path, open_page: Opener, width: int, scheme: str) -> None:
    opened = open_page(page_of(tmp_path, run, other(tmp_path / "b")), width=width, scheme=scheme, unguarded=True)
    page = at(opened, "#/compare")
    page.wait_for_selector("main.view mg-compare h3")
    page.locator("main.view details summary").first.click()
    settled(page, 200)
    assert opened.overflow() == 0
    assert accessible(page) == []
    assert opened.complaints == []
