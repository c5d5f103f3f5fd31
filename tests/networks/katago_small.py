"""Small KataGo model files with random weights, each written beside a slow numpy computation of what it answers.

Every layer appends itself to the file and returns a function of arrays [channel, row, column]; nothing of ours is used.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray
Layer = Callable[..., Array]


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def mish(x: Array) -> Array:
    return x * np.tanh(np.log1p(np.exp(x)))


ACTS: dict[str, Callable[[Array], Array]] = {
    "ACTIVATION_IDENTITY": lambda x: x,
    "ACTIVATION_RELU": lambda x: np.maximum(x, 0),
    "ACTIVATION_MISH": mish,
    "ACTIVATION_SILU": silu,
}


class Maker:
    """Writes one file, from the first word on."""

    def __init__(self, version: int, *, binary: bool = True, seed: int = 0) -> None:
        self.version, self.binary = version, binary
        self.random = np.random.default_rng(seed)
        self.parts: list[bytes] = []

    def say(self, *words: object) -> None:
        self.parts.append("".join(f"{word}\n" for word in words).encode())

    def put(self, values: Array) -> Array:
        """Weights as the file stores them; what float32 keeps of them."""
        values = values.astype("<f4")
        if self.binary:
            self.parts.append(b"@BIN@" + values.tobytes() + b"\n")
        else:
            self.parts.append((" ".join(repr(float(value)) for value in values.reshape(-1)) + "\n").encode())
        return values.astype(np.float64)

    def weights(self, *shape: int, scale: float = 1.0) -> Array:
        return self.put(self.random.normal(size=shape) * scale)

    def save(self, file: Path) -> Path:
        file.write_bytes(gzip.compress(b"".join(self.parts)))
        return file

    # Layers
    def conv(self, size: int, inside: int, out: int, dilation: int = 1) -> Layer:
        self.say("conv", size, size, inside, out, dilation, dilation)
        w = self.weights(size, size, inside, out, scale=(inside * size * size) ** -0.5)
        far = size // 2

        def run(x: Array) -> Array:
            _, high, wide = x.shape
            y = np.zeros((out, high, wide))
            for row in range(high):
                for column in range(wide):
                    for i in range(size):
                        for j in range(size):
                            r, c = row + (i - far) * dilation, column + (j - far) * dilation
                            if 0 <= r < high and 0 <= c < wide:
                                y[:, row, column] += x[:, r, c] @ w[i, j]
            return y

        return run

    def linear(self, inside: int, out: int, bias: bool = False) -> Layer:
        self.say("linear", inside, out)
        w = self.weights(inside, out, scale=inside**-0.5)
        b = np.zeros(out)
        if bias:
            self.say("bias", out)
            b = self.weights(out)
        return lambda x: x @ w + b

    def norm(self, channels: int, scaled: bool = True) -> Layer:
        self.say("norm", channels, 1e-3, int(scaled), 1)
        mean = self.weights(channels)
        var = self.put(self.random.uniform(0.5, 2, channels))
        scale = self.weights(channels) if scaled else np.ones(channels)
        bias = self.weights(channels)

        def run(x: Array, mask: Array) -> Array:
            shaped = [values[:, None, None] for values in (mean, var, scale, bias)]
            return ((x - shaped[0]) / np.sqrt(shaped[1] + 1e-3) * shaped[2] + shaped[3]) * mask

        return run

    def act(self, kind: str = "ACTIVATION_MISH") -> Layer:
        self.say("act")
        if self.version < 11:
            kind = "ACTIVATION_RELU"
        else:
            self.say(kind)
        return ACTS[kind]

    def rms(self, channels: int) -> Layer:
        """Of one point's channels."""
        self.say("rms", channels, 1e-6)
        w = self.weights(channels)
        return lambda x: x / math.sqrt((x**2).mean() + 1e-6) * w

    # Blocks
    def norm_act_conv(self, size: int, inside: int, out: int) -> Layer:
        norm, act, conv = self.norm(inside), self.act(), self.conv(size, inside, out)
        return lambda x, mask: conv(act(norm(x, mask)))

    def ordinary(self, channels: int, middle: int) -> Layer:
        self.say("ordinary_block", "ordinary")
        first, second = self.norm_act_conv(3, channels, middle), self.norm_act_conv(3, middle, channels)
        return lambda x, mask: x + second(first(x, mask), mask)

    def pooling(self, channels: int, middle: int, pooled: int) -> Layer:
        self.say("gpool_block", "pooling")
        norm, act = self.norm(channels), self.act()
        regular, pool_conv = self.conv(3, channels, middle), self.conv(3, channels, pooled)
        pool_norm, pool_act, linear = self.norm(pooled), self.act(), self.linear(3 * pooled, middle)
        last = self.norm_act_conv(3, middle, channels)

        def run(x: Array, mask: Array) -> Array:
            y = act(norm(x, mask))
            bias = linear(pool(pool_act(pool_norm(pool_conv(y), mask)), mask))
            return x + last(regular(y) + bias[:, None, None], mask)

        return run

    def nested(self, channels: int, middle: int, inner: Sequence[Callable[[], Layer]]) -> Layer:
        self.say("nested_bottleneck_block", "nested", len(inner))
        narrow = self.norm_act_conv(1, channels, middle)
        blocks = [make() for make in inner]
        widen = self.norm_act_conv(1, middle, channels)

        def run(x: Array, mask: Array) -> Array:
            y = narrow(x, mask)
            for block in blocks:
                y = block(y, mask)
            return x + widen(y, mask)

        return run

    def attention(self, channels: int, heads: int, groups: int, width: int, deep: int, theta: float = 0.0) -> Layer:
        """With trained frequencies, or fixed ones if `theta` is given."""
        self.say("transformer_attention_block", "attention", heads, groups, width, deep, 1, int(not theta))
        norm = self.rms(channels)
        q, k = self.linear(channels, heads * width), self.linear(channels, groups * width)
        v, out = self.linear(channels, groups * deep), self.linear(heads * deep, channels)
        pairs = width // 2
        if theta:
            self.say("rope_theta", theta)
        else:
            self.say("rope_freqs", groups, pairs, 2)
            freqs = self.weights(groups, pairs, 2)

        def angle(group: int, pair: int, row: int, column: int) -> float:
            if not theta:
                return column * freqs[group, pair, 0] + row * freqs[group, pair, 1]
            if pair < pairs // 2:
                return row / theta ** (2 * pair / pairs)
            return column / theta ** (2 * (pair - pairs // 2) / pairs)

        def turned(vector: Array, group: int, row: int, column: int) -> Array:
            y = vector.copy()
            for p in range(pairs):
                a = angle(group, p, row, column)
                one, two = vector[2 * p], vector[2 * p + 1]
                y[2 * p], y[2 * p + 1] = one * math.cos(a) - two * math.sin(a), one * math.sin(a) + two * math.cos(a)
            return y

        def run(x: Array, mask: Array) -> Array:
            on = [(r, c) for r in range(x.shape[1]) for c in range(x.shape[2]) if mask[r, c]]
            rows = {place: norm(x[:, place[0], place[1]]) for place in on}
            y = x.copy()
            for place in on:
                mixed = []
                for head in range(heads):
                    group = head // (heads // groups)
                    query = turned(q(rows[place])[head * width : (head + 1) * width], group, *place)
                    keys = [turned(k(rows[o])[group * width : (group + 1) * width], group, *o) for o in on]
                    scores = np.exp([query @ key / math.sqrt(width) for key in keys])
                    values = [v(rows[o])[group * deep : (group + 1) * deep] for o in on]
                    mixed.append(sum(s * value for s, value in zip(scores, values, strict=True)) / scores.sum())
                y[:, place[0], place[1]] += out(np.concatenate(mixed))
            return y

        return run

    def feed_forward(self, channels: int, inner: int) -> Layer:
        self.say("transformer_ffn_block", "ffn", channels, inner, 1)
        norm = self.rms(channels)
        first, gate, last = self.linear(channels, inner), self.linear(channels, inner), self.linear(inner, channels)

        def run(x: Array, mask: Array) -> Array:
            y = x.copy()
            for r in range(x.shape[1]):
                for c in range(x.shape[2]):
                    z = norm(x[:, r, c])
                    y[:, r, c] += last(silu(first(z)) * gate(z)) * mask[r, c]
            return y

        return run

    def board_norm(self, channels: int, whole: bool) -> Layer:
        self.say("rms", channels, 1e-6, int(whole), 0)
        scale, bias = self.weights(channels), self.weights(channels)

        def run(x: Array, mask: Array) -> Array:
            square = (x**2).mean(0)
            if whole:
                square = np.full_like(square, square[mask > 0].mean())
            return (x / np.sqrt(square + 1e-6) * scale[:, None, None] + bias[:, None, None]) * mask

        return run

    # The whole
    def network(
        self, channels: int, blocks: Callable[[Maker], list[Layer]], count: int, *, last: str = "batch",
        unused: Any = 0, planes: int = 22,
    ) -> Callable[[Array], dict[str, Array]]:  # fmt: skip
        self.say("small", self.version, planes, 19)
        if self.version >= 13:
            self.say(*[20.0] * 5, 0.25, 150.0)
        if self.version >= 15:
            self.say(0, 0, *[unused] * 6)
        self.say("trunk", count, channels, channels, channels, channels, channels)
        if self.version >= 15:
            self.say(int(last != "batch"), *[0] * 5)
        conv, linear = self.conv(3, planes, channels), self.linear(19, channels)
        stack = blocks(self)
        assert len(stack) == count
        norm = self.norm(channels) if last == "batch" else self.board_norm(channels, last == "board")
        act, policy, value = self.act(), self.policy(channels), self.value(channels)

        def run(x: Array) -> dict[str, Array]:
            spatial, whole = x[:22], x[22:].mean((1, 2))
            mask = spatial[0]
            y = conv(spatial) + linear(whole)[:, None, None]
            for block in stack:
                y = block(y, mask)
            y = act(norm(y, mask))
            return policy(y, mask) | value(y, mask)

        return run

    def policy(self, channels: int) -> Callable[[Array, Array], dict[str, Array]]:
        self.say("policy_head")
        outputs = 1 if self.version < 12 else 4 if self.version == 16 else 2
        if self.version >= 17:
            self.say(outputs, 0, 0, 0)
        conv, pool_conv, pool_norm = self.conv(1, channels, 3), self.conv(1, channels, 2), self.norm(2)
        pool_act, linear, norm, act = self.act(), self.linear(6, 3), self.norm(3, scaled=False), self.act()
        last, passing = (
            self.conv(1, 3, outputs),
            self.linear(6, 3 if self.version >= 15 else outputs, self.version >= 15),
        )
        pass_act, pass_last = (self.act(), self.linear(3, outputs)) if self.version >= 15 else (lambda x: x,) * 2

        def run(x: Array, mask: Array) -> dict[str, Array]:
            pooled = pool(pool_act(pool_norm(pool_conv(x), mask)), mask)
            points = last(act(norm(conv(x) + linear(pooled)[:, None, None], mask)))
            points = np.where(mask > 0, points, -5000.0).reshape(outputs, -1)
            moves = np.concatenate([points, pass_last(pass_act(passing(pooled)))[:, None]], 1)
            return dict(zip(("policy", "optimistic"), moves, strict=False))

        return run

    def value(self, channels: int) -> Callable[[Array, Array], dict[str, Array]]:
        self.say("value_head")
        if self.version >= 17:
            self.say(0, 0, 0)
        conv, norm, act1 = self.conv(1, channels, 4), self.norm(4), self.act()
        linear, act2 = self.linear(12, 5, bias=True), self.act()
        value, score = self.linear(5, 3, bias=True), self.linear(5, 4 if self.version == 8 else 6, bias=True)
        ownership = self.conv(1, 4, 1)

        def run(x: Array, mask: Array) -> dict[str, Array]:
            y = act1(norm(conv(x), mask))
            width = math.sqrt(mask.sum())
            mean = y.sum((1, 2)) / mask.sum()
            z = act2(linear(np.concatenate([mean, mean * (width - 14) / 10, mean * ((width - 14) ** 2 / 100 - 0.1)])))
            return {"value": value(z), "score": score(z), "ownership": ownership(y).reshape(-1)}

        return run


def pool(x: Array, mask: Array) -> Array:
    mean = x.sum((1, 2)) / mask.sum()
    largest = np.array([channel[mask > 0].max() for channel in x])
    return np.concatenate([mean, mean * (math.sqrt(mask.sum()) - 14) / 10, largest])


def position(size: int, board: int, seed: int = 0) -> Array:
    """Planes [41, size, size] of a made-up position on a board at the top left."""
    random = np.random.default_rng(seed)
    x = np.zeros((41, size, size))
    x[0, :board, :board] = 1
    x[1:22, :board, :board] = random.integers(0, 2, (21, board, board))
    x[22:] = random.normal(size=19)[:, None, None]
    return x.astype(np.float32).astype(np.float64)
