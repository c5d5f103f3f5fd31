"""The audit end to end on small networks: what it writes, what it concludes, resume and replay."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from mulligan.checks import checks
from mulligan.datasets import load_dataset
from mulligan.networks import Ablate
from mulligan.plants.conjunction import PLANT, ConjunctionSpec
from mulligan.procedures.audit import Request, audit, exit_status, prepare
from mulligan.procedures.audit.outputs import _confirmed
from mulligan.records import BadInput, Description, Findings, Interrupted, Quantity
from mulligan.runs import LocalEngine, Run

#: Cheap ones of every sort; all of them run together in one test.
NAMES = ("conjunction", "head-edit", "preprocessing")


@pytest.fixture(scope="module")
def finished(digit_nets, tmp_path_factory):
    """One audit of a clean network, looked at by many tests."""
    folder = tmp_path_factory.mktemp("audit")
    network = digit_nets.network(digit_nets.clean(0))
    dataset = load_dataset(digit_nets.write_data(folder), classes=network.classes)
    request = Request(
        network=network, dataset=dataset, seconds=1e6, batch=128, names=NAMES, reproduce="mulligan audit ..."
    )
    run = Run.create("audit", [], {"fail_on": "high"}, out=folder / "run")
    return request, run, audit(request, run, prepare(request))


def test_a_clean_network_passes_and_says_how_hard_it_looked(finished):
    _, run, document = finished
    assert document.verdict == "pass"
    assert exit_status(document, "high") == 0
    assert document.findings == ()
    assert {check.name for check in document.checks} == set(NAMES)
    for check in document.checks:
        assert check.status == "ran"
        assert check.why
        assert check.smallest_effect is not None
    stored = msgspec.json.decode((run.path / "findings.json").read_bytes(), type=Findings)
    assert stored == msgspec.json.decode(msgspec.json.encode(document), type=Findings)
    raw = json.loads((run.path / "findings.json").read_text())
    assert raw["schema"] == "mulligan/findings/1"
    assert raw["modified"] is None


def test_behaviour_is_what_the_network_really_answers(finished, digit_nets):
    request, run, _ = finished
    description = msgspec.json.decode((run.path / "description.json").read_bytes(), type=Description)
    rows = digit_nets.fresh
    pixels = (digit_nets.images[rows] * 255).round() / 255
    with torch.no_grad():
        answers = request.network.module(pixels).argmax(1)
    accuracy = float((answers == digit_nets.labels[rows]).float().mean())
    figure = description.behaviour.figures["accuracy"]
    assert figure.value == pytest.approx(accuracy)
    assert figure.low < accuracy < figure.high
    assert description.behaviour.twin["accuracy"].value < 0.5
    assert sum(c.n for c in description.behaviour.classes) == len(rows)
    assert request.network.input.steps() == description.behaviour.preparation


def test_the_inventory_agrees_with_watching(finished, digit_nets):
    request, run, _ = finished
    description = msgspec.json.decode((run.path / "description.json").read_bytes(), type=Description)
    network, dataset = request.network, request.dataset
    site = description.inventory[1]
    x = torch.stack([torch.as_tensor(network.input.prepare(dataset.raw(i))) for i in range(len(dataset))])
    with torch.no_grad(), network.watching(site.site) as watched:
        network(x)
    peaks = watched[site.site].amax((2, 3)).numpy()
    card = site.cards[0]
    best = int(peaks[:, card.unit].argmax())
    assert card.top[0].activation == pytest.approx(float(peaks[best, card.unit]), rel=1e-4)
    assert card.top[0].id == dataset.ids[best] or peaks[:, card.unit].max() == pytest.approx(card.top[0].activation)
    for example in (*card.top, *card.stratified):
        assert (run.path / example.image).is_file()
    table = run.read_table("tables/units.parquet")
    assert table.num_rows == sum(s.units for s in description.inventory)
    described = {(row["site"], row["unit"]): row for row in table.to_pylist()}
    for inventory in description.inventory:
        for shown in inventory.cards:
            row = described[inventory.site, shown.unit]
            assert (row["mean"], row["low"], row["high"]) == pytest.approx((shown.mean, shown.low, shown.high))
            assert row["low"] <= row["mean"] <= row["high"]
            if shown.selectivity is not None:
                assert (row["auc"], row["auc_n"]) == pytest.approx((shown.selectivity.value, shown.selectivity.n))
    assert site.selectivity.value > site.twin.value, "a trained layer tells classes apart better than its random twin"


def test_a_drive_is_confirmed_only_beyond_what_random_units_do():
    pushes = Quantity(value=1.0, unit="logit, to first order")
    falls = np.array([-1.0, -1.2, -0.8, -1.1])
    assert _confirmed(pushes, falls, None)
    assert _confirmed(pushes, falls, np.array([-0.1, 0.1, 0.0, -0.1]))
    assert not _confirmed(pushes, falls, falls * 1.1), "random units lower it as much"
    assert not _confirmed(pushes, falls, -falls * 1.1), "random units move it as much the other way"
    assert not _confirmed(pushes, -falls, None), "it rises"
    assert not _confirmed(pushes, np.array([-1.0, 1.2, -0.8, 1.1]), None)
    assert _confirmed(pushes, falls[:1], None) is None


def test_confirmed_drives_hold_when_the_whole_network_is_edited(finished):
    request, run, _ = finished
    description = msgspec.json.decode((run.path / "description.json").read_bytes(), type=Description)
    network, dataset = request.network, request.dataset
    drives = [d for card in description.cards for d in card.drives if d.confirmed]
    assert len(drives) >= 5
    everything = torch.stack([torch.as_tensor(network.input.prepare(dataset.raw(i))) for i in range(len(dataset))])
    for drive in drives[:5]:
        with torch.no_grad(), network.watching(drive.site) as watched:
            before = network.logits(everything)
        values = watched[drive.site].mean((0, 2, 3)) if watched[drive.site].dim() == 4 else watched[drive.site].mean(0)
        output = network.classes.index(drive.output)
        mine = before.argmax(1) == output
        with torch.no_grad(), network.editing({drive.site: Ablate([drive.unit], "mean", values)}):
            change = (network.logits(everything) - before)[mine, output].mean()
        assert np.sign(float(change)) == np.sign(drive.ablation.value)
        assert float(change) == pytest.approx(drive.ablation.value, abs=max(0.5, abs(drive.ablation.value)))


def test_coverage_names_what_was_not_examined(finished):
    _, run, _ = finished
    description = msgspec.json.decode((run.path / "description.json").read_bytes(), type=Description)
    what = {line.what for line in description.coverage}
    assert {"examples", "units described", "outputs attributed to units", "drives confirmed by ablation"} <= what
    for line in description.coverage:
        assert line.total is None or line.examined <= line.total


def test_all_checks_together_accuse_no_clean_network(digit_nets, tmp_path):
    network = digit_nets.network(digit_nets.clean(1))
    dataset = load_dataset(digit_nets.write_data(tmp_path), classes=network.classes)
    request = Request(network=network, dataset=dataset, seconds=1e6, batch=128, sites=("blocks.3",))
    run = Run.create("audit", [], {}, out=tmp_path / "run")
    document = audit(request, run, prepare(request))
    assert document.findings == ()
    assert len(document.checks) == len(checks())
    assert all(check.status in ("ran", "skipped") for check in document.checks), [c.why for c in document.checks]
    stored = msgspec.json.decode((run.path / "findings.json").read_bytes(), type=Findings)
    kinds = {kind for check in stored.checks for kind in check.scores}
    assert kinds >= {"conjunction", "patch", "pruned", "label-swap"}


def test_a_planted_network_fails(digit_nets, tmp_path):
    planted = digit_nets.planted(PLANT, ConjunctionSpec(a="1", b="6", target="3"), 0)
    network = digit_nets.network(planted.module)
    dataset = load_dataset(digit_nets.write_data(tmp_path), classes=network.classes)
    request = Request(network=network, dataset=dataset, seconds=1e6, batch=128, names=("conjunction",))
    document = audit(request, Run.create("audit", [], {}, out=tmp_path / "run"), prepare(request))
    assert document.verdict == "fail"
    assert exit_status(document, "high") == 1
    assert exit_status(document, "never") == 0
    assert document.findings[0].id == "F1"


def test_a_replay_repeats_the_same_work_whatever_the_clock_says(finished, tmp_path):
    request, run, document = finished
    granted = json.loads((run.path / "pieces.json").read_text())["granted"]
    again = replace(request, seconds=1.0, recorded=granted)
    second = audit(again, Run.create("audit", [], {}, out=tmp_path / "run"), prepare(again))
    assert [f.claim for f in second.findings] == [f.claim for f in document.findings]
    for a, b in zip(document.checks, second.checks, strict=True):
        assert (a.name, a.examined, a.smallest_effect, a.why) == (b.name, b.examined, b.smallest_effect, b.why)


class _StopAfter(LocalEngine):
    """An engine that is interrupted after some pieces."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces

    def run(self, job, pieces, context, run, emit=lambda event: None):
        for item in super().run(job, pieces, context, run, emit):
            self.left -= 1
            if self.left < 0:
                raise Interrupted("stopped by the test")
            yield item


def test_an_interrupted_audit_goes_on_and_ends_the_same(finished, tmp_path):
    request, _, document = finished
    run = Run.create("audit", [], {}, out=tmp_path / "run")
    for pieces in (3, 12, 30):
        with pytest.raises(Interrupted):
            audit(request, run, prepare(request), engine=_StopAfter(pieces))
    resumed = audit(request, Run.open(run.path), prepare(request))
    assert [(c.name, c.examined, c.why) for c in resumed.checks] == [
        (c.name, c.examined, c.why) for c in document.checks
    ]
    assert resumed.verdict == document.verdict


def test_a_short_budget_is_inconclusive_or_passes_but_never_hides_it(digit_nets, tmp_path):
    network = digit_nets.network(digit_nets.clean(0))
    dataset = load_dataset(digit_nets.write_data(tmp_path), classes=network.classes)
    request = Request(network=network, dataset=dataset, seconds=0.05, batch=64, names=NAMES)
    run = Run.create("audit", [], {}, out=tmp_path / "run")
    document = audit(request, run, prepare(request))
    assert document.data.n < len(dataset)
    assert document.verdict == "inconclusive"
    assert exit_status(document, "high") == 3


def test_data_of_one_class_and_wrong_kinds_are_refused_before_a_run_is_made(digit_nets, tmp_path):
    network = digit_nets.network(digit_nets.clean(0))
    np.savez(tmp_path / "one.npz", x=np.zeros((30, 16, 16), np.uint8), y=np.zeros(30, np.int64))
    with pytest.raises(BadInput, match="class"):
        prepare(Request(network=network, dataset=load_dataset(tmp_path / "one.npz")))
    (tmp_path / "a.txt").write_text("some text\n")
    with pytest.raises(BadInput, match="texts"):
        prepare(Request(network=network, dataset=load_dataset(tmp_path / "a.txt")))


def test_a_network_that_answers_nan_is_refused(digit_nets, tmp_path):
    module = digit_nets.digits.factory()
    with torch.no_grad():
        module.head.weight.fill_(float("nan"))
    network = digit_nets.network(module)
    with pytest.raises(BadInput, match="NaN"):
        prepare(Request(network=network, dataset=load_dataset(digit_nets.write_data(tmp_path))))


def test_cards_show_pictures_and_the_region_that_fired(finished):
    request, run, _ = finished
    description = msgspec.json.decode((run.path / "description.json").read_bytes(), type=Description)
    units = [(site.site, card) for site in description.inventory for card in site.cards]
    drawn = [(site, card) for site, card in units if card.portrait is not None]
    assert len(drawn) >= 0.8 * len(units)
    for site, card in drawn:
        assert (run.path / card.portrait.image).is_file()
        assert card.portrait.objective == f"{site}:{card.unit}"
        assert card.portrait.best is not None
        assert card.portrait.twin is not None
    for _, card in units:
        assert [s.example for s in card.sightings] == list(card.top)
    assert all((run.path / s.heat).is_file() for _, card in units for s in card.sightings)
    assert all(card.portrait is not None for card in description.cards)
    reached, best = np.asarray([(c.portrait.reached, c.portrait.best) for c in description.cards]).T
    marked = [bool(c.portrait.marks) for c in description.cards]
    assert marked == list(reached < best)
    # The best example is the best of all that were audited.
    network, dataset = request.network, request.dataset
    x = torch.stack([torch.as_tensor(network.input.prepare(dataset.raw(i))) for i in range(len(dataset))])
    with torch.no_grad():
        logits = network.logits(x).numpy()
    expected = [logits[:, network.classes.index(card.output)].max() for card in description.cards]
    assert best == pytest.approx(expected, rel=1e-4)
    missing = {line.what for line in description.coverage if line.what.startswith("the picture of")}
    assert missing == {f"the picture of {site}:{card.unit}" for site, card in units if card.portrait is None}


def test_what_the_budget_does_not_buy_is_said(finished, tmp_path):
    request, _, _ = finished
    names = (
        "units and outputs in whose examples the region was looked for",
        "pictures optimized for units and outputs",
        "pictures of the random twin beside them",
    )
    granted = dict(zip(names, (3, 11, 0), strict=True))
    run = Run.create("audit", [], {}, out=tmp_path / "run")
    poor = replace(request, names=("head-edit",), recorded=granted)
    audit(poor, run, prepare(poor))
    description = msgspec.json.decode((run.path / "description.json").read_bytes(), type=Description)
    cards = [*description.cards, *(card for site in description.inventory for card in site.cards)]
    assert sum(card.portrait is not None for card in cards) in (10, 11)
    assert sum(bool(card.sightings) for card in cards) == 3
    assert all(card.portrait.twin is None for card in cards if card.portrait is not None)
    lines = {line.what: (line.examined, line.total) for line in description.coverage}
    assert lines[names[0]] == (3, 42)
    assert lines[names[1]] == (11, 42)
    assert lines[names[2]] == (0, 11)
