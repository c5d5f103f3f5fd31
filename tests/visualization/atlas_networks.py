"""A network whose activations form known clusters, one that lost them, and pictures for both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mulligan.datasets import Dataset, load_dataset
from mulligan.networks import ImageInput, Network

SIDE = 8
COLOURS = np.array([[220, 30, 30], [30, 200, 40], [40, 60, 220], [220, 210, 40]], np.uint8)
CLASSES = ("red", "green", "blue", "yellow")


class Painted(nn.Module):
    """Pictures of one colour each: `look` has a direction for each colour at 4 x 4 places, `head` reads it off.

    Args:
        told: whether the directions differ; else every colour looks the same, and the answers are noise.
    """

    def __init__(self, told: bool = True) -> None:
        super().__init__()
        self.look, self.act, self.head = nn.Conv2d(3, 6, 2, stride=2), nn.ReLU(), nn.Linear(6, 4)
        draw = torch.Generator().manual_seed(0)
        colours = torch.as_tensor(COLOURS, dtype=torch.float32) / 255 - 0.5
        units = torch.zeros(6, 3)
        if told:
            units[:4] = colours / colours.norm(dim=1, keepdim=True)
        with torch.no_grad():
            self.look.weight.copy_((units / 4)[:, :, None, None].expand(-1, -1, 2, 2))
            self.look.bias.copy_(torch.tensor([0.0, 0, 0, 0, 0.5, 0.1]))
            self.head.weight.copy_(torch.cat([torch.eye(4), 0.01 * torch.randn(4, 2, generator=draw)], 1))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.look(x)).mean((2, 3)))


def painted(told: bool = True) -> Network:
    """The network as a user would wrap it."""
    taken = ImageInput(size=(SIDE, SIDE), channels=3, mean=(0.5,) * 3, std=(1.0,) * 3)
    torch.manual_seed(0)
    return Network(Painted(told), name="painted", input=taken, classes=CLASSES)


def paintings(folder: Path, n: int = 40, *, labelled: bool = True, seed: int = 0) -> Dataset:
    """Pictures of one colour and a little noise, with the colour as label."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    noise = random.integers(-12, 13, (n, SIDE, SIDE, 3))
    pixels = np.clip(COLOURS[labels][:, None, None, :].astype(int) + noise, 0, 255).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"paintings-{n}-{labelled}.npz"
    np.savez(file, x=pixels, **({"y": labels} if labelled else {}))
    return load_dataset(file, classes=CLASSES)
