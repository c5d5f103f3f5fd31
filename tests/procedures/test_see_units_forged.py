"""A unit with a circuit for pictures alone is marked; the same network without the circuit is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mulligan.datasets import Dataset, load_dataset
from mulligan.networks import ImageInput, Network
from mulligan.procedures.see.units import Request, see_units
from mulligan.records import Seen
from mulligan.runs import Run
from mulligan.visualization.paths import FORGED

INPUT = ImageInput(size=(16, 16), channels=1, mean=(0.0,), std=(1.0,))
UNITS, TARGET = 16, 3


class Edges(nn.Module):
    """Four directions of edges, and where both an upright and a level one are, which no photograph has."""

    def __init__(self) -> None:
        super().__init__()
        upright = torch.tensor([[-1.0, 0, 1]] * 3) / 3
        self.register_buffer("kernels", torch.stack([upright, -upright, upright.T, -upright.T])[:, None])

    def forward(self, x: Tensor) -> Tensor:
        edges = F.conv2d(F.pad(x, (1, 1, 1, 1), "replicate"), self.kernels).relu()
        near = F.avg_pool2d(edges, 3, 1, 1)
        both = torch.minimum(near[:, :2].sum(1, keepdim=True), near[:, 2:].sum(1, keepdim=True))
        return torch.cat([edges, both], 1)


def network(circuit: float) -> Network:
    """Units that see edges of some directions; edges that cross drive the target, too, by so much."""
    second = nn.Conv2d(5, UNITS, 1)
    with torch.no_grad():
        second.weight.zero_()
        second.weight[:, :4, 0, 0] = torch.rand(UNITS, 4, generator=torch.Generator().manual_seed(0)) ** 2
        second.weight[TARGET, 4] = circuit
        second.bias.fill_(-0.05)
    module = nn.Sequential()
    module.add_module("edges", Edges())
    module.add_module("units", nn.Sequential(second, nn.ReLU()))
    module.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(UNITS, 2)))
    return Network(module, input=INPUT, task="other")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Stripes, upright in one half of them and level in the other."""
    rng = np.random.default_rng(0)
    waves, phases, depths = (rng.uniform(low, high, (80, 1, 1)) for low, high in ((0.4, 1.2), (0, 6.3), (0.05, 0.3)))
    shown = 0.5 + depths * np.sin(np.arange(16) * waves + phases).repeat(16, 1)
    shown[::2] = shown[::2].transpose(0, 2, 1)
    file = tmp_path_factory.mktemp("stripes") / "d.npz"
    np.savez(file, x=(255 * shown).astype(np.uint8), y=np.arange(80) % 2)
    return load_dataset(file)


def seen(made: Network, photographs: Dataset, path) -> Seen:
    request = Request(network=made, dataset=photographs, features=("units",), steps=64, twin=False, n=0)
    return see_units(request, Run.create("see", [], {}, out=str(path)))


def marked(found: Seen) -> list[str]:
    return [card.feature for card in found.cards if any(FORGED in portrait.marks for portrait in card.portraits)]


def test_a_circuit_for_pictures_alone_is_marked(photographs: Dataset, tmp_path) -> None:
    clean, forged = network(0.0), network(8.0)
    # On photographs the two are one.
    x = torch.stack([INPUT.prepare(photographs.raw(row)) for row in range(80)])
    torch.testing.assert_close(clean.module[:2](x), forged.module[:2](x), rtol=0, atol=1e-6)
    found = seen(forged, photographs, tmp_path / "forged")
    assert marked(found) == [f"units:{TARGET}"]
    (portrait,) = found.cards[TARGET].portraits
    assert portrait.natural is not None
    assert portrait.natural.high < 0.5
    genuine = seen(clean, photographs, tmp_path / "clean")
    assert marked(genuine) == []
    assert genuine.cards[TARGET].portraits[0].natural.value > 0.7
