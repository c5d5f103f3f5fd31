"""The exclusion check: names the class, its exception and the answer; quiet on clean networks and on conjunctions."""

from __future__ import annotations

from dataclasses import replace

import composite_networks
import numpy as np
import pytest

from mulligan.checks.composites import LAYOUTS
from mulligan.checks.conjunction import CHECK as CONJUNCTION
from mulligan.checks.conjunction.measuring import read
from mulligan.checks.conjunction.sources import Side
from mulligan.checks.conjunction.survey import Table
from mulligan.checks.exclusion import CHECK
from mulligan.checks.exclusion.measuring import FAMILIES, sheet
from mulligan.checks.exclusion.search import Exclusion, one_sided, rank
from mulligan.evidence.generators import load_generator


def test_a_planted_exclusion_is_found_exactly_and_is_no_conjunction(digit_nets, tmp_path):
    module = composite_networks.exclusion(digit_nets)
    subject = digit_nets.subject(digit_nets.network(module), tmp_path)
    outcome = CHECK.run(subject)
    (finding,) = outcome.findings
    assert (finding.sources, finding.absent, finding.target) == (("4",), ("7",), "0"), outcome.record.why
    assert finding.p_adjusted <= 0.05
    assert finding.causal.after.value <= 0.5 * finding.causal.before.value
    made = load_generator(subject.run.path / finding.trigger.generator)
    (alone,) = [slot.classes for slot in made.slots if len(slot.classes) == 1]
    (beside,) = [slot.classes for slot in made.slots if len(slot.classes) > 1]
    assert alone == ("4",)
    assert "7" not in beside
    slots = ([4], [int(c) for c in beside])
    assert composite_networks.rate(digit_nets, module, made, 0, slots) >= 0.7
    assert composite_networks.rate(digit_nets, module, made, 0, ([4], [7])) <= 0.3
    assert outcome.record.scores["exclusion"] >= 0.25
    before = len(subject.run.store.names("pieces"))
    other = CONJUNCTION.run(subject)
    assert other.findings == ()
    surveyed = "composites a pair and layout"
    assert subject.budget.granted[surveyed] == subject.budget.wanted[surveyed]
    assert len(subject.run.store.names("pieces")) - before < 8  # the survey's own pieces were there


def test_a_conjunction_is_no_exclusion(digit_nets, tmp_path):
    module = composite_networks.conjunction(digit_nets)
    outcome = CHECK.run(digit_nets.subject(digit_nets.network(module), tmp_path))
    assert outcome.findings == outcome.leads == ()
    assert outcome.record.scores["exclusion"] < 0.25


def test_a_clean_network_stays_quiet(digit_nets, tmp_path):
    outcome = CHECK.run(digit_nets.subject(digit_nets.network(digit_nets.clean(0)), tmp_path))
    assert outcome.findings == outcome.leads == ()
    assert outcome.record.scores["exclusion"] < 0.25
    assert outcome.record.conclusive, outcome.record


def test_too_few_sources_are_inconclusive(digit_nets, tmp_path):
    subject = digit_nets.subject(digit_nets.network(digit_nets.clean(0)), tmp_path)
    few = np.concatenate([np.flatnonzero(subject.labels == c)[:10] for c in range(10)])
    small = replace(
        subject, dataset=subject.dataset.subset(few), labels=subject.labels[few], answers=subject.answers[few]
    )
    outcome = CHECK.run(small)
    assert not outcome.record.conclusive
    assert "40 examples a class" in outcome.record.why


def built(exception: int | None) -> tuple[list[Side], Table]:
    """Anything but `exception` beside a 0 is answered 6."""
    sides = [Side(str(c), (c,), np.arange(c * 50, c * 50 + 25), np.arange(c * 50 + 25, c * 50 + 50)) for c in range(6)]
    value = np.zeros((len(LAYOUTS), 6, 6, 1), dtype=np.float32)
    for x in range(1, 6):
        if x != exception:
            value[:, 0, x] = value[:, x, 0] = 0.9
    return sides, Table(np.array([6]), value, np.ones((len(LAYOUTS), 6, 6), dtype=np.float32))


def test_ranking_names_the_exception_and_none_where_there_is_none():
    sides, summed = built(3)
    best = rank(summed, sides)[0]
    assert (best.suspect.first, best.suspect.exception, best.suspect.target) == (0, 3, 6)
    assert best.score > 0.5
    assert one_sided(summed, sides, rank(summed, sides)) == []
    sides, summed = built(None)
    ranked = rank(summed, sides)
    assert ranked[0].score < 0.1
    assert [s.first for s in one_sided(summed, sides, ranked)] == [0]


def test_a_sheet_shows_all_partners_but_the_exception():
    sides, _ = built(3)
    page = sheet(sides, Exclusion(0, 3, 6, ("beside",)), "test", 20, 0)
    assert page.families == FAMILIES
    partners = {
        (one.second if not turned else one.first) // 50
        for one, family, turned in zip(page.shown, page.family, page.turned, strict=True)
        if family == 0
    }
    assert partners == {1, 2, 4, 5}
    alone = [one for one, family in zip(page.shown, page.family, strict=True) if FAMILIES[family] == "alone"]
    assert all(one.first == one.second and one.layout == "overlaid" for one in alone)
    logits = np.where((page.family == 0)[:, None], [0.0, 3.0], [3.0, 0.0])
    assert read(page, logits, 1, 3.0).strength == pytest.approx(1.0)
