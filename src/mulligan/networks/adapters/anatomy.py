"""The parts of a transformer, found by looking at what flows through it.

1. Blocks are the members of a list of modules that each hold one attention module.
2. In a first pass, each block's tensors are compared with sums of others: what is added to what, where norms stand.
3. The output projection of attention is its last matrix. Its input is cut into heads only if, in a second pass in which
   all heads but the first attend to nothing, exactly the first slice of it is left.

A part is offered, and a sentence is said, only where the tensors agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...records import Site
from ..leaves import leaves
from ..parts import Part, head, heads, pattern, stream_between
from ..taps import Tap, Taps

_TOLERANCE = 1e-5


@dataclass
class Anatomy:
    """What was found: sites that are not ports, and what ports mean (alias to sentence)."""

    parts: list[Part] = field(default_factory=list)
    meanings: dict[str, str] = field(default_factory=dict)


@dataclass
class _Block:
    """One block, and what passed in it.

    Attributes:
        path, number: where it is, and which of its list. attention: path of its attention module.
        heads: how many attention patterns were seen; 0 for none. runs: how often it ran.
        order: paths of the modules inside, attention among them, in the order in which they began. ins, outs: the first
            tensor that each was given and gave.
        projection: path of the output projection, once judged.
    """

    path: str
    number: int
    attention: str
    heads: int = 0
    runs: int = 0
    order: list[str] = field(default_factory=list)
    ins: dict[str, Tensor] = field(default_factory=dict)
    outs: dict[str, Tensor] = field(default_factory=dict)
    projection: str = ""
    found: Anatomy = field(default_factory=Anatomy)

    @property
    def rest(self) -> list[str]:
        """Modules outside of attention."""
        return [p for p in self.order if p != self.attention and not p.startswith(f"{self.attention}.")]

    def say(self, path: str, text: str) -> None:
        self.found.meanings[path] = text


def examine(module: nn.Module, run: Callable[[], Any]) -> Anatomy:
    """Find the parts of `module` while `run` runs it, twice.

    Args:
        module: in evaluation mode, with weights in float32 or float64.
        run: one forward pass on a batch without padding.
    """
    taps = Taps(module)
    blocks = _blocks(module)
    found = Anatomy()
    if not blocks:
        return found
    with torch.no_grad():
        found.meanings.update(_first_pass(blocks, taps, run))
        # A block that runs more than once (as ALBERT's) would need a sentence for each time.
        once = [block for block in blocks if block.runs == 1]
        for block in _second_pass([block for block in once if block.heads and block.projection], taps, run):
            _cut(block)
    for block in once:
        found.parts += block.found.parts
        found.meanings.update(block.found.meanings)
    return found


def _blocks(module: nn.Module) -> list[_Block]:
    blocks = []
    for path, child in module.named_modules():
        if not isinstance(child, nn.ModuleList):
            continue
        for number, (name, member) in enumerate(child.named_children()):
            inside = [inner for inner, part in member.named_children() if "attention" in type(part).__name__.lower()]
            if len(inside) == 1:
                place = f"{path}.{name}".lstrip(".")
                blocks.append(_Block(place, number, f"{place}.{inside[0]}"))
    return blocks


def _first_pass(blocks: list[_Block], taps: Taps, run: Callable[[], Any]) -> dict[str, str]:
    """Watch each block and judge it as it ends; what stands before the first and after the last is returned."""
    handles: list[Any] = []
    laid: list[Tap] = []
    outside = _Block("", 0, "")
    stream: list[Tensor] = []

    def watch(block: _Block, path: str, module: nn.Module) -> None:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            tensor = _first([*args, kwargs])
            if tensor is not None:
                block.ins[path] = tensor.clone()
                if path != block.path:
                    block.order.append(path)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            tensor = _first(output)
            if tensor is not None:
                block.outs[path] = tensor.clone()
            if path == block.path:
                block.runs += 1
                stream.extend([block.ins[path], block.outs[path]] if path in block.ins and path in block.outs else [])
                del stream[1:-1]
                if block.runs == 1:
                    _judge(block, taps)
                # Pictures have many positions: nothing is held longer than its block runs.
                block.ins, block.outs, block.order = {}, {}, []

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after))

    try:
        for path, module in taps.root.named_modules():
            owner = next((b for b in blocks if path == b.path or path.startswith(f"{b.path}.")), None)
            if owner is not None or (path and not any(b.path.startswith(f"{path}.") for b in blocks)):
                watch(owner or outside, path, module)
        for block in blocks:

            def count(weights: Tensor, block: _Block = block) -> None:
                n, heads, queries, keys = weights.shape
                entered = block.ins.get(block.path)
                # Windows of a picture are no examples: their patterns are not the block's.
                if entered is not None and queries == keys and entered.shape[:2] == (n, queries):
                    block.heads = heads

            laid.append(taps.tap(Site(block.attention, part="pattern"), read=count, may_miss=True))
        run()
    finally:
        for handle in handles:
            handle.remove()
        for tap in laid:
            taps.untap(tap)
    ends: dict[str, str] = {}
    for path in outside.order if stream else []:
        if not ends and _same(outside.outs.get(path), stream[0]):
            ends[path] = "the embedding, as the first block reads it"
        elif _is_norm(taps.module(path)) and _same(outside.ins[path], stream[-1]):
            ends[path] = "the residual stream after the last block, after the final norm"
    return ends


def _second_pass(blocks: list[_Block], taps: Taps, run: Callable[[], Any]) -> list[_Block]:
    """Those blocks where a head's attention reaches its own slice of the projection's input, and no other."""
    good: list[_Block] = []
    laid: list[Tap] = []

    def only_first(weights: Tensor) -> Tensor:
        kept = torch.zeros_like(weights)
        kept[:, 0] = weights[:, 0]
        return kept

    def look(block: _Block) -> Callable[[Tensor], None]:
        def read(flat: Tensor) -> None:
            if flat.shape[-1] % block.heads == 0:
                parted = flat.unflatten(-1, (block.heads, -1))
                if parted[..., 0, :].any() and not parted[..., 1:, :].any():
                    good.append(block)

        return read

    try:
        for block in blocks:
            laid.append(taps.tap(Site(block.attention, part="pattern"), write=only_first))
            laid.append(taps.tap(Site(block.projection, "in"), read=look(block)))
        if blocks:
            run()
    finally:
        for tap in laid:
            taps.untap(tap)
    return good


def _judge(block: _Block, taps: Taps) -> None:
    """Find the output projection, and what the ports of the block mean, as far as sums agree."""
    inside = [path for path in block.order if path.startswith(f"{block.attention}.")]
    matrices = [path for path in inside if _is_matrix(taps.module(path))]
    if not matrices or any(path not in block.ins or path not in block.outs for path in (block.path, block.attention)):
        return
    block.projection = matrices[-1]
    if not _pre_norm(block, taps):
        _post_norm(block, taps)


def _pre_norm(block: _Block, taps: Taps) -> bool:
    """input + attention (+ feed-forward) = output; the feed-forward reads the sum (Llama), or the input (parallel)."""
    n, rest = block.number, block.rest
    entered, left = block.ins[block.path], block.outs[block.path]
    attended = block.outs[block.attention]
    # Attention may have a norm of its own before it is added (Gemma 2).
    for added in [block.attention, *(path for path in rest if _same(block.ins[path], attended))]:
        if added not in block.outs or block.outs[added].shape != entered.shape:
            continue
        middle = entered + block.outs[added]
        fed = next((path for path in rest if _is_sum(middle, block.outs.get(path), left)), None)
        if fed is None:
            continue
        first = next((p for p in rest if _is_norm(taps.module(p)) and _same(block.ins[p], entered)), None)
        second = next((p for p in rest if _is_sum(entered, block.outs[added], block.ins[p])), None)
        before = ", before the next block's norm" if first else ""
        block.say(block.path, f"the residual stream after block {n}{before}")
        block.say(f"{block.path}.in", f"the residual stream before block {n}{', before its norm' if first else ''}")
        block.say(fed, f"what the feed-forward adds to the residual stream in block {n}")
        if added == block.attention:
            block.say(added, f"what attention adds to the residual stream in block {n}, after the output projection")
        else:
            block.say(block.attention, f"what attention gives in block {n}, before the norm of its output")
            block.say(added, f"what attention adds to the residual stream in block {n}, after a norm of its own")
        if first is not None:
            block.say(first, f"the residual stream before block {n}, after its norm: what attention reads")
        if second is not None:
            between = f"the residual stream of block {n} between attention and feed-forward"
            normed = _is_norm(taps.module(second))
            if normed:
                block.say(second, f"{between}, after the second norm")
            meaning = (
                f"{between}: the block's input plus what attention adds{', before the second norm' if normed else ''}; "
                "an edit reaches the feed-forward and the skip past it"
            )
            block.found.parts.append(stream_between(block.path, added, meaning))
        _neurons(block, fed, taps)
        return True
    return False


def _post_norm(block: _Block, taps: Taps) -> bool:
    """norm(norm(input + attention) + feed-forward) = output, as in BERT."""
    n, rest = block.number, block.rest
    entered, left = block.ins[block.path], block.outs[block.path]
    projected = block.outs.get(block.projection)
    norm = next((path for path in block.order if _is_sum(entered, projected, block.ins[path])), None)
    middle = block.outs.get(norm or "")
    if norm is None or middle is None:
        return False
    for fed in rest:
        last = next((path for path in rest if _is_sum(middle, block.outs.get(fed), block.ins[path])), None)
        if last is None or not _same(block.outs.get(last), left):
            continue
        normed = (
            f"block {n}'s input plus what attention adds, after LayerNorm (post-norm): what the feed-forward reads "
            "and is added to"
        )
        block.say(norm, normed)
        inner = _same(block.outs[block.attention], middle)
        raw = f"what attention adds in block {n}, before it is added to the block's input and normed"
        block.say(block.attention, normed if inner else raw)
        block.say(block.projection, raw)
        block.say(fed, f"what the feed-forward adds in block {n}, before it is added and normed")
        block.say(last, f"block {n}'s output after its second LayerNorm (post-norm)")
        block.say(block.path, f"block {n}'s output after its second LayerNorm (post-norm): the next block reads it")
        block.say(f"{block.path}.in", f"what block {n} reads: already normed by the block or embedding before it")
        _neurons(block, fed, taps)
        return True
    return False


def _neurons(block: _Block, fed: str, taps: Taps) -> None:
    """The input of the feed-forward's last matrix is its neurons."""
    matrices = [path for path in block.rest if path in block.outs and _is_matrix(taps.module(path))]
    # With a norm at the end (Gemma 2), the last matrix gives what that norm reads.
    ends = [block.outs[fed], *([block.ins[fed]] if _is_norm(taps.module(fed)) else [])]
    last = next((path for path in reversed(matrices) if any(_same(block.outs[path], end) for end in ends)), None)
    if last is None:
        return
    hidden = block.ins[last]
    wide = [block.outs[path] for path in block.rest if path in block.outs and block.outs[path].shape == hidden.shape]
    gated = any(_same(hidden, one * other) for index, one in enumerate(wide) for other in wide[:index])
    how = "the activated gate times the linear half (gated)" if gated else "after the activation function"
    block.say(f"{last}.in", f"the feed-forward neurons of block {block.number}, {how}: what its last matrix reads")


def _cut(block: _Block) -> None:
    n, path, count = block.number, block.attention, block.heads
    each = "before the output projection mixes the heads"
    text = f"the values that the {count} heads of block {n} gather, {each}"
    block.found.parts.append(heads(path, block.projection, count, text))
    for index in range(count):
        text = f"the values that head {index} of block {n} gathers, {each}"
        block.found.parts.append(head(path, block.projection, count, index, text))
    text = f"the attention weights of the {count} heads of block {n}, after mask and softmax; each query's sum to 1"
    block.found.parts.append(pattern(path, count, text))


def _first(value: Any) -> Tensor | None:
    return next((tensor for _, tensor in leaves(value)), None)


def _is_matrix(module: nn.Module) -> bool:
    return getattr(getattr(module, "weight", None), "ndim", 0) == 2


def _is_norm(module: nn.Module) -> bool:
    return getattr(getattr(module, "weight", None), "ndim", 0) == 1


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether max|a - b| / max|a| is small."""
    if one is None or other is None or one.shape != other.shape or not one.is_floating_point():
        return False
    return float((one - other).abs().max()) <= _TOLERANCE * float(one.abs().max())


def _is_sum(one: Tensor | None, other: Tensor | None, total: Tensor | None) -> bool:
    """Whether one + other = total, place by place: a few values of a stream may be thousands of times the rest."""
    if one is None or other is None or total is None or not one.shape == other.shape == total.shape:
        return False
    return bool(((one + other - total).abs() <= _TOLERANCE * (one.abs() + other.abs())).all())
