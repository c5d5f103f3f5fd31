"""Runs in notebooks: an iframe that needs nothing, and a live page whose chunks come from the kernel."""

from __future__ import annotations

import base64
import html
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "reports"))
import reports_builder as builder

import mulligan
from mulligan.apps.widgets import display, iframe

if TYPE_CHECKING:
    from conftest_browser import Opener

EVIL = "<script>document.title='owned'</script>"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return builder.build(tmp_path / "run")


def test_a_run_shows_itself_and_says_why_it_cannot(run: Path) -> None:
    opened = mulligan.Run.open(run)
    shown = opened._repr_html_()
    assert shown == display(opened)
    assert shown.startswith('<iframe sandbox="allow-scripts allow-downloads"')
    assert "allow-same-origin" not in shown
    (run / "findings.json").write_text("{")
    broken = opened._repr_html_()
    assert "this file is broken" in html.unescape(broken)


def test_a_viewer_that_shows_no_frames_says_so(run: Path) -> None:
    """JupyterLab takes tags away that it does not trust, and keeps their text."""
    left = re.sub(r"<[^>]*>", "", iframe([run]))
    assert left.startswith("Mulligan's page about")
    assert "trust the notebook" in left


def test_a_small_budget_of_pictures_is_said(run: Path) -> None:
    assert len(iframe([run], pictures=100)) < len(iframe([run]))
    assert "did not fit into this page" in html.unescape(iframe([run], pictures=100))


@pytest.mark.browser
def test_the_iframe_is_alive_and_leaves_the_notebook_alone(run: Path, tmp_path: Path, open_page: Opener) -> None:
    notebook = tmp_path / "exported.html"
    notebook.write_text(f"<!doctype html><title>Notebook</title><h1>Cell</h1>{mulligan.Run.open(run)._repr_html_()}")
    opened = open_page(notebook)
    inner = opened.page.frames[1]
    inner.wait_for_selector("html[data-mg-whole]")
    inner.locator(".toc a[href='#/features']").click()
    inner.wait_for_selector(".stage h1")
    assert opened.page.url == notebook.as_uri()
    assert opened.page.title() == "Notebook"
    inner.locator(".stage input[type=search]").fill("blocks")
    inner.wait_for_function("location.hash.includes('q=blocks')")
    inner.evaluate("location.hash = '#/table/r0-checks'")
    with opened.page.expect_download() as download:
        inner.get_by_role("button", name="Download as CSV").click()
    assert download.value.suggested_filename.endswith(".csv")
    inner.locator(".stage .back a[href='#/']").click()
    inner.wait_for_selector("#findings:visible")
    assert opened.complaints == []
    assert opened.outside == []


# What a notebook gives a widget: state by name, messages both ways. Here the "kernel" is a list of chunks.
_HOST = """
<!doctype html><title>Lab</title><div id="cell"></div>
<script type="module">
const state = STATE, chunks = CHUNKS;
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
const heard = [];
window.asked = [];
const model = {
  get: (name) => state[name],
  on: (_, hear) => heard.push(hear),
  off: () => {},
  send: ({ chunk }) => {
    window.asked.push(chunk);
    setTimeout(() => heard.forEach((hear) => hear({ chunk }, [bytes(chunks[chunk])])), 5);
  },
};
const source = new Blob([ESM], { type: "text/javascript" });
const { default: widget } = await import(URL.createObjectURL(source));
widget.render({ model, el: document.getElementById("cell") });
</script>
"""


def _hosted(explorer: object, chunks: list[str], text: str = _HOST) -> str:
    """A page that stands for a notebook whose kernel has these chunks."""
    state = {name: getattr(explorer, name) for name in ("code", "sheet", "prose", "index", "kept")}
    for name, value in {"STATE": state, "CHUNKS": chunks, "ESM": str(explorer._esm)}.items():  # type: ignore[attr-defined]
        text = text.replace(name, json.dumps(value).replace("<", "\\u003c"), 1)
    return text


@pytest.mark.browser
def test_an_explorer_asks_its_kernel_for_what_is_looked_at(run: Path, tmp_path: Path, open_page: Opener) -> None:
    pytest.importorskip("anywidget")
    from mulligan.apps.widgets import Explorer

    explorer = Explorer(run, keep=0)
    sent: list[tuple[object, list[bytes]]] = []
    explorer.send = lambda content, buffers=(): sent.append((content, list(buffers)))  # type: ignore[method-assign]
    for number in range(len(explorer._packed.chunks)):
        explorer._asked(explorer, {"chunk": number}, [])
    for wrong in ({"chunk": 10_000}, {"chunk": "0"}, "text"):
        explorer._asked(explorer, wrong, [])
    assert [buffers for _, buffers in sent[-3:]] == [[], [], []]
    chunks = [base64.b64encode(buffers[0]).decode() for _, buffers in sent[:-3]]
    page = tmp_path / "lab.html"
    page.write_text(_hosted(explorer, chunks), encoding="utf-8")
    opened = open_page(page)
    opened.page.wait_for_selector("mg-page #findings")
    opened.page.locator("mg-page .toc a[href='#/features']").click()
    opened.page.wait_for_selector("mg-page .stage h1")
    assert opened.page.url == page.as_uri()
    assert set(opened.page.evaluate("window.asked")) <= set(range(len(chunks)))
    assert opened.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("keep", [3_000_000, 0])
def test_an_exported_explorer_shows_what_was_kept_and_says_what_was_not(
    run: Path, tmp_path: Path, open_page: Opener, keep: int
) -> None:
    pytest.importorskip("anywidget")
    from mulligan.apps.widgets import Explorer

    page = tmp_path / "exported.html"
    page.write_text(_hosted(Explorer(run, keep=keep), [], _HOST.replace("setTimeout(", "void (")), encoding="utf-8")
    opened = open_page(page)
    opened.page.locator("mg-page .toc a[href='#/features']").click()
    opened.page.wait_for_selector("mg-page .stage h1")
    opened.page.locator("mg-page .stage a[href^='#/unit/']").first.click()
    if keep:
        opened.page.wait_for_selector("mg-page .stage h2")
        assert opened.page.evaluate("window.asked") == []
        assert opened.page.locator(".asking").is_hidden()
    else:
        opened.page.wait_for_selector(".asking:visible")
        assert "kernel" in opened.page.locator(".asking").inner_text()
    assert opened.complaints == []


@pytest.mark.browser
def test_an_explorer_takes_the_notebook_s_theme_and_width(run: Path, tmp_path: Path, open_page: Opener) -> None:
    pytest.importorskip("anywidget")
    from mulligan.apps.widgets import Explorer

    page = tmp_path / "dark.html"
    page.write_text(
        _hosted(Explorer(run), []).replace("<title>", "<style>body { background: #111; color: #eee }</style><title>"),
        encoding="utf-8",
    )
    opened = open_page(page)
    opened.page.wait_for_selector("#cell[data-dark]")
    paper = "getComputedStyle(document.getElementById('cell')).backgroundColor"
    assert opened.page.evaluate(paper) == "rgb(22, 24, 27)"
    inner = "document.getElementById('cell').shadowRoot.querySelector('mg-page')"
    columns = f"getComputedStyle({inner}).gridTemplateColumns"
    opened.page.wait_for_selector("mg-page #findings")
    opened.page.evaluate("document.getElementById('cell').style.width = '700px'")
    assert len(opened.page.evaluate(columns).split()) == 1
    opened.page.evaluate("document.body.style.color = '#111'; document.body.style.background = '#fff'")
    opened.page.wait_for_selector("#cell:not([data-dark])")
    assert opened.page.evaluate(paper) == "rgb(255, 254, 251)"


def test_an_explorer_is_a_widget_among_others(run: Path) -> None:
    """Traits of its own must not hide those that every widget has: a front end takes "style" for a model."""
    anywidget = pytest.importorskip("anywidget")
    import ipywidgets

    from mulligan.apps.widgets import Explorer

    own = {"code", "sheet", "prose", "index", "kept"}
    assert not own & set(ipywidgets.Button.class_trait_names())
    assert not own & set(anywidget.AnyWidget.class_trait_names())
    assert own <= set(Explorer.class_trait_names())


def test_what_is_exported_needs_no_kernel(run: Path) -> None:
    pytest.importorskip("anywidget")
    from mulligan.apps.widgets import Explorer

    data, _ = Explorer(run)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/html"].startswith("<iframe sandbox=")
