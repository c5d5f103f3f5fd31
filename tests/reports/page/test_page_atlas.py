"""The page of an atlas: whole where files are missing, escaped, zoomed by wheel, buttons and keys, told in words."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from explored_builder import EVIL, FIGURE, accessible, an_atlas, at, written
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from conftest_browser import settled, until
from mulligan.records import BadInput, Beside
from mulligan.reports import render_page, write_html
from mulligan.reports.page import Book
from mulligan.reports.page.pictures import PictureStore
from mulligan.reports.page.sources.atlas import add, purer, read_atlas
from mulligan.runs import Run

if TYPE_CHECKING:
    from conftest_browser import Opener

PLANE = "main.view canvas.plane"


def test_what_the_page_holds_of_an_atlas(tmp_path: Path) -> None:
    tree, index, series = written(an_atlas(tmp_path / "run"))
    (entry,) = index["atlases"]
    assert [level["side"] for level in entry["panes"][0]["levels"]] == [8, 16]
    first = entry["panes"][0]["levels"][0]
    assert first["named"]
    assert first["why"] == ""
    shown = series["pictures"][first["tiles"][0]["picture"]]
    assert (shown["w"], shown["h"]) == (128, 128)
    assert shown["src"].startswith("data:image/jpeg;base64,")  # a tile is kept as it was made
    cells = series[first["cells"]]
    assert [cell["n"] for cell in cells] == [9, 8, 7, 6]
    # Every figure leads to its row.
    for figure in (*entry["figures"], *first["figures"]):
        table, key = figure["table"]
        assert key in series[f"keys:{table}"]
        assert all(place[1] in series[f"keys:{table}"] for _, _, place in figure["controls"])
    assert "3 activations on" in tree.words
    assert "mulligan see atlas x" in tree.words
    assert "label 1 (5)" in tree.words  # the fullest cells, for readers without script


def test_hostile_text_is_only_text(tmp_path: Path) -> None:
    tree, _, _ = written(an_atlas(tmp_path / "run"))
    assert "<script>alert" not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "\u202e" not in tree.words
    assert "<script>alert(1)</script>[U+202E]evil" in tree.words


def test_tiles_that_are_missing_broken_or_too_much_are_said(tmp_path: Path) -> None:
    run = an_atlas(tmp_path / "run")
    (run / "atlas/16/0-0.jpg").unlink()
    tree, index, _ = written(run)
    level = index["atlases"][0]["panes"][0]["levels"][1]
    assert level["tiles"][0]["picture"] is None
    assert "missing from the run's folder" in level["why"]
    assert level["why"] in tree.words
    (run / "atlas/16/0-0.jpg").write_bytes(b"GIF89a no picture")
    assert "or broken" in written(run)[1]["atlases"][0]["panes"][0]["levels"][1]["why"]
    (run / "atlas/16.json").write_text("[1, 2")
    assert "atlas/16.json is missing or broken" in written(run)[1]["atlases"][0]["panes"][0]["levels"][1]["why"]
    full = Book(pictures=PictureStore(budget=10))  # what is over it is left out, the first that reaches it is not
    add(full, an_atlas(tmp_path / "whole"), "")
    first, second = full.atlases[0]["panes"][0]["levels"]
    assert first["why"] == ""
    assert "1 of 1 tiles are not on this page: it is full" in second["why"]
    assert full.pictures.left_out == 1


def test_coarse_zooms_of_both_networks_come_before_fine_ones(tmp_path: Path) -> None:
    run = an_atlas(tmp_path / "run", second=True)
    for place, seed in (("atlas/8", 1), ("atlas/16", 2), ("atlas/against/8", 3), ("atlas/against/16", 4)):
        out = io.BytesIO()
        noise = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(out, "JPEG")
        (run / place / "0-0.jpg").write_bytes(out.getvalue())
    _, index, _ = written(run)
    first, second = index["atlases"][0]["panes"]
    numbers = [pane["levels"][k]["tiles"][0]["picture"] for k in range(2) for pane in (first, second)]
    assert numbers == sorted(numbers)
    assert [network["name"] for network in index["networks"]] == [EVIL, "second"]


def test_paths_that_lead_out_and_zooms_without_a_size_are_refused(tmp_path: Path) -> None:
    for name, changed, match in (
        ("tile", {"image": "../../secret.jpg"}, "leads out of the run's folder"),
        ("cells", {"cells": "/etc/passwd"}, "not a relative path"),
        ("side", {"side": 0}, "0 cells along a side"),
    ):
        run = an_atlas(tmp_path / name)
        document = json.loads((run / "atlas.json").read_text())
        level = document["levels"][0]
        (level["tiles"][0] if name == "tile" else level).update(changed)
        (run / "atlas.json").write_text(json.dumps(document))
        with pytest.raises(BadInput, match=match):
            write_html(run)
    document["schema"] = "mulligan/atlas/9"
    (run / "atlas.json").write_text(json.dumps(document))
    with pytest.raises(BadInput, match="too old to read it"):
        read_atlas(run)
    with pytest.raises(BadInput, match="no run's folder here"):
        read_atlas(tmp_path / "nowhere")
    # Beside others, such a run becomes a problem that the page tells.
    page = render_page([an_atlas(tmp_path / "whole"), run])
    assert "too old to read it" in page


def test_a_run_that_is_not_finished_says_so(tmp_path: Path) -> None:
    run = an_atlas(tmp_path / "run")
    Run.open(run).update(status="interrupted")
    tree, index, _ = written(run)
    assert "not finished when this page was written" in tree.words
    assert index["runs"][0]["problems"]


def test_an_atlas_that_lies_elsewhere(tmp_path: Path) -> None:
    run = an_atlas(tmp_path / "run")
    here = Path(write_html(run)).read_bytes()
    files = MemoryFileSystem()
    files.store.clear()
    for path in run.rglob("*"):
        if path.is_file() and path.name != "report.html":
            files.pipe_file(f"/shared/run/{path.relative_to(run).as_posix()}", path.read_bytes())
    assert str(write_html("memory://shared/run")) == "memory://shared/run/report.html"
    assert b"data:image/jpeg" not in here  # pictures lie in chunks
    assert len(files.cat_file("/shared/run/report.html")) > 0.9 * len(here)
    files.store.clear()


def test_names_are_written_only_where_cells_are_purer_than_by_chance() -> None:
    def figure(low: float | None, high: float | None) -> Beside:
        shown, control = FIGURE.shown, FIGURE.controls[0][1]
        return Beside(
            name="cells", shown=type(shown)(value=0.5, unit="share", low=low, high=0.9, n=3),
            controls=(("shuffled", type(control)(value=0.2, unit="share", low=0.1, high=high, n=3)),),
        )  # fmt: skip

    assert purer([figure(0.4, 0.3)])
    assert not purer([figure(0.3, 0.4)])
    assert not purer([figure(None, 0.3)])
    assert not purer([figure(0.4, None)])
    assert not purer([])


@pytest.mark.browser
def test_zooms_follow_the_wheel_buttons_and_keys_and_stand_in_the_address(tmp_path: Path, open_page: Opener) -> None:
    opened = open_page(Path(write_html(an_atlas(tmp_path / "run", (8, 16)))))
    page = at(opened, "#/atlas/a0")
    name = "() => document.querySelector('main.view canvas.plane').getAttribute('aria-label')"
    assert "16 x 16" in page.evaluate(name)  # cells are large enough in a window of this width
    page.get_by_role("button", name="8 x 8", exact=True).click()
    until(page, lambda: "8 x 8" in page.evaluate(name))
    page.get_by_role("button", name="automatic").click()
    page.locator(PLANE).focus()
    for key in ("+", "+", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    until(page, lambda: "z=2.25" in page.url)
    assert "x=" in page.url
    page.keyboard.press("0")
    until(page, lambda: "z=" not in page.url)
    box = page.locator(PLANE).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -400)
    until(page, lambda: "z=" in page.url)
    assert opened.complaints == []
    assert opened.outside == []
    again = open_page(tmp_path / "run" / "report.html")
    page = at(again, "#/atlas/a0?level=8&z=3&x=0.2&y=0.3&class=b")
    assert "8 x 8" in page.evaluate(name)
    assert page.locator("main.view input[type=search]").input_value() == "b"


@pytest.mark.browser
def test_a_cell_says_what_is_in_it_by_mouse_and_by_keyboard(tmp_path: Path, open_page: Opener) -> None:
    opened = open_page(Path(write_html(an_atlas(tmp_path / "run", (8,)))))
    page = at(opened, "#/atlas/a0")
    said = page.locator("main.view .followed")
    box = page.locator(PLANE).bounding_box()
    page.mouse.move(box["x"] + 1.5 * box["width"] / 8, box["y"] + 1.5 * box["height"] / 8)
    until(page, lambda: "8 activations" in said.inner_text())
    assert "label 1 (5)" in said.inner_text()
    assert "Pushes to b 2.5 [1.0, 4.0]" in said.inner_text()
    assert "not surely above zero: a 0.1" in said.inner_text()  # an interval that reaches zero pushes to nothing
    page.mouse.move(box["x"] + 7.5 * box["width"] / 8, box["y"] + 5)
    until(page, lambda: "Point at a cell" in said.inner_text())
    page.locator("main.view details.listed summary").click()
    page.locator("main.view details.listed [data-item]").first.focus()
    until(page, lambda: "9 activations" in said.inner_text())
    page.keyboard.press("ArrowDown")
    until(page, lambda: "8 activations" in said.inner_text())
    # Sorted by what was asked for: the surest push to a class first.
    page.locator("main.view input[type=search]").fill("b")
    page.keyboard.press("Enter")
    settled(page, 200)
    rows = page.locator("main.view details.listed tbody tr").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["3,", "2,", "1,", "0,"]
    assert "4 cells of 4 push to it" in page.locator("main.view [role=status]").inner_text()


@pytest.mark.browser
def test_names_on_the_map_do_not_overlap_and_each_is_said_once(tmp_path: Path, open_page: Opener) -> None:
    run = an_atlas(tmp_path / "run", (16,))
    cells = [
        {"row": r, "column": c, "n": 5, "labels": [[f"name {(r * 16 + c) % 30}", r + c + 1]], "drawn": True}
        for r in range(16)
        for c in range(16)
    ]
    (run / "atlas/16.json").write_text(json.dumps(cells))
    page = at(open_page(Path(write_html(run))), "#/atlas/a0")
    boxes = page.evaluate(
        "() => [...document.querySelectorAll('main.view .atlas-words > i:not([hidden])')].map((e) => { const b = "
        "e.getBoundingClientRect(); return [e.textContent, b.left, b.top, b.right, b.bottom]; })"
    )
    assert 5 < len(boxes) <= 26
    assert len({box[0] for box in boxes}) == len(boxes)
    frame = page.locator("main.view .atlas-frame").bounding_box()
    for k, (_, left, top, right, bottom) in enumerate(boxes):
        assert left >= frame["x"] - 1
        assert right <= frame["x"] + frame["width"] + 1
        for _, l2, t2, r2, b2 in boxes[k + 1 :]:
            assert right <= l2 or r2 <= left or bottom <= t2 or b2 <= top


@pytest.mark.browser
def test_two_networks_move_together_and_tell_the_same_cell(tmp_path: Path, open_page: Opener) -> None:
    opened = open_page(Path(write_html(an_atlas(tmp_path / "run", (8,), second=True))))
    page = at(opened, "#/atlas/a0")
    planes = page.locator(PLANE)
    assert planes.count() == 2
    box = planes.nth(0).bounding_box()
    page.mouse.move(box["x"] + 1.5 * box["width"] / 8, box["y"] + 1.5 * box["height"] / 8)
    settled(page, 200)
    said = page.locator("main.view .cell-said").all_inner_texts()
    assert "label 1" in said[0]
    assert "label 2" in said[1]  # the same place of the second network holds another
    before = [planes.nth(k).evaluate("c => c.toDataURL()") for k in range(2)]
    planes.nth(0).focus()
    page.keyboard.press("+")
    until(page, lambda: all(planes.nth(k).evaluate("c => c.toDataURL()") != before[k] for k in range(2)))


@pytest.mark.browser
def test_two_fingers_zoom_it_and_not_the_page(tmp_path: Path, open_page: Opener) -> None:
    page = at(open_page(Path(write_html(an_atlas(tmp_path / "run"))), width=390), "#/atlas/a0")
    box = page.locator(PLANE).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, apart: int | None) -> None:
        points = [] if apart is None else [{"x": x - apart, "y": y, "id": 1}, {"x": x + apart, "y": y, "id": 2}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 20)
    for apart in range(25, 70, 5):
        fingers("touchMove", apart)
    fingers("touchEnd", None)
    settled(page, 500)
    zoom = float(page.url.split("z=")[1].split("&")[0])
    assert 2 < zoom < 4
    assert page.evaluate("visualViewport.scale") == 1


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_atlas_fits_a_phone_and_bars_nobody(tmp_path: Path, open_page: Opener, scheme: str) -> None:
    run = an_atlas(tmp_path / "run", second=True)
    opened = open_page(Path(write_html(run)), width=360, scheme=scheme, unguarded=True)
    opened.page.locator("#a0").scroll_into_view_if_needed()
    opened.page.wait_for_selector("#a0 canvas")
    page = at(opened, "#/atlas/a0?class=b")
    page.locator("main.view details.listed summary").click()
    settled(page, 200)
    assert opened.overflow() == 0
    assert accessible(page) == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))  # the article's own atlas stays in the document, and was drawn
    assert "\u202e" not in page.inner_text("main.view")
    assert "[U+202E]" in page.inner_text("main.view")
    page = at(opened, "#/atlas/nowhere")
    assert "This page has no atlas" in page.inner_text("main.view")
    assert page.locator("main.view ul a[href='#/atlas/a0']").count() == 1
