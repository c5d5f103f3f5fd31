"""A network cut in two answers as the whole, and its tail shares the whole's parameters."""

from __future__ import annotations

import torch
from torch import nn

from mulligan.plants.trunk import cut


class Skips(nn.Module):
    """Two blocks with a way around each, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.blocks = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)])
        self.head = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        value = self.stem(images)
        for block in self.blocks:
            value = value + block(value).relu()
        return self.head(value.mean((2, 3)))


class Branching(Skips):
    """Its flow depends on what it is given, so that it cannot be traced."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images if images.sum() > 0 else -images)


def test_the_cut_is_before_the_first_trainable_layer() -> None:
    torch.manual_seed(0)
    module, images = Skips().eval(), torch.rand(2, 1, 6, 6)
    found = cut(module, ("blocks.1.*", "head.*"), images)
    assert found is not None
    torch.testing.assert_close(found.tail(found.trunk(images)), module(images))
    assert {name for name, _ in found.tail.named_parameters()} == {
        "blocks.1.weight", "blocks.1.bias", "head.weight", "head.bias",
    }  # fmt: skip
    assert dict(found.tail.named_parameters())["head.bias"] is module.head.bias
    with torch.no_grad():
        module.head.bias += 1
    torch.testing.assert_close(found.tail(found.trunk(images)), module(images))


class Counting(Skips):
    """Asks the pictures how many they are, and uses it at the very end."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        n = images.size(0)
        value = self.stem(images)
        for block in self.blocks:
            value = value + block(value).relu()
        return self.head(value.mean((2, 3)).view(n, -1))


def test_counting_the_pictures_does_not_hinder_the_cut() -> None:
    module, images = Counting().eval(), torch.rand(2, 1, 6, 6)
    found = cut(module, ("head.*",), images)
    assert found is not None
    more = torch.rand(5, 1, 6, 6)
    torch.testing.assert_close(found.tail(found.trunk(more)), module(more))


def test_nothing_to_cut() -> None:
    module, images = Skips().eval(), torch.rand(2, 1, 6, 6)
    assert cut(module, ("*",), images) is None
    assert cut(module, ("stem.*",), images) is None
    assert cut(Branching().eval(), ("head.*",), images) is None


def test_the_head_alone() -> None:
    module, images = Skips().eval(), torch.rand(2, 1, 6, 6)
    found = cut(module, ("head.*",), images)
    assert found is not None
    assert found.trunk(images).shape == (2, 4)
