"""references.bib: what BibTeX writes, and what is wrong on which line."""

from __future__ import annotations

from datetime import date

import pytest

from mulligan.records import BadInput
from mulligan.reports.articles.bibliography import plain, read_bibliography
from mulligan.reports.articles.citing import article_bibtex, link, reference_html

BIB = r"""
Text between entries is a remark.
@comment{ {nested} braces }
@string{distill = "Distill"}
@Article{olah2017,
  author  = {Olah, Chris and {The {Distill} and Friends Team}
             and Laurens van der Maaten and G{\"o}del, Kurt and others},
  title   = {Feature {V}isualization: \emph{how} it
             looks},
  journal = distill # " (online)",
  year = 2017, month = nov,
  pages = {1--10},
  DOI = {https://doi.org/10.23915/distill.00007},
}

@misc{carter, title = "A {"}quoted{"} title", eprint = {1902.03129}, year = {2019}}
"""


def test_entries_are_read() -> None:
    found = read_bibliography(BIB)
    assert list(found) == ["olah2017", "carter"]
    olah = found["olah2017"]
    assert (olah.kind, olah.line) == ("article", 5)
    assert olah.authors == (
        ("Chris", "Olah"), ("", "The Distill and Friends Team"), ("Laurens", "van der Maaten"), ("Kurt", "Gödel"),
        ("", "et al."),
    )  # fmt: skip
    assert olah.fields["title"] == "Feature Visualization: how it looks"
    assert (olah.fields["journal"], olah.fields["month"]) == ("Distill (online)", "November")
    assert olah.fields["pages"] == "1–10"
    assert found["carter"].fields["title"] == 'A "quoted" title'


def test_a_reference_is_one_line_with_a_link() -> None:
    found = read_bibliography(BIB)
    html = str(reference_html(found["olah2017"]))
    people = "C. Olah, The Distill and Friends Team, L. van der Maaten, K. Gödel, et al."
    assert html.startswith(f"{people} <cite><bdi>Feature Visualization")
    assert '<a href="https://doi.org/10.23915/distill.00007">' in html
    assert 'href="https://arxiv.org/abs/1902.03129"' in str(reference_html(found["carter"]))


def test_hostile_fields_are_text() -> None:
    bib = "@misc{x, author={<b>, <i>}, title={<script>alert(1)</script>}, url={javascript:alert(1)}}"
    found = read_bibliography(bib)
    html = str(reference_html(found["x"]))
    assert "<script" not in html
    assert "<b>" not in html
    assert "href" not in html
    assert link({"url": "https://x.example/a b"}) is None


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"Erd\H{o}s, Dvo\v{r}{\'a}k, \O{}rsted", "Erdős, Dvořák, Ørsted"),
        (r"Fran\c{c}ois, na{\"\i}ve, Stra{\ss}e", "François, naïve, Straße"),
        (r"A \& B, 5\,\%", None),
        (r"A~B \& C", "A\u00a0B & C"),
    ],
)  # fmt: skip
def test_accents(tex: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(BadInput, match="is not known in references"):
            plain(tex)
    else:
        assert plain(tex) == text


@pytest.mark.parametrize(
    ("bib", "says"),
    [
        ("\n@article{a, title = {x}", "line 2"),
        ("@article{a, title = {x", "a brace of this entry is not closed"),
        ("@article{a, title = x}", "neither a number nor a known @string"),
        ("@article{a title = {x}}", "stands where ','"),
        ("@article{, title = {x}}", "a key is missing"),
        ("@article(a)", "stands where '{'"),
        ('@article{a, title = "x}', "a quotation mark of this entry is not closed"),
        ("@article{a, year=1}\n@book{a, year=2}", "'a' stands twice (references.bib, line 2)"),
        (r"@article{a, title = {\frobnicate x}}", r"\frobnicate is not known"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(bib: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_bibliography(bib)
    assert says in str(caught.value)
    assert "references.bib, line" in str(caught.value)


def test_the_article_s_own_entry_can_be_read_back() -> None:
    authors = ["Ada Lovelace", "G. Hopper"]
    text = article_bibtex("What does {it} see? 5 % & more", authors, date(2026, 11, 26), doi="10.1234/x")
    found = read_bibliography(text)["lovelace2026what"]
    assert found.authors == (("Ada", "Lovelace"), ("G.", "Hopper"))
    assert found.fields["title"] == "What does it see? 5 % & more"
    assert (found.fields["year"], found.fields["month"], found.fields["doi"]) == ("2026", "November", "10.1234/x")
