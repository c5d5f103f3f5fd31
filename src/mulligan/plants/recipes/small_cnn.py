"""A family of small convolutional classifiers, built from a few numbers and words. It needs nothing but torch.

A stem of convolution, normalisation and activation, which may halve the picture; blocks of one of three shapes; and a
head that either averages over positions or sees them all. The text of this file is also what an entry of the game
carries, so it imports nothing of ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

Norm = Literal["batch", "group", "none"]
Shape = Literal["plain", "residual", "depthwise"]
Head = Literal["pool", "flat"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """What a `SmallCNN` is built from; plain JSON.

    Attributes:
        channels, size: of the pictures, [channels, size, size].
        classes: how many outputs there are.
        widths: channels after the stem and after each block. strides: of the stem and of each block (1 or 2).
        kernel: of the stem, odd; the blocks' are 3 x 3.
        norm: "batch" (Ioffe & Szegedy 2015), "group" (Wu & He 2018; groups of 8 channels), or "none".
        activation: "relu", "gelu" or "silu".
        shape: of a block. "plain": one convolution. "residual": two, and a way around them (He et al. 2016).
            "depthwise": one of each channel by itself, then one of 1 x 1 (Howard et al. 2017).
        head: "pool" (the mean over positions) or "flat" (all positions), then linear.
        hidden: width of a layer between that and the last one; 0 for none.
    """

    channels: int
    size: int
    classes: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    kernel: int = 3
    norm: Norm = "batch"
    activation: Literal["relu", "gelu", "silu"] = "relu"
    shape: Shape = "plain"
    head: Head = "pool"
    hidden: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON has lists only
        object.__setattr__(self, "strides", tuple(self.strides))
        if not self.widths or len(self.widths) != len(self.strides):
            raise ValueError(f"as many widths as strides are needed, at least one: {self.widths}, {self.strides}")
        if min(self.channels, self.size, self.classes, *self.widths) < 1 or self.hidden < 0:
            raise ValueError("channels, size, classes and widths are at least 1, hidden at least 0")
        if not set(self.strides) <= {1, 2} or self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"strides are 1 or 2, and the kernel is odd: {self.strides}, {self.kernel}")
        for value, known in (
            (self.norm, get_args(Norm)),
            (self.activation, tuple(ACTIVATIONS)),
            (self.shape, get_args(Shape)),
            (self.head, get_args(Head)),
        ):
            if value not in known:
                raise ValueError(f"{value!r} is none of {', '.join(known)}")

    @property
    def side(self) -> int:
        """Of the last block's map, which is [widths[-1], side, side]."""
        side = self.size
        for stride in self.strides:
            side = -(-side // stride)
        return side


class PlainBlock(nn.Module):
    """Convolution, normalisation, activation: [n, inputs, s, s] to [n, outputs, s / stride, s / stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int, a: Architecture, kernel: int = 3) -> None:
        super().__init__()
        self.conv = _convolution(inputs, outputs, kernel, stride, a)
        self.norm = _norm(outputs, a)
        self.act = ACTIVATIONS[a.activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x)))


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to what came in (or to a 1 x 1 convolution of it, where shapes differ)."""

    def __init__(self, inputs: int, outputs: int, stride: int, a: Architecture) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, outputs, 3, stride, a)
        self.norm1 = _norm(outputs, a)
        self.act1 = ACTIVATIONS[a.activation]()
        self.conv2 = _convolution(outputs, outputs, 3, 1, a)
        self.norm2 = _norm(outputs, a)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _convolution(inputs, outputs, 1, stride, a)
        self.act2 = ACTIVATIONS[a.activation]()
        if a.norm == "none":  # else the sum grows with depth
            with torch.no_grad():
                self.conv2.weight.mul_(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        return self.act2(inner + self.shortcut(x))


class DepthwiseBlock(nn.Module):
    """A convolution of each channel by itself, then one of 1 x 1 across channels."""

    def __init__(self, inputs: int, outputs: int, stride: int, a: Architecture) -> None:
        super().__init__()
        self.depthwise = _convolution(inputs, inputs, 3, stride, a, groups=inputs)
        self.norm1 = _norm(inputs, a)
        self.act1 = ACTIVATIONS[a.activation]()
        self.pointwise = _convolution(inputs, outputs, 1, 1, a)
        self.norm2 = _norm(outputs, a)
        self.act2 = ACTIVATIONS[a.activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act1(self.norm1(self.depthwise(x)))
        return self.act2(self.norm2(self.pointwise(x)))


BLOCKS = {"plain": PlainBlock, "residual": ResidualBlock, "depthwise": DepthwiseBlock}


class SmallCNN(nn.Module):
    """Pictures [n, channels, size, size] to logits [n, classes].

    The weights are drawn from torch's global generator.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        self.stem = PlainBlock(a.channels, a.widths[0], a.strides[0], a, a.kernel)
        block = BLOCKS[a.shape]
        self.blocks = nn.Sequential(
            *(block(a.widths[i - 1], a.widths[i], a.strides[i], a) for i in range(1, len(a.widths)))
        )
        self.pool = nn.AdaptiveAvgPool2d(1) if a.head == "pool" else nn.Identity()
        self.flat = nn.Flatten()
        features = a.widths[-1] * (1 if a.head == "pool" else a.side**2)
        if a.hidden:
            self.neck = nn.Sequential(nn.Linear(features, a.hidden), ACTIVATIONS[a.activation]())
            features = a.hidden
        else:
            self.neck = nn.Identity()
        self.head = nn.Linear(features, a.classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.neck(self.flat(self.pool(self.blocks(self.stem(x))))))


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, a: Architecture, groups: int = 1) -> nn.Conv2d:
    bare = a.norm == "none"
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bare)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _norm(width: int, a: Architecture) -> nn.Module:
    if a.norm == "batch":
        return nn.BatchNorm2d(width)
    if a.norm == "group":
        return nn.GroupNorm(max(1, math.gcd(width, max(1, width // 8))), width)
    return nn.Identity()
