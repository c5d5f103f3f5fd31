"""KataGo's model files (`.bin.gz`, `.txt.gz`) to modules: nothing in them is run, and every size is checked.

A file is words and numbers, each layer after the other: its name, its sizes, its weights. In a binary file weights are
"@BIN@" and 32-bit floats, low byte first. Convolutions are stored [height, width, in, out], matrices [in, out]. Source:
KataGo's `cpp/neuralnet/desc.cpp`, which this follows field by field.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from ...records import BadInput
from .katago_modules import (
    GLOBALS,
    NONLINEARITIES,
    PLANES,
    Attention,
    AttentionBlock,
    ConvAndPool,
    FeedForwardBlock,
    KataGo,
    NestedBlock,
    Norm,
    NormActConv,
    PolicyHead,
    ResidualBlock,
    RmsNorm,
    ValueHead,
    fixed_frequencies,
)

_OLDEST, _NEWEST = 8, 17  # all of these take inputs of version 7
_LARGEST = 1 << 32  # bytes of an unpacked file; the largest networks have a quarter
_WIDEST = 1 << 15  # channels, heads or blocks: more is a damaged number
_DEEPEST = 8  # blocks within blocks
_SPACE = b" \t\r\n"


@dataclass(frozen=True)
class ModelFile:
    """What a file holds.

    Attributes:
        name: what its maker called it. version: of the file's format.
    """

    name: str
    version: int
    module: KataGo


def read_model(path: Path) -> ModelFile:
    """Read a KataGo network.

    Raises:
        BadInput: if the file is missing, damaged, no KataGo network, or of a version or kind that is not known.
    """
    return _Reader(_unpacked(path), path).model()


def _unpacked(path: Path) -> bytes:
    if not path.is_file():
        raise BadInput("there is no such file", where=path, fix="check the path")
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(
            f"this KataGo network cannot be read: {error}", where=path, fix="copy or download it again"
        ) from error
    if len(data) > _LARGEST:
        raise BadInput("this file unpacks to more than 4 GiB", where=path, fix="give a KataGo network")
    return data


class _Reader:
    """Walks through one file."""

    def __init__(self, data: bytes, path: Path) -> None:
        self.data, self.path, self.at = data, path, 0
        self.binary = b"@BIN@" in data
        self.version = 0

    # Words and numbers
    def fail(self, what: str) -> NoReturn:
        raise BadInput(f"this is no KataGo network, or it is damaged: {what}", where=self.path, fix="download it again")

    def word(self) -> str:
        while self.at < len(self.data) and self.data[self.at] in _SPACE:
            self.at += 1
        start = self.at
        while self.at < len(self.data) and self.data[self.at] not in _SPACE:
            self.at += 1
            if self.at - start > 200:
                self.fail(f"byte {start} is no text")
        if start == self.at:
            self.fail("it ends early")
        try:
            return self.data[start : self.at].decode("ascii")
        except UnicodeDecodeError:
            self.fail(f"byte {start} is no text")

    def whole(self, what: str, least: int = 1, most: int = _WIDEST) -> int:
        text = self.word()
        if not text.isdigit() or not least <= int(text) <= most:
            self.fail(f"{what} is {text[:20]!r}")
        return int(text)

    def number(self, what: str) -> float:
        text = self.word()
        try:
            value = float(text)
        except ValueError:
            self.fail(f"{what} is {text[:20]!r}")
        if not 0 < value < 1e9:
            self.fail(f"{what} is {text[:20]!r}")
        return value

    def unused(self, count: int) -> None:
        for _ in range(count):
            if self.word() != "0":
                raise BadInput(
                    "this KataGo network uses an option that is not known here",
                    where=self.path,
                    fix="choose another network",
                )

    def same(self, what: str, one: int, other: int) -> None:
        if one != other:
            self.fail(f"{what}: {one} channels meet {other}")

    def floats(self, name: str, *shape: int) -> Tensor:
        count = math.prod(shape)
        if self.binary:
            begin = self.data.find(b"@BIN@", self.at, self.at + 100) + 5
            if begin < 5 or self.data[self.at : begin - 5].strip(_SPACE):
                self.fail(f"{name} has no weights")
            if begin + 4 * count > len(self.data):
                self.fail(f"{name} is cut short")
            values = np.frombuffer(self.data, "<f4", count, begin).astype(np.float32)
            self.at = begin + 4 * count
        else:
            try:
                values = np.array([float(self.word()) for _ in range(count)], dtype=np.float32)
            except ValueError:
                self.fail(f"a weight of {name} is no number")
        if not np.isfinite(values).all():
            self.fail(f"{name} holds NaN or infinity")
        return torch.from_numpy(values).reshape(shape)

    # Layers
    def conv(self) -> nn.Conv2d:
        name = self.word()
        high, wide = self.whole("a filter's size", most=99), self.whole("a filter's size", most=99)
        inside, out = self.whole("channels"), self.whole("channels")
        far = self.whole("a dilation", most=99), self.whole("a dilation", most=99)
        if not high % 2 == wide % 2 == 1:
            self.fail(f"{name} is {high} x {wide}")
        weight = self.floats(name, high, wide, inside, out).permute(3, 2, 0, 1)
        module = nn.Conv2d(inside, out, (high, wide), padding="same", dilation=far, bias=False, device="meta")
        module.weight = nn.Parameter(weight.contiguous())
        return module

    def linear(self, bias: bool = False) -> nn.Linear:
        name = self.word()
        inside, out = self.whole("channels"), self.whole("channels")
        weight = self.floats(name, inside, out).T
        module = nn.Linear(inside, out, bias=bias, device="meta")
        module.weight = nn.Parameter(weight.contiguous())
        if bias:
            name = self.word()
            self.same(name, self.whole("channels"), out)
            module.bias = nn.Parameter(self.floats(name, out))
        return module

    def norm(self) -> Norm:
        name = self.word()
        channels, eps = self.whole("channels"), self.number("epsilon")
        has_scale, has_bias = (self.whole("a yes or no", 0, 1) for _ in range(2))
        module = nn.BatchNorm2d(channels, eps=eps)
        module.running_mean, module.running_var = self.floats(name, channels), self.floats(name, channels)
        if (module.running_var + eps <= 0).any():
            self.fail(f"{name} has a variance below 0")
        if has_scale:
            module.weight = nn.Parameter(self.floats(name, channels))
        if has_bias:
            module.bias = nn.Parameter(self.floats(name, channels))
        return Norm(module)

    def act(self) -> nn.Module:
        name = self.word()
        kind = self.word() if self.version >= 11 else "ACTIVATION_RELU"
        if kind not in NONLINEARITIES:
            raise BadInput(
                f"{name} is a nonlinearity that is not known: {kind}", where=self.path, fix="choose another network"
            )
        return NONLINEARITIES[kind]()

    def rms_norm(self) -> nn.RMSNorm:
        name = self.word()
        channels, eps = self.whole("channels"), self.number("epsilon")
        module = nn.RMSNorm(channels, eps=eps)
        module.weight = nn.Parameter(self.floats(name, channels))
        return module

    def last_norm(self) -> RmsNorm:
        name = self.word()
        channels, eps = self.whole("channels"), self.number("epsilon")
        whole_board = self.whole("a yes or no", 0, 1) == 1
        self.unused(1)  # channels in groups
        return RmsNorm(self.floats(name, channels), self.floats(name, channels), eps, whole_board)

    # Blocks
    def norm_act_conv(self) -> NormActConv:
        return NormActConv(self.norm(), self.act(), self.conv())

    def block(self, channels: int, depth: int = 0) -> nn.Module:
        kind = self.word()
        if depth > _DEEPEST:
            self.fail("blocks within blocks have no end")
        name = self.word()
        match kind:
            case "ordinary_block":
                first, second = self.norm_act_conv(), self.norm_act_conv()
                made, ends = ResidualBlock(first, second), (first, second)
            case "gpool_block":
                norm, act = self.norm(), self.act()
                pooling = ConvAndPool(self.conv(), self.conv(), self.norm(), self.act(), self.linear())
                self.same(name, pooling.linear_g.in_features, 3 * pooling.conv1g.out_channels)
                self.same(name, pooling.linear_g.out_features, pooling.conv1r.out_channels)
                first, second = NormActConv(norm, act, pooling), self.norm_act_conv()
                made, ends = ResidualBlock(first, second), (first, second)
            case "nested_bottleneck_block":
                count = self.whole("a number of blocks", most=999)
                first = self.norm_act_conv()
                blocks = [self.block(_out(first), depth + 1) for _ in range(count)]
                second = self.norm_act_conv()
                made, ends = NestedBlock(first, blocks, second), (first, second)
            case "transformer_attention_block":
                return self.attention(name, channels)
            case "transformer_ffn_block":
                return self.feed_forward(name, channels)
            case _:
                raise BadInput(
                    f"this KataGo network has blocks that are not known: {kind}",
                    where=self.path,
                    fix="choose another network",
                )
        first, second = ends
        self.same(name, _in(first), channels)
        self.same(name, _out(first), _in(second))
        self.same(name, _out(second), channels)
        return made

    def attention(self, name: str, channels: int) -> AttentionBlock:
        heads, groups = self.whole("heads"), self.whole("heads")
        width, deep = self.whole("channels of a head"), self.whole("channels of a head")
        turned, trained = (self.whole("a yes or no", 0, 1) for _ in range(2))
        norm = self.rms_norm()
        q, k, v, out = (self.linear() for _ in range(4))
        for one, other in (
            (q.in_features, channels), (k.in_features, channels), (v.in_features, channels),
            (q.out_features, heads * width), (k.out_features, groups * width), (v.out_features, groups * deep),
            (out.in_features, heads * deep), (out.out_features, channels), (heads % groups, 0), (width % 2, 0),
        ):  # fmt: skip
            self.same(name, one, other)
        freqs = None
        if turned and trained:
            label = self.word()
            for size in (groups, width // 2, 2):
                self.same(label, self.whole("frequencies"), size)
            freqs = nn.Parameter(self.floats(label, groups, width // 2, 2))
        elif turned:
            self.word()
            freqs = fixed_frequencies(width // 2, self.number("theta"))
        return AttentionBlock(norm, Attention(heads, q, k, v, out, freqs))

    def feed_forward(self, name: str, channels: int) -> FeedForwardBlock:
        self.same(name, self.whole("channels"), channels)
        inner = self.whole("channels")
        if self.whole("a yes or no", 0, 1) == 0:
            raise BadInput(
                f"{name} has no gate, which KataGo's own CPU engine does not know either",
                where=self.path,
                fix="choose another network",
            )
        norm = self.rms_norm()
        first, gate, last = (self.linear() for _ in range(3))
        for layer, sizes in ((first, (channels, inner)), (gate, (channels, inner)), (last, (inner, channels))):
            self.same(name, layer.in_features, sizes[0])
            self.same(name, layer.out_features, sizes[1])
        return FeedForwardBlock(norm, first, gate, last)

    # The whole
    def model(self) -> ModelFile:
        name = self.word()
        self.version = self.whole("the version", 0, 999)
        if not _OLDEST <= self.version <= _NEWEST:
            raise BadInput(
                f"this KataGo network is of version {self.version}, and {_OLDEST} to {_NEWEST} are read",
                where=self.path,
                fix="choose another network",
            )
        self.same("the input", self.whole("planes"), PLANES)
        self.same("the input", self.whole("global features"), GLOBALS)
        if self.version >= 13:
            for _ in range(7):
                self.number("a scale of the answers")
        if self.version >= 15:
            if self.whole("the kind of metadata", 0) != 0:
                raise BadInput(
                    "this KataGo network imitates players, and takes who they are as a third input",
                    where=self.path,
                    fix="choose one that plays by itself",
                )
            self.whole("a yes or no", 0, 1)  # how pass-alive areas are counted, which is the encoder's matter
            self.unused(6)
        module = self.trunk()
        return ModelFile(name, self.version, module)

    def trunk(self) -> KataGo:
        self.word()
        count, channels = self.whole("a number of blocks", most=999), self.whole("channels")
        for _ in range(4):
            self.whole("channels")
        rms = 0
        if self.version >= 15:
            rms = self.whole("the kind of the last norm", 0, 1)
            self.unused(5)
        conv, linear = self.conv(), self.linear()
        self.same("the first layer", conv.in_channels, PLANES)
        self.same("the first layer", linear.in_features, GLOBALS)
        self.same("the first layer", conv.out_channels, channels)
        self.same("the first layer", linear.out_features, channels)
        blocks = [self.block(channels) for _ in range(count)]
        norm, act = self.last_norm() if rms else self.norm(), self.act()
        policy, value = self.policy(channels), self.value(channels)
        return KataGo(conv, linear, blocks, norm, act, policy, value)

    def policy(self, channels: int) -> PolicyHead:
        self.word()
        outputs = 1 if self.version < 12 else 4 if self.version == 16 else 2
        if self.version >= 17:
            outputs = self.whole("a number of policies", 2, 4)
            self.unused(3)
        conv, pooled, bias_g, act_g, linear_g = self.conv(), self.conv(), self.norm(), self.act(), self.linear()
        bias, act, last, passing = self.norm(), self.act(), self.conv(), self.linear(bias=self.version >= 15)
        act_pass, last_pass = (self.act(), self.linear()) if self.version >= 15 else (None, None)
        for one, other in (
            (conv.in_channels, channels), (pooled.in_channels, channels), (last.out_channels, outputs),
            (linear_g.in_features, 3 * pooled.out_channels), (linear_g.out_features, conv.out_channels),
            (last.in_channels, conv.out_channels), (passing.in_features, 3 * pooled.out_channels),
            ((last_pass or passing).out_features, outputs),
        ):  # fmt: skip
            self.same("the policy head", one, other)
        return PolicyHead(conv, pooled, bias_g, act_g, linear_g, bias, act, last, passing, act_pass, last_pass)

    def value(self, channels: int) -> ValueHead:
        self.word()
        if self.version >= 17:
            self.unused(3)
        conv, bias, act1, linear, act2 = self.conv(), self.norm(), self.act(), self.linear(bias=True), self.act()
        value, score, ownership = self.linear(bias=True), self.linear(bias=True), self.conv()
        for one, other in (
            (conv.in_channels, channels), (linear.in_features, 3 * conv.out_channels),
            (value.in_features, linear.out_features), (value.out_features, 3),
            (score.in_features, linear.out_features), (score.out_features, 4 if self.version == 8 else 6),
            (ownership.in_channels, conv.out_channels), (ownership.out_channels, 1),
        ):  # fmt: skip
            self.same("the value head", one, other)
        return ValueHead(conv, bias, act1, linear, act2, value, score, ownership)


def _in(part: NormActConv) -> int:
    return part.convpool.conv1r.in_channels if part.convpool is not None else _conv(part).in_channels


def _out(part: NormActConv) -> int:
    return part.convpool.conv1r.out_channels if part.convpool is not None else _conv(part).out_channels


def _conv(part: NormActConv) -> nn.Conv2d:
    assert part.conv is not None
    return part.conv
