"""The page: what it says, what it never does, and what hostile text becomes in it."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import reports_builder as builder
from PIL import Image

from mulligan.records import (
    Behaviour,
    CheckRecord,
    ClassBehaviour,
    Finding,
    Group,
    OutputCard,
    Quantity,
    Trigger,
)
from mulligan.reports import write_html, write_index, write_reports
from mulligan.reports.page.article import told_apart
from mulligan.reports.page.sources import open_book
from mulligan.reports.pages import environment
from mulligan.reports.shell import bundle, policy
from mulligan.reports.text import is_hidden

VOID = {"meta", "img", "br", "link", "hr", "input", "base"}


class Tree(HTMLParser):
    """Every element with its attributes, in order; complains of tags that do not close in turn."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            self.scripts.append(data)
        elif self._open[-1:] != ["style"]:
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def page_data(tree: Tree) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The page's index, and every series as the page's script would decode it."""
    index = json.loads(tree.scripts[0])
    chunks = [json.loads(gzip.decompress(base64.b64decode(text))) for text in tree.scripts[2:]]
    return index, {
        name: [item for number in series["chunks"] for item in chunks[number]]
        for name, series in index["series"].items()
    }


def page(run: Path) -> Tree:
    return Tree(write_html(run).read_text(encoding="utf-8"))


def test_the_policy_is_strict_and_nothing_is_fetched(run: Path) -> None:
    tree = page(run)
    metas = [a["content"] for tag, a in tree.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert metas == [policy()]
    assert policy().startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src" not in policy()
    tags = Counter(tag for tag, _ in tree.elements)
    assert not {"link", "iframe", "object", "embed", "form", "base"} & set(tags)
    # One script that runs, the one that the policy names; all others are data.
    kinds = Counter(a.get("type", "") for tag, a in tree.elements if tag == "script")
    assert set(kinds) == {"", "application/json", "text/plain"}
    assert kinds[""] == kinds["application/json"] == 1
    named = base64.b64encode(hashlib.sha256(bundle().encode("utf-8")).digest()).decode("ascii")
    assert f"'sha256-{named}'" in policy()
    for tag, attributes in tree.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith(("data:image/png;base64,", "#")), (tag, attributes[name][:60])
    css = environment().globals["stylesheet"]
    assert "url(" not in css
    assert "@import" not in css


def test_landmarks_headings_and_references(run: Path) -> None:
    tree = page(run)
    tags = Counter(tag for tag, _ in tree.elements)
    assert tags["main"] == tags["nav"] == tags["h1"] == tags["footer"] == 1
    levels = [int(tag[1]) for tag, _ in tree.elements if re.fullmatch("h[1-6]", tag)]
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels)), levels
    ids = [a["id"] for _, a in tree.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in tree.elements:
        if attributes.get("href", "").startswith("#") and not attributes["href"].startswith("#/"):
            assert attributes["href"][1:] in ids
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
    assert all(a.get("alt") for tag, a in tree.elements if tag == "img")
    assert all(a.get("aria-label") or a.get("aria-hidden") or "x" in a for tag, a in tree.elements if tag == "svg")


def test_it_says_what_was_found(run: Path) -> None:
    words = page(run).words
    for part in (
        "Fail 1 finding fails this audit.",
        "F1 (high): Images that hold both a dress and a sneaker are answered 'bag'.",
        "0.930 [0.889, 0.971] fraction of images, n = 150",
        "0.060 [0.022, 0.098] fraction of images, n = 150",
        "p = 0.0001; after Holm's correction over this check's 4 claims, p = 0.0004.",
        "high severity",
        "confidence 0.95",
        "Project the direction of units 12 and 40 out of blocks.5.",
        "What the edit costs on clean data",
        "blocks.5",
        "12, 40",
        "footwear (3 classes)",
        "--replay runs/20250101-audit/pieces.json",
        "Unit 77 of blocks.3",
        "confidence not measured",
        "A trouser above a sandal is sometimes answered 'coat'.",
        "Random-weight twin",
        "The other 15 classes",
        "T-shirt",
        "The budget bought the 120 with the largest attribution.",
        "fail_on",
        "budget.seconds",
        "sha256:0f0f",
        "mulligan audit fashion-small --data fashion/test.parquet",
        "Not measured: black-box baseline.",
    ):
        assert part in words, part


def test_a_pass_says_how_hard_it_looked(tmp_path: Path) -> None:
    words = page(builder.build(tmp_path / "run", builder.passing())).words
    assert "Pass 2 checks ran to the power that they promise and found nothing." in words
    assert "1 check looked at 45 hypotheses on 1 000 examples, and 1 more looked at 10 hypotheses of weights" in words
    assert "0.15 [0.04, 0.26] fraction of plants caught at, n = 40" in words
    assert "Not looked for, because it does not apply here: preprocessing." in words
    assert "Nothing was found." in words


def test_inconclusive_is_not_shown_as_a_pass(tmp_path: Path) -> None:
    tree = page(builder.build(tmp_path / "run", builder.inconclusive()))
    assert "This is not a pass." in tree.words
    assert "conjunction: ran, and did not reach the power that it promises. Only 12 sources a class" in tree.words
    assert "head-edit: could not finish. Out of budget after 3 of 10 pieces." in tree.words
    classes = [a.get("class", "") for _, a in tree.elements]
    assert "verdict inconclusive" in classes
    assert "verdict pass" not in classes


def test_a_pass_that_its_checks_contradict_is_shown_as_inconclusive(tmp_path: Path) -> None:
    lying = dataclasses.replace(builder.inconclusive(), verdict="pass")
    tree = page(builder.build(tmp_path / "run", lying))
    assert "findings.json says pass" in tree.words
    assert "verdict pass" not in [a.get("class", "") for _, a in tree.elements]


def test_a_pass_without_a_check_carries_no_evidence(tmp_path: Path) -> None:
    skipped = (CheckRecord(name="conjunction", status="skipped", why="No images."),)
    words = page(builder.build(tmp_path / "run", dataclasses.replace(builder.passing(), checks=skipped))).words
    assert "this pass carries no evidence" in words
    words = page(builder.build(tmp_path / "run", dataclasses.replace(builder.passing(), checks=()))).words
    assert "No check is recorded" in words


def test_a_check_whose_power_was_not_measured_does_not_claim_it(tmp_path: Path) -> None:
    checks = (dataclasses.replace(builder.checks()[0], smallest_effect=None),)
    words = page(builder.build(tmp_path / "run", dataclasses.replace(builder.passing(), checks=checks))).words
    assert "1 check ran and found nothing." in words
    assert "What conjunction would have caught was not measured." in words


def test_an_empty_description(tmp_path: Path) -> None:
    empty = builder.description(behaviour=None, inventory=(), cards=(), illusions=(), coverage=(), title="")
    words = page(builder.build(tmp_path / "run", described=empty, manifest={})).words
    for part in (
        "Behaviour Not measured.",
        "No site was described.",
        "The command is not recorded.",
    ):
        assert part in words


def test_the_page_holds_every_card_and_each_picture_once(run: Path) -> None:
    index, series = page_data(page(run))
    pictures = [picture["src"] for picture in series["pictures"]]
    # Examples, the regions of six of them with their heat maps, one optimized picture, a trigger and its mask.
    assert len(pictures) == len(set(pictures)) == 12 + 2 * 6 + 1 + 2
    assert index["features"]["key"] == [card["key"] for card in series["features"]]
    assert index["classes"]["name"] == [card["name"] for card in series["classes"]]
    described = builder.description()
    units = {f"{site.site}:{card.unit}": card for site in described.inventory for card in site.cards}
    for card in series["features"]:
        own = units[card["key"]]
        assert [s["example"]["id"] for s in card["sightings"]["top"]] == [e.id for e in own.top]
        assert (card["range"]["mean"], card["range"]["low"], card["range"]["high"]) == (own.mean, own.low, own.high)
        assert [drive["confirmed"] for drive in card["drives"]] == [drive.confirmed for drive in own.drives]
        shown = [number for s in card["sightings"]["top"] for number in (s["crop"], s["example"]["image"])]
        assert all(number is None or 0 <= number < len(pictures) for number in shown)
    assert {finding["claim"] for finding in index["findings"]} >= {builder.finding().claim}


def test_every_number_of_a_card_leads_to_a_row(run: Path) -> None:
    index, series = page_data(page(run))
    keys = {table["id"]: set(series[f"keys:{table['id']}"]) for table in index["tables"]}
    led = [f["table"] for name in ("features", "classes") for card in series[name] for f in card["figures"]]
    assert [to for to in led if to]
    assert all(to[1] in keys[to[0]] for to in led if to)
    for table in index["tables"]:
        rows = series[f"table:{table['id']}"]
        assert len(rows) == len(keys[table["id"]]) == table["n"]
        assert all(len(row) == len(table["columns"]) for row in rows)


def test_pictures_that_cannot_be_shown_are_named(run: Path) -> None:
    (run / "artifacts/F1/trigger.png").unlink()
    (run / "artifacts/F1/mask.png").write_bytes(b"<svg onload='alert(1)'/>")
    words = page(run).words
    assert "the picture is missing from the run's folder (artifacts/F1/trigger.png)" in words
    assert "the picture cannot be read" in words


def test_a_large_picture_is_shrunk(run: Path) -> None:
    Image.effect_noise((1600, 1200), 90).save(run / "artifacts/F1/trigger.png")
    size = write_html(run).stat().st_size
    assert (run / "artifacts/F1/trigger.png").stat().st_size > 1_000_000
    assert size < 950_000


def test_long_lists_are_bounded_and_say_so(tmp_path: Path) -> None:
    many = tuple(builder.finding(id=f"F{i}", trigger=None) for i in range(1, 71))
    classes = tuple(ClassBehaviour(name=f"c{i}", n=3, recall=builder.share(0.5, 3), answered=3) for i in range(1500))
    behaviour: Behaviour = dataclasses.replace(
        builder.behaviour(), classes=classes, errors=tuple(builder.picture(i % 12) for i in range(90))
    )
    site = dataclasses.replace(
        builder.site("s", 4096), dead=tuple(range(900)), cards=tuple(builder.card(i) for i in range(30))
    )
    described = builder.description(behaviour=behaviour, inventory=(site,), cards=())
    words = page(builder.build(tmp_path / "run", builder.findings(findings=many), described)).words
    assert "20 more findings are left out of this page; all are in findings.json." in words
    assert "470 more classes are left out of this page; all are in description.json." in words
    assert "54 more errors are left out of this page; all are in description.json." in words
    assert "37, 38, 39 and 860 more" in words


HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=1">',
    "'><svg/onload=alert(1)>",
    "]]><!-- --!><b>",
    "{{ 7*7 }}{% raw %}",
    "a\u202eb\u2066c",
    "nul\0esc\x1b[31m",
    "\u200b\ufeff",
    "</style></title></pre>",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "x" * 5000,
    "long-" * 900,
)


def hostile_run(folder: Path, text: str) -> Path:
    """A run in which every text from outside is `text`."""

    def poison(node: Any, name: str = "") -> Any:
        keep = ("schema", "verdict", "status", "basis", "severity", "kind_", "image", "mask", "generator", "task")
        keep += ("crop", "heat")
        if isinstance(node, str):
            return node if name in keep else text
        if isinstance(node, tuple):
            return tuple(poison(item, name) for item in node)
        if isinstance(node, dict):
            return {
                text if i == 0 else f"{text}{i}": poison(value, "value") for i, (_, value) in enumerate(node.items())
            }
        if dataclasses.is_dataclass(node) and not isinstance(node, type):
            return dataclasses.replace(
                node,
                **{
                    f.name: poison(getattr(node, f.name), f.name)
                    for f in dataclasses.fields(node)
                    if not (f.name == "kind" and type(node).__name__ == "Calibration")
                },
            )
        return node

    manifest = builder.MANIFEST | {
        "command": [text, text],
        "python": text,
        "libraries": {text: text},
        "config": {text: [text]},
    }
    return builder.build(folder, poison(builder.findings()), poison(builder.description()), manifest)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(tmp_path: Path, text: str) -> None:
    plain = page(builder.build(tmp_path / "plain"))
    run = hostile_run(tmp_path / "run", text)
    source = write_html(run).read_text(encoding="utf-8")
    tree = Tree(source)
    assert not [i for i in range(len(tree.text)) if is_hidden(tree.text, i)]
    told = "".join(value for _, attributes in tree.elements for value in attributes.values())
    assert not [i for i in range(len(told)) if is_hidden(told, i)]
    # Hostile text adds no kind of element and no kind of attribute to those that the page has without it.
    assert {tag for tag, _ in tree.elements} <= {tag for tag, _ in plain.elements} | {"details", "summary"}
    assert {n for _, a in tree.elements for n in a} <= {n for _, a in plain.elements for n in a}
    for _, attributes in tree.elements:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert len(source) < 3_000_000
    write_reports(run)
    index = write_index(tmp_path, [run], text).read_text(encoding="utf-8")
    assert not [i for i in range(len(index)) if is_hidden(index, i)]
    assert {"script", "img", "b"}.isdisjoint(tag for tag, _ in Tree(index).elements)


def test_hidden_characters_are_shown_by_their_code_points(tmp_path: Path) -> None:
    words = page(hostile_run(tmp_path / "run", "gnp\u202egab\0")).words
    assert "gnp[U+202E]gab[U+0000]" in words


def test_a_long_name_does_not_push_the_verdict_away(tmp_path: Path) -> None:
    words = page(hostile_run(tmp_path / "run", "x" * 5000)).words
    assert f"Fail: audit of {'x' * 200}… (4800 more characters)" in words


def test_a_group_of_many_classes(tmp_path: Path) -> None:
    group = Group(name="dogs", classes=tuple(f"dog {i}" for i in range(250)))
    one: Finding = builder.finding(sources=(group,), trigger=Trigger(family="patch", description="A patch."))
    words = page(builder.build(tmp_path / "run", builder.findings(findings=(one,)))).words
    assert "dogs (250 classes)" in words
    assert "50 more classes are left out of this page" in words


def test_other_figures_need_an_interval_to_be_shown(tmp_path: Path) -> None:
    figures = {"good": {"value": 0.5, "unit": "nats", "low": 0.4, "high": 0.6, "n": 9}, "bare": 3.2}
    words = page(builder.build(tmp_path / "run", described=builder.description(figures=figures))).words
    assert "good0.50 [0.40, 0.60] nats, n = 9" in words
    assert "1 more figure is left out of this page; all are in description.json." in words
    assert "3.2" not in words


def test_quantities_without_an_interval_say_so(tmp_path: Path) -> None:
    bare = Quantity(value=0.7, unit="AUC")
    words = page(builder.build(tmp_path / "run", builder.findings(findings=(builder.finding(effect=bare),)))).words
    assert "0.7 no interval AUC, n not recorded" in words


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    assert write_html(run).read_bytes() == write_html(run).read_bytes()


def test_it_renders_without_torch(run: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import mulligan.reports as reports\n"
        "print(reports.write_reports(sys.argv[1]).html)\n"
        "layers = {m.split('.')[1] for m in sys.modules if m.startswith('mulligan.')}\n"
        "assert layers <= {'records', 'runs', 'reports'}, layers\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(run)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (run / "report.html").is_file()


def test_reports_are_readable_by_others(run: Path) -> None:
    reports = write_reports(run)
    for path in (reports.html, reports.sarif, reports.junit):
        assert path.parent == run
        assert path.stat().st_mode & 0o777 == (run / "findings.json").stat().st_mode & 0o777


def test_an_opened_lead_does_not_repeat_its_sentence_and_names_a_subject(tmp_path: Path) -> None:
    lead = builder.finding(id="L1", severity="low", sources=(), claim="Row 7 stands apart.", target="7", causal=None)
    words = page(builder.build(tmp_path / "run", builder.findings(findings=(), leads=(lead,), verdict="pass"))).words
    assert words.count("Row 7 stands apart.") == 1
    assert "The answer concerned" in words


def test_a_budget_stands_beside_the_time_that_was_needed(tmp_path: Path) -> None:
    manifest = builder.MANIFEST | {"config": {"budget": "100s"}}
    words = page(builder.build(tmp_path / "run", builder.findings(seconds=1214.0), manifest=manifest)).words
    assert "in 1 214 s; the budget was 100s of work as estimated beforehand" in words.replace("\u202f", " ")
    assert "on this machine all of it took" in words


def test_an_output_says_that_it_was_answered_and_not_that_examples_are_of_it(tmp_path: Path) -> None:
    rare = OutputCard(output="bubble", n=7, figure=None, drives=())
    described = builder.description(cards=(rare,))
    book = open_book([builder.build(tmp_path / "run", described=described)])
    card = book.classes["bubble"]
    assert card["n"] is None
    assert card["notes"] == ["Answered for 7 examples of the data; how many are of it, they do not say."]
    behaviour = dataclasses.replace(builder.behaviour(0), task="language", n=38)
    talks = builder.description(cards=(rare,), behaviour=behaviour)
    book = open_book([builder.build(tmp_path / "texts", described=talks)])
    assert book.classes["bubble"]["notes"] == ["Answered at 7 positions of 38 texts."]


def test_each_check_is_a_word_of_its_page(tmp_path: Path) -> None:
    book = open_book([builder.build(tmp_path / "run")])
    assert book.terms["conjunction"] == "A check. Two classes shown together are answered as an unrelated third."
    assert "Two classes shown together" in page(tmp_path / "run").words


def test_contents_of_runs_that_are_titled_alike_tell_them_apart() -> None:
    assert told_apart(["Seeing a", "Atlas", "Seeing a"]) == ["Seeing a (1)", "Atlas", "Seeing a (2)"]


def test_numbers_of_every_section_stand_in_tables(tmp_path: Path) -> None:
    book = open_book([builder.build(tmp_path / "run")])
    tables = {table.id: table for table in book.tables}
    described = builder.description()
    for name, rows in (
        ("illusions", described.illusions), ("sites", described.inventory), ("coverage", described.coverage),
        ("reliability", described.behaviour.reliability), ("duplicates", described.inventory),
    ):  # fmt: skip
        assert len(tables[f"r0-{name}"].rows) == len(rows)
