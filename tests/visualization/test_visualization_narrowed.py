"""The narrowed last layer gives what the whole pass gives, and leaves alone what it cannot narrow."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mulligan.networks import ImageInput, Network
from mulligan.visualization.narrowed import Narrowed, narrowed
from mulligan.visualization.objectives import Objective, channel, direction, neuron
from mulligan.visualization.reading import Reader

INPUT = ImageInput(size=(12, 12), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)


class Tokens(nn.Module):
    """Rows and columns as positions."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


class Twice(nn.Module):
    """One convolution that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x))


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    layers = OrderedDict(
        wide=nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(inplace=True)),
        thin=nn.Sequential(nn.Conv2d(6, 5, 1), nn.GELU()),
        grouped=nn.Conv2d(5, 5, 3, padding=1, groups=5),
        twice=Twice(),
        norm=nn.BatchNorm2d(5),
        tokens=Tokens(),
        up=nn.Linear(5, 7, bias=False),
        act=nn.Tanh(),
    )
    module = nn.Sequential(layers)
    with torch.no_grad():
        module.norm.running_mean.uniform_(-0.5, 0.5)
    return Network(module, input=INPUT, task="other")


def both(network: Network, objectives: list[Objective]) -> tuple[Reader, Reader | Narrowed]:
    reader = Reader.of(network, objectives)
    return reader, narrowed(reader)


@pytest.mark.parametrize("site", ["wide", "wide.0", "thin", "thin.0", "up", "act"])
def test_values_and_slopes_are_those_of_the_whole_pass(network: Network, site: str) -> None:
    units = network.site(site).units
    vector = np.linspace(-1, 1, units).astype(np.float32)
    wanted = [channel(site, 1), -channel(site, 0) + 2 * channel(site, units - 1), direction(site, vector)]
    reader, narrow = both(network, wanted)
    assert isinstance(narrow, Narrowed)
    x = torch.rand(3, 3, 12, 12, requires_grad=True)
    for one, other in ((reader, narrow), (reader.only([2, 0]), narrow.only([2, 0]))):
        some = x[: len(one.objectives)]
        torch.testing.assert_close(one.values(some), other.values(some))
        slopes = [torch.autograd.grad(way.values(some).sum(), x)[0] for way in (one, other)]
        torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("site", ["grouped", "twice", "twice.conv", "norm"])
def test_other_layers_are_left_alone(network: Network, site: str) -> None:
    reader, narrow = both(network, [channel(site, 1), channel(site, 2)])
    assert narrow is reader


def test_other_objectives_are_left_alone(network: Network) -> None:
    for wanted in ([neuron("thin", 1)], [channel("thin", 1), channel("wide", 1)]):
        reader, narrow = both(network, wanted)
        assert narrow is reader


def test_a_layer_that_does_more_than_it_seems_is_left_alone() -> None:
    class Scaled(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    module = nn.Sequential(OrderedDict(odd=Scaled(3, 4, 3), end=nn.Flatten()))
    reader, narrow = both(Network(module, input=INPUT, task="other"), [channel("odd", 1)])
    assert narrow is reader
