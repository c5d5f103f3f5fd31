"""Which examples are shown: levels cover the range, near-duplicates go, what is broken or silent is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from mulligan.datasets import load_dataset
from mulligan.networks import Network, parse_input
from mulligan.records import BadInput
from mulligan.runs import Run
from mulligan.visualization.duplicates import Likeness, distinct
from mulligan.visualization.examples import around, choose, seek, spread_over_classes, strengths
from mulligan.visualization.heat import coloured, cropped, heated, small


def never(one: int, other: int) -> bool:
    return False


@settings(max_examples=40)
@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=60), st.integers(1, 9))
def test_a_choice_is_in_order_and_covers_the_range(numbers, n):
    values = np.asarray(numbers, np.float32)
    choice = choose(values, n, never, np.random.default_rng(0))
    if choice.never:
        assert np.ptp(values) <= 1e-5 * abs(values).max()
        return
    top, bottom = values[list(choice.top)], values[list(choice.bottom)]
    assert top[0] == values.max()
    assert list(top) == sorted(values, reverse=True)[:n]
    assert list(bottom) == sorted(values)[:n]
    assert len(set(choice.levels)) == len(choice.levels)


def test_levels_lie_in_every_part_of_the_range():
    values = np.random.default_rng(1).gamma(1.0, 2.0, 5000).astype(np.float32)
    choice = choose(values, 5, never, np.random.default_rng(0))
    edges = np.linspace(values.min(), values.max(), 6)
    inside = np.digitize(values[list(choice.levels)], edges[1:-1])
    assert sorted(inside.tolist()) == [0, 1, 2, 3, 4]


def test_equally_weak_examples_are_drawn_at_random():
    values = np.zeros(500, np.float32)
    values[:5] = range(1, 6)
    weak = [choose(values, 4, never, np.random.default_rng(seed)).bottom for seed in range(2)]
    assert weak[0] != weak[1]
    assert all(values[list(rows)].max() == 0 for rows in weak)


def test_nan_is_left_out_and_counted_and_a_silent_unit_says_so():
    values = np.asarray([1, np.nan, 3, np.inf, 2], np.float32)
    choice = choose(values, 3, never, np.random.default_rng(0))
    assert choice.top == (2, 4, 0)
    assert choice.broken == 2
    assert 1 not in choice.rows
    silent = choose(np.zeros(9, np.float32), 3, never, np.random.default_rng(0))
    assert silent.rows == []
    assert "never fires" in silent.never
    assert "NaN" in choose(np.full(9, np.nan, np.float32), 3, never, np.random.default_rng(0)).never


def test_near_duplicates_are_removed_and_others_stay(tmp_path):
    rng = np.random.default_rng(0)
    smooth = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((64, 64), 3) for _ in range(3)]
    folder = tmp_path / "pictures"
    folder.mkdir()
    smooth[0].save(folder / "0.png")
    smooth[0].resize((50, 50)).save(folder / "1.jpg", quality=70)
    Image.fromarray((np.asarray(smooth[0]) * 0.8 + 20).astype(np.uint8)).save(folder / "2.png")
    smooth[1].save(folder / "3.png")
    smooth[2].save(folder / "4.png")
    network = Network(nn.Conv2d(3, 1, 3), input=parse_input("size=64,mean=0,std=1"))
    likeness = Likeness(network, load_dataset(str(folder)))
    assert distinct([0, 1, 2, 3, 4], likeness.alike) == ([0, 3, 4], 2)
    values = np.asarray([5, 4.9, 4.8, 3, 1], np.float32)
    choice = choose(values, 2, likeness.alike, np.random.default_rng(0))
    assert choice.top == (0, 3)
    assert choice.duplicates == 2


def test_different_digits_are_no_duplicates(digit_nets, tmp_path):
    network = digit_nets.network(digit_nets.clean(0))
    dataset = load_dataset(digit_nets.write_data(tmp_path), classes=network.classes)
    likeness = Likeness(network, dataset)
    rows = list(range(120))
    kept, gone = distinct(rows, likeness.alike)
    assert gone <= 6
    assert len(kept) + gone == 120


def test_the_spread_over_classes_stands_beside_chance():
    labels = np.asarray([0] * 90 + [1] * 10 + [-1] * 20)
    classes, chance, counted = spread_over_classes([*range(92, 99), 0, 1, 110], labels, ["cat", "dog"])
    assert classes == (("dog", 7), ("cat", 2))
    assert counted == 9
    assert chance[0].value == pytest.approx(0.9)
    assert chance[0].low == 0
    assert chance[0].high < 7
    assert chance[1].low <= chance[1].value <= chance[1].high
    # All of one class: nothing else could have been drawn.
    _, chance, _ = spread_over_classes([0, 1], np.zeros(30, np.int64), ["cat"])
    assert (chance[0].low, chance[0].value, chance[0].high) == (2, 2, 2)


def test_features_are_found_by_name_or_refused_with_what_there_is():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    network = Network(module, input=parse_input("size=8,channels=1,mean=0,std=1"), classes=["cat", "dog"])
    assert (seek(network, "0:3").unit, seek(network, "class dog").unit) == (3, 1)
    with pytest.raises(BadInput, match="no unit 4: 0 has 4, numbered from 0 to 3"):
        seek(network, "0:4")
    with pytest.raises(BadInput, match="no such class; it has cat, dog"):
        seek(network, "class cow")
    with pytest.raises(BadInput, match="not a feature"):
        seek(network, "0")
    with pytest.raises(BadInput):
        seek(network, "9:1")


def test_strengths_are_what_passes(digit_nets, tmp_path):
    network = digit_nets.network(digit_nets.clean(0))
    dataset = load_dataset(digit_nets.write_data(tmp_path, 40), classes=network.classes)
    sought = [seek(network, text) for text in ("blocks.1:3", "class 7", "blocks.1:0")]
    found = strengths(network, dataset, sought, Run.create("test", [], {}, out=tmp_path / "run"))
    x = torch.stack([torch.as_tensor(network.input.prepare(dataset.raw(i))) for i in range(40)])
    with torch.no_grad(), network.watching("blocks.1") as watched:
        logits = network.logits(x)
    peaks = watched["blocks.1"].amax((2, 3)).numpy()
    np.testing.assert_allclose(found["blocks.1:3"], peaks[:, 3], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["class 7"], logits[:, 7].numpy(), rtol=1e-4, atol=1e-4)


def test_pictures_keep_their_shape_and_show_the_outline():
    pixels = np.zeros((16, 16, 1), np.uint8)
    assert small(pixels).size == (160, 160)
    assert small(np.zeros((100, 200, 3), np.uint8)).size == (160, 80)
    heat = np.zeros((4, 4))
    heat[1, 2] = 3.0
    image = np.asarray(heated(pixels, heat, (0.0, 3.0), (8, 4, 12, 8)))
    assert image.shape == (160, 160, 3)
    assert image[60, 100, 0] > image[140, 20, 0], "the hot place is lighter than the rest"
    assert image[41, 100].tolist() == [255, 255, 255]
    assert cropped(pixels, (3, 2, 5, 6)).size == (60, 120)
    # A flat or broken map is no error, and has the lowest colour.
    assert np.isfinite(np.asarray(heated(pixels, np.full((2, 2), np.nan), (0.0, 0.0), None))).all()
    ends = coloured(np.asarray([[-1.0, 0.0, 1.0, 2.0]], np.float32))
    assert ends[0, 0].tolist() == ends[0, 1].tolist()
    assert ends[0, 2].tolist() == [254, 232, 56]


def test_tokens_around_a_peak():
    tokens = [str(i) for i in range(40)]
    found = around(tokens, list(range(40)), 20)
    assert found["tokens"] == tuple(str(i) for i in range(6, 28))
    assert len(found["weights"]) == 22
    assert around(tokens, list(range(40)), 0)["tokens"][0] == "0"
