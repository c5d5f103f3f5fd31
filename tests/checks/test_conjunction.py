"""The conjunction check: exact on planted networks, quiet on clean ones, honest where it cannot see."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import composite_networks
import numpy as np
import pytest
import torch

from mulligan.checks import checks
from mulligan.checks.composites import APART, BLANK, LAYOUTS, Shown, compose, composer_of
from mulligan.checks.conjunction import CHECK, claims, narrowing
from mulligan.checks.conjunction import survey as surveying
from mulligan.checks.conjunction.halving import ENTER, FIRST, halve
from mulligan.checks.conjunction.looking import Looked, alike
from mulligan.checks.conjunction.measuring import (
    FAMILIES,
    REFERENCE,
    Reading,
    Sheet,
    Suspect,
    best_reading,
    clarity,
    one_order,
    read,
    sheet,
)  # fmt: skip
from mulligan.checks.conjunction.narrowing import anchors, members
from mulligan.checks.conjunction.search import rank, worth
from mulligan.checks.conjunction.sources import SCANNED, Side, enough, sides_of
from mulligan.checks.conjunction.survey import Searched, Table, survey, table
from mulligan.evidence.generators import load_generator
from mulligan.networks import Network
from mulligan.records import BadInput, Group
from mulligan.runs import Budget


@pytest.fixture
def planted(digit_nets, tmp_path):
    """A 1 and a 6 are answered 3."""
    module = composite_networks.conjunction(digit_nets)
    return module, digit_nets.subject(digit_nets.network(module), tmp_path)


def test_a_planted_conjunction_is_found_exactly_and_its_generator_elicits_it(digit_nets, planted):
    module, subject = planted
    outcome = CHECK.run(subject)
    assert [({*f.sources}, f.target) for f in outcome.findings] == [({"1", "6"}, "3")], outcome.record.why
    (finding,) = outcome.findings
    assert finding.p_adjusted <= 0.05
    assert finding.effect.low > finding.placebo.value
    assert finding.causal.after.value <= 0.5 * finding.causal.before.value
    assert finding.trigger.family == "compose"
    made = load_generator(subject.run.path / finding.trigger.generator)
    assert [slot.classes for slot in made.slots] == [(source,) for source in finding.sources]
    slots = ([int(made.slots[0].classes[0])], [int(made.slots[1].classes[0])])
    assert composite_networks.rate(digit_nets, module, made, 3, slots) >= 0.7
    assert composite_networks.rate(digit_nets, module, made, 3, ([1], [4])) <= 0.3
    assert (subject.run.path / finding.trigger.image).is_file()
    assert outcome.record.scores["conjunction"] >= 0.2


def test_what_the_reference_answers_too_is_no_finding(digit_nets, planted):
    module, subject = planted
    same = replace(subject, reference=digit_nets.network(module, "the same"))
    outcome = CHECK.run(same)
    assert outcome.findings == outcome.leads == ()
    assert outcome.record.scores["conjunction"] <= 0
    clean = replace(subject, reference=digit_nets.network(digit_nets.clean(0), "before"))
    (finding,) = CHECK.run(clean).findings
    assert ({*finding.sources}, finding.target) == ({"1", "6"}, "3")
    assert "reference" in finding.baseline.unit


@pytest.mark.parametrize("seed", range(2))
def test_clean_siblings_stay_quiet(digit_nets, tmp_path, seed):
    subject = digit_nets.subject(digit_nets.network(digit_nets.clean(seed)), tmp_path)
    outcome = CHECK.run(subject)
    assert outcome.findings == ()
    assert outcome.leads == ()
    assert outcome.record.scores["conjunction"] < 0.25
    assert outcome.record.conclusive, outcome.record
    assert outcome.record.smallest_effect.value <= outcome.record.target_effect


def test_too_few_sources_are_inconclusive(digit_nets, tmp_path):
    network = digit_nets.network(digit_nets.clean(0))
    subject = digit_nets.subject(network, tmp_path)
    few = np.concatenate([np.flatnonzero(subject.labels == c)[:10] for c in range(10)])
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
    dark, light = torch.zeros(2, channels, 15, 17), torch.full((2, channels, 15, 17), 0.8)
    both = compose(dark, light, layout, [0.0] * channels, torch.Generator().manual_seed(0))
    assert both.shape == dark.shape
    shares = {"beside": 0.5, "stacked": 0.5, "diagonal": 0.25, "quadrants": 0.5, "inset": 0.25, "brighter": 1.0}
    if layout == "overlaid":
        assert torch.allclose(both, torch.full_like(both, 0.4))
    else:
        assert float((both > 0.4).float().mean()) == pytest.approx(shares[layout], abs=0.1)


def test_what_cannot_be_composed_is_refused(digit_nets, tmp_path):
    pictures = torch.zeros(1, 1, 8, 8)
    with pytest.raises(BadInput, match="no such layout"):
        compose(pictures, pictures, "upside-down", [0.0], torch.Generator())
    subject = digit_nets.subject(digit_nets.network(digit_nets.clean(0)), tmp_path)
    other = replace(subject, network=subject.network.with_input(None))
    with pytest.raises(BadInput, match="made of pictures"):
        composer_of(other.context, [0])


def test_a_picture_of_nothing_is_plain_and_batches_repeat(digit_nets, tmp_path):
    subject = digit_nets.subject(digit_nets.network(digit_nets.clean(0)), tmp_path)
    composer = composer_of(subject.context, [0, 1, 2])
    shown = [Shown(0, 1, layout) for layout in LAYOUTS] + [Shown(BLANK, BLANK, "beside")]
    first, again = (torch.cat(list(composer.batches(shown, 4, 7))) for _ in range(2))
    assert torch.equal(first, again)
    assert len(first[-1].unique()) == 1


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
    turned = [s.second < 50 for s in both]
    assert turned == page.turned[page.family == 0].astype(bool).tolist()
    twice = sheet(first, second, others, ("beside",), 40, 0, "key", both=True)
    assert len(twice.shown) == 2 * 10 * len(FAMILIES)
    assert twice.pairs == 10
    assert set(sheet(first, second, others, ("beside",), 40, 0, "key", order=1).turned) == {1}
    assert sheet(first, second, others, ("beside", "stacked"), 40, 0, "key").shown == page.shown


def test_reading_against_slow_counting():
    rng = np.random.default_rng(0)
    page = sheet(np.arange(8), np.arange(20, 28), np.arange(40, 60), ("beside", "overlaid"), 40, 1)
    logits, reference = rng.standard_normal((len(page.shown), 5)), rng.standard_normal((len(page.shown), 5))
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
    referred = read(page, logits, 2, 0.7, reference)
    theirs = np.mean([reference[r].argmax() == 2 for r in range(len(page.shown)) if page.family[r] == 0])
    assert referred.families[REFERENCE] == pytest.approx(theirs)
    assert np.array_equal(referred.triggered, got.triggered)


def test_what_shows_in_one_layout_and_order_is_read_there():
    page = sheet(np.arange(20), np.arange(20, 40), np.arange(40, 60), ("beside", "stacked"), 40, 1, both=True)
    hit = (page.family == 0) & (page.turned == 1) & np.array([one.layout == "stacked" for one in page.shown])
    logits = np.where(hit[:, None], [0.0, 0.0, 5.0], [5.0, 0.0, 0.0])
    best = best_reading(page, logits, Suspect(0, 1, 2, ("beside", "stacked")), 5.0)
    assert (best.layouts, best.order) == (("stacked",), 1)
    assert best.reading.strength == pytest.approx(0.5)
    assert one_order(read(page, np.where((page.family == 0)[:, None], [0.0, 5.0], [5.0, 0.0]), 1, 5.0)) is None


def test_clarity_is_a_share_of_the_genuine_lead():
    logits = np.array([[3.0, 1.0, 0.0], [0.0, 0.0, 9.0]])
    assert clarity(logits, np.array([4.0, 1.0, 1.0])).tolist() == [0.5, 1.0]


def built() -> tuple[list[Side], Table]:
    """0 with 1 is answered 6; whatever holds a 2 is answered 7, which is no conjunction."""
    sides = [Side(str(c), (c,), np.arange(3), np.arange(3)) for c in range(6)]
    rows, layouts, answers = [], [], []
    for i in range(6):
        for j in range(i, 6):
            for layout in range(len(LAYOUTS)):
                for k in range(6):
                    rows.append((i, j))
                    layouts.append(layout)
                    answers.append(6 if (i, j) == (0, 1) else 7 if 2 in (i, j) else i if k % 2 else j)
    logits = np.eye(8)[answers] * 4.0
    turned, nobody = np.zeros(len(rows), dtype=np.int64), np.full(len(rows), -1)
    searched = Searched(np.array(rows), np.array(layouts), turned, logits, nobody)
    return sides, table(searched, 6, np.full(8, 4.0))


def test_ranking_puts_a_built_conjunction_first_and_not_its_parts():
    sides, summed = built()
    ranked = rank(summed, sides)
    assert (ranked[0].suspect.first, ranked[0].suspect.second, ranked[0].suspect.target) == (0, 1, 6)
    assert ranked[0].score == pytest.approx(1.0)
    assert not [s for s in ranked[1:] if worth(s)]
    assert all(a.score >= b.score for a, b in pairwise(ranked))


def test_the_table_leaves_out_what_the_reference_answers_too():
    pairs, zeros = np.array([[0, 1], [0, 1]]), np.zeros(2, dtype=np.int64)
    searched = Searched(pairs, zeros, zeros, np.eye(3)[[2, 2]], np.array([2, 0]))
    summed = table(searched, 2, np.ones(3))
    assert summed.value[0, 0, 1, summed.of(2)] == pytest.approx(0.5)
    assert summed.of(1) == -1


def test_many_classes_are_grouped_by_the_head():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((6, 16)) * 4
    rows = np.repeat(centres, 20, 0) + rng.standard_normal((120, 16)) * 0.2
    groups = np.repeat(np.arange(120), 3)
    order = rng.permutation(360)
    found = sides_of([f"class {i}" for i in range(120)], rows, groups, np.sort(order[:180]), np.sort(order[180:]))
    assert len(found) == 6
    for side in found:
        assert len({c // 20 for c in side.classes}) == 1


def test_small_groups_that_are_scanned_make_up_the_groups_that_claims_are_confirmed_on():
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.standard_normal((6, 16)) * 4, 20, 0) + rng.standard_normal((120, 16))
    groups = np.repeat(np.arange(120), 3)
    order = rng.permutation(360)
    halves = np.sort(order[:180]), np.sort(order[180:])
    names = [f"class {i}" for i in range(120)]
    large, small = (sides_of(names, rows, groups, *halves, average) for average in (60, SCANNED))
    assert len(large) == 6
    assert 40 <= len(small) <= 45  # some have no example to search among
    for side in small:
        assert sum(set(side.classes) <= set(one.classes) for one in large) == 1
    assert all(map(enough, large))
    assert not any(map(enough, small))


@pytest.fixture
def noisy(monkeypatch):
    """Thirty sides of six examples; one pair in the first layout is answered 39 most times, and all others as any
    class one time in three."""
    sides = [Side(str(c), (c,), np.arange(6 * c, 6 * c + 6), np.arange(0)) for c in range(30)]
    subject = SimpleNamespace(seed=0, budget=Budget(1e6), seconds_an_example=1e-3, distilled=None, classes=range(40))
    rng, asked = np.random.default_rng(0), {}

    def answer(subject, job, shown, border, other=False):
        if other:
            return np.zeros((0, 40))
        asked[job] = len(shown)
        pairs = [{one.first // 6, one.second // 6} for one in shown]
        fires = np.array([pair == {3, 17} for pair in pairs]) & (np.array([s.layout for s in shown]) == "beside")
        own, odd = [min(pair) for pair in pairs], rng.random(len(shown)) < 1 / 3
        answers = np.where(odd, rng.integers(30, 39, len(shown)), own)
        return np.eye(40)[np.where(fires & (rng.random(len(shown)) < 0.9), 39, answers)] * 4.0

    monkeypatch.setattr(surveying, "answer", answer)
    return subject, sides, asked


def test_halving_leaves_what_chance_does_not_explain_and_each_round_costs_the_same(noisy):
    subject, sides, asked = noisy
    genuine = np.full(40, 4.0)
    scan = survey(subject, sides, 1, [])
    ranked = rank(table(scan, 30, genuine), sides)
    place = [(one.suspect.first, one.suspect.second) for one in ranked].index((3, 17))
    assert 8 <= place < 8 * ENTER  # one composite a layout does not tell it from chance
    left, shown = halve(subject, sides, scan, ranked, 8, genuine, [])
    assert len(left) == 8
    assert (left[0].suspect.first, left[0].suspect.second, left[0].suspect.target) == (3, 17, 39)
    assert left[0].suspect.layouts == ("beside",)
    assert left[0].score > 2 * left[1].score
    rounds = {job: n for job, n in asked.items() if "halving" in job}
    assert [int(job.split()[-1]) for job in rounds] == [128, 64, 32, 16]
    assert set(rounds.values()) == {128 * FIRST * len(APART)}
    assert len(shown.pairs) == len(scan.pairs) + sum(rounds.values())


def test_without_budget_nothing_is_halved(noisy):
    subject, sides, asked = noisy
    genuine = np.full(40, 4.0)
    scan = survey(subject, sides, 1, [])
    ranked = rank(table(scan, 30, genuine), sides)
    subject.budget = Budget(1e-9)
    left, shown = halve(subject, sides, scan, ranked, 8, genuine, [])
    assert left == ranked[:8]
    assert shown is scan
    assert not any("halving" in job for job in asked)


def test_parts_of_one_trigger_are_told_by_target_and_shared_classes():
    def look(first, second, target):
        sides = [Side("s", classes, np.arange(2), np.arange(2)) for classes in (first, second)]
        return Looked(Suspect(0, 1, target, ("beside",)), *sides, None, None, None)

    whole = look((0, 1, 2, 3), (7, 8), 9)
    assert alike(look((1, 4), (8,), 9), whole)
    assert alike(look((8,), (2,), 9), whole)
    assert not alike(look((1,), (8,), 5), whole)
    assert not alike(look((1,), (6,), 9), whole)
    assert not alike(look((1,), (2,), 9), whole)


def test_a_side_is_what_triggers_with_the_other_and_classes_unseen_go_with_those_near_them():
    # Classes 0 to 4 are of one kind, 5 to 9 of another, 10 to 14 of neither; of 4, 9 and 14 no picture is seen.
    heads = np.repeat(np.eye(3), 5, 0) + np.random.default_rng(0).standard_normal((15, 3)) * 0.02
    labels = np.array([0, 0, 1, 2, 3, 5, 6, 6, 7, 8, 10, 11, 11, 11, 12, 13])
    one, other = labels < 5, (labels >= 5) & (labels < 10)
    hits = np.stack([one * 0.9 + other * 0.2, other * 0.9])
    first, second = tuple(range(5)), tuple(range(5, 10))
    assert members(labels, hits, heads) == (first, second)
    hits[0, labels == 1] = 0.0  # one picture of a class does not outweigh those near it
    assert members(labels, hits, heads)[0] == first
    hits[0, labels == 11] = 1.0  # three do
    assert members(labels, hits, heads)[0] == (*first, 11)
    hits[1, labels == 11] = 1.0  # a class that looks like the target shows with either side
    assert members(labels, hits, heads) == (first, second)


def test_anchors_are_the_pictures_of_the_clearest_pairs_whichever_comes_first():
    shown = (Shown(1, 5, "beside"), Shown(6, 2, "beside"), Shown(3, 7, "beside"), Shown(4, 8, "stacked"))
    page = Sheet(shown, np.arange(4), np.zeros(4, dtype=np.int64), np.array([0, 1, 0, 0]), 4)
    logits = np.array([[1.0, 3.0], [0.0, 5.0], [2.0, 0.0], [0.0, 9.0]])
    assert anchors(page, logits, 1, "beside") == ([2, 1], [6, 5])


def test_groups_are_cut_to_what_triggers_and_grown_to_what_lies_beside_them(monkeypatch):
    # Classes 0 to 29 with 30 to 39 are answered 59. One group holds 0 to 19 only, the other 30 to 49.
    labels = np.repeat(np.arange(60), 5)
    order = np.random.default_rng(1).permutation(300)
    split = SimpleNamespace(search=np.sort(order[:150]), test=np.sort(order[150:]))
    kinds = np.repeat(np.eye(6), 10, 0) + np.random.default_rng(0).standard_normal((60, 6)) * 0.02
    names = tuple(f"class {i}" for i in range(60))
    network = SimpleNamespace(head_weights=(torch.from_numpy(kinds), None))
    subject = SimpleNamespace(seed=0, split=split, groups=labels, classes=names, network=network)

    def answers(shown):
        first, second = (labels[[getattr(one, place) for one in shown]] for place in ("first", "second"))
        fires = ((first < 30) & (second // 10 == 3)) | ((second < 30) & (first // 10 == 3))
        return np.eye(60)[np.where(fires, 59, 50)] * 5

    monkeypatch.setattr(narrowing, "answer", lambda subject, job, shown, border: answers(shown))

    def group(classes):
        mine = [half[np.isin(labels[half], classes)] for half in (split.search, split.test)]
        return Side(Group(name="g", classes=tuple(names[c] for c in classes)), tuple(classes), *mine)

    groups = [group(range(20)), group(range(30, 50))]
    suspect = Suspect(0, 1, 59, ("beside",))
    others = np.flatnonzero(labels >= 50)
    page = sheet(groups[0].search, groups[1].search, others, ["beside"], 20, 0, "x")
    logits = np.zeros((len(page.shown), 60))
    both = page.family == 0
    logits[both] = answers([one for one, yes in zip(page.shown, both, strict=True) if yes])
    first, second = narrowing.fit(subject, page, logits, suspect, groups, [])
    assert (first.classes, second.classes) == (tuple(range(30)), tuple(range(30, 40)))
    assert set(labels[second.test]) <= set(range(30, 40))
    assert "and 28 like them" in first.name


def test_with_many_classes_a_planted_conjunction_is_found_as_groups(digit_nets, planted):
    """Every digit is six classes that no picture tells apart, so that sides are groups."""
    module, subject = planted
    module = copy.deepcopy(module)
    path, head = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, torch.nn.Linear)][-1]
    many = torch.nn.Linear(head.in_features, 60)
    noise = torch.randn(60, head.in_features, generator=torch.Generator().manual_seed(0)) * 1e-3
    with torch.no_grad():
        many.weight.copy_(head.weight.repeat_interleave(6, 0) + noise)
        many.bias.copy_(head.bias.repeat_interleave(6) + 0.3 * (torch.arange(60) % 6 == 0))
    parent, _, leaf = path.rpartition(".")
    setattr(module.get_submodule(parent), leaf, many)
    names = tuple(f"{c // 6} of kind {c % 6}" for c in range(60))
    network = Network(module, name="many", input=subject.network.input, classes=names)
    labels = subject.labels * 6 + np.arange(len(subject.labels)) % 6
    answers = network.logits(network.input.normalise(digit_nets.images[digit_nets.fresh])).detach().numpy()
    outcome = CHECK.run(replace(subject, network=network, labels=labels, answers=answers))
    (finding,) = outcome.findings
    assert finding.target == "3 of kind 0", outcome.record.why
    sources = [{name[0] for name in source.classes} for source in finding.sources]
    assert sorted(map(sorted, sources)) == [["1"], ["6"]]
    assert all(len(source.classes) >= 4 for source in finding.sources)
    assert "one of (" in finding.claim


def _tested(layouts: tuple[str, ...], margin: float) -> claims.Tested:
    sides = [Side(name, (c,), np.arange(30), np.arange(30)) for c, name in enumerate(("0", "1"))]
    shares = np.full(30, 0.95)
    reading = Reading(shares, np.zeros(30), "", {}, {}, 0.9, margin, np.full(30, margin), (0.9, 0.9))
    page = SimpleNamespace(pairs=30)
    return claims.Tested(Suspect(0, 1, 2, layouts), *sides, page, reading, 0.9, 1e-6, 1e-6, np.zeros(30))


def test_an_illusion_says_why_it_is_no_defect():
    subject = SimpleNamespace(classes=("0", "1", "7"))
    strong, weak = _tested(("overlaid", "brighter"), 2.0), _tested(("beside",), 0.2)
    assert strong.illusion
    assert weak.illusion
    told = claims.illusion(subject, strong).sentence
    assert "less clearly" not in told
    assert "no reference network was asked" in told
    assert "far less clearly" in claims.illusion(subject, weak).sentence


def test_layouts_are_listed_so_that_each_is_seen_to_be_one():
    assert not any("," in words for words in claims.WORDS.values())
    assert claims.in_words(["beside", "brighter", "overlaid"]).count(",") == 1
    assert claims.in_words(["beside", "brighter"]).count(" or ") == 1


def test_a_layout_is_told_as_a_defect_or_as_an_illusion_and_not_as_both():
    lying, defect = _tested(("overlaid",), 2.0), _tested(("beside",), 2.0)
    assert defect.survives
    assert lying.told_by(defect, ("beside", "overlaid"))
    assert not lying.told_by(defect, ("beside",))
    assert not replace(lying, suspect=Suspect(0, 1, 3, ("overlaid",))).told_by(defect, ("beside", "overlaid"))
