"""The pages of atlases and maps: static, escaped, whole where files are missing, and their zooms can be switched."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from mulligan.records import (
    Atlas,
    AtlasCell,
    AtlasLevel,
    AtlasTile,
    BadInput,
    Beside,
    DataRecord,
    ExampleRef,
    Maps,
    NetworkRecord,
    Quantity,
    SiteMap,
)
from mulligan.reports.seeing import atlas as page
from mulligan.reports.seeing.atlas import words, write_atlas_page
from mulligan.reports.seeing.maps import write_maps_page
from mulligan.runs import Run

EVIL = "<script>alert(1)</script>\u202eevil"
NETWORK = NetworkRecord(name=EVIL, identity="sha256:0", parameters=1, classes=("a", "b"))
DATA = DataRecord(source="data", identity="sha256:1", n=4)
FIGURE = Beside(
    name="neighbours kept",
    shown=Quantity(value=0.9, unit="trustworthiness", low=0.8, high=0.95, n=10),
    controls=(("random twin", Quantity(value=0.5, unit="trustworthiness", low=0.4, high=0.6, n=10)),),
)


def an_atlas(folder: Path, sides: tuple[int, ...] = (8, 16)) -> Run:
    run = Run.create("see", ["see", "atlas", "x"], {}, out=folder)
    levels = []
    for side in sides:
        out = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
        Image.fromarray(noise).save(out, "JPEG")
        tile = AtlasTile(row=0, column=0, rows=side, columns=side, image=f"atlas/{side}/0-0.jpg")
        run.write_bytes(tile.image, out.getvalue())
        effect = Quantity(value=1.5, unit="logit", low=1.0, high=2.0, n=6)
        cells = [
            AtlasCell(row=k, column=k, n=9 - k, labels=((label, 5),), effects=(("b", effect),))
            for k, label in enumerate((EVIL, "label 1", "label 2", "label 3"))
        ]
        run.write_bytes(f"atlas/{side}.json", msgspec.json.encode(cells))
        levels.append(
            AtlasLevel(
                side=side, pixels=16, tiles=(tile,), cells=f"atlas/{side}.json", kept=4, drawn=0, thin=2,
                thin_activations=3, figures=(FIGURE,),
            )
        )  # fmt: skip
    atlas = Atlas(
        network=NETWORK, data=DATA, site="blocks.1", meaning="what comes out", units=3, pictures=4, draws=2, repeated=0,
        activations=30, fitted=30, components=3, explained=1.0, outside=1, fewest=3, shrinkage=0.1,
        levels=tuple(levels), figures=(FIGURE,),
    )  # fmt: skip
    run.write_json("atlas.json", atlas)
    return run


def text_of(run: Run, name: str = "report.html") -> str:
    return run.read_bytes(name).decode("utf-8")


def test_an_atlas_page_is_static_and_escaped(tmp_path: Path) -> None:
    run = an_atlas(tmp_path / "run")
    where = write_atlas_page(str(tmp_path / "run"))
    assert Path(where).name == "report.html"
    text = text_of(run)
    assert "<script" not in text
    assert "[U+202E]" in text
    assert "\u202e" not in text
    assert text.count("data:image/jpeg;base64,") == 2
    assert "2 thin cells with 3 activations left out" in text
    assert "Pushes b 1.50" in text or "Pushes b 1.5" in text


def test_zooms_for_which_there_is_no_room_get_pages_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = an_atlas(tmp_path / "run")
    size = len(run.read_bytes("atlas/8/0-0.jpg"))
    monkeypatch.setattr(page, "PAGE_BYTES", size + 10)
    write_atlas_page(run)
    assert 'href="zoom-a16.html"' in text_of(run)
    assert "data:image/jpeg" in text_of(run, "zoom-a16.html")
    monkeypatch.setattr(page, "PAGE_BYTES", size - 10)
    write_atlas_page(run)
    assert "too large for a page" in text_of(run)


def test_missing_and_broken_files_are_said(tmp_path: Path) -> None:
    run = an_atlas(tmp_path / "run")
    run.at("atlas/16/0-0.jpg").unlink()
    write_atlas_page(run)
    assert "its tiles are missing" in text_of(run)
    run.write_bytes("atlas/16/0-0.jpg", b"GIF89a no picture")
    with pytest.raises(BadInput, match="cannot be read"):
        write_atlas_page(run)
    with pytest.raises(BadInput, match="no run here"):
        write_atlas_page(tmp_path / "nowhere")


def test_names_on_the_map_do_not_overlap_and_each_is_said_once() -> None:
    cells = [
        AtlasCell(row=r, column=c, n=5, labels=((f"name {(r * 16 + c) % 30}", r + c + 1),))
        for r in range(16)
        for c in range(16)
    ]
    found = words(cells, 16)
    assert 5 < len(found) <= 26
    assert len({word.text for word in found}) == len(found)
    for one in found:
        assert 0 < one.x < 100
        assert sum(abs(one.x - other.x) < 3 and abs(one.y - other.y) < 3 for other in found) == 1


def some_maps(folder: Path) -> Run:
    run = Run.create("see", ["see", "maps", "x"], {}, out=folder)
    examples = tuple(ExampleRef(id=f"{k:016x}", label=EVIL if k == 0 else f"label {k}") for k in range(5))
    maps = tuple(
        SiteMap(
            site=f"blocks.{k}", meaning="what comes out", units=3, points=tuple((0.2 * n, 0.1 * n) for n in range(5)),
            figures=(FIGURE,),
        )
        for k in range(2)
    )  # fmt: skip
    document = Maps(
        network=NETWORK, data=DATA, laid_out=5, examples=examples, groups=("one", "two"), group_of=(0, 1, 0, 1, -1),
        maps=maps,
    )  # fmt: skip
    run.write_json("maps.json", document)
    return run


def test_a_page_of_maps_is_static_and_escaped(tmp_path: Path) -> None:
    run = some_maps(tmp_path / "run")
    write_maps_page(tmp_path / "run")
    text = text_of(run)
    assert "<script" not in text
    assert "\u202e" not in text
    assert text.count('class="e3" href="#e3"') == 3  # once a map, and in the list


@pytest.mark.browser
def test_zooms_are_switched_and_cells_say_what_is_in_them(tmp_path: Path, open_page) -> None:
    an_atlas(tmp_path / "run")
    write_atlas_page(tmp_path / "run")
    opened = open_page(tmp_path / "run" / "report.html")
    assert opened.complaints == []
    assert opened.outside == []
    assert opened.overflow() == 0
    assert opened.page.locator("figure.a8").is_visible()
    opened.page.click("label[for=a16]")
    assert opened.page.locator("figure.a16").is_visible()
    assert not opened.page.locator("figure.a8").is_visible()
    tip = opened.page.locator("figure.a16 .plane > a > span").nth(1)
    assert not tip.is_visible()
    opened.page.locator("figure.a16 .plane > a").nth(1).focus()
    assert tip.is_visible()
    narrow = open_page(tmp_path / "run" / "report.html", width=360)
    assert narrow.overflow() == 0


@pytest.mark.browser
def test_an_example_is_followed_through_all_maps(tmp_path: Path, open_page) -> None:
    some_maps(tmp_path / "run")
    write_maps_page(tmp_path / "run")
    opened = open_page(tmp_path / "run" / "report.html")
    assert opened.complaints == []
    assert opened.overflow() == 0
    page = opened.page
    assert not page.locator("#e2").is_visible()
    page.locator(".maps figure").first.locator("a.e2 use").click(force=True)
    assert page.locator("#e2").is_visible()
    faded = "e => getComputedStyle(e).opacity"
    assert [page.locator(f".maps a.e2 use >> nth={k}").evaluate(faded) for k in range(2)] == ["1", "1"]
    page.mouse.move(0, 0)
    assert page.locator(".maps a.e3 use >> nth=0").evaluate(faded) == "0.35"
