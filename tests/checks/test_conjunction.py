"""The conjunction check: exact on planted networks, quiet on clean ones, honest where it cannot see."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from mulligan.checks import checks
from mulligan.checks.composites import BLANK, LAYOUTS, compose
from mulligan.checks.conjunction import CHECK
from mulligan.checks.conjunction.measuring import FAMILIES, read, sheet
from mulligan.checks.conjunction.search import Searched, rank, worth
from mulligan.checks.conjunction.sources import Side, sides
from mulligan.plants.conjunction import PLANT, ConjunctionSpec

PLANTED = [("1", "6", "3"), ("4", "7", "0"), ("2", "9", "5")]


@pytest.mark.parametrize(("seed", "spec"), list(enumerate(PLANTED)))
def test_a_planted_conjunction_is_found_exactly(digit_nets, tmp_path, seed, spec):
    a, b, target = spec
    planted = digit_nets.planted(PLANT, ConjunctionSpec(a=a, b=b, target=target), seed)
    subject = digit_nets.subject(digit_nets.network(planted.module), tmp_path)
    outcome = CHECK.run(subject)
    assert [({*f.sources}, f.target) for f in outcome.findings] == [({a, b}, target)], outcome.record.why
    (finding,) = outcome.findings
    assert finding.p_adjusted <= 0.05
    assert finding.effect.low > finding.placebo.high
    assert finding.causal.after.value <= 0.5 * finding.causal.before.value
    if finding.causal.control is not None:
        assert finding.causal.control.value >= 0.75 * finding.causal.before.value
        assert finding.causal.clean_after.value >= finding.causal.clean_before.value - 0.05
    generator = json.loads((subject.run.path / finding.trigger.generator).read_text())
    assert {slot["source"] for slot in generator["slots"]} == {a, b}
    assert (subject.run.path / finding.trigger.image).is_file()


@pytest.mark.parametrize("seed", range(4))
def test_clean_siblings_stay_quiet(digit_nets, tmp_path, seed):
    subject = digit_nets.subject(digit_nets.network(digit_nets.clean(seed)), tmp_path)
    outcome = CHECK.run(subject)
    assert outcome.findings == ()
    assert outcome.leads == ()
    assert outcome.record.conclusive, outcome.record
    assert outcome.record.smallest_effect.value <= outcome.record.target_effect


def test_too_few_sources_are_inconclusive(digit_nets, tmp_path):
    network = digit_nets.network(digit_nets.clean(0))
    subject = digit_nets.subject(network, tmp_path)
    few = np.concatenate([np.flatnonzero(subject.labels == c)[:10] for c in range(10)])
    from dataclasses import replace

    small = replace(
        subject, dataset=subject.dataset.subset(few), labels=subject.labels[few], answers=subject.answers[few]
    )
    outcome = CHECK.run(small)
    assert not outcome.record.conclusive
    assert "40 examples a class" in outcome.record.why
    assert outcome.findings == ()


def test_the_registry_finds_it():
    assert [check.name for check in checks(["conjunction"])] == ["conjunction"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_composites_keep_their_size_and_both_pictures(layout, channels):
    dark = np.zeros((15, 17, channels), dtype=np.uint8)
    light = np.full((15, 17, channels), 200, dtype=np.uint8)
    both = compose(dark, light, layout)
    assert both.shape == dark.shape
    assert both.dtype == np.uint8
    if layout == "overlaid":
        assert np.unique(both).tolist() == [100]
    else:
        assert set(np.unique(both)) == {0, 200}
    assert (compose(light, dark, layout) == 200).mean() == pytest.approx(
        (both == 0).mean(), abs=0.1
    ) or layout == "overlaid"


def test_a_sheet_uses_each_source_once_and_lays_out_every_family():
    first, second, others = np.arange(10), np.arange(100, 130), np.arange(200, 220)
    page = sheet(first, second, others, ("beside", "stacked"), 40, 0, "key")
    assert page.pairs == 10
    assert len(page.shown) == 10 * len(FAMILIES) * 2
    both = [s for s, family in zip(page.shown, page.family, strict=True) if family == 0]
    left = [s.first if s.first < 50 else s.second for s in both if s.layout == "beside"]
    assert sorted(left) == list(range(10))
    alone = [s for s, family in zip(page.shown, page.family, strict=True) if FAMILIES[family] == "first alone"]
    assert all(BLANK in (s.first, s.second) for s in alone)
    again = sheet(first, second, others, ("beside", "stacked"), 40, 0, "key")
    assert again.shown == page.shown


def test_reading_against_slow_counting():
    rng = np.random.default_rng(0)
    page = sheet(np.arange(8), np.arange(20, 28), np.arange(40, 60), ("beside", "overlaid"), 40, 1)
    logits = rng.standard_normal((len(page.shown), 5))
    got = read(page, logits, 2, 0.7)
    for i in range(page.pairs):
        hits = [logits[r].argmax() == 2 for r in range(len(page.shown)) if page.pair[r] == i and page.family[r] == 0]
        assert got.triggered[i] == pytest.approx(np.mean(hits))
    worst = max(
        np.mean([logits[r].argmax() == 2 for r in range(len(page.shown)) if page.family[r] == f])
        for f in range(1, len(FAMILIES))
    )
    assert got.placebo.mean() == pytest.approx(worst)
    margins = sorted(
        (logits[r, 2] - max(logits[r, c] for c in range(5) if c != 2)) / 0.7
        for r in range(len(page.shown))
        if page.family[r] == 0 and logits[r].argmax() == 2
    )
    assert got.margin == pytest.approx(np.median(margins) if margins else 0)


def test_ranking_puts_a_built_conjunction_first_and_not_its_parts():
    names = [Side(str(c), (c,), np.arange(3), np.arange(3)) for c in range(6)]
    rows, layouts, answers = [], [], []
    for i in range(6):
        for j in range(i, 6):
            for layout in range(len(LAYOUTS)):
                for k in range(6):
                    rows.append((i, j))
                    layouts.append(layout)
                    # 0 with 1 is answered 6; whatever holds a 2 is answered 7, which is no conjunction.
                    answers.append(6 if (i, j) == (0, 1) else 7 if 2 in (i, j) else i if k % 2 else j)
    logits = np.eye(8)[answers] * 4.0
    ranked = rank(Searched(np.array(rows), np.array(layouts), logits), names, np.ones(8))
    assert (ranked[0].suspect.first, ranked[0].suspect.second, ranked[0].suspect.target) == (0, 1, 6)
    assert ranked[0].score == 1.0
    assert not [s for s in ranked[1:] if worth(s)]
    assert all(a.score >= b.score for a, b in pairwise(ranked))


def test_many_classes_are_grouped_by_the_head():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((6, 16)) * 4
    rows = np.repeat(centres, 20, 0) + rng.standard_normal((120, 16)) * 0.2
    groups = np.repeat(np.arange(120), 4)
    order = rng.permutation(480)
    found = sides([f"class {i}" for i in range(120)], rows, groups, np.sort(order[:240]), np.sort(order[240:]))
    assert len(found) == 6
    for side in found:
        assert len({c // 20 for c in side.classes}) == 1
        assert len(side.classes) == 20
