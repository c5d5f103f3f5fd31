"""The random twin: the same numbers in other places, another network, and the original untouched."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mulligan.evidence import random_twin
from mulligan.networks import ArrayInput, Network, TokenInput


class Tied(nn.Module):
    """Tokens to logits over them, with one table for both."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(30, 8)
        self.middle = nn.Linear(8, 8)
        self.head = nn.Linear(8, 30, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.middle(self.table(x))))


def convolutional(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, momentum=0.2), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3),
        nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    ).to(memory_format=torch.channels_last)  # fmt: skip
    return Network(module, input=ArrayInput(shape=(3, 12, 12)), classes=list("abcd"))


def batches(seed: int = 0) -> list[tuple[Tensor, None]]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(n, 3, 12, 12, generator=generator) * 2 + 1, None) for n in (16, 16, 16, 1)]


def test_same_marginals_other_network() -> None:
    network = convolutional()
    before = copy.deepcopy(network.module.state_dict())
    twin = random_twin(network, 0, batches())
    for (name, ours), theirs in zip(network.module.named_parameters(), twin.module.parameters(), strict=True):
        assert torch.equal(ours.flatten().sort().values, theirs.flatten().sort().values), name
        assert ours.stride() == theirs.stride()
        assert theirs.requires_grad
        if ours.unique().numel() > 4:
            assert not torch.equal(ours, theirs), name
    x = batches(5)[0][0]
    with torch.no_grad():
        assert not torch.allclose(network.logits(x), twin.logits(x), atol=1e-2)
    assert twin.identity != network.identity
    assert twin.classes == network.classes
    assert all(torch.equal(value, before[name]) for name, value in network.module.state_dict().items())
    assert network.identity == convolutional().identity


def test_seeds() -> None:
    network = convolutional()
    assert random_twin(network, 0).identity == random_twin(network, 0).identity
    assert random_twin(network, 0).identity != random_twin(network, 1).identity


def test_batch_norms_are_settled() -> None:
    network = convolutional()
    settle = batches()
    twin = random_twin(network, 0, settle)
    first, second = (m for m in twin.module.modules() if isinstance(m, nn.BatchNorm2d))
    assert (first.momentum, second.momentum) == (0.2, 0.1)
    assert not any(m.training for m in twin.module.modules())
    with torch.no_grad():
        seen = [twin.module[0](x) for x, _ in settle if len(x) > 1]
    means = torch.stack([t.mean((0, 2, 3)) for t in seen]).mean(0)
    spreads = torch.stack([t.transpose(0, 1).flatten(1).var(1) for t in seen]).mean(0)
    torch.testing.assert_close(first.running_mean, means, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.running_var, spreads, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        passed = twin.module[:5](torch.cat([x for x, _ in settle]))
    # Signals neither vanish nor explode.
    assert float(passed.mean(dim=(0, 2, 3)).sub(second.bias.detach()).abs().max()) < 0.1


def test_tied_weights_stay_tied_and_are_shuffled_once() -> None:
    torch.manual_seed(0)
    module = Tied()
    network = Network(module, input=TokenInput(tokenizer=_Words(), context=8, pad=0))
    twin = random_twin(network, 0).module
    assert isinstance(twin, Tied)
    assert twin.head.weight is twin.table.weight
    assert torch.equal(twin.table.weight.flatten().sort().values, module.table.weight.flatten().sort().values)
    alone = nn.Module()
    alone.table = copy.deepcopy(module.table)
    again = random_twin(Network(alone), 0).module
    assert torch.equal(again.table.weight, twin.table.weight)  # once: not shuffled again as the head's


class _Words:
    """As much of a tokenizer as a made-up text needs."""

    bos_token_id = 1

    def __len__(self) -> int:
        return 30
