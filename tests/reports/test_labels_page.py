"""The page of a run of labels: what is shown, what is not, and that nothing in it acts."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from PIL import Image
from test_reports_html import Tree, page_data

from mulligan.records import (
    DataRecord,
    ExampleRef,
    FeatureCard,
    Label,
    LeftOut,
    NetworkRecord,
    Quantity,
    Seen,
    Sighting,
)  # fmt: skip
from mulligan.records.seeing import NO_LABEL
from mulligan.reports import write_html

EVIL = "<script>alert(1)</script>\u202e"


def auc(value: float) -> Quantity:
    return Quantity(value=value, unit="AUC on held-out examples", low=value - 0.05, high=min(value + 0.05, 1), n=90)


def example(name: str) -> Sighting:
    image = f"artifacts/examples/{name}.png"
    return Sighting(example=ExampleRef(id=name, label=EVIL, activation=1.5, image=image))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run made by hand: a label that beats chance, one that does not, a person's, texts, something left out."""
    label = Label(
        text="dogs", overseer="vocabulary", auc=auc(0.93), twin=auc(0.52), random=auc(0.7), explained=auc(0.4),
        strong=Quantity(value=0.8, unit="fraction", low=0.6, high=0.9, n=50),
        ordinary=Quantity(value=0.1, unit="fraction", low=0.0, high=0.2, n=50), p=0.01, beats=True, judged=1.0,
    )  # fmt: skip
    weak = Label(text=NO_LABEL, overseer="vocabulary", auc=auc(0.55), twin=auc(0.5), p=0.6, beats=False)
    person = Label(text=EVIL, overseer=f"person:{EVIL}", author=EVIL, date="2026-01-31", note=EVIL)
    tokens = Sighting(example=ExampleRef(id="t", tokens=("a", EVIL), weights=(0.0, 2.0)))
    seen = Seen(
        network=NetworkRecord(name=EVIL, identity="sha256:0", parameters=1, classes=None, input=None),
        data=DataRecord(source=EVIL, identity="sha256:1", n=100),
        cards=(
            FeatureCard(feature="a:0", meaning=EVIL, labels=(weak,), top=(example("x"),)),
            FeatureCard(feature="a:1", labels=(label,), top=(example("x"), example("y")), levels=(example("y"),)),
            FeatureCard(feature="a:2", labels=(person, weak), top=(tokens,)),
        ),
        left_out=(LeftOut(what="a:9", why=EVIL),),
        notes=(EVIL,),
        figures={
            "labels proposed": auc(0.9),
            "labels shuffled among units": auc(0.5),
            "units with a label that beats chance": Quantity(value=0.5, unit="fraction of units", low=0.1, high=0.9),
            "agreement of Ann": Quantity(value=0.8, unit="share of labels", low=0.5, high=1.0, n=8),
        },
    )
    folder = tmp_path / "run"
    (folder / "artifacts" / "examples").mkdir(parents=True)
    for name in ("x", "y"):
        Image.new("L", (8, 8), 90).save(folder / "artifacts" / "examples" / f"{name}.png")
    (folder / "seen.json").write_bytes(msgspec.json.encode(seen))
    job = {"overseer": "vocabulary", "pool": "max", "rate": 0.05, "twins": 5, "sent": {}}
    command = ["mulligan", "see", "labels", EVIL]
    manifest = {"schema": "mulligan/run/1", "procedure": "see-labels", "command": command, "labels": job}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_the_page_shows_labels_beside_their_controls(run) -> None:
    tree = Tree(Path(write_html(run)).read_text())
    assert "agreement of Ann" in tree.words
    assert "at most 5 % of the labels shown are expected to be false" in tree.words
    assert "Sent elsewherenothing" in tree.words
    _, series = page_data(tree)
    labels = {card["key"]: card["labels"] for card in series["features"]}
    assert labels["a:1"][0]["auc"]["value"] == 0.93
    assert {label["text"] for every in labels.values() for label in every} >= {NO_LABEL}
    assert labels["a:1"][0]["judged"] == 1.0


def test_texts_from_outside_are_texts(run) -> None:
    tree = Tree(Path(write_html(run)).read_text())
    assert len([tag for tag, a in tree.elements if tag == "script" and not a.get("type")]) == 1
    assert "\u202e" not in tree.text


def test_a_page_without_units_or_figures_is_a_page(run) -> None:
    seen = json.loads((run / "seen.json").read_text())
    seen |= {"cards": [], "figures": None, "left_out": [], "notes": [], "data": None}
    (run / "seen.json").write_text(json.dumps(seen))
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["labels"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    page = Path(write_html(run)).read_text()
    assert "No label could be scored" in page


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_opens_quietly(run, open_page, width) -> None:
    opened = open_page(Path(write_html(run)), width=width)
    assert opened.complaints == []
    assert opened.outside == []
    assert opened.overflow() == 0
