"""Prose against data: what agrees, what does not, what leads nowhere, and what each command's status is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import articles_builder as builder
import pytest
from typer.testing import CliRunner

from mulligan.apps.article import app
from mulligan.records import BadInput
from mulligan.reports.articles import build, check, read_article, start

TRUE = "The picture reaches [15.9]{net: seen.cards['a.1:0'].portraits[0].reached} [@olah2017].\n"
FALSE = TRUE.replace("15.9", "15.8")


def checked(folder: Path, body: str, **more: str):
    return check(read_article(builder.article(folder, body, **more)))


def test_a_number_that_agrees_and_one_that_does_not(tmp_path: Path) -> None:
    assert checked(tmp_path / "a", TRUE).status() == 0
    found = checked(tmp_path / "b", TRUE + FALSE)
    assert found.status() == 1
    assert [outcome.verdict for outcome in found.outcomes] == ["agrees", "disagrees"]
    assert found.problems == ()


def test_changed_data_are_found(tmp_path: Path) -> None:
    folder = builder.article(tmp_path / "a", TRUE)
    data = builder.seen()
    data["cards"][0]["portraits"][0]["reached"] = 15.84
    (folder / "run" / "seen.json").write_text(json.dumps(data))
    assert check(read_article(folder)).status() == 1


def test_what_is_bound_to_nothing_is_told_and_fails_strictly(tmp_path: Path) -> None:
    found = checked(tmp_path / "a", TRUE + "\nOf 100 pictures, [85]{given: of the paper} were right.\n")
    assert [(one.line, one.text) for one in found.unbound] == [(14, "100")]
    assert (found.status(), found.status(strict=True)) == (0, 1)
    assert [outcome.quote.why for outcome in found.of("not from data")] == ["of the paper"]
    assert checked(tmp_path / "b", TRUE).status(strict=True) == 0


def test_a_run_that_has_changed_is_told(tmp_path: Path) -> None:
    folder = builder.article(tmp_path / "a", TRUE)
    identity = check(read_article(folder)).runs["net"].identity
    pinned = builder.FRONT.replace('net = "run"', f'net = {{ folder = "run", sha256 = "{identity}" }}')
    assert checked(folder, TRUE, front=pinned).warnings == ()
    # What Mulligan writes again from the rest is no part of what a run is.
    (folder / "run" / "report.html").write_text("again")
    assert checked(folder, TRUE, front=pinned).warnings == ()
    (folder / "run" / "artifacts" / "a.1_0.png").write_bytes(builder.PNG + b"x")
    found = checked(folder, TRUE, front=pinned)
    assert "run net has changed since the article was written (article.md, line 10)" in found.warnings[0]
    assert (found.status(), found.status(strict=True)) == (0, 1)


def test_an_unused_reference_and_an_unknown_feature_are_told(tmp_path: Path) -> None:
    body = '[1.0]{given}\n\n<mg-unit key="a.1:7"></mg-unit>\n'
    warnings = checked(tmp_path / "a", body).warnings
    assert "names the feature 'a.1:7', which no run of the article has (article.md, line 14)" in warnings[0]
    assert "the nearest is 'a.1:" in warnings[0]
    assert warnings[1] == "the reference 'olah2017' is not cited (references.bib, line 1)."


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("[1]{net: seen.cards['zz'].x}", "'1' cannot be derived: seen.cards of run net has no such entry, 'zz' (arti"),
        ("[1]{other: seen.cards}", "the article names no run 'other' (article.md, line 12): its runs are net."),
        ("[3 [0, 4]]{net: count(seen.cards)}", "has none (article.md, line 12): leave the interval out."),
        ("\n[@olah]", "the reference 'olah' is missing (article.md, line 13): the nearest is 'olah2017'."),
        ("[@fig:cat]", "no figure is called 'cat' (article.md, line 12)"),
        ("![a](no.png)", "the picture 'no.png' is missing (article.md, line 12)"),
        ("![a](../x.png)", "is not in the article's folder (article.md, line 12)"),
        ("![a](x.svg)", "of a kind that is not shown (article.md, line 12)"),
        ('<mg-factors run="net"></mg-factors>', "run net has no factors.json (article.md, line 12)"),
        ('<mg-atlas run="nett"></mg-atlas>', "bound to no run of the article, 'nett' (article.md, line 12)"),
    ],
)  # fmt: skip
def test_a_problem_is_one_sentence_with_its_line(tmp_path: Path, body: str, says: str) -> None:
    found = checked(tmp_path / "a", body)
    assert found.status() == 2
    assert any(says in problem for problem in found.problems), found.problems
    with pytest.raises(BadInput):
        build(read_article(tmp_path / "a"), found)
    assert not (tmp_path / "a" / "article.html").exists()


def break_json(run: Path) -> None:
    (run / "seen.json").write_text("{broken")


def misshape(run: Path) -> None:
    (run / "seen.json").write_text(json.dumps({**builder.seen(), "cards": {"feature": 3}}))


def make_newer(run: Path) -> None:
    (run / "seen.json").write_text(json.dumps({**builder.seen(), "schema": "mulligan/seen/99"}))


def make_manifest_newer(run: Path) -> None:
    (run / "manifest.json").write_text(json.dumps({"schema": "mulligan/run/99"}))


def remove_manifest(run: Path) -> None:
    (run / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (break_json, "this file is broken"),
        (misshape, "this file is broken: Expected `array`, got `object`"),
        (make_newer, "this Mulligan is too old to read it"),
        (make_manifest_newer, "a newer Mulligan wrote this (mulligan/run/99"),
        (remove_manifest, "there is no run here"),
    ],
)
def test_a_run_that_cannot_be_used_is_told_with_its_line(tmp_path: Path, harm, says: str) -> None:
    folder = builder.article(tmp_path / "a", TRUE)
    harm(folder / "run")
    found = check(read_article(folder))
    assert found.status() == 2
    assert "run net cannot be used (article.md, line 10)" in found.problems[0]
    assert says in found.problems[0]
    assert found.problems[1] == "'15.9' cannot be derived without run net (article.md, line 12)."


@pytest.mark.parametrize(
    ("front", "says"),
    [
        ("A text.", "the article has no front matter (article.md, line 1)"),
        ("---\ntitle: x\n---\n", "this begins with YAML (article.md, line 1)"),
        ("+++\ntitle = 1\n", "the front matter is not closed"),
        ("+++\ntitle = = 1\n+++\n", "this is not TOML: invalid value (article.md, line 2)"),
        (builder.FRONT.replace("title", "titel"), "unknown field `titel`"),
        (builder.FRONT.replace("2026-11-26", '"soon"'), "(article.md, line 3)"),
        (builder.FRONT.replace("net =", '"a-b" ='), "a run is called 'a-b'"),
        (builder.FRONT.replace("published", 'doi = "x"\npublished'), "'x' is no DOI (article.md, line 3)"),
        (builder.FRONT.replace("published", 'url = "javascript:1"\npublished'), "is no address (article.md, line 3)"),
    ],
)  # fmt: skip
def test_front_matter_that_is_none(tmp_path: Path, front: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_article(builder.article(tmp_path / "a", TRUE, front=front))
    assert says in str(caught.value)


def test_reviews_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"reviews.toml, line 1"):
        read_article(builder.article(tmp_path / "a", TRUE, reviews="[[review]]\nreviewer = 'A'\n"))


@pytest.mark.parametrize(("body", "status"), [(TRUE, 0), (FALSE, 1), ("[1]{net: seen.x}", 2)])
def test_the_command_s_status(tmp_path: Path, body: str, status: int) -> None:
    folder = builder.article(tmp_path / "a", body)
    result = CliRunner().invoke(app, ["check", str(folder)])
    assert result.exit_code == status
    assert f"{12:>5}  {('agrees', 'disagrees', 'cannot be derived')[status]}" in result.stdout
    page = folder / "article.html"
    assert CliRunner().invoke(app, ["build", str(folder)]).exit_code == status
    assert page.exists() == (status == 0)


def test_a_draft_shows_what_disagrees(tmp_path: Path) -> None:
    folder = builder.article(tmp_path / "a", FALSE)
    assert CliRunner().invoke(app, ["build", str(folder), "--draft"]).exit_code == 0
    text = (folder / "article.html").read_text()
    assert "Draft: prose and data disagree" in text
    assert "(the data say 15.9)" in text


def test_what_init_writes_passes_strictly(tmp_path: Path) -> None:
    run = builder.run(tmp_path / "runs" / "one")
    result = CliRunner().invoke(app, ["init", str(tmp_path / "new"), "--run", f"net={run}"])
    assert result.exit_code == 0
    assert CliRunner().invoke(app, ["check", str(tmp_path / "new"), "--strict"]).exit_code == 0
    assert len(check(read_article(tmp_path / "new")).of("agrees")) == 1
    with pytest.raises(BadInput, match="there is an article already"):
        start(tmp_path / "new", {})
    with pytest.raises(BadInput, match="there is no run here"):
        start(tmp_path / "other", {"net": tmp_path})
    assert not (tmp_path / "other").exists()
    start(tmp_path / "empty", {})
    assert check(read_article(tmp_path / "empty")).status(strict=True) == 0


def test_nothing_of_it_needs_torch(tmp_path: Path) -> None:
    folder = builder.article(tmp_path / "a", TRUE)
    code = (
        "import sys\nsys.modules['torch'] = None\nfrom pathlib import Path\n"
        "from mulligan.reports.articles import build, check, read_article\n"
        f"article = read_article(Path({str(folder)!r}))\nbuild(article, check(article))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (folder / "article.html").exists()
