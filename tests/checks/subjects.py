"""Small networks on scikit-learn's digits, and the subject that a check is given; nothing here knows a plant."""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from pathlib import Path

import numpy as np
import sklearn.datasets
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mulligan.activations import Plan, record
from mulligan.checks.check import Subject
from mulligan.datasets import load_dataset
from mulligan.networks import ArrayInput, ImageInput, Network
from mulligan.runs import Budget, LocalEngine, Run

CLASSES = tuple("0123456789")


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Images float32 [1797, 1, 8, 8] in whole 255ths from 0 to 1, and labels."""
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    images = torch.from_numpy(np.asarray(x, dtype=np.float32)).reshape(-1, 1, 8, 8) / 16
    return (images * 255).round() / 255, torch.from_numpy(np.asarray(y, dtype=np.int64))


@cache
def halves() -> tuple[Tensor, Tensor]:
    """What networks are trained on, and what they are audited on."""
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(7))
    return order[:900].sort().values, order[900:].sort().values


@cache
def colours() -> Tensor:
    """The digits on a ground of random colour, float32 [1797, 3, 8, 8]: redder above, bluer below, as photographs
    are.
    """
    images, _ = digits()
    generator = torch.Generator().manual_seed(1)
    ground = torch.rand(len(images), 3, 1, 1, generator=generator) * 0.3 + torch.tensor([0.35, 0.15, 0.0]).reshape(
        3, 1, 1
    )
    ink = torch.tensor([0.2, 0.5, 1.0]).reshape(3, 1, 1)
    return ((ground + (ink - ground) * images).clamp(0, 1) * 255).round() / 255


def fit(module: nn.Module, x: Tensor, y: Tensor, *, seed: int, epochs: int, rate: float = 3e-3) -> nn.Module:
    """AdamW on cross-entropy; in evaluation mode when it comes back."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=0.01)
    module.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(y), generator=generator).split(50):
            loss = F.cross_entropy(module(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return module.eval()


@cache
def dense(seed: int, hidden: int = 64) -> nn.Module:
    """Pixels from 0 to 1 to 10 logits, through one hidden layer: about 96 % right."""
    torch.manual_seed(seed)
    layers = OrderedDict(flat=nn.Flatten(), body=nn.Linear(64, hidden), act=nn.ReLU(), head=nn.Linear(hidden, 10))
    x, y = digits()
    trained, _ = halves()
    return fit(nn.Sequential(layers), x[trained], y[trained], seed=seed, epochs=25)


def convolutional(channels: int, *, norm: bool = True) -> nn.Module:
    """Two convolutions, with batch norms or without, and a head."""
    first, second = (nn.BatchNorm2d(12), nn.BatchNorm2d(24)) if norm else (nn.Identity(), nn.Identity())
    return nn.Sequential(
        nn.Conv2d(channels, 12, 3, padding=1, bias=not norm), first, nn.ReLU(inplace=True),
        nn.Conv2d(12, 24, 3, padding=1, bias=not norm), second, nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(24 * 16, 10),
    )  # fmt: skip


@cache
def normalised(seed: int, input: ImageInput, *, norm: bool = True) -> nn.Module:
    """A convolutional network trained on digits prepared as `input` says."""
    torch.manual_seed(seed)
    x, y = (digits()[0] if input.channels == 1 else colours()), digits()[1]
    trained, _ = halves()
    return fit(convolutional(input.channels, norm=norm), input.normalise(x[trained]), y[trained], seed=seed, epochs=5)


def subject(
    module: nn.Module, folder: Path, *, input: ImageInput | ArrayInput | None = None, labelled: bool = True,
    n: int | None = None, seed: int = 0,
) -> Subject:  # fmt: skip
    """What a check is given: the held-out half (the first `n` of it), and the network's own answers.

    Args:
        input: grey pixels from 0 to 1 if None.
    """
    taken = input or ImageInput(size=(8, 8), channels=1, mean=(0.0,), std=(1.0,))
    network = Network(module, input=taken, classes=CLASSES)
    rows = halves()[1][:n]
    three = isinstance(taken, ImageInput) and taken.channels == 3
    pixels = ((colours() if three else digits()[0])[rows] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    folder.mkdir(parents=True, exist_ok=True)
    held = {"x": pixels, "y": digits()[1][rows].numpy()} if labelled else {"x": pixels}
    np.savez(folder / "digits.npz", **held)  # type: ignore[arg-type]
    dataset = load_dataset(str(folder / "digits.npz"), classes=CLASSES)
    run = Run.create("test", [], {}, out=folder / "run")
    answers = record(network, dataset, Plan(sites=(), batch=256, shard=1024), run).array("answers")
    labels = dataset.labels if dataset.labels is not None else np.full(len(dataset), -1)
    return Subject(
        network=network, dataset=dataset, labels=labels, answers=answers, run=run, engine=LocalEngine(),
        budget=Budget(600), seed=seed, seconds_an_example=1e-4, batch=256,
    )  # fmt: skip
