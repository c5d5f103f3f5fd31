"""The parts of a transformer or a residual network, found by looking at what flows through it.

1. Blocks are members of a list of modules: with one attention module or two (of a decoder that also attends to an
   encoder), or, where a network has none, any member.
2. In a first pass, blocks are counted each time they run. In a second, each block's tensors are compared with sums of
   others, as it ends: what is added to what, where norms stand (see `residuals`).
3. The output projection of attention is its last matrix. Its input is cut into heads only if, in a third pass in which
   all heads but the first attend to nothing, exactly the first slice of it is left.

A part is offered, and a sentence is said, only where the tensors agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...records import Site
from ..leaves import leaves
from ..parts import Part, head, heads, pattern
from ..taps import Tap, Taps
from .residuals import Pass, is_norm, judge, same

_STEADY = 1e-3  # of the largest number: two passes on one input differ by less


@dataclass
class Anatomy:
    """What was found.

    Attributes:
        parts: sites that are not ports. meanings: what ports mean, alias to sentence.
        neurons: aliases of the feed-forwards' neurons, block by block. blocks: paths of the blocks to the kind of each
            ("pre-norm"...), "" where nothing could be proven.
        steady: whether two passes on one input answer alike.
    """

    parts: list[Part] = field(default_factory=list)
    meanings: dict[str, str] = field(default_factory=dict)
    neurons: list[str] = field(default_factory=list)
    blocks: dict[str, str] = field(default_factory=dict)
    steady: bool = True


@dataclass
class _Block:
    """One block.

    Attributes:
        path, stack, number: where it is, of which list, and which of it. attentions: paths of its attention modules.
        runs: how often it runs in one pass. passes: what was seen each time.
    """

    path: str
    stack: str
    number: int
    attentions: tuple[str, ...] = ()
    runs: int = 0
    passes: list[Pass] = field(default_factory=list)

    def holds(self, path: str) -> bool:
        return path == self.path or path.startswith(f"{self.path}.")

    def label(self, stacks: int, call: int) -> str:
        named = self.path if stacks > 1 else f"block {self.number}"
        return named if self.runs == 1 else f"{named} (pass {call + 1} of {self.runs})"


def examine(module: nn.Module, run: Callable[[], Any]) -> Anatomy:
    """Find the parts of `module` while `run` runs it, three times.

    Args:
        module: in evaluation mode, with weights in float32 or float64.
        run: one forward pass on a batch without padding, to the network's output.
    """
    taps = Taps(module)
    blocks = _blocks(module)
    found = Anatomy()
    with torch.no_grad():
        answer = _count(blocks, taps, run)
        blocks = [block for block in blocks if block.runs]
        again = _judge_all(blocks, taps, run, found)
        found.steady = _alike(answer, again)
        proven = [block for block in blocks if any(one.kind for one in block.passes)]
        # A stage of blocks is no block itself, though sums may hold in it.
        blocks = [b for b in blocks if not any(b.holds(inner.path) and inner is not b for inner in proven)]
        passes = [one for block in blocks for one in block.passes]
        good = _second_pass(passes, taps, run)
    stacks = len({block.stack for block in blocks if any(one.kind for one in block.passes)})
    for block in blocks:
        for one in block.passes:
            label = block.label(stacks, one.call)
            found.meanings.update({alias: text.replace("{block}", label) for alias, text in one.meanings.items()})
            found.parts += [_named(part, label) for part in one.parts]
            found.parts += [part for path in one.attentions if (one, path) in good for part in _cut(one, path, label)]
            found.neurons += one.neurons
        if block.attentions or block.passes[0].kind:
            found.blocks[block.path] = block.passes[0].kind
    return found


def _blocks(module: nn.Module) -> list[_Block]:
    attending: list[_Block] = []
    others: list[_Block] = []
    for path, child in module.named_modules():
        if not isinstance(child, nn.ModuleList | nn.Sequential) or any(block.holds(path) for block in attending):
            continue
        for number, (name, member) in enumerate(child.named_children()):
            place = f"{path}.{name}".lstrip(".")
            inside = _attentions(member)
            if len(inside) in (1, 2):
                attending.append(_Block(place, path, number, tuple(f"{place}.{inner}" for inner in inside)))
            elif next(iter(member.children()), None) and not any(_attends(inner) for inner in member.modules()):
                others.append(_Block(place, path, number))
    return [*attending, *(block for block in others if not any(one.holds(block.path) for one in attending))]


def _attentions(member: nn.Module) -> list[str]:
    """Paths of the attention modules in a block; those of a T5 block stand in a list of its own."""
    direct = [name for name, child in member.named_children() if _attends(child)]
    if direct:
        return direct
    for name, child in member.named_children():
        if isinstance(child, nn.ModuleList):
            inside = [[inner for inner, part in sub.named_children() if _attends(part)] for sub in child]
            if all(inside):  # they are blocks themselves
                return []
            return [f"{name}.{number}.{inner}" for number, names in enumerate(inside) for inner in names]
    return []


def _attends(module: nn.Module) -> bool:
    return "attention" in type(module).__name__.lower()


def _count(blocks: list[_Block], taps: Taps, run: Callable[[], Any]) -> Any:
    """How often each block runs in one pass, whose output is returned."""

    def counting(block: _Block) -> Callable[..., None]:
        def count(module: nn.Module, args: Any) -> None:
            block.runs += 1

        return count

    handles = [taps.module(block.path).register_forward_pre_hook(counting(block)) for block in blocks]
    try:
        return run()
    finally:
        for handle in handles:
            handle.remove()


def _judge_all(blocks: list[_Block], taps: Taps, run: Callable[[], Any], found: Anatomy) -> Any:
    """Watch each block and judge it as it ends, and what stands before the first and after the last of each list."""
    handles: list[Any] = []
    laid: list[Tap] = []
    outside = Pass("", 0, ())
    current = {block.path: Pass(block.path, 0, block.attentions) for block in blocks}
    streams: dict[str, list[Tensor]] = {}

    def ended(block: _Block) -> None:
        seen = current[block.path]
        if block.path in seen.ins and block.path in seen.outs:
            stream = streams.setdefault(block.stack, [])
            stream += [seen.ins[block.path], seen.outs[block.path]]
            del stream[1:-1]
            judge(seen, taps.module)
        # Pictures have many positions: nothing is held longer than its block runs.
        seen.forget()
        block.passes.append(seen)
        current[block.path] = Pass(block.path, seen.call + 1, block.attentions)

    def watch(path: str, module: nn.Module, owners: Sequence[_Block]) -> None:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            tensor = _first([*args, kwargs])
            if tensor is not None:
                kept = tensor.clone()
                for seen in [current[block.path] for block in owners] or [outside]:
                    seen.enter(path, kept)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            tensor = _first(output)
            if tensor is not None:
                kept = tensor.clone()
                for seen in [current[block.path] for block in owners] or [outside]:
                    seen.leave(path, kept)
            for block in owners:
                if block.path == path:
                    ended(block)

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after))

    def counter(block: _Block, attention: str) -> Callable[[Tensor], None]:
        def count(weights: Tensor) -> None:
            n, heads, queries, keys = weights.shape
            entered = current[block.path].ins.get(block.path)
            # Windows of a picture are no examples: their patterns are not the block's.
            if entered is not None and queries == keys and entered.shape[:2] == (n, queries):
                current[block.path].heads[attention] = heads

        return count

    try:
        for path, module in taps.root.named_modules():
            owners = [block for block in blocks if block.holds(path)]
            if owners or (path and not any(block.path.startswith(f"{path}.") for block in blocks)):
                watch(path, module, owners)
        for block in blocks:
            for attention in block.attentions:
                for call in range(block.runs):
                    site = Site(attention, call=call, part="pattern")
                    laid.append(taps.tap(site, read=counter(block, attention), may_miss=True))
        output = run()
    finally:
        for handle in handles:
            handle.remove()
        for tap in laid:
            taps.untap(tap)
    proven = [block for block in blocks if any(one.kind for one in block.passes)]
    attending = {b.stack for b in proven if not any(b.holds(inner.path) and inner is not b for inner in proven)}
    for number, stack in enumerate(stack for stack in streams if stack in attending):
        first, last = streams[stack]
        which = f" of {stack}" if len(attending) > 1 else ""
        before = (
            f"what the first block{which} reads" if number else f"the embedding, as the first block{which} reads it"
        )
        embedded = False
        for path in outside.order:
            if not embedded and same(outside.outs.get(path), first):
                embedded = True
                found.meanings.setdefault(path, before)
            elif path in outside.ins and is_norm(taps.module(path)) and same(outside.ins[path], last):
                after = f"the residual stream after the last block{which}, after the final norm"
                found.meanings.setdefault(path, after)
    return output


def _second_pass(passes: list[Pass], taps: Taps, run: Callable[[], Any]) -> list[tuple[Pass, str]]:
    """Those attentions where a head's pattern reaches its own slice of the projection's input, and no other."""
    good: list[tuple[Pass, str]] = []
    laid: list[Tap] = []

    def only_first(weights: Tensor) -> Tensor:
        kept = torch.zeros_like(weights)
        kept[:, 0] = weights[:, 0]
        return kept

    def look(one: Pass, path: str) -> Callable[[Tensor], None]:
        def read(flat: Tensor) -> None:
            if flat.shape[-1] % one.heads[path] == 0:
                parted = flat.unflatten(-1, (one.heads[path], -1))
                if parted[..., 0, :].any() and not parted[..., 1:, :].any():
                    good.append((one, path))

        return read

    try:
        for one in passes:
            for path in one.heads:
                if path in one.projections:
                    laid.append(taps.tap(Site(path, call=one.call, part="pattern"), write=only_first))
                    laid.append(taps.tap(Site(one.projections[path], "in", one.call), read=look(one, path)))
        if laid:
            run()
    finally:
        for tap in laid:
            taps.untap(tap)
    return good


def _cut(one: Pass, path: str, label: str) -> list[Part]:
    """An attention's heads, each head, and its pattern."""
    count, projection = one.heads[path], one.projections[path]
    cross = " from the encoder" if len(one.attentions) == 2 and path == one.attentions[1] else ""
    what = "cross-attention" if cross else "attention"
    each = "before the output projection mixes the heads"
    text = f"the values that the {count} heads of {label} gather{cross}, {each}"
    parts = [heads(path, projection, count, text)]
    for index in range(count):
        text = f"the values that head {index} of {label} gathers{cross}, {each}"
        parts.append(head(path, projection, count, index, text))
    text = f"the {what} weights of the {count} heads of {label}, after mask and softmax; each query's sum to 1"
    parts.append(pattern(path, count, text))
    return [_called(part, one.call) for part in parts]


def _named(part: Part, label: str) -> Part:
    return replace(part, meaning=part.meaning.replace("{block}", label))


def _called(part: Part, call: int) -> Part:
    """The same part in another call of its modules."""
    if not call:
        return part
    return replace(
        part,
        site=replace(part.site, call=call),
        reads=tuple(replace(port, call=call) for port in part.reads),
        writes=replace(part.writes, call=call) if part.writes is not None else None,
    )


def _first(value: Any) -> Tensor | None:
    return next((tensor for _, tensor in leaves(value)), None)


def _alike(one: Any, other: Any) -> bool:
    for (_, a), (_, b) in zip(leaves(one), leaves(other), strict=False):
        if a.shape != b.shape:
            return False
        if a.is_floating_point() and not (a - b).abs().max() <= _STEADY * a.abs().max():
            return not torch.isfinite(a).all()  # what is not finite is refused elsewhere
    return True
