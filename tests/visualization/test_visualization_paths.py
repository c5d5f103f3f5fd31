"""Ways and cases: a picture that takes another path is told from one that does not; unions fall into their cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mulligan.networks import ImageInput, Network
from mulligan.records import Quantity
from mulligan.visualization.facets import chosen, facets
from mulligan.visualization.objectives import channel
from mulligan.visualization.paths import drives, drives_of_each, earlier_site, natural_share, standing_apart

INPUT = ImageInput(size=(16, 16), channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.fixture(scope="module")
def network() -> Network:
    """The first block sees red, green and blue; unit 0 of the second answers to red or green, unit 1 to red alone."""
    first = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU())
    second = nn.Sequential(nn.Conv2d(6, 2, 1), nn.ReLU())
    with torch.no_grad():
        first[0].weight[:, :, 0, 0] = torch.cat([torch.eye(3), 0.5 * torch.eye(3)])
        first[0].bias.zero_()
        second[0].weight.zero_()
        second[0].weight[0, :2] = 1.0
        second[0].weight[1, 0] = 1.0
        second[0].bias.zero_()
    return Network(nn.Sequential(first, second), input=INPUT, task="other")


def coloured(channels: list[int], rng: np.random.Generator) -> torch.Tensor:
    pictures = 0.1 * rng.random((len(channels), 3, 16, 16))
    for row, bright in enumerate(channels):
        pictures[row, bright] += 0.5 + 0.3 * rng.random()
    return torch.from_numpy(pictures).float()


def test_drives_are_activation_times_slope(network: Network) -> None:
    x = coloured([0, 1, 2], np.random.default_rng(0))
    site = earlier_site(network, channel("1", 0))
    assert site is not None
    assert site.alias == "0"
    found = drives(network, channel("1", 0), site, x)
    means = x.mean((2, 3)).numpy()
    np.testing.assert_allclose(found[:, :2], means[:, :2], rtol=1e-4)
    np.testing.assert_allclose(found[:, 2:], 0, atol=1e-7)
    assert earlier_site(network, channel("0", 0)) is None  # what the first block is given is the picture itself


def test_a_union_falls_into_its_cases_and_a_single_unit_does_not(network: Network) -> None:
    rng = np.random.default_rng(1)
    x = coloured([0] * 8 + [1] * 8, rng)
    cases = facets(network, channel("1", 0), x)
    assert sorted(case.members for case in cases) == [tuple(range(8)), tuple(range(8, 16))]
    assert cases[0].silhouette > cases[0].chance
    assert facets(network, channel("1", 1), coloured([0] * 16, rng)) == []
    assert facets(network, channel("1", 0), x[:5]) == []


def test_another_path_has_no_share() -> None:
    rng = np.random.default_rng(2)
    strongest = rng.normal([3, 1, 0, 0], 0.2, (9, 4)).clip(0)
    same = natural_share(rng.normal([3, 1, 0, 0], 0.2, (1, 4)), strongest, 0)
    other = natural_share(np.array([[-1.0, 0, 3, 0]]), strongest, 0)
    half = natural_share(np.array([[3.0, 1.0, 4.0, 0]]), strongest, 0)
    assert same is not None
    assert half is not None
    assert other is not None
    assert same.value > 0.9 > 0.6 > half.value > 0.4 > 0.2 > other.value
    assert other.low <= other.value <= other.high < half.low
    # How far it goes is another matter.
    louder = natural_share(np.array([[30.0, 10.0, 40.0, 0]]), strongest, 0)
    assert louder is not None
    assert louder.value == pytest.approx(half.value)
    # Where the strongest have nothing in common, or are too few, nothing can be told.
    assert natural_share(strongest[:1], np.eye(9)[:, :4], 0) is None
    assert natural_share(strongest[:1], strongest[:3], 0) is None


def test_shares_are_what_slow_code_gives() -> None:
    rng = np.random.default_rng(3)
    picture, strongest = rng.normal(0.5, 1, 6), rng.normal(0.5, 1, (9, 6))

    def common(a: np.ndarray, b: np.ndarray) -> float:
        positive = [sum(v for v in row if v > 0) for row in (a, b)]
        return sum(min(max(x, 0) / positive[0], max(y, 0) / positive[1]) for x, y in zip(a, b, strict=True))

    own = np.mean([common(picture, row) for row in strongest])
    among = np.mean([common(a, b) for i, a in enumerate(strongest) for j, b in enumerate(strongest) if i != j])
    found = natural_share(picture[None], strongest, 0)
    assert found is not None
    assert found.value == pytest.approx(own / among)


def test_many_objectives_pass_once_and_are_driven_as_each_alone(network: Network) -> None:
    x = coloured([0, 1, 2] * 8, np.random.default_rng(4))
    both = [channel("1", 0), channel("1", 1)]
    site = earlier_site(network, both)
    assert site is not None
    wanted = np.ones((2, 24), bool)
    wanted[1, 3:] = False
    found = drives_of_each(network, both, site, x, wanted)
    for number, objective in enumerate(both):
        alone = drives(network, objective, site, x)
        np.testing.assert_allclose(found[number][wanted[number]], alone[wanted[number]], rtol=1e-5)
    assert not found[1, 3:].any()


def share(value: float) -> Quantity:
    return Quantity(value=value, unit="", low=value - 0.1, high=value + 0.1, n=9)


def test_only_what_stands_apart_from_its_neighbours_is_marked() -> None:
    usual = {str(unit): share(0.8 + 0.02 * (unit % 5)) for unit in range(20)}
    reached = {str(unit): 2.0 + 0.1 * (unit % 5) for unit in range(20)}
    assert standing_apart(usual, reached) == []
    assert standing_apart({**usual, "forged": share(0.2)}, {**reached, "forged": 9.0}) == ["forged"]
    # Either alone is usual.
    assert standing_apart({**usual, "other": share(0.2)}, {**reached, "other": 2.2}) == []
    assert standing_apart({**usual, "high": share(0.8)}, {**reached, "high": 9.0}) == []
    # Where pictures reach so differently, one that is high is nothing special; and few say nothing.
    wide = {str(unit): 1.3**unit for unit in range(20)}
    assert standing_apart({**usual, "forged": share(0.2)}, {**wide, "forged": 150.0}) == []
    assert standing_apart({"a": share(0.7), "b": share(0.1)}, {"a": 1.0, "b": 50.0}) == []


def test_the_strongest_are_chosen() -> None:
    assert chosen(np.arange(100.0)) == list(range(99, 89, -1))
    assert len(chosen(np.arange(10.0))) == 8
