"""What a page costs in real Chromium without a graphics card: size, time to be ready, time to a card, frames of a map.

    python benchmarks/report.py [--repeats 5] [--again]
    python benchmarks/write_results.py

The page is of a made-up audit with 10,000 units of ten examples each (`page_subjects.py`); it is opened from disk, each
repeat in a new browser. "ready": from the start of the navigation until the elements of the article are drawn. "card":
from the address that changes until the card's heading is there and its pictures are decoded, for units drawn by a seed
from all over the list; the page has decoded nothing of them before. "frames": while a map of 50,000 points is dragged
(`page_frames.py`).
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Case, Ledger
from page_frames import ARGUMENTS, CHROMIUM, measure, page_of_points
from page_subjects import write_audit

from mulligan.reports import write_html
from mulligan.reports.shell import bundle

COMMAND = "python benchmarks/report.py"
UNITS, EXAMPLES, CARDS = 10_000, 10, 30
PAGE = f"a page of {UNITS:,} features with {EXAMPLES} examples each, from disk, Chromium without a graphics card"
GOALS = {
    "ready": ("time to be ready", 500.0), "card": ("slowest of 30 cards", 100.0), "size": ("size of the file", 25.0),
    "bundle": ("the elements' code, gzip", 120.0),
}  # fmt: skip
_CARD = """async (key) => {
  const began = performance.now();
  location.hash = "#/unit/" + key;
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  for (;;) {
    const heading = document.querySelector("mg-page > .stage h1");
    const pictures = [...document.querySelectorAll("mg-page > .stage img")];
    if (heading?.textContent.includes(key) && pictures.length && pictures.every((one) => one.complete)) break;
    if (performance.now() - began > 10000) throw new Error("no card of " + key);
    await frame();
  }
  return performance.now() - began;
}"""


def main() -> None:
    """Measure what is not in the ledger yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--again", action="store_true", help="measure what is in the ledger, too")
    given = parser.parse_args()
    ledger = Ledger("report/page", COMMAND, given.again)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = Case(PAGE, "ready", given.repeats, GOALS)
        if not all(ledger.has(case, variant, n) for n in range(given.repeats) for variant in ("ready", "card")):
            began = time.perf_counter()
            page = Path(write_html(write_audit(folder / "units", units=UNITS, examples=EXAMPLES)))
            made = time.perf_counter() - began
            ledger.add(case, "size", 0, {
                "size of the file": (page.stat().st_size / 1e6, "MB"), "time to make it": (made, "s"),
            })  # fmt: skip
            code = len(gzip.compress(bundle().encode())) / 1024
            ledger.add(case, "bundle", 0, {"the elements' code, gzip": (code, "KB")})
            for repeat in range(given.repeats):
                found = opened(page, repeat)
                ledger.add(case, "ready", repeat, {"time to be ready": (found["ready"], "ms")})
                ledger.add(case, "card", repeat, {
                    "slowest of 30 cards": (max(found["cards"]), "ms"),
                    "median of 30 cards": (float(np.median(found["cards"])), "ms"),
                })  # fmt: skip
                slowest = max(found["cards"])
                print(f"repeat {repeat + 1}: ready {found['ready']:.0f} ms, cards up to {slowest:.0f} ms", flush=True)
        frames = Case("a map of 50,000 points is dragged, Chromium without a graphics card", "map", given.repeats, {})
        page = page_of_points(folder / "points")
        for repeat in range(given.repeats):
            if not ledger.has(frames, "map", repeat):
                found = measure(page)
                ledger.add(frames, "map", repeat, {
                    "frames a second": (found["frames_a_second"], "1/s"), "95th percentile": (found["p95_ms"], "ms"),
                })  # fmt: skip
                print(f"repeat {repeat + 1}: {found['frames_a_second']} frames a second", flush=True)


def opened(page: Path, seed: int) -> dict[str, Any]:
    """One fresh browser: milliseconds until the page is ready, and until each of some cards is there."""
    from playwright.sync_api import sync_playwright

    keys = [f"blocks.{n // 1000}:{n % 1000}" for n in np.random.default_rng(seed).choice(UNITS, CARDS, replace=False)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(page.resolve().as_uri(), wait_until="commit")
        tab.wait_for_selector("html[data-mg-ready]")
        ready = float(tab.evaluate("document.documentElement.dataset.mgReady"))
        tab.wait_for_timeout(500)
        cards = [float(tab.evaluate(_CARD, key)) for key in keys]
        browser.close()
    return {"ready": ready, "cards": cards}


if __name__ == "__main__":
    main()
