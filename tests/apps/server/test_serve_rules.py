"""Reviewing: what may be written, what stands, and that nobody is shown what they are to read blind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from mulligan.apps.server import reviews
from mulligan.apps.server.contents import Contents, Layer
from mulligan.apps.server.overview import feature_state, overview
from mulligan.apps.server.reviews import Entry, Ledger, Place, Refused, ReviewLog, Stale, agreements, sense, wilson
from mulligan.apps.server.reviews.log import Writing
from mulligan.apps.server.tally import Tally
from mulligan.records import BadInput

PLACE = Place("sha256:net", "blocks.0:0")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ReviewLog]:
    opened = ReviewLog(tmp_path / "r.sqlite")
    yield opened
    opened.close()


def label(log: ReviewLog, author: str, text: str, seen: int = 0, place: Place = PLACE) -> None:
    with log.writing() as writing:
        reviews.label(writing, author, place, text, "", seen)


def assign(log: ReviewLog, *readers: str, place: Place = PLACE) -> None:
    for reader in readers:
        with log.writing() as writing:
            reviews.assign(writing, "Lead", reader, [place])


def state(log: ReviewLog, reader: str = "", place: Place = PLACE) -> dict:
    with log.reading() as ledger:
        return feature_state(ledger, place, reader)


def test_a_label_stands_with_author_and_time(log: ReviewLog) -> None:
    label(log, " Ann  Lee ", "  dog \n faces ")
    found = state(log)
    assert found["state"] == "one"
    assert found["labels"][0]["text"] == "dog faces"
    assert found["labels"][0]["author"] == "Ann Lee"
    assert found["labels"][0]["at"].endswith("+00:00")


def test_the_second_reader_is_blind_until_they_have_labelled(log: ReviewLog) -> None:
    assign(log, "Ann", "Ben")
    label(log, "Ann", "dog faces")
    hidden = state(log, "Ben")
    assert "dog" not in json.dumps(hidden)
    assert hidden["hidden"]
    assert hidden["state"] is None
    # Whoever does not say who they are could be Ben.
    assert "dog" not in json.dumps(state(log))
    assert state(log, "Ann")["labels"][0]["text"] == "dog faces"
    label(log, "Ben", "cats")
    assert [found["text"] for found in state(log, "Ben")["labels"]] == ["dog faces", "cats"]
    assert all(found["blind"] for found in state(log)["labels"])


def test_a_reader_in_another_case_is_the_same_reader(log: ReviewLog) -> None:
    assign(log, "Ben")
    label(log, "Ann", "dog faces")
    assert state(log, "BEN")["hidden"]
    label(log, "bEN", "cats")
    assert [found["author"] for found in state(log)["labels"]] == ["Ann", "Ben"]


def test_a_label_given_after_seeing_others_is_not_blind(log: ReviewLog) -> None:
    label(log, "Ann", "dog faces")
    label(log, "Ben", "dog faces")
    assert [found["blind"] for found in state(log)["labels"]] == [True, False]
    with log.reading() as ledger:
        assert agreements(ledger.features.values()) == []


def test_an_edit_supersedes_and_nothing_is_lost(log: ReviewLog) -> None:
    label(log, "Ann", "dogs")
    first = state(log, "Ann")["revision"]
    with pytest.raises(Stale):
        label(log, "Ann", "wolves")
    label(log, "Ann", "wolves", seen=first)
    found = state(log, "Ann")
    assert [entry["text"] for entry in found["labels"]] == ["wolves"]
    assert [entry["text"] for entry in found["history"]] == ["dogs"]
    with log.reading() as ledger:
        assert ledger.entries[1].supersedes == first


def test_a_dispute_is_settled_by_a_third_or_by_consensus(log: ReviewLog) -> None:
    assign(log, "Ann", "Ben")
    label(log, "Ann", "Dogs")
    label(log, "Ben", "cats")
    assert state(log)["state"] == "disputed"
    seen = state(log)["settled_by"]
    with log.writing() as writing, pytest.raises(Refused, match="third reader"):
        reviews.resolve(writing, "ben", PLACE, "Dogs", "", seen, same=False)
    with log.writing() as writing:
        reviews.resolve(writing, "Cy", PLACE, "dogs", "look at 3", seen, same=False)
    settled = state(log)
    assert settled["state"] == "resolved"
    assert (settled["resolution"]["text"], settled["resolution"]["author"]) == ("dogs", "Cy")
    # A newer label that says otherwise opens it again; one that agrees ends it.
    label(log, "Ben", "birds", seen=state(log, "Ben")["revision"])
    assert state(log)["state"] == "disputed"
    label(log, "Ben", " dOGS ", seen=state(log, "Ben")["revision"])
    assert state(log)["state"] == "agreed"


def test_a_resolution_must_have_seen_the_last_label(log: ReviewLog) -> None:
    label(log, "Ann", "dogs")
    label(log, "Ben", "cats")
    seen = state(log)["settled_by"]
    label(log, "Ben", "wolves", seen=state(log, "Ben")["revision"])
    with log.writing() as writing, pytest.raises(Stale):
        reviews.resolve(writing, "Cy", PLACE, "dogs", "", seen, same=False)


def test_who_is_to_read_it_blind_cannot_settle_it(log: ReviewLog) -> None:
    label(log, "Ann", "dogs")
    label(log, "Ben", "cats")
    assign(log, "Cy")
    with log.writing() as writing, pytest.raises(Refused, match="label it first"):
        reviews.resolve(writing, "Cy", PLACE, "dogs", "", state(log, "Ann")["settled_by"], same=False)


def test_what_agreement_means() -> None:
    assert sense(" Dog\u00a0 FACES ") == sense("dog faces")
    assert sense("cafe\u0301") == sense("CAFÉ")
    assert sense("dog face") != sense("dog faces")


def test_agreement_counts_first_blind_labels_and_a_judges_word(log: ReviewLog) -> None:
    places = [Place("sha256:net", f"blocks.0:{i}") for i in range(4)]
    pairs = [("dogs", "DOGS"), ("cats", "kittens"), ("red", "blue"), ("", "")]
    for place, (ann, ben) in zip(places, pairs, strict=True):
        assign(log, "Ann", "Ben", place=place)
        label(log, "Ann", ann, place=place)
        label(log, "Ben", ben, place=place)
    with log.writing() as writing:
        reviews.resolve(writing, "Cy", places[1], "cats", "", state(log, place=places[1])["settled_by"], same=True)
    # What is changed once the other's label is known is no agreement.
    label(log, "Ben", "red", seen=state(log, "Ben", places[2])["revision"], place=places[2])
    with log.reading() as ledger:
        (pair,) = agreements(ledger.features.values())
    assert pair.readers == ("Ann", "Ben")
    assert (pair.share.value, pair.share.n, pair.judged) == (0.75, 4, 1)


@given(st.integers(0, 60), st.integers(0, 60))
def test_wilsons_interval_is_scipys(a: int, b: int) -> None:
    n, k = max(a, b), min(a, b)
    found = wilson(k, n, "share")
    if n == 0:
        assert (found.low, found.high) == (0.0, 1.0)
        return
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert found.low == pytest.approx(expected.low, abs=1e-9)
    assert found.high == pytest.approx(expected.high, abs=1e-9)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("text", ["x" * 301, "a\x00b", "a\x1b[31m", "\u202egnp", "a\ud800"])
def test_labels_are_bounded_and_plain(log: ReviewLog, text: str) -> None:
    with pytest.raises(BadInput):
        label(log, "Ann", text)
    with log.reading() as ledger:
        assert ledger.entries == []


@pytest.mark.parametrize("name", ["", "  ", "x" * 81, "A\x00nn", "A\nB\u202e"])
def test_names_are_bounded_and_plain(log: ReviewLog, name: str) -> None:
    with pytest.raises(BadInput):
        label(log, name, "dogs")


def test_a_verdict_needs_a_reason_and_keeps_its_claim(log: ReviewLog) -> None:
    with log.writing() as writing, pytest.raises(BadInput, match="reason"):
        reviews.verdict(writing, "Ann", "run:1", "F1", "It is so.", "confirmed", " ", 0)
    with log.writing() as writing, pytest.raises(BadInput, match="no verdict"):
        reviews.verdict(writing, "Ann", "run:1", "F1", "It is so.", "true", "I looked", 0)
    with log.writing() as writing:
        reviews.verdict(writing, "Ann", "run:1", "F1", "It is so.", "rejected", "I looked", 0)
    with log.writing() as writing, pytest.raises(Stale):
        reviews.verdict(writing, "Ann", "run:1", "F1", "It is so.", "confirmed", "I looked", 0)
    with log.reading() as ledger:
        (last,) = ledger.verdicts["run:1", "F1"]["Ann"]
    assert (last.text, last.about, last.note) == ("rejected", "It is so.", "I looked")


def test_who_takes_features_gets_those_that_the_fewest_have(log: ReviewLog) -> None:
    places = [Place("n", f"a:{i}") for i in range(5)]
    assign(log, "Ann", place=places[0])
    label(log, "Cy", "x", place=places[1])
    assign(log, "Ben", place=places[2])
    with log.writing() as writing:
        taken = reviews.to_take(writing, "Ben", places, 3, second=False)
        again = reviews.to_take(writing, "Ben", places, 3, second=True)
    assert taken == [places[3], places[4], places[0]]
    assert again == [places[0], places[1]]


def test_assigning_twice_is_assigning_once_and_release_undoes_it(log: ReviewLog) -> None:
    with log.writing() as writing:
        assert reviews.assign(writing, "Ann", "Ann", [PLACE]) == 1
    with log.writing() as writing:
        assert reviews.assign(writing, "Ann", "Ann", [PLACE]) == 0
    with log.writing() as writing:
        assert reviews.assign(writing, "Ann", "Ann", [PLACE], release=True) == 1
    assert state(log)["assigned"] == []


READERS, TEXTS = ("Ann", "Ben", "Cy"), ("alpha", "beta", "Alpha ")
KINDS = ("assign", "release", "label", "resolve")
steps = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(READERS), st.sampled_from(TEXTS)), max_size=14)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_whatever_happens_nobody_sees_what_is_hidden_and_all_is_kept(tape: list[tuple[str, str, str]]) -> None:
    """Against an obvious oracle: lists of what was done, gone through from the start each time."""
    ledger = Ledger()
    done: list[tuple[str, str, str]] = []
    contents = Contents({"k": PLACE}, (Layer(0, "blocks.0", "", ("k",)),), {})
    tally = Tally(contents)
    for kind, who, text in tape:
        writing = Writing(ledger)
        marked = f"{text.strip()} by {who}" if kind == "label" else text
        try:
            if kind in ("assign", "release"):
                reviews.assign(writing, who, who, [PLACE], release=kind == "release")
            elif kind == "label":
                own = ledger.feature(PLACE.network, PLACE.alias).own(who)
                reviews.label(writing, who, PLACE, marked, "", own.id if own else 0)
            else:
                seen = ledger.feature(PLACE.network, PLACE.alias).settled_by
                reviews.resolve(writing, who, PLACE, marked, "", seen, same=False)
        except Refused:
            assert kind == "resolve"
        for entry in writing.added:
            values = {name: getattr(entry, name) for name in Entry.__slots__ if name != "id"}
            ledger.add(Entry(**values, id=ledger.last + 1))
            tally.catch_up(ledger)
            done.append((entry.kind, entry.author, entry.text))
    labelled = {who for kind, who, _ in done if kind == "label"}
    for reader in READERS:
        moves = [kind for kind, who, _ in done if who == reader and kind in ("assign", "release")]
        pending = bool(moves) and moves[-1] == "assign" and reader not in labelled
        whole = overview(ledger, tally, contents, reader)
        # What was counted step by step is what is counted at once.
        assert whole == overview(ledger, Tally(contents), contents, reader)
        told = json.dumps([feature_state(ledger, PLACE, reader), whole])
        for author in labelled - {reader}:
            last = [text for kind, who, text in done if (kind, who) == ("label", author)][-1]
            assert (last in told) == (not pending)
    assert len(ledger.entries) == len(done)
