"""How many frames a second a page's map shows while it is dragged, in Chromium without a graphics card.

    python benchmarks/page_frames.py                 # makes a page with 50,000 points first
    python benchmarks/page_frames.py PAGE '#/map/m0' # of a page that is there

`measure` is what other benchmarks call: it opens a page, zooms into the first map, drags it across and back with the
mouse, and takes the time of every frame that the browser shows meanwhile (requestAnimationFrame).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run")
_COUNT = """() => {
  window.mgFrames = [];
  const next = (now) => { window.mgFrames.push(now); window.mgHandle = requestAnimationFrame(next); };
  window.mgHandle = requestAnimationFrame(next);
}"""
_PIXELS = "canvas => canvas.toDataURL()"


def measure(
    page: Path | str, address: str = "#/map/m0", *, seconds: float = 6.0, plane: str = "main.view canvas",
    zooms: int = 3,
) -> dict[str, Any]:
    """Frames while a plane is dragged: their number a second, and the longest and the 95th percentile between two.

    Args:
        page: an HTML file. address: the view in it. zooms: how often "+" is pressed before the plane is dragged.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.goto(Path(page).resolve().as_uri() + address)
        target = opened.locator(plane).first
        target.wait_for()
        target.scroll_into_view_if_needed()
        target.focus()
        for _ in range(zooms):
            opened.keyboard.press("+")
        opened.wait_for_timeout(1000)
        box = target.bounding_box()
        assert box is not None
        x, y, reach = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"] * 0.4
        seen = [target.evaluate(_PIXELS)]
        opened.evaluate(_COUNT)
        began, drags = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            # Three times across one way, then three times back, so that what is seen leaves whatever was drawn before.
            way = 1 if drags // 3 % 2 else -1
            opened.mouse.move(x - way * reach, y - way * reach / 2)
            opened.mouse.down()
            opened.mouse.move(x + way * reach, y + way * reach / 2, steps=24)
            opened.mouse.up()
            drags += 1
            if drags == 2:
                seen.append(target.evaluate(_PIXELS))
        frames = opened.evaluate("() => { cancelAnimationFrame(window.mgHandle); return window.mgFrames; }")
        browser.close()
    if len(set(seen)) < 2:
        raise RuntimeError(f"the plane at {address} did not move: nothing was measured")
    gaps = np.diff(np.array(frames))
    return {
        "frames_a_second": round(1000 / float(gaps.mean()), 1), "median_ms": round(float(np.median(gaps)), 1),
        "p95_ms": round(float(np.percentile(gaps, 95)), 1), "longest_ms": round(float(gaps.max()), 1),
        "frames": len(frames), "drags": drags, "seconds": seconds,
    }  # fmt: skip


def page_of_points(folder: Path, n: int = 50_000, layers: int = 2) -> Path:
    """A run of maps with `n` examples in clusters, as a page: drawn by chance, but shown as any other."""
    from mulligan.records import DataRecord, ExampleRef, Maps, NetworkRecord, SiteMap
    from mulligan.reports import write_html
    from mulligan.runs import Run

    random = np.random.default_rng(0)
    group = random.integers(0, 10, n)
    maps = []
    for layer in range(layers):
        centres = random.random((10, 2)) * 0.8 + 0.1
        points = np.clip(centres[group] + random.normal(0, 0.09 / (layer + 1), (n, 2)), 0, 1).round(5)
        drawn = tuple((x, y) for x, y in points.tolist())
        maps.append(SiteMap(site=f"blocks.{layer}", meaning="drawn by chance", units=2, points=drawn))
    run = Run.create("see", ["see", "maps"], {}, out=folder)
    run.write_json("maps.json", Maps(
        network=NetworkRecord(name="points drawn by chance", identity="sha256:0", parameters=0, classes=()),
        data=DataRecord(source="none", identity="sha256:0", n=n), laid_out=n,
        examples=tuple(ExampleRef(id=f"{i:016x}", label=f"label {g}") for i, g in enumerate(group.tolist())),
        groups=tuple(f"label {g}" for g in range(10)), group_of=tuple(group.tolist()), maps=tuple(maps),
    ))  # fmt: skip
    return Path(write_html(folder))


def main() -> None:
    """Measure and print, as one line of JSON."""
    address = sys.argv[2] if len(sys.argv) > 2 else "#/map/m0"
    if len(sys.argv) > 1:
        found = measure(sys.argv[1], address)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = {"points": 50_000} | measure(page_of_points(Path(folder) / "run"), address)
    print(json.dumps(found | machine()))


if __name__ == "__main__":
    main()
