"""The article that ships: it agrees with its runs, a changed number does not, and nothing in it may not be shown."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from mulligan.apps.article import app
from mulligan.reports.articles import build, check, read_article
from mulligan.reports.articles.numbers import Rounded

if TYPE_CHECKING:
    from conftest_browser import Opener

ARTICLE = Path(__file__).parents[3] / "examples" / "articles" / "efficientnet-lite0"
#: Runs on photographs that are for research only.
RESEARCH_ONLY = ("units", "atlas", "own", "imagenet_scale")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ARTICLE, tmp_path / "article"))


def test_it_agrees_with_its_runs_strictly() -> None:
    result = CliRunner().invoke(app, ["check", str(ARTICLE), "--strict"])
    assert result.exit_code == 0, result.output
    found = check(read_article(ARTICLE))
    assert len(found.of("agrees")) > 50
    assert all(bound.pinned for bound in found.runs.values())
    assert read_article(ARTICLE).front.runs.keys() == found.runs.keys()


@pytest.mark.parametrize(
    ("was", "becomes"),
    [("[41.2]{", "[41.3]{"), ("[77 % [70, 83]]", "[77 % [70, 84]]"), ("[tiger cat]", "[tabby]"), ("[three]", "[four]")],
)
def test_a_changed_number_fails(copy: Path, was: str, becomes: str) -> None:
    text = (copy / "article.md").read_text(encoding="utf-8")
    assert was in text
    (copy / "article.md").write_text(text.replace(was, becomes, 1), encoding="utf-8")
    assert CliRunner().invoke(app, ["check", str(copy)]).exit_code == 1
    assert CliRunner().invoke(app, ["build", str(copy)]).exit_code == 1
    assert not (copy / "article.html").exists()


def test_every_number_is_held_to_its_last_digit() -> None:
    for outcome in check(read_article(ARTICLE)).of("agrees"):
        says, found = outcome.quote.says, outcome.found
        assert found is not None
        if says.value is not None:
            for step in (2, -2):
                beside = Rounded(says.value.value + step * 2 * says.value.half, says.value.half)
                assert not replace(says, value=beside).agrees(found)


def test_changed_data_fail(copy: Path) -> None:
    path = copy / "runs" / "units" / "seen.json"
    document = json.loads(path.read_bytes())
    document["cards"][-1]["portraits"][0]["reached"] += 0.1
    path.write_text(json.dumps(document))
    found = check(read_article(copy))
    assert [outcome.quote.says.text for outcome in found.of("disagrees")] == ["41.2"]
    assert found.warnings[0].startswith("run units has changed since the article was written")


def test_no_photograph_that_may_not_be_shown_is_there() -> None:
    for name in RESEARCH_ONLY:
        run = ARTICLE / "runs" / name
        text = "".join(path.read_text(encoding="utf-8") for path in run.glob("*.json"))
        assert '"crop": "' not in text
        assert not re.search(r'"id": "[^"]*",\s*"label": [^}]*?"image": "', text)
        # What is left are pictures that were optimized.
        there = {path.parent.name for path in run.rglob("*") if path.suffix in (".jpg", ".png")}
        assert there <= {"pictures", "5", "10"}


def test_no_machine_is_named() -> None:
    for path in ARTICLE.rglob("*"):
        if path.suffix in (".json", ".md", ".toml", ".py", ".bib"):
            assert not re.search(r"/(work|tmp|home|root|Users)/", path.read_text(encoding="utf-8")), path


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_the_page(tmp_path: Path, open_page: Opener, width: int, scheme: str) -> None:
    article = read_article(ARTICLE)
    path = build(article, check(article), tmp_path / "page.html")
    assert path.stat().st_size < 4_000_000
    opened = open_page(path, width=width, scheme=scheme)
    opened.page.wait_for_selector("mg-unit .units li")
    assert opened.page.locator("mg-unit .units li").count() == 21
    for unit in opened.page.locator("mg-unit").all():
        unit.scroll_into_view_if_needed()
        unit.locator("img").first.wait_for()
    assert opened.overflow() == 0
    assert opened.complaints == []
    assert opened.outside == []
    assert opened.page.locator("main").inner_text().count("does not run here") == 0
