"""Names for units, from pictures to cards: a planted network's are found, a random one's are not."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
import seeing_labels
from PIL import Image

from mulligan.features.labels import PersonLabel, read_labels, read_sheet, write_sheet
from mulligan.features.labels.agreement import Judged, Sheet
from mulligan.procedures.see.labels import Request, find_units, prepare, see_labels
from mulligan.procedures.see.labels_judged import ask, hear
from mulligan.records import BadInput, Seen
from mulligan.records.seeing import NO_LABEL
from mulligan.runs import Run

SITE = "2"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return seeing_labels.data(tmp_path_factory.mktemp("labels"))


def request(pictures, net=None, units: str = SITE, **more) -> Request:
    net = net or seeing_labels.network()
    site, chosen, gone = find_units(net, units)
    return Request(network=net, dataset=pictures, site=site, units=chosen, left_out=gone, **more)


def run_at(folder, name: str = "run") -> Run:
    return Run.create("see-labels", [], {}, out=folder / name)


@pytest.fixture(scope="module")
def planted(pictures, tmp_path_factory):
    """A finished run on the planted network: its folder and what was seen."""
    run = run_at(tmp_path_factory.mktemp("planted"))
    return run, see_labels(request(pictures, pool="max", twins=8), run)


def label_of(seen: Seen, unit: int):
    (card,) = [card for card in seen.cards if card.feature == f"{SITE}:{unit}"]
    return card.labels[0]


def test_a_unit_that_is_a_concept_gets_its_name(planted) -> None:
    _, seen = planted
    for unit, name in enumerate(seeing_labels.NAMES):
        label = label_of(seen, unit)
        assert label.text == name
        assert label.auc is not None
        assert label.auc.value > 0.95
        assert label.random is not None
        assert label.random.value < label.auc.value
        assert label.twin is not None
        assert label.twin.value < 0.6
        assert label.strong is not None
        assert label.ordinary is not None
        assert label.strong.value > label.ordinary.value
        assert label.beats
    named = [card.feature for card in seen.cards if card.labels[0].text != NO_LABEL]
    assert len(named) <= len(seeing_labels.NAMES) + 1


def test_what_is_shown_of_a_unit_was_never_proposed_from(planted, pictures) -> None:
    run, seen = planted
    card = seen.cards[0]
    assert len(card.top) == 6
    strengths = [sighting.example.activation for sighting in card.top]
    assert strengths == sorted(strengths, reverse=True)
    assert all(run.has(sighting.example.image) for sighting in card.top)
    assert seen.figures is not None
    figures = seen.figures
    assert figures["labels shuffled among units"].value < 0.6
    assert figures["labels of random-weight twins' units, named in the same way"].n == 8 * seeing_labels.UNITS
    table = run.read_table("tables/labels.parquet").to_pylist()
    assert {row["feature"] for row in table} == {card.feature for card in seen.cards}
    assert run.manifest["labels"]["sent"] == {}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_random_networks_units_get_no_name(pictures, tmp_path, seed) -> None:
    net = seeing_labels.network(planted=False, seed=seed)
    seen = see_labels(request(pictures, net, seed=seed, twins=6), run_at(tmp_path))
    assert [card.labels[0].text for card in seen.cards] == [NO_LABEL] * len(seen.cards)
    # What was proposed stays in the table; the card says only that it does not beat chance.
    assert all(card.labels[0].beats is False for card in seen.cards)


def test_the_same_seed_gives_the_same_names_and_a_resumed_run_too(planted, pictures, tmp_path) -> None:
    run, seen = planted
    again = see_labels(request(pictures, pool="max", twins=8), run_at(tmp_path))
    assert [card.labels for card in again.cards] == [card.labels for card in seen.cards]
    before = {
        name: run.at(name).stat().st_mtime_ns for name in (f"pieces/{p.name}" for p in (run.path / "pieces").iterdir())
    }
    see_labels(request(pictures, pool="max", twins=8), Run.open(run.path))
    assert {name: run.at(name).stat().st_mtime_ns for name in before} == before


def test_pooling_is_chosen_on_units_that_no_figure_is_of(pictures, tmp_path) -> None:
    run = run_at(tmp_path)
    seen = see_labels(request(pictures, twins=1), run)
    assert run.manifest["labels"]["pool"] == "max"  # a pattern somewhere is lost in a mean
    assert seen.figures is not None
    assert seen.figures["units with a label that beats chance"].n == seeing_labels.UNITS // 2
    assert any("chosen on 6 units" in note for note in seen.notes)


def test_people_overrule_and_their_disagreement_is_kept(pictures, tmp_path) -> None:
    people = (
        PersonLabel(feature="2:0", text="ring", author="Ann", date=date(2026, 1, 1)),
        PersonLabel(feature="2:0", text="cross", author="Ben", date=date(2026, 1, 2), note="sure"),
        PersonLabel(feature="2:5", text="something else", author="Ann", date=date(2026, 1, 1)),
    )
    seen = see_labels(request(pictures, units="2:0,5", people=people, pool="max", twins=20), run_at(tmp_path))
    first, second, machine = seen.cards[0].labels
    assert (first.text, first.author, first.date, first.beats) == ("cross", "Ben", "2026-01-02", True)
    assert (second.text, second.author, second.beats) == ("ring", "Ann", False)
    assert second.note is not None
    assert "all the same" in second.note
    assert (machine.text, machine.overseer) == ("cross", "vocabulary")
    mine = seen.cards[1].labels[0]
    assert mine.text == "something else"  # shown, though nobody could say what it fits
    assert mine.auc is None
    assert mine.beats is None
    alone = see_labels(
        request(pictures, units="2:0,5,6", people=people, overseer="person", pool="max", twins=3),
        run_at(tmp_path, "alone"),
    )
    assert [label.author for label in alone.cards[0].labels] == ["Ben", "Ann"]
    assert alone.cards[0].labels[0].auc == first.auc


def test_units_that_are_not_there_and_dead_ones_are_left_out_and_the_rest_goes_on(pictures, tmp_path) -> None:
    import torch

    net = seeing_labels.network()
    with torch.no_grad():
        net.module[2].weight[7].zero_()
    seen = see_labels(request(pictures, net, "2:0,7,99", twins=2), run_at(tmp_path))
    assert [card.feature for card in seen.cards] == ["2:0"]
    reasons = {item.what: item.why for item in seen.left_out}
    assert "numbered from 0 to 11" in reasons["2:99"]
    assert "one value" in reasons["2:7"]


def test_concepts_may_be_folders_of_images(pictures, tmp_path) -> None:
    net = seeing_labels.network()
    folder = tmp_path / "concepts"
    for name, rows in (("a plus", range(0, 200, 4)), ("a circle", range(1, 200, 4))):
        (folder / name).mkdir(parents=True)
        for row in rows:
            Image.fromarray(np.asarray(pictures.raw(row))).save(folder / name / f"{row}.png")
    seen = see_labels(request(pictures, net, "2:0,1,8", concepts=folder, pool="max", twins=3), run_at(tmp_path))
    assert [card.labels[0].text for card in seen.cards[:2]] == ["a plus", "a circle"]
    empty = tmp_path / "none"
    empty.mkdir()
    with pytest.raises(BadInput, match="no files"):
        see_labels(request(pictures, net, concepts=empty), run_at(tmp_path, "empty"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"overseer": "oracle"}, "no such overseer"),
        ({"overseer": "llm"}, "no language model is configured"),
        ({"overseer": "person"}, "no people's labels"),
        ({"pool": "full"}, "mean or a maximum"),
        ({"examples": 10}, "too few"),
        ({"rate": 1.5}, "rate of 1.5"),
        ({"twins": -1}, "twins cannot be"),
    ],
)
def test_bad_input_is_refused_before_any_work(pictures, more, said) -> None:
    with pytest.raises(BadInput, match=said):
        prepare(request(pictures, **more))


def test_units_are_named_one_by_one_or_all_together(pictures) -> None:
    net = seeing_labels.network()
    assert find_units(net, "2")[1] == tuple(range(seeing_labels.UNITS))
    assert find_units(net, "2:3,1,3")[1] == (3, 1)
    with pytest.raises(BadInput, match="2 has 12"):
        find_units(net, "2:12")
    with pytest.raises(BadInput):
        find_units(net, "nowhere:1")


def test_classes_of_too_few_examples_are_no_vocabulary(pictures, tmp_path) -> None:
    import copy

    few = pictures.subset(np.arange(60))
    few = copy.copy(few)
    few.labels = np.where(np.arange(60) == 0, 1, 0)
    with pytest.raises(BadInput, match="no name fits enough examples"):
        see_labels(request(few), run_at(tmp_path))


# -- people judge a sample


def test_a_sample_is_judged_and_becomes_an_interval(planted, tmp_path) -> None:
    run, _ = planted
    path, asked = ask(run, 20, tmp_path / "sheet.toml", 0)
    assert asked >= len(seeing_labels.NAMES)
    sheet = read_sheet_without_author(path)
    assert "artifacts/examples/" in path.read_text()
    assert "auc" not in path.read_text()  # who judges is not told the score
    rows = tuple(
        Judged(feature=row.feature, label=row.label, verdict="yes" if row.feature != "2:1" else "no",
               better="" if row.feature != "2:1" else "a loop")
        for row in sheet.rows
    )  # fmt: skip
    write_sheet(path, Sheet(author="Ann", rows=rows))
    seen = hear(run, [path], tmp_path / "labels.toml")
    assert seen.figures is not None
    found = seen.figures["agreement of Ann"]
    assert found.n == asked
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    judged = {card.feature: card.labels[0] for card in seen.cards if card.labels[0].judged is not None}
    assert judged["2:1"].judged == 0.0
    assert judged["2:0"].judged == 1.0
    assert judged["2:0"].agreement == found
    (better,) = read_labels(tmp_path / "labels.toml")
    assert (better.feature, better.text, better.author) == ("2:1", "a loop", "Ann")
    # A second person's verdicts stand beside the first's.
    write_sheet(tmp_path / "ben.csv", Sheet(author="Ben", rows=tuple(
        Judged(feature=row.feature, label=row.label, verdict="yes") for row in rows
    )))  # fmt: skip
    both = hear(run, [path, tmp_path / "ben.csv"], None)
    assert both.figures is not None
    assert {"agreement of Ann", "agreement of Ben", "agreement of all who judged, mean"} <= set(both.figures)
    judged = {card.feature: card.labels[0].judged for card in both.cards}
    assert judged["2:1"] == 0.5
    # What was not judged, or belongs to another run, would spoil the interval.
    write_sheet(path, Sheet(author="Ann", rows=(*rows[:-1], Judged(feature=rows[-1].feature, label="x"))))
    with pytest.raises(BadInput, match="without a verdict"):
        hear(run, [path], None)
    write_sheet(path, Sheet(author="Ann", rows=rows[:-1]))
    with pytest.raises(BadInput, match="not of this run's sample"):
        hear(run, [path], None)
    with pytest.raises(BadInput, match="drawn already"):
        ask(run, 2, tmp_path / "again.toml", 1)


def read_sheet_without_author(path) -> Sheet:
    with pytest.raises(BadInput, match="who judged"):
        read_sheet(path)
    path.write_text(path.read_text().replace('author = ""', 'author = "Ann"'))
    return read_sheet(path)


def test_a_sheet_needs_a_sample_and_a_sample_labels(pictures, tmp_path) -> None:
    net = seeing_labels.network(planted=False)
    run = run_at(tmp_path)
    see_labels(request(pictures, net, "2:0,1", twins=2), run)
    with pytest.raises(BadInput, match="no label to judge"):
        ask(run, 5, None, 0)
    with pytest.raises(BadInput, match="no sample"):
        hear(run, [tmp_path / "sheet.toml"], None)
