"""The page of a run of labels: what is shown, what is not, and that nothing in it acts."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from PIL import Image

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
from mulligan.reports.seeing.labels import write_labels_page

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
    manifest = {"schema": "mulligan/run/1", "command": ["mulligan", "see", "labels", EVIL], "labels": job}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_the_page_shows_labels_beside_their_controls_and_people_first(run) -> None:
    page = Path(write_labels_page(run)).read_text()
    assert page.index("a:2") < page.index("a:1") < page.index("a:0")
    assert "0.93" in page
    assert "[0.88, 0.98]" in page
    assert NO_LABEL in page
    assert "people gave it 1 of 1" in page
    assert "agreement of Ann" in page
    assert "at most 5 % of the labels shown are expected to be false" in page
    assert "nothing" in page  # was sent elsewhere


def test_texts_from_outside_are_texts(run) -> None:
    page = Path(write_labels_page(run)).read_text()
    assert "<script" not in page
    assert "\u202e" not in page


def test_a_page_without_units_or_figures_is_a_page(run) -> None:
    seen = json.loads((run / "seen.json").read_text())
    seen |= {"cards": [], "figures": None, "left_out": [], "notes": [], "data": None}
    (run / "seen.json").write_text(json.dumps(seen))
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["labels"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    page = Path(write_labels_page(run)).read_text()
    assert "No unit was named" in page
    assert "No label could be scored" in page


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_opens_quietly(run, open_page, width) -> None:
    opened = open_page(Path(write_labels_page(run)), width=width)
    assert opened.complaints == []
    assert opened.outside == []
    assert opened.overflow() == 0
