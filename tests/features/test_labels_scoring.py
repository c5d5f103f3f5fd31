"""Labels are scored on held-out examples: against slow oracles, on concepts that are there and on none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labels_worlds import NAMES, Pictures, halves, labelled, vocabulary
from scipy.stats import false_discovery_control, mannwhitneyu
from sklearn.metrics import roc_auc_score

from mulligan.features.labels import Evidence, against_twins, areas, best_of_units, false_discoveries, score
from mulligan.features.labels.scoring import fits

BOOLEANS = st.lists(st.booleans(), min_size=12, max_size=60).filter(lambda f: 2 <= sum(f) <= len(f) - 2)


@given(BOOLEANS, st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_areas_are_those_of_a_curve_ties_included(fit, seed) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 6, (len(fit), 3)).astype(float)
    found = areas(values, np.array(fit)[:, None])[:, 0]
    assert found == pytest.approx([roc_auc_score(fit, values[:, unit]) for unit in range(3)])


def test_an_area_without_both_sides_is_unknown() -> None:
    assert np.isnan(areas(np.ones((4, 1)), np.ones((4, 1), bool))).all()


def test_p_is_that_of_the_rank_test() -> None:
    rng = np.random.default_rng(0)
    fit = rng.random(200) < 0.3
    values = rng.normal(size=200) + 0.4 * fit
    found = score(values, fit.astype(float), [], 0)
    oracle = mannwhitneyu(values[fit], values[~fit], alternative="greater", use_continuity=False, method="asymptotic")
    assert found is not None
    assert found.p == pytest.approx(oracle.pvalue, rel=1e-6)
    assert found.shuffled is None


def test_a_unit_that_is_a_concept_is_explained_by_its_name_and_by_no_other() -> None:
    labels = labelled(400, 1)
    values = (labels == 2) * 3.0 + np.random.default_rng(2).normal(size=400) * 0.1
    words = vocabulary(labels)
    rows = np.arange(400)
    others = [words.judge(name, rows) for name in NAMES if name != "stripe"]
    found = score(values, words.judge("stripe", rows), others, 0)
    assert found is not None
    assert found.auc.value > 0.99
    assert found.auc.low is not None
    assert found.auc.low > 0.9
    assert found.explained.value > 0.9
    assert found.strong.value == 1.0
    assert found.ordinary.value < 0.5
    assert found.shuffled is not None
    assert found.shuffled.value < 0.5
    wrong = score(values, others[0], [], 0)
    assert wrong is not None
    assert wrong.p > 0.5
    assert wrong.explained.value < 0.1


def test_a_name_that_is_too_narrow_predicts_but_explains_little() -> None:
    labels = labelled(600, 3)
    values = np.isin(labels, [0, 1, 2]) + np.random.default_rng(4).normal(size=600) * 0.05
    narrow, wide = (score(values, np.isin(labels, some).astype(float), [], 0) for some in ([0], [0, 1, 2]))
    assert narrow is not None
    assert wide is not None
    assert narrow.auc.value > 0.7
    assert narrow.explained.value < 0.5 < 0.9 < wide.explained.value


def test_a_label_that_fits_too_few_has_no_score_and_what_is_not_judged_does_not_count() -> None:
    values = np.arange(100.0)
    few = np.zeros(100)
    few[:4] = 1
    assert score(values, few, [], 0) is None
    judged = np.full(100, np.nan)
    judged[:50] = values[:50] >= 25
    found = score(values, judged, [], 0)
    assert found is not None
    assert found.auc.value == 1.0
    assert found.auc.n == 50


def test_shuffling_labels_among_units_lowers_the_area_to_one_half() -> None:
    labels = labelled(1000, 5)
    rng = np.random.default_rng(6)
    units = np.stack([(labels == unit % 5) * 1.0 + rng.normal(size=1000) for unit in range(50)], 1)
    words = vocabulary(labels)
    rows = np.arange(1000)
    own = [score(units[:, u], words.judge(NAMES[u % 5], rows), [], 0) for u in range(50)]
    mixed = rng.permutation(50)
    shuffled = [score(units[:, u], words.judge(NAMES[mixed[u] % 5], rows), [], 0) for u in range(50)]
    assert np.median([s.auc.value for s in own if s]) > 0.7
    assert abs(np.mean([s.auc.value for s in shuffled if s]) - 0.5) < 0.06


def test_the_vocabulary_names_the_right_grain() -> None:
    labels = labelled(800, 7)
    animals = np.isin(labels, [0, 1]).astype(float)
    from mulligan.features.labels import Concept, Vocabulary

    words = Vocabulary([*vocabulary(labels).concepts, Concept("both", animals)])
    search, _ = halves(800)
    noise = np.random.default_rng(8).normal(size=800) * 0.3
    for truth, values in (("cross", (labels == 0) + noise), ("both", animals + noise)):
        (best, *_) = words.propose(Evidence("unit", search, values[search]))
        assert best.text == truth
        assert best.score is not None
        assert best.score > 0.5
    assert words.propose(Evidence("dead", search, np.zeros(len(search)))) == []


def test_concepts_with_too_few_examples_are_no_names() -> None:
    labels = np.repeat([0, 1, 2], [60, 36, 4])
    search, test = np.arange(0, 100, 2), np.arange(1, 100, 2)
    assert [c.name for c in vocabulary(labels).usable([search, test]).concepts] == ["cross", "ring"]


# -- twins


def named(pictures: Pictures, values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Areas for every label, the label chosen, and how many pairs each area counts."""
    search, test = halves(len(values), seed)
    words = vocabulary(pictures.labels)
    chosen = words.correlations(values[search], search).argmax(1)
    fit = fits(words.table(test))
    return areas(values[test], fit), chosen, (fit.sum(0) * (~fit).sum(0)).astype(float)


def against(pictures: Pictures, values: np.ndarray, twins: list[np.ndarray]) -> np.ndarray:
    """Adjusted p-values of a network's units."""
    mine, label, pairs = named(pictures, values)
    theirs = [named(pictures, twin) for twin in twins]
    area = mine[np.arange(len(label)), label]
    p = against_twins(
        area, label, np.concatenate([t[0] for t in theirs]), np.concatenate([t[1] for t in theirs]), pairs
    )
    return false_discoveries(p)


def test_a_random_network_is_given_a_label_no_oftener_than_declared() -> None:
    any_label, better_than_shuffled = [], []
    for seed in range(80):
        pictures = Pictures(240, seed)
        networks = [pictures.random_units(1000 * seed + k) for k in range(6)]
        any_label.append((against(pictures, networks[0], networks[1:]) <= 0.05).any())
        area, label, _ = named(pictures, networks[0])
        better_than_shuffled.append(np.median(area[np.arange(24), label]) > 0.6)
    # Random features do predict the classes: the shuffled labels alone would let nearly all of them through.
    assert np.mean(better_than_shuffled) > 0.9
    # 5 %, and three errors of a share of 80.
    assert np.mean(any_label) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 80)


def test_units_that_are_concepts_beat_the_twins() -> None:
    pictures = Pictures(300, 11)
    rng = np.random.default_rng(12)
    values = pictures.random_units(13)
    for unit in range(8):
        values[:, unit] = (pictures.labels == unit % 5) * 2.0 + rng.normal(size=300) * 0.3
    adjusted = against(pictures, values, [pictures.random_units(14 + k) for k in range(5)])
    assert (adjusted[:8] <= 0.05).all()
    assert (adjusted[8:] <= 0.05).sum() <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_false_discoveries_are_those_of_benjamini_and_hochberg(ps) -> None:
    assert false_discoveries(np.array(ps)) == pytest.approx(false_discovery_control(ps, method="bh"))


def test_the_best_unit_for_a_label_counts_only_where_it_was_judged() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 4))
    judged = (rng.random((60, 3)) < 0.4).astype(float)
    judged[:20, 1] = np.nan
    judged[:, 2] = np.nan
    found = best_of_units(values, judged)
    assert found[0] == pytest.approx(max(roc_auc_score(judged[:, 0], values[:, u]) for u in range(4)))
    assert found[1] == pytest.approx(max(roc_auc_score(judged[20:, 1], values[20:, u]) for u in range(4)))
    assert np.isnan(found[2])
