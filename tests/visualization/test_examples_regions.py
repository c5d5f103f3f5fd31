"""Where a feature fires and what it sees there: planted filters, global mixing, tokens, and a slow oracle for boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mulligan.datasets import load_dataset
from mulligan.networks import Network, parse_input
from mulligan.runs import Context
from mulligan.visualization.directions import with_directions
from mulligan.visualization.receptive import box_of, field_of, look, token_grid

INPUT = "size=24,channels=1,mean=0,std=1"


class Planted(nn.Module):
    """A 3 x 3 filter that answers to a cross, and nothing else."""

    def __init__(self, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, stride=stride, padding=1, bias=False)
        cross = torch.tensor([[-1.0, 1, -1], [1, 1, 1], [-1, 1, -1]])
        with torch.no_grad():
            self.conv.weight[:] = torch.stack([cross, -cross])[:, None]
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(self.act(self.conv(x)).mean((2, 3)))


class Mixing(nn.Module):
    """Every place hears of every pixel."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.conv(x + x.mean((2, 3), keepdim=True) * 24 * 24).mean((2, 3)))


def with_crosses(places) -> np.ndarray:
    """Pictures with a cross whose middle is at each (row, column)."""
    pictures = np.zeros((len(places), 24, 24), np.uint8)
    for picture, (row, column) in zip(pictures, places, strict=True):
        picture[row - 1 : row + 2, column] = 255
        picture[row, column - 1 : column + 2] = 255
    return pictures


def context(module: nn.Module, pictures: np.ndarray, folder) -> Context:
    np.savez(folder / "data.npz", x=pictures)
    network = Network(module, input=parse_input(INPUT), classes=["a", "b"])
    return Context("test", {"network": network, "dataset": load_dataset(str(folder / "data.npz"))})


def test_a_planted_filter_is_found_at_its_spot_with_its_box(tmp_path):
    places = [(5, 7), (12, 3), (20, 21)]
    found = look(context(Planted(), with_crosses(places), tmp_path), site="act", unit=0, rows=[0, 1, 2])
    assert found.arrays["peak"].tolist() == [list(place) for place in places]
    assert found.arrays["boxes"].tolist() == [[c - 1, r - 1, c + 2, r + 2] for r, c in places]
    assert found.arrays["grid"].shape == (3, 24, 24)
    assert found.arrays["grid"][0].max() == pytest.approx(5.0)


def test_a_stride_needs_no_case_of_its_own(tmp_path):
    found = look(context(Planted(stride=2), with_crosses([(6, 8)]), tmp_path), site="conv", unit=0, rows=[0])
    assert found.arrays["peak"].tolist() == [[3, 4]]
    assert found.arrays["boxes"].tolist() == [[7, 5, 10, 8]]


def test_at_the_border_the_box_ends_with_the_picture(tmp_path):
    pictures = np.zeros((1, 24, 24), np.uint8)
    pictures[0, 0, :2] = pictures[0, :2, 0] = 255
    found = look(context(Planted(), pictures, tmp_path), site="conv", unit=0, rows=[0])
    assert found.arrays["peak"].tolist() == [[0, 0]]
    assert found.arrays["boxes"].tolist() == [[0, 0, 2, 2]]


def test_all_that_a_unit_sees_is_measured(tmp_path):
    network = Network(Planted(stride=2), input=parse_input(INPUT), classes=["a", "b"])
    assert field_of(network, network.site("conv")) == (3, 3)
    deep = nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))
    network = Network(nn.Sequential(deep, nn.Flatten(), nn.Linear(576, 2)), input=parse_input(INPUT))
    # Three places of the pooled grid are six pixels, and the first layer sees two more at each side.
    assert field_of(network, network.site("0.3")) == (10, 10)
    assert field_of(network, network.site("2")) is None
    mixing = Network(Mixing(), input=parse_input(INPUT), classes=["a", "b"])
    assert field_of(mixing, mixing.site("conv")) == (24, 24)


def test_a_silent_relu_has_no_box(tmp_path):
    found = look(context(Planted(), np.zeros((1, 24, 24), np.uint8), tmp_path), site="act", unit=0, rows=[0])
    assert found.arrays["boxes"].tolist() == [[-1, -1, -1, -1]]


def test_global_mixing_sees_the_whole_picture(tmp_path):
    torch.manual_seed(0)
    found = look(context(Mixing(), with_crosses([(5, 7)]), tmp_path), site="conv", unit=1, rows=[0])
    assert found.arrays["boxes"].tolist() == [[0, 0, 24, 24]]


def test_an_output_is_followed_back_to_the_last_places(tmp_path):
    torch.manual_seed(0)
    module = Planted()
    found = look(context(module, with_crosses([(5, 7)]), tmp_path), site=None, unit=1, rows=[0])
    grid = found.arrays["grid"][0]
    assert found.values["through"] == "conv"
    # A logit that is linear in what follows the places: their shares and the bias are all of it.
    with torch.no_grad():
        x = torch.from_numpy(with_crosses([(5, 7)])).float()[:, None] / 255
        logit = float(module(x)[0, 1])
    assert grid.sum() + module.head.bias[1].item() == pytest.approx(logit, rel=1e-4)
    assert np.unravel_index(np.abs(grid).argmax(), grid.shape) == (5, 7)


def test_weights_keep_their_gradients_as_they_were(tmp_path):
    there = context(Planted(), with_crosses([(5, 7)]), tmp_path)
    module = there["network"].module
    module.conv.weight.requires_grad_(False)
    look(there, site="act", unit=0, rows=[0])
    assert [p.requires_grad for p in module.parameters()] == [False, True, True]
    assert all(p.grad is None for p in module.parameters())


def test_a_direction_is_a_unit_of_a_derived_site(tmp_path):
    there = context(Planted(), with_crosses([(5, 7)]), tmp_path)
    network, site = with_directions(there["network"], "conv", [[2.0, 0.0], [1.0, 1.0]])
    there = Context("test", {"network": network, "dataset": there["dataset"]})
    assert site.shape[1:] == (2, 24, 24)
    one = look(there, site=site.alias, unit=0, rows=[0])
    none = look(there, site=site.alias, unit=1, rows=[0])
    assert one.arrays["grid"][0, 5, 7] == pytest.approx(10.0)
    assert np.abs(none.arrays["grid"]).max() == pytest.approx(0.0, abs=1e-6)


def test_what_cannot_be_measured_says_why(tmp_path):
    class Breaks(Planted):
        def forward(self, x):
            if x.requires_grad:
                raise RuntimeError("no kernel for this")
            return super().forward(x)

    found = look(context(Breaks(), with_crosses([(5, 7)]), tmp_path), site="act", unit=0, rows=[0])
    assert found.values == {"failed": "no kernel for this"}


def test_tokens_form_the_grid_of_their_patches():
    assert token_grid(197, (224, 224)) == (1, 14, 14)
    assert token_grid(196, (224, 224)) == (0, 14, 14)
    assert token_grid(201, (224, 224)) == (5, 14, 14)
    assert token_grid(2 * 4 * 7 * 7 + 1, (224, 448)) is None or token_grid(393, (224, 448))[1:] == (14, 28)
    assert token_grid(10, (224, 224)) == (1, 3, 3)
    assert token_grid(2, (224, 224)) is None


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.5, 0.9, 0.95]),
)
def test_a_box_holds_its_share(height, width, seed, share):
    rng = np.random.default_rng(seed)
    weight = rng.random((height, width)) ** 4 * (rng.random((height, width)) < 0.6)
    box = box_of(weight, share)
    if weight.sum() == 0:
        assert box is None
        return
    left, top, right, bottom = box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert weight[top:bottom, left:right].sum() >= share * weight.sum() - 1e-9


def test_no_weight_or_nan_has_no_box():
    assert box_of(np.zeros((3, 3))) is None
    assert box_of(np.full((3, 3), np.nan)) is None


class Tokens(nn.Module):
    """A class token, then 6 x 6 patches of 4 pixels; `block` keeps to itself, `mixed` hears of all."""

    def __init__(self):
        super().__init__()
        self.cut = nn.Conv2d(1, 8, 4, stride=4)
        self.block, self.mixed, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        patches = self.cut(x).flatten(2).transpose(1, 2)
        tokens = self.block(torch.cat([patches[:, :1] * 0, patches], 1))
        return self.head(self.mixed(tokens + 20 * tokens.mean(1, keepdim=True))[:, 0])


def test_tokens_of_a_transformer_have_a_grid_and_boxes(tmp_path):
    torch.manual_seed(0)
    module = Tokens()
    with torch.no_grad():
        module.cut.weight[0], module.cut.bias[:] = 1.0, 0.0
        module.block.weight[:], module.block.bias[:] = torch.eye(8), 0.0
    picture = np.zeros((1, 24, 24), np.uint8)
    picture[0, 8:12, 16:20] = 200
    there = context(module, picture, tmp_path)
    alone = look(there, site="block", unit=0, rows=[0])
    assert alone.arrays["peak"].tolist() == [[1 + 2 * 6 + 4]]
    assert alone.arrays["grid"].shape == (1, 6, 6)
    assert np.unravel_index(alone.arrays["grid"][0].argmax(), (6, 6)) == (2, 4)
    assert alone.arrays["boxes"].tolist() == [[16, 8, 20, 12]]
    assert look(there, site="mixed", unit=0, rows=[0]).arrays["boxes"].tolist() == [[0, 0, 24, 24]]
