"""Prose is written by Python (`reports/text.py`), elements by the browser (`web/src/words.ts`): they must agree."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from test_reports_html import HOSTILE

from mulligan.records import Quantity
from mulligan.reports import write_html
from mulligan.reports.page.glossary import GLOSSARY
from mulligan.reports.text import number, plural, shown, token, visible

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from conftest_browser import Opener

WEB = Path(__file__).parents[3] / "web/src"


@pytest.fixture
def page(run: Path, open_page: Opener) -> Page:
    opened = open_page(Path(write_html(run)))
    opened.page.wait_for_selector("html[data-mg-whole]")
    return opened.page


def answers(page: Page, function: str, calls: list[list[Any]]) -> list[Any]:
    """What the bundle's own function answers to each list of arguments."""
    return page.evaluate(
        "([name, calls]) => calls.map((given) => customElements.get('mg-page').words[name](...given))",
        [function, calls],
    )


def numbers(n: int) -> list[float]:
    """Numbers of every size, many of them ties, where rounding rules differ."""
    drawn = random.Random(0)
    ties = [drawn.randrange(4096) / 2 ** drawn.randrange(12) for _ in range(n)]
    sizes = [drawn.choice((-1, 1)) * 10 ** drawn.uniform(-30, 30) for _ in range(n)]
    edges = [0.0, -0.0, 0.5, 2.5, 999.5, 999.49, 1e-4, 9.9999e-5, 1e15, 1.25e15, 9.995, 0.125, 1e21, 1e22, 123456789]
    return [*ties, *sizes, *edges, *(drawn.randrange(2**53) for _ in range(n))]


@pytest.mark.browser
@pytest.mark.parametrize("decimals", [None, 0, 1, 2, 6])
def test_numbers(page: Page, decimals: int | None) -> None:
    values = numbers(2000)
    written = answers(page, "number", [[value, decimals] for value in values])
    expected = [number(value, decimals) for value in values]
    wrong = [(v, ours, theirs) for v, ours, theirs in zip(values, expected, written, strict=True) if ours != theirs]
    assert wrong == []
    assert answers(page, "number", [[None]]) == [number(None)]  # pyright: ignore[reportArgumentType]


@pytest.mark.browser
def test_quantities(page: Page) -> None:
    drawn = random.Random(1)
    quantities = []
    for value in numbers(400):
        half = abs(value) * 10 ** drawn.uniform(-9, 1)
        bounds = (None, None) if drawn.random() < 0.2 else (value - half, value + half)
        quantities.append(Quantity(
            value=value, unit="share of \u202eimages", low=bounds[0], high=bounds[1],
            level=drawn.choice((0.95, 0.8, 0.995)), n=drawn.choice((None, 7, 12345)),
        ))  # fmt: skip
    written = answers(page, "shown", [[msgspec.to_builtins(quantity)] for quantity in quantities])
    wrong = []
    for quantity, theirs in zip(quantities, written, strict=True):
        said = shown(quantity)
        ours = {"value": said.value, "interval": said.interval, "unit": said.unit, "n": said.n}
        if ours != theirs:
            wrong.append((quantity, ours, theirs))
    assert wrong == []


@pytest.mark.browser
def test_names(page: Page) -> None:
    # Characters that this Python does not know yet may be known to the browser.
    every = [chr(code) for code in range(0x30000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    texts = [
        *HOSTILE,
        "",
        "می\u200cخواهم",
        "👩\u200d💻",
        "a\u200db",
        "\u200d",
        "x" * 300,
        "é" * 201,
        "\U0001f600" * 201,
    ]
    texts += ["".join(every[start : start + 180]) for start in range(0, len(every), 180)]
    for function, ours, limits in (("visible", visible, [[], [200], [None]]), ("token", token, [[]])):
        for limit in limits:
            written = answers(page, function, [[text, *limit] for text in texts])
            expected = [ours(text, *limit) for text in texts]
            wrong = [json.dumps(text)[:200] for text, a, b in zip(texts, expected, written, strict=True) if a != b]
            assert wrong == [], function
    counts = [[0, "class", "classes"], [1, "class", "classes"], [4652008, "unit"]]
    assert answers(page, "plural", counts) == [plural(*count) for count in counts]


def test_every_word_that_an_element_explains_is_in_the_glossary() -> None:
    used = {
        match[1]
        for path in WEB.rglob("*.ts")
        for match in re.finditer(r"\bterm\(\"([^\"]+)\"", path.read_text(encoding="utf-8"))
    }
    assert used, "no element explains a word: has term() another name?"
    assert used <= set(GLOSSARY)
