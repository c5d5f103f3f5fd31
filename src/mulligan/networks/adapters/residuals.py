"""What the tensors of one block mean: what is added to what, where norms stand, which are the neurons.

Everything is a comparison of tensors that passed ports. Sentences name the block "{block}"; who knows how many lists of
blocks there are puts its name there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ...records import Site
from ..parts import Part

_TOLERANCE = 1e-5
_STREAM = "the residual stream"


@dataclass(eq=False)
class Pass:
    """What passed in a block, one time that it ran.

    Attributes:
        path, call: which block, and which time. attentions: paths of its attention modules, in the order in which they
            run once they have.
        order: paths of the modules inside, in the order in which they began. ins, outs: the first tensor that each was
            given and gave; modules that run more than once in a block are left out of all three.
        heads: how many attention patterns were seen, by attention. projections: the output projection of each.
        kind, parts, meanings, neurons: what was found.
    """

    path: str
    call: int
    attentions: tuple[str, ...]
    order: list[str] = field(default_factory=list)
    ins: dict[str, Tensor] = field(default_factory=dict)
    outs: dict[str, Tensor] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)
    projections: dict[str, str] = field(default_factory=dict)
    kind: str = ""
    parts: list[Part] = field(default_factory=list)
    meanings: dict[str, str] = field(default_factory=dict)
    neurons: list[str] = field(default_factory=list)
    _often: set[str] = field(default_factory=set)

    def enter(self, path: str, tensor: Tensor) -> None:
        """Keep what a module is given."""
        if path in self.ins or path in self._often:
            self._often.add(path)
            self.ins.pop(path, None)
            self.outs.pop(path, None)
            self.order = [other for other in self.order if other != path]
            return
        self.ins[path] = tensor
        if path != self.path:
            self.order.append(path)

    def leave(self, path: str, tensor: Tensor) -> None:
        """Keep what a module gives."""
        if path not in self._often:
            self.outs[path] = tensor

    def forget(self) -> None:
        """Let all tensors go."""
        self.ins, self.outs, self.order = {}, {}, []

    def port(self, path: str, port: str = "out") -> Site:
        """A port, in this pass."""
        return Site(path, "in" if port == "in" else "out", self.call)

    def say(self, site: Site, text: str) -> None:
        """Give a port its meaning."""
        self.meanings[site.alias] = text

    @property
    def rest(self) -> list[str]:
        """Modules outside of attention that gave a tensor."""
        within = [f"{path}." for path in self.attentions]
        return [
            path
            for path in self.order
            if path in self.outs and path not in self.attentions and not path.startswith(tuple(within))
        ]


def judge(one: Pass, module: Callable[[str], nn.Module]) -> None:
    """Find the output projections, and what the ports of the block mean, as far as sums agree.

    Args:
        one: what passed; gets what is found. module: path to module.
    """
    norms = [path for path in one.order if path in one.outs and is_norm(module(path))]
    matrices = [path for path in one.order if path in one.outs and _is_matrix(module(path))]
    one.attentions = tuple(sorted(one.attentions, key=lambda p: one.order.index(p) if p in one.order else 1 << 30))
    for attention in one.attentions:
        if attention not in one.ins or attention not in one.outs:
            return
        inside = [path for path in matrices if path.startswith(f"{attention}.")]
        if not inside:
            return
        one.projections[attention] = inside[-1]
    if not one.attentions:
        any(look(one, norms) for look in (_plain_residual, _activated_residual))
        return
    any(look(one, norms, matrices) for look in (_pre_norm, _post_norm, _scaled))


def _pre_norm(one: Pass, norms: list[str], matrices: list[str]) -> bool:
    """input + attention (+ attention to the encoder) + feed-forward = output.

    The feed-forward reads the sum before it (Llama), or the input (parallel: GPT-NeoX).
    """
    entered, left, rest = one.ins[one.path], one.outs[one.path], one.rest
    for added in itertools.product(*(_added(one, attention, rest) for attention in one.attentions)):
        sums = list(itertools.accumulate([entered, *(_as(one.outs[path], entered) for path in added)]))
        fed = next((path for path in rest if _is_sum(sums[-1], one.outs[path], left)), None)
        if fed is None:
            continue
        first = next((path for path in norms if path in rest and same(one.ins[path], entered)), None)
        readers = [_reader(total, one, rest, norms) for total in sums[1:]]
        _say_stream(one, fed, first, norms)
        for attention, path in zip(one.attentions, added, strict=True):
            _say_attention(one, attention, path, first)
        for number, reader in enumerate(readers):
            # A sum whose terms have other shapes (windows flattened for attention) is not one that can be put back.
            if reader is not None and all(one.outs[path].shape == entered.shape for path in added):
                _between(one, added[: number + 1], reader, reader in norms)
        one.kind = _kind(first is not None, {*added, fed} & set(norms) != set(), readers[-1] is None)
        _neurons(one, fed, norms, matrices)
        return True
    return False


def _added(one: Pass, attention: str, rest: list[str]) -> Iterator[str]:
    """What may be added: what attention gives, that after a norm or scale of its own, or what its projection gives."""
    entered, attended = one.ins[one.path], one.outs[attention]
    # A norm (Gemma 2) or a learned scale (DINOv2) may stand between; Bloom adds inside of its attention.
    for path in (attention, *(path for path in rest if same(one.ins[path], attended)), one.projections[attention]):
        if _as(one.outs[path], entered) is not None:
            yield path


def _kind(before: bool, after: bool, parallel: bool) -> str:
    norm = "pre-norm" if before and not after else "pre-norm, and a norm of what is added" if before else ""
    norm = norm or ("norm of what is added" if after else "no norm first")
    return f"{norm}; attention and feed-forward side by side" if parallel else norm


def _say_stream(one: Pass, fed: str, first: str | None, norms: list[str], scaled: str = "") -> None:
    before = ", before the next block's norm" if first else ""
    one.say(one.port(one.path), f"{_STREAM} after {{block}}{before}")
    one.say(one.port(one.path, "in"), f"{_STREAM} before {{block}}{', before its norm' if first else ''}")
    own = ", after a norm of its own" if fed in norms else ""
    if scaled:
        one.say(one.port(fed), f"what the feed-forward gives in {{block}}, before {scaled} and added to {_STREAM}")
    else:
        one.say(one.port(fed), f"what the feed-forward adds to {_STREAM} in {{block}}{own}")
    if first is not None:
        what = _what(one, one.attentions[0])
        one.say(one.port(first), f"{_STREAM} before {{block}}, after its norm: what {what} reads")


def _say_attention(one: Pass, attention: str, added: str, first: str | None) -> None:
    what = _what(one, attention)
    if added == attention:
        one.say(one.port(added), f"what {what} adds to {_STREAM} in {{block}}, after the output projection")
    elif added == one.projections[attention]:
        one.say(one.port(added), f"what {what} adds to {_STREAM} in {{block}}, after the output projection")
        one.say(one.port(attention), f"{_STREAM} of {{block}} with what {what} adds, which it adds by itself")
    else:
        one.say(one.port(attention), f"what {what} gives in {{block}}, before the norm or scale of its output")
        one.say(one.port(added), f"what {what} adds to {_STREAM} in {{block}}, after a norm or scale of its own")


def _what(one: Pass, attention: str) -> str:
    if len(one.attentions) == 1:
        return "attention"
    return "self-attention" if attention == one.attentions[0] else "cross-attention"


def _reader(total: Tensor, one: Pass, rest: list[str], norms: list[str]) -> str | None:
    """Who reads the sum: a norm, if there is one among them."""
    readers = [path for path in (*rest, *one.attentions) if same(_as(one.ins[path], total), total)]
    return next((path for path in readers if path in norms), readers[0] if readers else None)


def _between(one: Pass, added: Sequence[str], reader: str, normed: bool) -> None:
    """The stream within a block, as a part: the block's input plus all that was added so far."""
    whole = len(added) == len(one.attentions)
    then = "feed-forward" if whole else "cross-attention"
    last = "attention" if len(one.attentions) == 1 else "cross-attention" if whole else "self-attention"
    between = f"{_STREAM} of {{block}} between {last} and {then}"
    if normed:
        which = "the second norm" if len(added) == 1 else "the third norm"
        one.say(one.port(reader), f"{between}, after {which}")
    plus = "what attention adds" if len(added) == 1 else "what both attentions add"
    before = f", before {'the second norm' if len(added) == 1 else 'the third norm'}" if normed else ""
    total = one.ins[one.path]
    for path in added:
        total = total + _as(one.outs[path], total)
    for path in one.rest:
        if path not in added and same(one.outs[path], total):
            one.say(one.port(path), f"{between}, with what it adds by itself")
    meaning = f"{between}: the block's input plus {plus}{before}; an edit reaches the {then} and the skip past it"
    ports = (one.port(one.path, "in"), *(one.port(path) for path in added))

    def combine(*tensors: Tensor) -> Tensor:
        total = tensors[0]
        for tensor in tensors[1:]:
            total = total + tensor
        return total

    def split(part: Tensor, *tensors: Tensor) -> Tensor:
        return part - combine(*tensors[:-1])

    site = Site(one.path, call=one.call, part="mid" if whole else "mid-attention")
    axes = ("batch", "position", "feature")
    one.parts.append(Part(site, axes, meaning, ports, combine, ports[-1], split))


def _post_norm(one: Pass, norms: list[str], matrices: list[str]) -> bool:
    """norm(norm(input + attention) + feed-forward) = output, as in BERT and BART."""
    stream, left, rest = one.ins[one.path], one.outs[one.path], one.rest
    found: list[tuple[str, str]] = []
    for attention in one.attentions:
        gives = [path for path in dict.fromkeys((one.projections[attention], attention)) if path in one.outs]
        step = next(((n, g) for n in norms for g in gives if _is_sum(stream, one.outs[g], one.ins[n])), None)
        if step is None:
            return False
        found.append(step)
        stream = one.outs[step[0]]
    ends = [path for path in norms if path in rest and same(_as(one.outs[path], left), left)]
    pairs = ((fed, end) for fed in rest for end in ends if _is_sum(stream, one.outs[fed], one.ins[end]))
    fed, end = next(pairs, ("", ""))
    if not end:
        return False
    for number, (attention, (norm, given)) in enumerate(zip(one.attentions, found, strict=True)):
        what = _what(one, attention)
        then = "the feed-forward" if number == len(found) - 1 else "cross-attention"
        base = "{block}'s input plus what" if number == 0 else "in {block}, the sum so far plus what"
        normed = f"{base} {what} adds, after LayerNorm (post-norm): what {then} reads and is added to"
        one.say(one.port(norm), normed)
        to = "the block's input" if number == 0 else "the sum so far"
        raw = f"what {what} adds in {{block}}, before it is added to {to} and normed"
        inner = same(one.outs[attention], one.outs[norm])
        one.say(one.port(attention), normed if inner else raw)
        one.say(one.port(given), raw)
    which = {2: "second", 3: "third"}[len(found) + 1]
    one.say(one.port(fed), "what the feed-forward adds in {block}, before it is added and normed")
    output = f"{{block}}'s output after its {which} LayerNorm (post-norm)"
    one.say(one.port(end), output)
    one.say(one.port(one.path), f"{output}: the next block reads it")
    one.say(one.port(one.path, "in"), "what {block} reads: already normed by the block or embedding before it")
    one.kind = "post-norm"
    _neurons(one, fed, norms, matrices)
    return True


def _scaled(one: Pass, norms: list[str], matrices: list[str]) -> bool:
    """As `_pre_norm`, but what is added is scaled first, or attention is cut into windows: no part can be offered."""
    entered, left, rest = one.ins[one.path], one.outs[one.path], one.rest
    first = next((path for path in norms if path in rest and same(one.ins[path], entered)), None)
    attended = max(one.order.index(attention) for attention in one.attentions)
    second = next((path for path in norms if path in rest and one.order.index(path) > attended), None)
    if first is None or second is None or _as(one.ins[second], entered) is None:
        return False
    middle = _as(one.ins[second], entered)
    for scaled in ("", "it is scaled"):
        total = _is_scaled_sum if scaled else _is_sum
        fed = next((path for path in rest if total(middle, one.outs[path], left)), None)
        if fed is None:
            continue
        adds = [p for a in one.attentions for p in _added(one, a, rest) if _is_scaled_sum(entered, one.outs[p], middle)]
        moved = [path for path in rest if _is_sum(entered, one.outs[path], middle)]
        if not adds and not moved:
            return False
        _say_stream(one, fed, first, norms, scaled)
        one.say(one.port(second), f"{_STREAM} of {{block}} between attention and feed-forward, after the second norm")
        text = f"{_STREAM} of {{block}} between attention and feed-forward, before the second norm: to be watched, "
        one.say(one.port(second, "in"), f"{text}since an edit here misses the skip past the feed-forward")
        if adds:
            one.say(one.port(adds[0]), f"what attention gives in {{block}}, before it is scaled and added to {_STREAM}")
            one.kind = "pre-norm; what is added is scaled"
        else:
            one.say(
                one.port(moved[0]), f"what attention adds to {_STREAM} in {{block}}, its windows put together again"
            )
            one.kind = "pre-norm; attention within windows"
        _neurons(one, fed, norms, matrices)
        return True
    return False


def _plain_residual(one: Pass, norms: list[str]) -> bool:
    """input + something = output, in a block without attention (Mamba, ConvNeXt, MobileNet)."""
    if one.path not in one.ins:
        return False
    entered, left = one.ins[one.path], one.outs[one.path]
    fed = next((path for path in one.rest if one.outs[path].any() and _is_sum(entered, one.outs[path], left)), None)
    if fed is None:
        return False
    first = next((path for path in norms if same(one.ins[path], entered)), None)
    before = ", before the next block's norm" if first else ""
    one.say(one.port(one.path), f"{_STREAM} after {{block}}{before}")
    one.say(one.port(one.path, "in"), f"{_STREAM} before {{block}}{', before its norm' if first else ''}")
    one.say(one.port(fed), f"what {{block}} adds to {_STREAM}")
    if first is not None:
        one.say(one.port(first), f"{_STREAM} before {{block}}, after its norm: what the block reads")
    one.kind = "pre-norm" if first else "residual, its norms inside the branch"
    return True


def _activated_residual(one: Pass, norms: list[str]) -> bool:
    """activation(skip + something) = output (ResNet)."""
    if one.path not in one.ins:
        return False
    left = one.outs[one.path]
    ends = [path for path in one.rest if path not in norms and same(one.outs[path], left)]
    for end, given, skip in itertools.product(ends, one.rest, [one.path, *one.rest]):
        kept = one.ins[one.path] if skip == one.path else one.outs[skip]
        if given in (skip, end) or skip == end or not one.outs[given].any() or not kept.any():
            continue
        if _is_sum(kept, one.outs[given], one.ins[end]):
            straight = same(kept, one.ins[one.path])
            if not straight and not same(one.ins.get(skip), one.ins[one.path]):
                continue  # the skip of a block inside
            how = "its input" if straight else "its input, projected"
            total = f"{_STREAM} after {{block}}: {how}, plus what it adds"
            one.say(one.port(one.path), f"{total}, after the activation")
            one.say(one.port(end, "in"), f"{total}, before the activation")
            one.kind = "residual, activated after the sum"
            return True
    return False


def _neurons(one: Pass, fed: str, norms: list[str], matrices: list[str]) -> None:
    """The input of the feed-forward's last matrix is its neurons."""
    outside = [path for path in matrices if path in one.rest]
    # With a norm at the end (Gemma 2), the last matrix gives what that norm reads.
    ends = [one.outs[fed], *([one.ins[fed]] if fed in norms or fed not in matrices else [])]
    last = next((path for path in reversed(outside) if any(same(one.outs[path], end) for end in ends)), None)
    if last is None:
        return
    hidden = one.ins[last]
    wide = [one.outs[path] for path in one.rest if one.outs[path].shape == hidden.shape]
    for path in one.rest:  # gate and linear half may come out of one matrix (Phi 3)
        if path in matrices and one.outs[path].shape[-1] == 2 * hidden.shape[-1]:
            wide += [half for half in one.outs[path].chunk(2, -1) if half.shape == hidden.shape]
    gated = any(same(hidden, a * b) for index, a in enumerate(wide) for b in wide[:index])
    active = any(same(hidden, one.outs[path]) for path in one.rest if path not in matrices and path not in norms)
    how = ", the activated gate times the linear half (gated)" if gated else ""
    how = how or (", after the activation function" if active else "")
    site = one.port(last, "in")
    one.say(site, f"the feed-forward neurons of {{block}}{how}: what its last matrix reads")
    one.neurons.append(site.alias)


def _is_matrix(module: nn.Module) -> bool:
    return getattr(getattr(module, "weight", None), "ndim", 0) == 2


def is_norm(module: nn.Module) -> bool:
    """Whether the module has one weight a feature."""
    return getattr(getattr(module, "weight", None), "ndim", 0) == 1


def same(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether max|a - b| / max|a| is small."""
    if one is None or other is None or one.shape != other.shape or not one.is_floating_point():
        return False
    return float((one - other).abs().max()) <= _TOLERANCE * float(one.abs().max())


def _as(tensor: Tensor | None, like: Tensor) -> Any:
    """A tensor of all tokens in a row (OPT) in the shape of another; None if it is not as large, or not as wide."""
    if tensor is None or tensor.numel() != like.numel() or tensor.shape[-1:] != like.shape[-1:]:
        return None
    return tensor.reshape(like.shape)


def _is_sum(one: Tensor | None, other: Tensor | None, total: Tensor | None) -> bool:
    """Whether one + other = total, place by place: a few values of a stream may be thousands of times the rest."""
    if one is None or total is None:
        return False
    other, total = _as(other, one), _as(total, one)
    if other is None or total is None or not one.is_floating_point():
        return False
    return bool(((one + other - total).abs() <= _TOLERANCE * (one.abs() + other.abs())).all())


def _is_scaled_sum(one: Tensor, other: Tensor, total: Tensor) -> bool:
    """Whether one + scale * other = total, with a scale for each feature that is found here."""
    other, total = _as(other, one), _as(total, one)
    if other is None or total is None or one.ndim != 3:
        return False
    rest = (total - one).double()
    scale = (rest * other).sum((0, 1)) / (other.double() ** 2).sum((0, 1)).clamp(min=1e-30)
    # A scale may be small against the stream, whose rounding the difference then is full of.
    slack = 1e-4 * rest.abs().max() + _TOLERANCE * one.abs()
    return bool(rest.abs().max() > 1e-4 * one.abs().mean() and ((rest - scale * other).abs() <= slack).all())
