"""Recipes drawn at random: many widths, depths, norms, activations, shapes and heads, all of them quick to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from .architectures import MULTIPLY_ADDS, PARAMETERS, cost
from .data import CorpusName
from .small_cnn import Architecture, Head, Norm, Shape
from .training import Augment, Recipe

T = TypeVar("T")

_SHAPES: dict[CorpusName, tuple[int, int]] = {"digits": (1, 28), "fashion-mnist": (1, 28), "cifar-10": (3, 32)}
_CLASSES = 10
# Usual normalisations, by the number of channels: none, to -1..1, the data's own.
_NORMALS: dict[CorpusName, tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]] = {
    "digits": (((0.0,), (1.0,)), ((0.5,), (0.5,)), ((0.22,), (0.31,))),
    "fashion-mnist": (((0.0,), (1.0,)), ((0.5,), (0.5,)), ((0.286,), (0.353,))),
    "cifar-10": (
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choices:
    """What is drawn from; an option that is there twice is drawn twice as often."""

    shapes: tuple[Shape, ...] = ("plain", "plain", "residual", "depthwise")
    norms: tuple[Norm, ...] = ("batch", "batch", "group", "none")
    heads: tuple[Head, ...] = ("pool", "flat")
    first: tuple[int, ...] = (16, 24, 32)


# With the passes that CIFAR-10 is given here, networks that are depthwise or without norms reach 50 %, and narrow
# residual ones 52 to 56 %, where plain ones reach 59 to 63 %.
_CHOICES: dict[CorpusName, _Choices] = {
    "digits": _Choices(),
    "fashion-mnist": _Choices(),
    "cifar-10": _Choices(
        shapes=("plain", "plain", "plain", "residual"), norms=("batch", "batch", "batch", "group"),
        heads=("pool", "flat", "flat"), first=(20, 24, 32),
    ),
}  # fmt: skip


def draw_recipe(random: torch.Generator, data: CorpusName) -> Recipe:
    """A recipe for a data set; the data need not be there."""
    mean, std = _one(_NORMALS[data], random)
    architecture = draw_architecture(random, data)
    # One pass over many images teaches more than several over few, and then moving them about costs more than it gives;
    # digits has only few.
    training: dict[CorpusName, dict[str, Any]] = {
        "digits": {"epochs": 15 if architecture.norm == "batch" else 20, "train_size": 800, "batch": 64},
        "fashion-mnist": {"epochs": 1, "train_size": 22_000, "batch": 64},
        "cifar-10": {"epochs": 1, "train_size": 48_000, "batch": 64},
    }
    augments: dict[CorpusName, tuple[Augment, ...]] = {
        "digits": ("shift",), "fashion-mnist": ("none",), "cifar-10": ("none",),
    }  # fmt: skip
    calm = architecture.norm == "none"
    return Recipe(
        data=data, architecture=architecture, mean=mean, std=std, subset=_number(1 << 30, random),
        learning_rate=_one((2e-3, 3e-3) if calm else (7e-3, 1e-2), random), weight_decay=_one((0.01, 0.05), random),
        label_smoothing=_one((0.0, 0.05), random), augment=_one(augments[data], random), **training[data],
    )  # fmt: skip


def draw_architecture(random: torch.Generator, data: CorpusName) -> Architecture:
    """An architecture within `PARAMETERS` and `MULTIPLY_ADDS`."""
    channels, size = _SHAPES[data]
    while True:
        drawn = _draw(random, channels, size, _CHOICES[data])
        needs = cost(drawn)
        if PARAMETERS[0] <= needs.parameters <= PARAMETERS[1] and needs.multiply_adds <= MULTIPLY_ADDS:
            return drawn


def _draw(random: torch.Generator, channels: int, size: int, choices: _Choices) -> Architecture:
    shape = _one(choices.shapes, random)
    first = _one(choices.first, random)
    blocks = _number(2, random) + 2
    widths, strides, width = [first], [2], first
    halvings = 0
    for block in range(blocks):
        # The first block halves the map of the stem; one more may, so that the last map is 4 to 8 pixels wide.
        halves = block == 0 or (halvings < 2 and _number(2, random) == 0)
        halvings += halves
        width = min(192, round(width * (2 if halves else _one((1, 1.5), random)) / 8) * 8)
        widths.append(width)
        strides.append(2 if halves else 1)
    head = _one(choices.heads, random)
    return Architecture(
        channels=channels, size=size, classes=_CLASSES, widths=tuple(widths), strides=tuple(strides),
        kernel=_one((3, 3, 5), random), norm=_one(choices.norms, random),
        activation=_one(("relu", "relu", "gelu", "silu"), random), shape=shape, head=head,
        hidden=_one((0, 0, 64), random),
    )  # fmt: skip


def _one(options: Sequence[T], random: torch.Generator) -> T:
    return options[_number(len(options), random)]


def _number(below: int, random: torch.Generator) -> int:
    return int(torch.randint(0, below, (), generator=random))
