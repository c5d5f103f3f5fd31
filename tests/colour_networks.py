"""A network whose factors are known: it mixes red, green and blue into ten units, and answers which is there most."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mulligan.datasets import Dataset, load_dataset
from mulligan.networks import ImageInput, Network

COLOURS = ("red", "green", "blue")
SIDE = 16
UNITS = 10


def directions() -> np.ndarray:
    """What each colour is in the ten units, [3, 10], each of length 1; they overlap in the last unit."""
    mixed = np.zeros((3, UNITS), np.float32)
    for k in range(3):
        mixed[k, 3 * k : 3 * k + 3] = (1.0, 0.5, 0.25 + 0.25 * k)
        mixed[k, 9] = 0.3
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


class Mixer(nn.Module):
    """Pixels [n, 3, 16, 16] to units at 4 x 4 places, to how much of each colour there is."""

    def __init__(self, *, deaf: bool = False) -> None:
        super().__init__()
        self.units = nn.Conv2d(3, UNITS, 4, stride=4, bias=False)
        self.act = nn.ReLU()
        self.head = nn.Linear(UNITS, 3, bias=False)
        known = torch.from_numpy(directions())
        with torch.no_grad():
            self.units.weight.copy_(known.T[:, :, None, None].expand(-1, -1, 4, 4) / 16)
            # The answer to "red" of a deaf network says nothing of what there is.
            self.head.weight.copy_(20 * torch.linalg.pinv(known.T))
            if deaf:
                self.head.weight[0] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.units(x)).mean((2, 3)))


def mixer(*, deaf: bool = False) -> Network:
    """The network, with pixels from 0 to 1 as they are."""
    taken = ImageInput(size=(SIDE, SIDE), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Network(Mixer(deaf=deaf), name="mixer", input=taken, classes=COLOURS)


def patches(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of 4 x 4 patches, each black or of one of the colours; and the commonest colour."""
    random = np.random.default_rng(seed)
    which = random.choice(4, (n, 4, 4), p=[0.28, 0.24, 0.24, 0.24])
    bright = random.integers(80, 256, (n, 4, 4))
    small = np.zeros((n, 4, 4, 3), np.uint8)
    for k in range(3):
        small[..., k] = np.where(which == k + 1, bright, 0)
    images = small.repeat(4, 1).repeat(4, 2)
    return images, images.sum((1, 2), dtype=np.int64).argmax(1)


def patch_data(folder: Path, n: int = 60) -> Dataset:
    """The same as a data set that was loaded."""
    images, labels = patches(n)
    np.savez(folder / "patches.npz", x=images, y=labels)
    return load_dataset(folder / "patches.npz", classes=COLOURS)
