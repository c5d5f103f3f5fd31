"""What people said: read, kept, merged, never dropped; and their judgement of a sample."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulligan.features.labels import (
    PersonLabel,
    Sheet,
    add_label,
    agreement,
    current,
    draw_sample,
    merge,
    read_labels,
    read_sheet,
    write_labels,
    write_sheet,
)  # fmt: skip
from mulligan.features.labels.agreement import Judged, strata
from mulligan.records import BadInput

DAY = date(2026, 1, 31)


def label(text: str = "dogs", author: str = "Ann", day: date = DAY, feature: str = "blocks.5:12", **more: str):
    return PersonLabel(feature=feature, text=text, author=author, date=day, **more)


TEXTS = (
    st.text(min_size=1, max_size=30).map(str.strip).filter(lambda t: t and t.encode("utf-8", "replace").decode() == t)
)


@given(TEXTS, TEXTS, st.text(max_size=30).filter(lambda t: t.encode("utf-8", "replace").decode() == t))
@settings(max_examples=60, deadline=None)
def test_labels_come_back_as_they_were_written(tmp_path_factory, text, author, note) -> None:
    file = tmp_path_factory.mktemp("labels") / "labels.toml"
    given_ = [label(text, author, note=note), label("x", network="sha256:1")]
    write_labels(file, given_)
    assert read_labels(file) == given_


def test_a_label_is_added_and_the_rest_of_the_file_stays(tmp_path) -> None:
    file = tmp_path / "labels.toml"
    add_label(file, label())
    file.write_text("# mine\n" + file.read_text() + "# the end")
    add_label(file, label("wolves", "Ben"))
    add_label(file, label("wolves", "Ben"))
    text = file.read_text()
    assert text.startswith("# mine\n")
    assert "# the end\n\n[[label]]" in text
    assert read_labels(file) == [label(), label("wolves", "Ben")]


def test_no_file_holds_no_labels(tmp_path) -> None:
    assert read_labels(tmp_path / "none.toml") == []


GOOD = '[[label]]\nfeature = "a:1"\ntext = "x"\nauthor = "Ann"\ndate = 2026-01-31\n'


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (GOOD + "[[label]\n", "line 6", "no TOML"),
        (GOOD + '\n[[label]]\nfeature = "a:1"\nauthor = "Ann"\ndate = 2026-01-31\n', "line 7", "no text"),
        (GOOD.replace("a:1", "a"), "line 1", "not a feature"),
        ("# a\n\n" + GOOD.replace("2026-01-31", '"soon"'), "line 3", "no date"),
        (GOOD + 'colour = "red"\n', "line 1", "'colour'"),
        (GOOD.replace('"Ann"', '""'), "line 1", "no author"),
        ("labels = 3\n", "labels.toml", "'labels'"),
        ("label = 3\n", "labels.toml", "list of tables"),
    ],
)
def test_a_broken_file_names_the_line(tmp_path, text, line, said) -> None:
    file = tmp_path / "labels.toml"
    file.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_labels(file)
    assert line in str(caught.value)
    assert said in str(caught.value)


def test_dates_may_be_texts_and_times(tmp_path) -> None:
    file = tmp_path / "labels.toml"
    file.write_text(GOOD.replace("2026-01-31", '"2026-01-31"') + GOOD.replace("2026-01-31", "2026-01-31T12:00:00"))
    assert [one.date for one in read_labels(file)] == [DAY, DAY]


def test_the_latest_of_each_person_counts_and_disagreement_stands() -> None:
    later = date(2026, 2, 1)
    every = merge([label("dogs"), label("cats", "Ben")], [label("dogs"), label("wolves", day=later)])
    assert len(every) == 3  # nobody's is dropped, and what two files share stands once
    found = current(every)["blocks.5:12"]
    assert [(one.author, one.text) for one in found] == [("Ann", "wolves"), ("Ben", "cats")]


def test_a_label_of_another_network_is_passed_over() -> None:
    labels = [label(network="sha256:a"), label("cats", "Ben")]
    assert [one.author for one in current(labels, "sha256:b")["blocks.5:12"]] == ["Ben"]
    assert len(current(labels, "sha256:a")["blocks.5:12"]) == 2


# -- a sample, and the interval on the rest


@given(st.integers(1, 80), st.integers(1, 100), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_a_sample_holds_one_label_of_each_stratum(n, sample, seed) -> None:
    scores = np.random.default_rng(seed).random(n)
    chosen = draw_sample(scores, sample, seed)
    parts = strata(scores, sample)
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert len(chosen) == min(n, sample)
    assert all(int(one) in part for one, part in zip(chosen, parts, strict=True))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("overseer", ["good", "useless", "wrong"])
def test_the_interval_covers_however_bad_the_overseer_is(overseer) -> None:
    rng = np.random.default_rng(3)
    covered, widths = [], []
    for repeat in range(100):
        n = 103  # no multiple of the sample: strata differ in size
        quality = rng.random(n)
        right = (rng.random(n) < quality).astype(float)
        scores = {"good": quality, "useless": rng.random(n), "wrong": 1 - quality}[overseer]
        chosen = draw_sample(scores, 20, repeat)
        found = agreement(scores, scores, chosen, right[chosen])
        covered.append(found.low <= right.mean() <= found.high)
        widths.append(found.high - found.low)
        assert 0 <= found.low <= found.value <= found.high <= 1
    assert np.mean(covered) >= 0.95
    assert np.mean(widths) < 0.95


def test_more_judged_labels_make_the_interval_narrower_and_a_good_prediction_too() -> None:
    rng = np.random.default_rng(4)
    right = (rng.random(400) < 0.8).astype(float)
    sure = np.where(right > 0, 0.95, 0.05)
    widths = {}
    for name, predicted, sample in (
        ("few", np.full(400, 0.5), 20),
        ("many", np.full(400, 0.5), 100),
        ("sure", sure, 20),
    ):
        chosen = draw_sample(predicted, sample, 0)
        found = agreement(predicted, predicted, chosen, right[chosen])
        widths[name] = found.high - found.low
    assert widths["many"] < widths["few"]
    assert widths["sure"] < widths["few"]


def test_a_sample_of_other_strata_is_refused() -> None:
    scores = np.arange(10.0)
    with pytest.raises(ValueError, match="stratum"):
        agreement(scores / 10, scores, np.array([0, 1]), np.array([1.0, 1.0]))


ROWS = (
    Judged(feature="a:1", label="dogs, and cats", examples=("artifacts/x.png", "y")),
    Judged(feature="a:2", label="=1+2", verdict="yes", better='a "better" one'),
)


@pytest.mark.parametrize("name", ["sheet.toml", "sheet.csv"])
def test_a_sheet_comes_back_as_it_was_filled_in(tmp_path, name) -> None:
    file = tmp_path / name
    write_sheet(file, Sheet(author="Ann", rows=ROWS))
    back = read_sheet(file)
    assert back.author == "Ann"
    assert [(r.feature, r.label, r.verdict, r.better) for r in back.rows] == [
        ("a:1", "dogs, and cats", "", ""), ("a:2", "=1+2", "yes", 'a "better" one'),
    ]  # fmt: skip
    if name.endswith(".csv"):
        assert ",=1" not in file.read_text()  # no spreadsheet takes it for a formula


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('author = "Ann"', 'author = ""'), "who judged"),
        (('verdict = "yes"', 'verdict = "maybe"'), "row 2"),
        (("a:2", "a:1"), "twice"),
        (("[[judge]]", "[[jury]]"), "no labels to judge"),
        (("[[judge]]", "[[judge]"), "cannot be read"),
    ],
)
def test_a_bad_sheet_is_refused(tmp_path, change, said) -> None:
    file = tmp_path / "sheet.toml"
    write_sheet(file, Sheet(author="Ann", rows=ROWS))
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(BadInput, match=said):
        read_sheet(file)
