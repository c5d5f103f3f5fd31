"""The built page: what a journal needs, escaped; every number leads to where it came from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import articles_builder as builder
import pytest

from conftest_browser import until
from mulligan.records import BadInput
from mulligan.reports.articles import build, check, read_article

if TYPE_CHECKING:
    from conftest_browser import Opener

BODY = """\
## What it is

It has [4.65 million]{net: seen.network.parameters} parameters [@olah2017] and [85 %]{given: of a
paper}; see [@fig:two].

$$
x^* = \\argmax_x a(x)
$$

<mg-unit key="a.1:0; b.2:0" label="two">
Two units, the first at [15.9]{net: seen.cards['a.1:0'].portraits[0].reached}.[^n]
</mg-unit>

<mg-card key="b.2:0"></mg-card>

| a | b |
|---|---|
| x | [three]{net: count(seen.cards)} |

![A grey pixel](grey.png "Nobody, CC0")

[^n]: A note.
"""
REVIEWS = """\
[[review]]
reviewer = "<b>Rev</b>"
comment = "Is it so?"
[[review]]
reviewer = "Second"
date = 2026-11-20
comment = "Mend this."
resolution = "Mended."
"""


def page(folder: Path, body: str = BODY, **more: str) -> Path:
    builder.article(folder, body, **more)
    (folder / "grey.png").write_bytes(builder.PNG)
    article = read_article(folder)
    return build(article, check(article))


def test_the_page_has_what_a_journal_needs(tmp_path: Path) -> None:
    text = page(tmp_path / "a", reviews=REVIEWS).read_text(encoding="utf-8")
    assert "3 quoted numbers were derived again" in text
    assert "no DOI yet" in text
    assert "Notes &amp; Co" in text
    assert "@article{lovelace2026what," in text
    assert '<a class="cited" href="#reference-1"' in text
    assert '<li id="reference-1">C. Olah, et al.' in text
    assert '<a href="#figure-1">Figure 1</a>' in text
    assert '<math display="block">' in text
    assert '<li id="note-1">' in text
    assert "&lt;b&gt;Rev&lt;/b&gt;" in text
    assert "Mended." in text
    assert '<img src="data:image/png;base64,' in text
    assert "<b>Figure 3.</b> Nobody, CC0" in text
    with_doi = builder.FRONT.replace("published", 'doi = "10.1234/abc"\npublished')
    assert 'href="https://doi.org/10.1234/abc"' in page(tmp_path / "b", front=with_doi).read_text(encoding="utf-8")


def test_every_number_leads_to_its_row_and_back(tmp_path: Path) -> None:
    text = page(tmp_path / "a").read_text(encoding="utf-8")
    there = re.findall(r'class="quoted" id="(quote-\d+)" href="#(number-\d+)"', text)
    assert len(there) == 3
    for quote, row in there:
        assert f'<tr id="{row}"><td class="num"><a href="#{quote}"' in text
    assert "<code>net: seen.cards[&#39;a.1:0&#39;].portraits[0].reached</code>" in text
    assert "net/seen.json" in text


def test_no_text_becomes_markup(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    front = builder.FRONT
    for words in ("What it sees", "Ada Lovelace", "Engines"):
        front = front.replace(words, hostile)
    bib = builder.BIB.replace("Feature Visualization", hostile)
    review = f"[[review]]\nreviewer = '{hostile}'\ncomment = '{hostile}'\n"
    body = (
        f"{hostile}\n\n# {hostile}\n\n[@olah2017] ![{hostile}](grey.png '{hostile}') "
        f"[{builder.HOSTILE}]{{net: seen.network.name}} [1]{{given: {hostile}}} $<script>$\n"
    )
    text = page(tmp_path / "a", body, front=front, bib=bib, reviews=review).read_text(encoding="utf-8")
    outside = re.sub(r"<script type=.*?</script>|<script>.*?</script>", "", text, count=0, flags=re.DOTALL)
    assert "<script" not in outside
    assert "<img src=x" not in outside
    assert "alert(1)" in outside


def test_a_feature_that_the_page_does_not_hold_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"bound to nothing that this page holds, 'a.1:9' \(article.md, line 12\)"):
        page(tmp_path / "a", '<mg-unit key="a.1:9"></mg-unit>')
    assert not (tmp_path / "a" / "article.html").exists()


@pytest.mark.parametrize(
    ("tag", "drawn"),
    [
        ('<mg-unit key="class c; a.1:1" run="net"></mg-unit>', '<mg-unit key="class c; a.1:1">'),
        ('<mg-card key="b.2:0"></mg-card>', '<mg-card at="2">'),
        ('<mg-card key="class c"></mg-card>', '<mg-class-card at="0">'),
        ("<mg-features></mg-features>", "<mg-features>"),
        (
            '<mg-features run="net" site="a.1" search="a" sort="name" only="picture, label" as="list"></mg-features>',
            '<mg-features site="a.1" search="a" sort="name" only="picture,label" as="list">',
        ),
        ("<mg-links></mg-links>", None),
        ("<mg-compare></mg-compare>", None),
    ],
)
def test_what_a_diagram_becomes(tmp_path: Path, tag: str, drawn: str | None) -> None:
    document = builder.seen()
    document["cards"].append({"feature": "class c", "portraits": [builder.portrait("class c", 2.0, 1.0)]})
    builder.run(tmp_path / "a" / "run", document)
    if drawn is None:
        with pytest.raises(BadInput, match="bound to nothing that this page holds"):
            page(tmp_path / "a", tag)
    else:
        assert drawn in page(tmp_path / "a", tag).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ('site="c.3"', r"site 'c.3', which this page does not have.*a.1, b.2"),
        ('sort="-name"', r"sort '-name', .*name, "),
        ('sort="beauty"', r"sort 'beauty', .*name, "),
        ('only="sound"', r"only 'sound', .*picture, label"),
        ('as="cloud"', r"as 'cloud', .*list"),
    ],
)
def test_a_list_of_features_asks_for_what_is_there(tmp_path: Path, asked: str, there: str) -> None:
    with pytest.raises(BadInput, match=f"(?s)<mg-features> asks for {there}"):
        page(tmp_path / "a", f"<mg-features {asked}></mg-features>")


@pytest.mark.browser
def test_a_list_of_features_opens_as_its_author_asked(tmp_path: Path, open_page: Opener) -> None:
    tag = '<mg-features site="a.1" sort="-picture over best example" as="list">Two of three.</mg-features>'
    opened = open_page(page(tmp_path / "a", tag))
    items = opened.page.locator("mg-features .window.rows li")
    until(opened.page, lambda: items.count() == 2)
    assert "2 of 3" in opened.page.locator("mg-features .count").inner_text()
    assert [items.nth(k).locator("code").inner_text() for k in (0, 1)] == ["a.1:1", "a.1:0"]
    opened.page.locator("mg-features input[type=search]").fill("a.1:1")
    until(opened.page, lambda: items.count() == 1)
    more = opened.page.locator("mg-features .more-of a").get_attribute("href")
    assert more == "#/features?q=a.1%3A1&site=a.1&sort=-picture+over+best+example&as=rows"
    assert opened.complaints == []


def test_an_article_without_runs_is_a_page(tmp_path: Path) -> None:
    front = builder.FRONT.replace('net = "run"\n', "")
    text = page(tmp_path / "a", "Words alone, and [5]{given}.", front=front, bib="").read_text(encoding="utf-8")
    assert "Words alone" in text


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_in_a_browser(tmp_path: Path, open_page: Opener, width: int, scheme: str) -> None:
    opened = open_page(page(tmp_path / "a", reviews=REVIEWS), width=width, scheme=scheme)
    opened.page.wait_for_selector("mg-unit .units li")
    assert opened.page.locator("mg-unit .units li").count() == 2
    assert "fires less than real examples" in opened.page.locator("mg-unit .units li").nth(1).inner_text()
    opened.page.get_by_role("heading", name="Optimized for it").wait_for()
    assert opened.overflow() == 0
    assert opened.complaints == []
    assert opened.outside == []
    opened.page.locator("a.quoted").nth(1).click()
    until(opened.page, lambda: opened.page.url.endswith("#number-3"))
    assert opened.page.locator(":target").inner_text().startswith("15.9")
    assert opened.page.evaluate("document.querySelector('math').getBoundingClientRect().height") > 20
