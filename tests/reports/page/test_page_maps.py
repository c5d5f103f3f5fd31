"""The page of maps: one example followed through all of them by mouse, keyboard and address, among thousands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from explored_builder import accessible, at, some_maps, written

from conftest_browser import settled, until
from mulligan.records import BadInput, SiteMap
from mulligan.reports import write_html
from mulligan.reports.page.sources.maps import BLOCK, FINEST, read_maps

if TYPE_CHECKING:
    from conftest_browser import Opener

PLANE = "main.view canvas.plane"
# How many pixels of a map's canvas are about as dark as the ring around an example that is followed.
DARK = """(k) => {
  const seen = document.querySelectorAll('main.view canvas.plane')[k];
  const c = Object.assign(document.createElement('canvas'), { width: seen.width, height: seen.height });
  const copy = c.getContext('2d', { willReadFrequently: true });
  copy.drawImage(seen, 0, 0);
  const { data } = copy.getImageData(0, 0, c.width, c.height);
  let n = 0;
  for (let i = 0; i < data.length; i += 4) n += data[i] < 60 && data[i + 1] < 60 && data[i + 2] < 66;
  return n;
}"""


def test_what_the_page_holds_of_maps(tmp_path: Path) -> None:
    n = BLOCK + 10
    points = tuple((k / n, 1 - k / n) for k in range(n))
    sites = (SiteMap(site="blocks.0", meaning="m", units=3, points=points),)
    tree, index, series = written(some_maps(tmp_path / "run", n, maps=sites))
    (entry,) = index["maps"]
    assert entry["n"] == n
    assert "m0" in {a.get("id") for tag, a in tree.elements if tag == "mg-map"}
    blocks = series["map:m0:0"]
    assert [len(block) for block in blocks] == [2 * BLOCK, 20]
    flat = [value for block in blocks for value in block]
    assert flat[:2] == [0, FINEST]
    assert all(abs(flat[2 * k] / FINEST - x) < 1e-4 for k, (x, _) in enumerate(points))
    groups = [group for block in series["map:m0:groups"] for group in block]
    assert groups[:3] == [0, 1, 0]
    assert groups[-1] == -1
    assert len(series["map:m0:examples"]) == n


def test_hostile_text_and_numbers(tmp_path: Path) -> None:
    wild = (SiteMap(site="x", meaning="m", units=1, points=((-3.0, 7.0), (0.5, 1e300), (0, 0), (1, 1), (0.2, 0.2))),)
    tree, _, series = written(some_maps(tmp_path / "run", maps=wild, group_of=(0, 99, -7, 1, 0)))
    assert "<script>alert" not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "\u202e" not in tree.words
    assert series["map:m0:0"] == [[0, FINEST, FINEST // 2 + 1, FINEST, 0, 0, FINEST, FINEST, 13107, 13107]]
    assert series["map:m0:groups"] == [[0, -1, -1, 1, 0]]


def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    short = (SiteMap(site="x", meaning="m", units=1, points=((0.0, 0.0),)),)
    with pytest.raises(BadInput, match="5 examples, and points or groups for 5"):
        read_maps(some_maps(tmp_path / "a", maps=short))
    with pytest.raises(BadInput, match="points or groups"):
        write_html(some_maps(tmp_path / "b", group_of=(0,)))
    run = some_maps(tmp_path / "c")
    document = json.loads((run / "maps.json").read_text())
    document["examples"][1]["image"] = "../x.png"
    (run / "maps.json").write_text(json.dumps(document))
    with pytest.raises(BadInput, match="leads out of the run's folder"):
        read_maps(run)
    (run / "maps.json").unlink()
    with pytest.raises(BadInput, match=r"has no maps\.json"):
        read_maps(run)


@pytest.mark.browser
def test_an_example_that_is_pointed_at_or_chosen_is_marked_in_every_map(tmp_path: Path, open_page: Opener) -> None:
    opened = open_page(Path(write_html(some_maps(tmp_path / "run"))))
    page = at(opened, "#/map/m0")
    followed = page.locator("main.view .followed")
    bare = [page.evaluate(DARK, k) for k in range(2)]
    box = page.locator(PLANE).first.bounding_box()
    # Example 2 of five lies in the middle, at a quarter of the first map's height.
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * (0.03 + 0.94 * 0.25)
    page.mouse.move(x, y)
    until(page, lambda: "label 2, answered b" in followed.inner_text())
    assert all(page.evaluate(DARK, k) > bare[k] + 50 for k in range(2))
    assert followed.locator("img").evaluate("i => i.complete && i.naturalWidth") == 32
    page.mouse.click(x, y)
    until(page, lambda: page.url.endswith(f"at={2:016x}"))
    beside = page.locator("main.view .beside tr").first.locator("[data-item]")
    told = [beside.nth(k).get_attribute("aria-label") or beside.nth(k).inner_text() for k in range(beside.count())]
    assert {"label 1, answered b", "label 3, answered b"} <= set(told[:2])
    page.get_by_role("button", name="Follow none").click()
    until(page, lambda: "at=" not in page.url)
    assert opened.complaints == []
    assert opened.outside == []


@pytest.mark.browser
def test_the_list_says_the_same_and_moves_the_mark(tmp_path: Path, open_page: Opener) -> None:
    opened = open_page(Path(write_html(some_maps(tmp_path / "run", 90))))
    page = at(opened, "#/map/m0")
    page.locator("main.view details.listed summary").click()
    settled(page, 200)
    items = page.locator("main.view .picks [data-item]")
    assert items.count() == 60
    assert "the first 60 are listed" in page.locator("main.view .listed [role=status]").inner_text()
    items.first.focus()
    settled(page, 200)
    bare = page.evaluate(DARK, 1)
    assert "[U+202E]" in page.locator("main.view .followed").inner_text()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    until(page, lambda: page.url.endswith(f"at={1:016x}"))
    assert page.evaluate(DARK, 1) > bare  # a cross beside the ring
    page.locator("main.view input[type=search]").fill("label 77")
    until(page, lambda: items.count() == 1)
    assert "label 77" in items.inner_text()


@pytest.mark.browser
def test_a_map_is_zoomed_moved_and_narrowed_to_a_group(tmp_path: Path, open_page: Opener) -> None:
    opened = open_page(Path(write_html(some_maps(tmp_path / "run", 300))))
    page = at(opened, "#/map/m0")
    plane = page.locator(PLANE).first
    drawn = "c => c.toDataURL()"
    seen = {plane.evaluate(drawn)}
    plane.focus()
    for key in ("+", "+", "ArrowUp", "ArrowLeft", "-", "0"):
        page.keyboard.press(key)
        settled(page, 250)
        now = plane.evaluate(drawn)
        assert (now in seen) == (key == "0")  # "0" shows what was there at first, others what was not
        seen.add(now)
    other = page.locator(PLANE).nth(1)
    before = other.evaluate(drawn)
    page.get_by_role("button", name="one", exact=True).click()
    until(page, lambda: other.evaluate(drawn) != before)
    assert page.get_by_role("button", name="one", exact=True).get_attribute("aria-pressed") == "true"
    # The wheel scrolls the page past a map that was not chosen.
    page.evaluate("window.scrollTo(0, 0); document.activeElement.blur()")
    box = plane.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.wheel(0, 200)
    until(page, lambda: page.evaluate("window.scrollY") > 0)


@pytest.mark.browser
def test_an_address_that_names_no_example_says_so(tmp_path: Path, open_page: Opener) -> None:
    opened = open_page(Path(write_html(some_maps(tmp_path / "run"))))
    page = at(opened, "#/map/m0?at=nobody")
    assert "show no example “nobody”" in page.inner_text("main.view")
    page = at(opened, f"#/map/m0?at={3:016x}")
    assert "label 3" in page.locator("main.view .followed").inner_text()
    page = at(opened, "#/map/m9")
    assert "This page has no maps named “m9”" in page.inner_text("main.view")
    assert page.locator("main.view ul a[href='#/map/m0']").count() == 1


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_maps_fit_a_phone_and_bar_nobody(tmp_path: Path, open_page: Opener, scheme: str) -> None:
    opened = open_page(Path(write_html(some_maps(tmp_path / "run"))), width=360, scheme=scheme, unguarded=True)
    page = at(opened, f"#/map/m0?at={1:016x}")
    page.locator("main.view details.listed summary").click()
    settled(page, 200)
    assert opened.overflow() == 0
    assert accessible(page) == []
    at(opened, "#/map/m0")
    page.evaluate("() => { location.hash = '#/'; }")
    settled(page, 200)
    assert opened.overflow() == 0
    assert accessible(page) == []
    assert opened.complaints == []


@pytest.mark.browser
def test_fifty_thousand_points_can_be_dragged(tmp_path: Path, open_page: Opener) -> None:
    n = 50_000
    points = tuple(((k * 0.618034) % 1, (k * 0.414214) % 1) for k in range(n))
    sites = (SiteMap(site="blocks.0", meaning="m", units=3, points=points),)
    run = some_maps(tmp_path / "run", n, maps=sites, groups=("one", "two"))
    opened = open_page(Path(write_html(run)))
    page = at(opened, "#/map/m0")
    settled(page, 500)
    plane = page.locator(PLANE)
    plane.focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    settled(page, 600)
    box = plane.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = plane.evaluate("c => c.toDataURL()")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 40, steps=6)
    page.mouse.up()
    until(page, lambda: plane.evaluate("c => c.toDataURL()") != before)
    page.mouse.move(x, y)
    until(page, lambda: "example" in page.locator("main.view .followed small").inner_text())
    assert opened.complaints == []
