"""Audits of real networks that packages ship, on little data: they end, they are honest, and they do not cry wolf."""

from __future__ import annotations

import msgspec
import pytest

from loaded_examples import load_example
from mulligan.datasets import load_dataset
from mulligan.networks import load
from mulligan.procedures.audit import Request, audit, exit_status, prepare, shortened
from mulligan.records import Description
from mulligan.reports import write_reports
from mulligan.runs import Run

pytestmark = pytest.mark.real

SENTENCES = """The capital of France is Paris, and the river that runs through it is called the Seine.
In 1969 two people walked on the Moon while a third waited in orbit above them.
Bread is made of flour, water, salt and yeast; the dough has to rise before it is baked.
The committee will meet again on Thursday to decide whether the bridge should be repaired.
Whales are mammals: they breathe air, and they feed their young with milk.
She opened the window because the room was hot and the air did not move.
The price of wheat rose after a dry summer, and then fell when the rain came.
A violin has four strings, which are tuned in fifths.
The engineer measured the current twice and wrote both values into the book.
Snow had fallen all night, so the road over the pass was closed.
""".splitlines()


def run_audit(spec: str, data, folder, **options):
    """One audit into `folder`, with its report; returns (document, description)."""
    network = shortened(load(spec))
    options.setdefault("names", ("conjunction", "head-edit", "preprocessing"))
    request = Request(network=network, dataset=load_dataset(data, classes=network.classes), **options)
    run = Run.create("audit", [], {"fail_on": "high"}, out=folder / "run")
    document = audit(request, run, prepare(request))
    write_reports(run.path)
    return document, msgspec.json.decode((run.path / "description.json").read_bytes(), type=Description)


def test_efficientnet_on_unlabelled_photographs_is_described_and_not_accused(tmp_path):
    load_example("photographs").write(tmp_path / "photographs")
    for path in sorted((tmp_path / "photographs").glob("*.jpg"))[::5]:
        path.rename(path.with_suffix(".kept"))
    for path in (tmp_path / "photographs").glob("*.jpg"):
        path.unlink()
    for path in (tmp_path / "photographs").glob("*.kept"):
        path.rename(path.with_suffix(".jpg"))
    document, description = run_audit("efficientnet-lite0", tmp_path / "photographs", tmp_path, seconds=20.0, batch=16)
    assert document.findings == ()
    assert document.verdict == "inconclusive", "without labels nothing can be confirmed, which is no pass"
    assert exit_status(document, "high") == 3
    assert description.behaviour.task == "classification"
    assert "no labels" in " ".join(description.behaviour.notes)
    assert len(description.inventory) == 6
    assert all(example.image for site in description.inventory for card in site.cards for example in card.top)
    assert [drive for card in description.cards for drive in card.drives if drive.ablation is not None]


def test_smollm2_predicts_far_better_than_its_twin(tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES))
    document, description = run_audit("smollm2-135m-instruct", tmp_path / "texts.txt", tmp_path, seconds=20.0, batch=5)
    assert document.findings == ()
    figures, twin = description.behaviour.figures, description.behaviour.twin
    assert figures["loss"].high < twin["loss"].low
    assert figures["next-token accuracy"].value > 0.2
    assert description.cards, "token cards"
    assert [drive for card in description.cards for drive in card.drives if drive.ablation is not None]
    card = description.inventory[0].cards[0]
    assert card.top[0].tokens
    assert max(card.top[0].weights) == pytest.approx(card.top[0].activation, rel=1e-3)


def test_minilm_is_described_without_a_verdict_on_anything(tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES))
    document, description = run_audit("minilm-l6", tmp_path / "texts.txt", tmp_path, seconds=20.0, batch=5)
    assert all(check.status == "skipped" for check in document.checks)
    assert description.behaviour.task == "embedding"
    likeness = "likeness of two random examples"
    assert description.behaviour.figures[likeness].value < description.behaviour.twin[likeness].value
    assert description.inventory
