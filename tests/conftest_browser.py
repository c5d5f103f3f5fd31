"""A headless Chromium for tests of pages. Import the fixtures into a folder's conftest.py; mark tests with `browser`.

`make test` installs Debian's Chromium where it can. Tests that use it are skipped, with the reason, only where it is
not at /usr/bin/chromium, and never in CI.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


_SETTLED = """(quiet) => new Promise((done) => {
  let timer;
  const watch = new MutationObserver(again);
  function again() {
    clearTimeout(timer);
    timer = setTimeout(() => requestIdleCallback(() => { watch.disconnect(); done(); }, { timeout: 1000 }), quiet);
  }
  watch.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  again();
})"""


def until(page: Page, holds: Callable[[], object], message: str = "", *, within: float = 20.0) -> None:
    """Assert that something comes true within seconds: on a busy machine no wait of a fixed length is enough."""
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end, message or f"not so after {within:g} s"
        page.wait_for_timeout(40)


def settled(page: Page, quiet: int = 200) -> None:
    """Wait until nothing of a page has changed for `quiet` milliseconds of its own clock, and it is idle."""
    page.evaluate(_SETTLED, quiet)


@dataclass
class Opened:
    """A page that was opened, what it said on the console (warnings, errors, exceptions) and what it asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def outside(self) -> list[str]:
        """Requests that are neither of this disk nor of the page itself."""
        return [url for url in self.requests if not url.startswith(("file:", "data:"))]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window; 0 if it can only be scrolled up and down."""
        return self.page.evaluate("document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth")


@pytest.fixture(scope="session")
def chromium() -> Browser:
    if not CHROMIUM.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no Chromium at {CHROMIUM}")
    return _launched()


@cache
def _launched() -> Browser:
    """One in a process: every conftest that imports the fixture has one of its own, and playwright starts only once."""
    from playwright.sync_api import sync_playwright

    playwright = sync_playwright().start()
    atexit.register(playwright.stop)
    return playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(_ARGUMENTS))


class Opener:
    """Opens pages in contexts of their own, and closes them when the test is over."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts = []

    def __call__(
        self, url: str | Path, *, width: int = 1280, height: int = 900, scheme: str = "light", unguarded: bool = False
    ) -> Opened:
        """`unguarded`: without the page's own policy, for tests that must run scripts of theirs in it."""
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=unguarded
        )
        self._contexts.append(context)
        opened = Opened(context.new_page())
        page = opened.page
        page.on("console", lambda message: opened.complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (opened.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: opened.requests.append(request.url))
        page.goto(url.resolve().as_uri() if isinstance(url, Path) else url)
        return opened

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Opener]:
    """Call it with a file's path or a URL to get an `Opened` page."""
    opener = Opener(chromium)
    yield opener
    opener.close()
