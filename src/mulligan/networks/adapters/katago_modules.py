"""KataGo's networks as torch modules, named as KataGo's own training code names them.

Wu 2019 (arXiv:1902.10565), KataGo's `python/katago/train/model_pytorch.py` and `cpp/neuralnet/eigenbackend.cpp`.
Feature maps are [batch, channel, height, width]. Places off the board are zero wherever something looks at its
neighbours or at the whole board.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POINTS = 19  # points of a side
PLANES, GLOBALS = 22, 19  # of KataGo's inputs, version 7
NONLINEARITIES: dict[str, type[nn.Module]] = {
    "ACTIVATION_IDENTITY": nn.Identity,
    "ACTIVATION_RELU": nn.ReLU,
    "ACTIVATION_MISH": nn.Mish,
    "ACTIVATION_SILU": nn.SiLU,
}
_FAR = -1e30  # of a score that no softmax shall see; finite, so that an empty board gives no NaN


class Norm(nn.Module):
    """A trained scale and bias for each channel (a batch norm, as it is used), then zero off the board."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.inner = norm

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.inner(x) * mask


class RmsNorm(nn.Module):
    """Divided by the root of the mean square, over each point's channels or over the whole board; scale, bias, and zero
    off the board.
    """

    def __init__(self, scale: Tensor, bias: Tensor, eps: float, whole_board: bool) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(scale), nn.Parameter(bias)
        self.eps, self.whole_board = eps, whole_board

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        square = x.square().mean(1, keepdim=True)
        if self.whole_board:
            square = (square * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)
        y = x * (square + self.eps).rsqrt()
        return (y * self.gamma[:, None, None] + self.beta[:, None, None]) * mask


class GlobalPool(nn.Module):
    """Mean over the board, mean scaled by the board's width, maximum: [batch, 3 channels]."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mean, width = _mean(x, mask)
        largest = (x + (mask - 1)).amax((2, 3))
        return torch.cat([mean, mean * (width - 14) * 0.1, largest], 1)


class ValuePool(nn.Module):
    """Mean over the board, scaled by the board's width in two ways: [batch, 3 channels]."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mean, width = _mean(x, mask)
        away = width - 14
        return torch.cat([mean, mean * away * 0.1, mean * (away**2 * 0.01 - 0.1)], 1)


def _mean(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of what is zero off the board, [batch, channel], and the board's width [batch, 1]."""
    area = mask.sum((2, 3)).clamp(min=1)
    return x.sum((2, 3)) / area, area.sqrt()


class NormActConv(nn.Module):
    """Norm, nonlinearity, convolution; or `ConvAndPool` in the convolution's place."""

    def __init__(self, norm: Norm, act: nn.Module, conv: nn.Conv2d | ConvAndPool) -> None:
        super().__init__()
        self.norm, self.act = norm, act
        self.conv = None if isinstance(conv, ConvAndPool) else conv
        self.convpool = conv if isinstance(conv, ConvAndPool) else None

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.act(self.norm(x, mask))
        if self.convpool is not None:
            return self.convpool(y, mask)
        assert self.conv is not None
        return self.conv(y)


class ConvAndPool(nn.Module):
    """A convolution, plus a bias for each channel that another convolution's pooled channels say."""

    def __init__(self, conv: nn.Conv2d, pooled: nn.Conv2d, norm: Norm, act: nn.Module, linear: nn.Linear) -> None:
        super().__init__()
        self.conv1r, self.conv1g, self.normg, self.actg = conv, pooled, norm, act
        self.gpool, self.linear_g = GlobalPool(), linear

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        pooled = self.gpool(self.actg(self.normg(self.conv1g(x), mask)), mask)
        return self.conv1r(x) + self.linear_g(pooled)[:, :, None, None]


class ResidualBlock(nn.Module):
    """Two convolutions, added to the block's input."""

    def __init__(self, first: NormActConv, second: NormActConv) -> None:
        super().__init__()
        self.normactconv1, self.normactconv2 = first, second

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + self.normactconv2(self.normactconv1(x, mask), mask)


class NestedBlock(nn.Module):
    """Blocks of their own on a projection to fewer channels, added to the block's input."""

    def __init__(self, narrow: NormActConv, blocks: Sequence[nn.Module], widen: NormActConv) -> None:
        super().__init__()
        self.normactconvp, self.blockstack, self.normactconvq = narrow, nn.ModuleList(blocks), widen

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.normactconvp(x, mask)
        for block in self.blockstack:
            y = block(y, mask)
        return x + self.normactconvq(y, mask)


class Attention(nn.Module):
    """Each point attends to all points: [batch, position, feature], positions in the order of reading.

    Query and key channels are turned in pairs by an angle that hangs on the point's column and row.
    """

    rope_freqs: Tensor | None

    def __init__(
        self, heads: int, q: nn.Linear, k: nn.Linear, v: nn.Linear, out: nn.Linear, freqs: Tensor | None
    ) -> None:
        super().__init__()
        self.heads, self.width = heads, q.out_features // heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = q, k, v, out
        # [key heads, pairs, 2]: radians a column, radians a row; a parameter if it was trained.
        if isinstance(freqs, nn.Parameter):
            self.rope_freqs = freqs
        else:
            self.register_buffer("rope_freqs", freqs)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, _ = x.shape
        groups = self.k_proj.out_features // self.width
        q = self.q_proj(x).view(batch, length, self.heads, -1).transpose(1, 2)
        k = self.k_proj(x).view(batch, length, groups, -1).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, groups, -1).transpose(1, 2)
        q, k = self._turned(q, mask), self._turned(k, mask)
        k, v = (t.repeat_interleave(self.heads // groups, 1) for t in (k, v))
        hidden = (mask.flatten(2)[:, :, None] == 0) * _FAR  # [batch, 1, 1, key]
        mixed = F.scaled_dot_product_attention(q, k, v, hidden.to(q.dtype))
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _turned(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.rope_freqs is None:
            return x
        rows, columns = (torch.arange(n, device=x.device, dtype=x.dtype) for n in mask.shape[2:])
        places = torch.cartesian_prod(rows, columns).flip(1)  # [position, (column, row)]
        angles = torch.einsum("pd,hfd->hpf", places, self.rope_freqs)
        angles = angles.repeat_interleave(x.shape[1] // len(angles), 0)
        first, second = x[..., 0::2], x[..., 1::2]
        cos, sin = angles.cos(), angles.sin()
        return torch.stack([first * cos - second * sin, first * sin + second * cos], -1).flatten(-2)


class AttentionBlock(nn.Module):
    """RMS norm and attention, added to the block's input."""

    def __init__(self, norm: nn.RMSNorm, attention: Attention) -> None:
        super().__init__()
        self.norm1, self.attention = norm, attention

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + _as_map(self.attention(self.norm1(_as_rows(x)), mask), x) * mask


class FeedForwardBlock(nn.Module):
    """RMS norm and two layers, the inner one gated (SwiGLU), added to the block's input."""

    def __init__(self, norm: nn.RMSNorm, inner: nn.Linear, gate: nn.Linear, outer: nn.Linear) -> None:
        super().__init__()
        self.norm, self.ffn_linear1, self.ffn_linear_gate, self.ffn_linear2 = norm, inner, gate, outer
        self.ffn_act = nn.SiLU()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.norm(_as_rows(x))
        y = self.ffn_linear2(self.ffn_act(self.ffn_linear1(y)) * self.ffn_linear_gate(y))
        return x + _as_map(y, x) * mask


def _as_rows(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _as_map(rows: Tensor, like: Tensor) -> Tensor:
    return rows.transpose(1, 2).unflatten(2, like.shape[2:])


class PolicyHead(nn.Module):
    """Logits of each point and of passing, [batch, points + 1], for every policy that was trained."""

    def __init__(
        self, conv: nn.Conv2d, pooled: nn.Conv2d, bias_g: Norm, act_g: nn.Module, linear_g: nn.Linear, bias: Norm,
        act: nn.Module, last: nn.Conv2d, linear_pass: nn.Linear, act_pass: nn.Module | None,
        last_pass: nn.Linear | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv1p, self.conv1g, self.biasg, self.actg, self.linear_g = conv, pooled, bias_g, act_g, linear_g
        self.gpool = GlobalPool()
        self.bias2, self.act2, self.conv2p = bias, act, last
        self.linear_pass, self.act_pass, self.linear_pass2 = linear_pass, act_pass, last_pass

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        pooled = self.gpool(self.actg(self.biasg(self.conv1g(x), mask)), mask)
        y = self.conv1p(x) + self.linear_g(pooled)[:, :, None, None]
        points = self.conv2p(self.act2(self.bias2(y, mask)))
        points = points.masked_fill(mask == 0, -5000.0)  # as in KataGo's training: no move is off the board
        passing = self.linear_pass(pooled)
        if self.act_pass is not None and self.linear_pass2 is not None:
            passing = self.linear_pass2(self.act_pass(passing))
        moves = torch.cat([points.flatten(2), passing[:, :, None]], 2)
        # A third and fourth, where there are any, are predictions of values and no policies.
        return dict(zip(("policy", "optimistic"), moves.unbind(1), strict=False))


class ValueHead(nn.Module):
    """Who wins, by how much, and who owns which point."""

    def __init__(
        self, conv: nn.Conv2d, bias: Norm, act1: nn.Module, linear: nn.Linear, act2: nn.Module, value: nn.Linear,
        score: nn.Linear, ownership: nn.Conv2d,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv1, self.bias1, self.act1, self.gpool = conv, bias, act1, ValuePool()
        self.linear2, self.act2 = linear, act2
        self.linear_valuehead, self.linear_miscvaluehead, self.conv_ownership = value, score, ownership

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        y = self.act1(self.bias1(self.conv1(x), mask))
        z = self.act2(self.linear2(self.gpool(y, mask)))
        return {
            "value": self.linear_valuehead(z),
            "score": self.linear_miscvaluehead(z),
            "ownership": self.conv_ownership(y).flatten(1),
        }


class KataGo(nn.Module):
    """A network that plays Go.

    It takes [batch, 41, height, width]: KataGo's 22 spatial planes (the first of them 1 on the board), then its 19
    global features, each as a plane of one value. Its output holds "policy" and, if trained, "optimistic" [batch,
    points + 1], "value" [batch, 3], "score" [batch, 4 or 6] and "ownership" [batch, points].
    """

    def __init__(
        self, conv: nn.Conv2d, linear: nn.Linear, blocks: Sequence[nn.Module], norm: Norm | RmsNorm, act: nn.Module,
        policy: PolicyHead, value: ValueHead,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv_spatial, self.linear_global, self.blocks = conv, linear, nn.ModuleList(blocks)
        self.norm_trunkfinal, self.act_trunkfinal = norm, act
        self.policy_head, self.value_head = policy, value

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        spatial, whole = x[:, :PLANES], x[:, PLANES:].mean((2, 3))
        mask = spatial[:, :1]
        y = self.conv_spatial(spatial) + self.linear_global(whole)[:, :, None, None]
        for block in self.blocks:
            y = block(y, mask)
        y = self.act_trunkfinal(self.norm_trunkfinal(y, mask))
        return {**self.policy_head(y, mask), **self.value_head(y, mask)}


def fixed_frequencies(pairs: int, theta: float) -> Tensor:
    """Rotary frequencies that were not trained: half of the pairs turn with the row, half with the column."""
    half = pairs // 2
    freqs = theta ** -(torch.arange(max(half, pairs - half), dtype=torch.float64) * 2 / pairs)
    out = torch.zeros(1, pairs, 2)
    out[0, :half, 1], out[0, half:, 0] = freqs[:half].float(), freqs[: pairs - half].float()
    return out


def points(size: int = POINTS) -> tuple[str, ...]:
    """Names of the policy's answers: "A19", "B19"... "T1" (there is no I), "pass"."""
    columns = "ABCDEFGHJKLMNOPQRST"[:size]
    return (*(f"{column}{size - row}" for row in range(size) for column in columns), "pass")
