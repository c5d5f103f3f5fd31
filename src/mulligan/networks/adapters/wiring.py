"""What modules of a picture network give, read off the tensors that pass and not off names.

One pass is watched. Of each tensor a few hundred numbers are kept, always from the same places of its shape. When a
module ends, what it gives is compared with what was given inside it:

1. channels of several modules side by side (Inception, DenseNet)?
2. its input times one gate a channel (squeeze-and-excitation)?
3. a sum of its input, or of a shortcut, and of one or two modules inside; with an activation function after it?
4. what one module inside gave, unchanged?

A sentence is said only where the numbers agree. Modules without children are named by what they read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ...records import Site
from ..leaves import leaves

_TOLERANCE = 1e-5
_NUMBERS = 256  # of a tensor, compared
_PLACES = 8  # of a map, of which all channels are compared
_MOST = 48  # tensors inside one module, compared two by two


@dataclass(frozen=True)
class _Sample:
    """A few numbers of a tensor of one example.

    Attributes:
        flat: [_NUMBERS], chosen by how many there are. channels: [channel, _PLACES] of a map [1, channel, height,
            width], chosen by height and width.
    """

    shape: tuple[int, ...]
    flat: Tensor
    channels: Tensor | None

    @property
    def key(self) -> tuple[int, bytes]:
        count = 1
        for size in self.shape:
            count *= size
        return count, self.flat.numpy().tobytes()


@dataclass
class _Ran:
    """One call of one module: what it was given and what it gave."""

    path: str
    module: nn.Module
    call: int
    entered: _Sample | None
    left: _Sample | None = None

    @property
    def alias(self) -> str:
        return Site(self.path, call=self.call).alias

    @property
    def kind(self) -> str:
        return type(self.module).__name__

    @property
    def whole(self) -> bool:
        """Whether it has no modules inside."""
        return not any(True for _ in self.module.children())

    @property
    def is_function(self) -> bool:
        """Whether it is a function without weights that changes what passes and keeps its shape: an activation."""
        return (
            self.whole
            and not any(True for _ in self.module.parameters())
            and self.entered is not None
            and self.left is not None
            and self.entered.shape == self.left.shape
            and self.entered.key != self.left.key
        )

    @property
    def is_norm(self) -> bool:
        return getattr(getattr(self.module, "weight", None), "ndim", 0) == 1

    @property
    def is_identity(self) -> bool:
        return self.whole and self.entered is not None and self.left is not None and self.entered.key == self.left.key


@dataclass
class _Reader:
    """Watches one pass and says what it can.

    Attributes:
        ran: calls, in the order in which they began. open: which of them have not ended. calls: how often each path
            began. given: by what it gave, the first module that gave it. said: alias to sentence. core: the same, of a
            block that gives what a deeper one gives. followed: norms of which it is said what follows.
    """

    ran: list[_Ran] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    given: dict[tuple[int, bytes], _Ran] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    core: dict[str, str] = field(default_factory=dict)
    followed: set[str] = field(default_factory=set)

    def begin(self, path: str, module: nn.Module, value: Any) -> None:
        self.open.append(len(self.ran))
        call = self.calls.get(path, 0)
        self.calls[path] = call + 1
        self.ran.append(_Ran(path, module, call, _sample(_first(value))))

    def end(self, value: Any) -> None:
        at = self.open.pop()
        ran = self.ran[at]
        ran.left = _sample(_first(value))
        if ran.left is None:
            return
        sentence = self._of_leaf(ran) if ran.whole else self._of_block(ran, self.ran[at + 1 :])
        if sentence:
            self.said.setdefault(ran.alias, sentence)
        if not ran.is_identity:
            self.given.setdefault(ran.left.key, ran)

    def _of_leaf(self, ran: _Ran) -> str:
        source = self.given.get(ran.entered.key) if ran.entered is not None else None
        if source is None or source.path == ran.path:
            return ""
        if ran.is_identity:
            return f"what {source.alias} gives, unchanged"
        if not (ran.is_norm or ran.is_function):
            return ""
        if ran.is_function and source.is_norm and source.alias in self.said and source.alias not in self.followed:
            self.followed.add(source.alias)
            self.said[source.alias] += f", before {ran.kind}"
        return f"what {source.alias} gives, after {ran.kind}"

    def _of_block(self, block: _Ran, inside: Sequence[_Ran]) -> str:
        left = block.left
        inside = [ran for ran in inside if ran.left is not None and ran.left.flat.any()]
        if left is None or not inside or (block.entered is not None and block.entered.key == left.key):
            return ""
        same = [ran for ran in inside if ran.left is not None and ran.left.key == left.key]
        last = min(same, key=lambda ran: ran.path.count("."), default=None)
        source = self.given.get(block.entered.key) if block.entered is not None else None
        if block.is_norm and source is not None:  # a norm that holds its activation function
            with_it = f", with {inside[-1].kind}" if inside[-1].is_function else ", without activation function"
            return f"what {source.alias} gives, after {block.kind}{with_it}"
        # A stage is its last block; a block may end with its activation function, and that is no answer yet.
        if last is not None and not last.whole:
            return self._what_gives(block, last)
        found = (
            _side_by_side(block, inside)
            or _gated(block, inside)
            or self._summed(block, inside)
            or _clipped(block, inside, last)
        )
        return found or (self._what_gives(block, last) if last is not None else "")

    def _what_gives(self, block: _Ran, last: _Ran) -> str:
        """That a block gives what `last` gives; and what that is, said once however deep it lies."""
        core = self.core.get(last.alias) or self.said.get(last.alias, "")
        self.core[block.alias] = core
        return f"what {last.alias} gives" + (f": {core}" if core else f" ({last.kind})")

    def _summed(self, block: _Ran, inside: Sequence[_Ran]) -> str:
        terms = _terms(block, inside)
        ends = [ran for ran in inside if ran.is_function and _equal(ran.left, block.left)]
        for end in ends:
            found = _sum_of(terms, end.entered)
            if found:
                text = f"the residual sum: {_named(found, block)}"
                self.said[end.alias] = f"{text}; after {end.kind}"
                return f"{text}; after {end.kind}"
        found = _sum_of(terms, block.left)
        if found:
            return f"the residual sum: {_named(found, block)}; no activation function follows in it"
        found = _sum_of(terms, block.left, relu=True)
        return f"the residual sum: {_named(found, block)}; after ReLU" if found else ""


def wiring(module: nn.Module, run: Callable[[], Any]) -> dict[str, str]:
    """Site alias to a sentence, for what one pass shows.

    Args:
        module: in evaluation mode. run: one forward pass on a batch of one picture.
    """
    reader = _Reader()
    handles: list[Any] = []

    def watch(path: str, child: nn.Module) -> None:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            reader.begin(path, module, [*args, kwargs])

        def after(module: nn.Module, args: Any, output: Any) -> None:
            reader.end(output)

        handles.append(child.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(child.register_forward_hook(after))

    try:
        for path, child in module.named_modules():
            if path:
                watch(path, child)
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return reader.said


def _terms(block: _Ran, inside: Sequence[_Ran]) -> list[tuple[str, Tensor]]:
    """What may have been added: name and sample; the input first, then the outermost modules, each tensor once."""
    assert block.left is not None
    count, seen = block.left.key[0], set[bytes]()
    terms: list[tuple[str, Tensor]] = []
    asked = [("", block.entered), *((ran.alias, ran.left) for ran in sorted(inside, key=lambda r: r.path.count(".")))]
    for name, sample in asked:
        if sample is not None and sample.key[0] == count and sample.flat.any() and sample.key[1] not in seen:
            seen.add(sample.key[1])
            terms.append((name, sample.flat))
    return terms[:_MOST]


def _sum_of(terms: Sequence[tuple[str, Tensor]], total: _Sample | None, relu: bool = False) -> list[str]:
    """Names of two terms, or of the input and two more, that add up to `total`; [] if none do."""
    if total is None or len(terms) < 2 or terms[0][1].shape != total.flat.shape:
        return []
    names, values = [name for name, _ in terms], torch.stack([value for _, value in terms])
    bases = [([], torch.zeros_like(values[0]))] + ([([names[0]], values[0])] if not names[0] else [])
    for base, start in bases:
        sums = start + values[:, None] + values[None]
        size = start.abs() + values.abs()[:, None] + values.abs()[None]
        sums = sums.clamp(min=0) if relu else sums
        # By how much each pair misses. A fresh batch norm changes its input by millionths: the best pair is the one.
        missed = ((sums - total.flat).abs() / (size + 1e-30)).amax(-1)
        missed += torch.full_like(missed, torch.inf).tril()  # each pair once, and none with itself
        if base:
            missed[0] = torch.inf  # the input itself is counted already
        if missed.min() <= _TOLERANCE:
            first, second = divmod(int(missed.argmin()), len(names))
            return [*base, names[first], names[second]]
    return []


def _named(found: Sequence[str], block: _Ran) -> str:
    scaled = any(isinstance(getattr(block.module, name, None), Tensor) for name in ("layer_scale", "gamma"))
    scale = ", its layer scale included" if scaled else ""
    others = [name for name in found if name]
    if "" in found:
        return f"{block.alias}'s input plus what {' and '.join(others)} {'add' if len(others) > 1 else 'adds'}{scale}"
    return f"what {others[0]} gives plus what {others[1]} gives{scale}"


def _side_by_side(block: _Ran, inside: Sequence[_Ran]) -> str:
    """Whether the channels are those of several modules, one after the other."""
    if block.left is None or block.left.channels is None:
        return ""
    whole, at, found = block.left.channels, 0, list[str]()
    asked = [("its input", block.entered)]
    asked += [(ran.alias, ran.left) for ran in sorted(inside, key=lambda r: r.path.count("."))]
    maps = [(name, sample.channels) for name, sample in asked if sample is not None and sample.channels is not None]
    while at < len(whole):
        fits = [(n, m) for n, m in maps if at + len(m) <= len(whole) and torch.equal(whole[at : at + len(m)], m)]
        fits = [(name, part) for name, part in fits if len(part) < len(whole)]
        if not fits:
            return ""
        name, part = fits[0]
        found.append(f"{at}-{at + len(part) - 1} of {name}" if len(part) > 1 else f"{at} of {name}")
        at += len(part)
    shown = found if len(found) <= 8 else [*found[:4], f"and of {len(found) - 4} more"]
    return f"side by side, channels {', '.join(shown)}"


def _clipped(block: _Ran, inside: Sequence[_Ran], last: _Ran | None) -> str:
    """Whether it is one module's output after a ReLU that is no module."""
    if last is not None or block.left is None:
        return ""
    for ran in reversed(inside):
        gave = ran.left
        if gave is not None and gave.shape == block.left.shape and torch.equal(gave.flat.relu(), block.left.flat):
            return f"what {ran.alias} gives, after ReLU"
    return ""


def _gated(block: _Ran, inside: Sequence[_Ran]) -> str:
    entered, left = block.entered, block.left
    if entered is None or left is None or entered.channels is None or left.channels is None:
        return ""
    for ran in reversed(inside):
        gate = ran.left
        if gate is None or gate.channels is None or gate.shape[2:] != (1, 1) or gate.shape[1] != left.shape[1]:
            continue
        if entered.shape == left.shape and torch.allclose(entered.channels * gate.channels, left.channels, _TOLERANCE):
            return f"{block.alias}'s input times one gate for each channel, which {ran.alias} gives"
    return ""


def _sample(tensor: Tensor | None) -> _Sample | None:
    if tensor is None or not tensor.is_floating_point() or not tensor.numel():
        return None
    tensor = tensor.detach()
    flat = tensor.reshape(-1)[_places(tensor.numel(), _NUMBERS)].float().cpu()
    channels = None
    if tensor.dim() == 4 and tensor.shape[0] == 1:
        height, width = tensor.shape[2:]
        places = _places(height * width, _PLACES)
        channels = tensor[0][:, places // width, places % width].float().cpu()
    return _Sample(tuple(tensor.shape), flat, channels)


@cache
def _places(count: int, wanted: int) -> Tensor:
    return torch.randint(count, (wanted,), generator=torch.Generator().manual_seed(count))


def _equal(one: _Sample | None, other: _Sample | None) -> bool:
    return one is not None and other is not None and one.key == other.key


def _first(value: Any) -> Tensor | None:
    return next((tensor for _, tensor in leaves(value)), None)
