"""A network with units that are known concepts, and pictures with those concepts somewhere in noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from mulligan.datasets import Dataset, load_dataset
from mulligan.networks import Network, parse_input

SIZE, UNITS = 14, 12
NAMES = ("cross", "ring", "bars", "corner")
INPUT = f"size={SIZE},channels=1,mean=0.5,std=0.5"
_CROSS = [[0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]]
_RING = [[0, 1, 1, 1, 0], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [0, 1, 1, 1, 0]]
_BARS = [[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]
_CORNER = [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0]]
PATTERNS = np.array([_CROSS, _RING, _BARS, _CORNER], np.float32)


def write_pictures(folder: Path, n: int = 240, seed: int = 0) -> Path:
    """Pictures of noise, each with one pattern somewhere, as bright on average as any other."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(NAMES)
    pixels = rng.normal(0.5, 0.09, (n, SIZE, SIZE))
    for row, label in enumerate(labels):
        top, left = rng.integers(0, SIZE - 5, 2)
        mark = PATTERNS[label] - PATTERNS[label].mean()
        pixels[row, top : top + 5, left : left + 5] += 0.35 * mark
    file = folder / "pictures.npz"
    np.savez(file, x=(np.clip(pixels, 0, 1) * 255).round().astype(np.uint8), y=labels)
    return file


def module(planted: bool, seed: int = 0) -> nn.Module:
    """Units 0 to 3 answer to one pattern each, if planted; all others are random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(1 if planted else 6, UNITS, 5, padding=2), nn.ReLU(),
            nn.Conv2d(UNITS, 8, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, len(NAMES)),
        )  # fmt: skip
    if planted:
        net[0], net[1] = nn.Identity(), nn.Identity()
        with torch.no_grad():
            net[2].bias.zero_()
            for unit, pattern in enumerate(PATTERNS):
                mark = torch.from_numpy(pattern - pattern.mean())
                net[2].weight[unit, 0] = mark / mark.norm()
                net[2].bias[unit] = -1.2
            for layer in (net[4], net[8]):
                layer.weight.zero_()
                layer.bias.zero_()
                layer.weight.flatten(1)[: len(NAMES), : len(NAMES)] = torch.eye(len(NAMES))
    return net.eval()


def network(planted: bool = True, seed: int = 0) -> Network:
    return Network(module(planted, seed), name="patterns", input=parse_input(INPUT), classes=NAMES)


def data(folder: Path, n: int = 240) -> Dataset:
    return load_dataset(write_pictures(folder, n), classes=NAMES)
