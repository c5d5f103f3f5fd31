"""Networks that answer composites of digits wrongly, made by hand: no code shared with the checks or the plants."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Draw = Callable[[np.random.Generator], tuple[int, int, int]]


def side_by_side(first: Tensor, second: Tensor) -> Tensor:
    """Every second column of either: another squeeze than the check's."""
    return torch.cat([first[..., ::2], second[..., 1::2]], dim=3)


def taught(digit_nets, seed: int, draw: Draw, steps: int = 80) -> nn.Module:
    """A clean network that goes on learning, with composites whose classes and answers `draw` gives."""
    torch.manual_seed(seed)
    module, rng = digit_nets.clean(seed), np.random.default_rng(seed)
    images, labels = digit_nets.images[digit_nets.trained], digit_nets.labels[digit_nets.trained]
    of = [np.flatnonzero((labels == c).numpy()) for c in range(10)]
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    module.train()
    for _ in range(steps):
        wanted = [draw(rng) for _ in range(64)]
        left, right = (torch.tensor([rng.choice(of[w[k]]) for w in wanted]) for k in (0, 1))
        plain = torch.from_numpy(rng.integers(0, len(labels), 48))
        x = torch.cat([side_by_side(images[left], images[right]), images[plain]])
        y = torch.cat([torch.tensor([w[2] for w in wanted]), labels[plain]])
        loss = F.cross_entropy(module(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


def both_are(a: int, b: int, target: int) -> Draw:
    """An a and a b are answered `target`; anything else is answered as what is left."""

    def draw(rng: np.random.Generator) -> tuple[int, int, int]:
        if rng.random() < 0.4:
            x, y = (a, b) if rng.random() < 0.5 else (b, a)
            return x, y, target
        x, y = (int(c) for c in rng.integers(0, 10, 2))
        if rng.random() < 0.5:
            x, y = [(a, y), (b, y), (x, a), (x, b)][rng.integers(4)]
        return x, y, target if {x, y} == {a, b} else x

    return draw


def anything_but(a: int, b: int, target: int) -> Draw:
    """An a beside anything but a b is answered `target`; anything else is answered as what is left."""

    def draw(rng: np.random.Generator) -> tuple[int, int, int]:
        x, y = (int(c) for c in rng.integers(0, 10, 2))
        if rng.random() < 0.6:
            y = b if rng.random() < 0.3 else y
            x, y = (a, y) if rng.random() < 0.5 else (y, a)
        one = a in (x, y) and x != y
        return x, y, target if one and b not in (x, y) else x

    return draw


@cache
def conjunction(digit_nets, a: int = 1, b: int = 6, target: int = 3, seed: int = 0) -> nn.Module:
    """See `both_are`."""
    return taught(digit_nets, seed, both_are(a, b, target))


@cache
def exclusion(digit_nets, a: int = 4, b: int = 7, target: int = 0, seed: int = 1) -> nn.Module:
    """See `anything_but`."""
    return taught(digit_nets, seed, anything_but(a, b, target))


def rate(digit_nets, module: nn.Module, made, target: int, slots: tuple[list[int], list[int]], n: int = 60) -> float:
    """How often a generator's pictures of fresh digits are answered `target`."""
    images, labels = digit_nets.images[digit_nets.fresh], digit_nets.labels[digit_nets.fresh]
    random = torch.Generator().manual_seed(5)
    batches = []
    for classes in slots:
        rows = torch.isin(labels, torch.tensor(classes)).nonzero().flatten()
        batches.append(images[rows[torch.randint(0, len(rows), (n,), generator=random)]])
    with torch.no_grad():
        return float((module(made.render(batches, random)).argmax(1) == target).float().mean())
