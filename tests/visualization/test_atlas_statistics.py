"""Moments, whitening, projection, layout, trustworthiness, alignment: each against a slow and obvious oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.manifold import trustworthiness

from mulligan.visualization.atlas import layout as layouts
from mulligan.visualization.atlas.aligning import align
from mulligan.visualization.atlas.layout import Neighbours, lay_out
from mulligan.visualization.atlas.moments import LEAST_SHRINKAGE, Moments, Projection
from mulligan.visualization.atlas.sampling import draws_needed
from mulligan.visualization.atlas.trust import purity, shuffled_labels, shuffled_rows, trust, trust_of_each
from mulligan.visualization.maps import moved, onto


@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 60), max_size=3), shift=st.sampled_from([0.0, 1e4]))
@settings(max_examples=30, deadline=None)
def test_moments_of_parts_are_those_of_the_whole(seed: int, cuts: list[int], shift: float) -> None:
    rows = np.random.default_rng(seed).normal(size=(60, 4)) * [1, 5, 0, 1e-3] + shift
    total = Moments.of(rows[:0])
    for part in np.split(rows, sorted(cuts)):
        total = total + Moments.of(part)
    assert total.n == 60
    np.testing.assert_allclose(total.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(total.covariance, np.cov(rows.T, bias=True), rtol=1e-9, atol=1e-10)


@given(seed=st.integers(0, 1000), n=st.integers(3, 200))
@settings(max_examples=30, deadline=None)
def test_whitened_directions_are_what_the_formula_says(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, 5)) @ random.normal(size=(5, 5)) + 3
    means = random.normal(size=(4, 5)) + 3
    moments = Moments.of(rows)
    assert LEAST_SHRINKAGE <= moments.shrinkage <= 1
    # Slowly: solve for each mean by itself, with the covariance drawn to a multiple of the identity.
    covariance = sum(np.outer(row - rows.mean(0), row - rows.mean(0)) for row in rows) / n
    level = sum(covariance[k, k] for k in range(5)) / 5
    shrunk = (1 - moments.shrinkage) * covariance + moments.shrinkage * level * np.eye(5)
    for mean, found in zip(means, moments.whitened(means), strict=True):
        expected = np.linalg.solve(shrunk, mean - rows.mean(0))
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), rtol=1e-7, atol=1e-9)


def test_whitening_undoes_a_unit_that_varies_much_and_leaves_no_direction_where_nothing_differs() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(5000, 2)) * [10, 1]
    moments = Moments.of(rows)
    # As far in the loud unit as in the quiet one: the quiet one says more.
    loud, quiet = np.abs(moments.whitened(rows.mean(0)[None] + 1)[0])
    assert quiet > 3 * loud
    assert (moments.whitened(moments.mean[None]) == 0).all()
    assert np.isfinite(Moments.of(np.ones((9, 3))).whitened(np.eye(3))).all()


def test_few_rows_shrink_more_than_many() -> None:
    random = np.random.default_rng(1)
    few, many = (Moments.of(random.normal(size=(n, 30)) * np.linspace(1, 4, 30)).shrinkage for n in (8, 5000))
    assert few > many == LEAST_SHRINKAGE


def test_components_are_those_of_the_data() -> None:
    random = np.random.default_rng(2)
    rows = random.normal(size=(300, 6)) * [9, 5, 3, 1, 1e-9, 0]
    projection = Projection.of(Moments.of(rows), 3)
    np.testing.assert_allclose(projection.components @ projection.components.T, np.eye(3), atol=1e-9)
    assert (np.abs(np.diag(projection.components[:, :3])) > 0.99).all()
    assert projection.explained.sum() == pytest.approx((81 + 25 + 9) / (81 + 25 + 9 + 1), abs=0.02)
    assert len(Projection.of(Moments.of(rows), 50).components) == 4  # what does not vary has no component
    variances = np.asarray(projection(rows)).var(0)
    assert (np.diff(variances) < 0).all()


def test_neighbours_and_places_are_those_found_slowly() -> None:
    random = np.random.default_rng(3)
    points, others = random.normal(size=(90, 4)).astype(np.float32), random.normal(size=(7, 4)).astype(np.float32)
    plane = random.normal(size=(90, 2)).astype(np.float32)
    neighbours = Neighbours(points, 0)
    found, far = neighbours.nearest(others, 5)
    placed = neighbours.place(others, plane, 5)
    for number, other in enumerate(others):
        distances = np.sqrt(((points - other).astype(np.float64) ** 2).sum(1))
        order = np.argsort(distances)[:5]
        assert found[number].tolist() == order.tolist()
        np.testing.assert_allclose(far[number], distances[order], rtol=1e-5)
        beyond = distances[order] - distances[order[0]]
        weights = np.exp(-beyond / beyond.mean())
        np.testing.assert_allclose(placed[number], (weights @ plane[order]) / weights.sum(), rtol=1e-3, atol=1e-4)
    # One that was fitted lies where it was put, as nearly as its neighbours let it.
    graph, _ = neighbours.graph()
    assert (graph[:, 0] == np.arange(90)).all()


def test_a_layout_keeps_clusters_apart_and_hangs_on_its_seed() -> None:
    random = np.random.default_rng(4)
    which = random.integers(0, 3, 150)
    points = (20 * np.eye(3)[which] + random.normal(size=(150, 3))).astype(np.float32)
    plane = lay_out(points, 5)
    middles = np.stack([plane[which == k].mean(0) for k in range(3)])
    radius = max(np.linalg.norm(plane[which == k] - middles[k], axis=1).max() for k in range(3))
    apart = min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert apart > radius
    np.testing.assert_array_equal(plane, lay_out(points, 5))
    assert not np.array_equal(plane, lay_out(points, 6))


def test_a_layout_of_too_few_or_equal_rows_is_still_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "NEIGHBOURS", 5)
    for points in (np.zeros((2, 3), np.float32), np.ones((12, 3), np.float32), np.zeros((4, 0), np.float32)):
        plane = lay_out(points, 0)
        assert plane.shape == (len(points), 2)
        assert np.isfinite(plane).all()


@given(seed=st.integers(0, 200), n=st.integers(25, 80), k=st.integers(1, 10))
@settings(max_examples=25, deadline=None)
def test_trustworthiness_is_scikit_learns(seed: int, n: int, k: int) -> None:
    random = np.random.default_rng(seed)
    rows, plane = random.normal(size=(n, 5)), random.normal(size=(n, 2))
    assert trust_of_each(rows, plane, k).mean() == pytest.approx(trustworthiness(rows, plane, n_neighbors=k), abs=1e-9)


def test_trustworthiness_tells_a_true_layout_from_one_at_random() -> None:
    random = np.random.default_rng(5)
    rows = random.normal(size=(300, 2))
    assert trust_of_each(rows, rows).mean() == 1
    by_chance = trust(trust_of_each(rows, random.normal(size=(300, 2))))
    assert by_chance.low is not None
    assert by_chance.high is not None
    assert by_chance.low < 0.5 < by_chance.high + 0.03


def test_shuffling_keeps_each_unit_and_breaks_what_they_do_together() -> None:
    random = np.random.default_rng(6)
    one = random.normal(size=400)
    rows = np.stack([one, one + 0.01 * random.normal(size=400)], 1)
    shuffled = shuffled_rows(rows, random)
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(rows, axis=0))
    assert abs(np.corrcoef(shuffled.T)[0, 1]) < 0.2


def test_cells_of_one_label_are_pure_and_shuffled_labels_are_not() -> None:
    random = np.random.default_rng(7)
    pictures = np.repeat(np.arange(100), 4)
    labels = random.integers(0, 5, 100)
    cells = labels[pictures] * 3
    pure = purity(cells, labels[pictures], random)
    assert pure is not None
    assert pure.value == 1
    mixed = purity(cells, shuffled_labels(labels, random)[pictures], random)
    assert mixed is not None
    assert mixed.high is not None
    assert mixed.high < 0.6
    assert purity(cells, np.full(400, -1), random) is None
    assert purity(np.arange(400), labels[pictures], random) is None


def test_a_map_between_networks_is_found_and_one_that_is_not_there_is_not() -> None:
    random = np.random.default_rng(8)
    second = random.normal(size=(200, 3, 6))
    first = second @ random.normal(size=(6, 4)) + 2
    found = align(first, second, random)
    assert found.kind == "ridge"
    assert found.explained.value > 0.999
    assert found.shuffled.value < 0
    np.testing.assert_allclose(found(second[0]), first[0], atol=0.05)
    none = align(random.normal(size=(200, 3, 4)), second, random)
    assert none.explained.value < 0.05


def test_units_that_are_the_same_are_left_as_they_are() -> None:
    random = np.random.default_rng(9)
    first = random.normal(size=(60, 2, 30))
    found = align(first, first, random)
    assert (found.kind, found.explained.value) == ("as they are", 1.0)


def test_a_map_is_turned_onto_the_one_before() -> None:
    random = np.random.default_rng(10)
    before = random.normal(size=(50, 2)).astype(np.float32)
    turn = np.array([[0.6, -0.8], [-0.8, -0.6]])  # a turn and a mirror
    plane = (4 * before @ turn + 7).astype(np.float32)
    np.testing.assert_allclose(onto(plane, before), before, atol=1e-4)
    assert moved(onto(plane, before), before).max() < 1e-3
    other = random.normal(size=(50, 2)).astype(np.float32)
    assert np.median(moved(onto(other, before), before)) > 0.3


@pytest.mark.parametrize(("places", "pictures", "wanted"), [(64, 500, 8000), (196, 100, 5000), (1, 500, 300)])
def test_so_many_draws_give_about_as_many_places_as_are_wanted(places: int, pictures: int, wanted: int) -> None:
    draws = draws_needed(places, pictures, wanted)
    random = np.random.default_rng(11)
    distinct = sum(len(set(random.integers(0, places, draws).tolist())) for _ in range(pictures))
    assert distinct == pytest.approx(min(wanted if places > 1 else pictures, places * pictures), rel=0.1)
    assert draws_needed(4, 10, 10**6) == 12
