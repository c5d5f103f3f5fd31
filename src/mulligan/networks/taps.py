"""Thin hooks: read and change what passes through a network's modules, and leave no trace.

One `Taps` belongs to one network. A module gets hooks only while something is tapped there. At each moment (a module,
its input or output, and which call of the pass) edits act first, in the order in which they were laid, then readers
look; so a reader sees what really flows on, however the `with` blocks are nested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..records import BadInput, MulliganError, Site
from .leaves import leaves, pick, swap

Reader = Callable[[Tensor], None]
Writer = Callable[[Tensor], Tensor]
_Moment = tuple[str, int]  # (port or "pattern", call)


@dataclass(eq=False)
class Tap:
    """One reader or writer at one moment.

    Attributes:
        leaf: as in `Site`.
        may_miss: at a pattern, that no attention weights are computed is no error.
    """

    module: nn.Module
    moment: _Moment
    leaf: str
    read: Reader | None = None
    write: Writer | None = None
    may_miss: bool = False


@dataclass(eq=False)
class _Tapped:
    """What is tapped at one module, and how often it has run in this pass."""

    taps: list[Tap] = field(default_factory=list)
    handles: list[Any] = field(default_factory=list)
    calls: int = 0
    modes: list[_AttentionMode] = field(default_factory=list)

    def at(self, port: str) -> list[Tap]:
        return [tap for tap in self.taps if tap.moment == (port, self.calls)]

    def restart(self) -> None:
        self.calls = 0
        # Only a pass that was broken off (Ctrl-C) leaves any: torch calls no hook then.
        while self.modes:
            self.modes.pop().__exit__(None, None, None)


class Taps:
    """The hooks of one network."""

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.modules = dict(root.named_modules(remove_duplicate=False))
        self._first = {module: path for path, module in root.named_modules()}
        self._tapped: dict[nn.Module, _Tapped] = {}
        self._root_handle: Any = None
        self._within_pass = False

    def module(self, path: str) -> nn.Module:
        """The module at `path`.

        Raises:
            BadInput: if there is none, naming close ones; or if it is known by another path.
        """
        if path not in self.modules:
            parent = path.rpartition(".")[0]
            close = [name for name in self.modules if name.startswith(parent) and name][:5]
            near = ", ".join(close or list(self.modules)[1:6])
            raise BadInput(
                "there is no module of this path", where=path, fix=f"see `mulligan sites`; near it are {near}"
            )
        module = self.modules[path]
        first = self._first[module]
        if first != path:
            raise BadInput(
                f"this is the same module as {first}",
                where=path,
                fix=f"write {first}, or {first}!1 for its second call",
            )
        return module

    @property
    def edited(self) -> bool:
        """Whether anything is laid that changes what passes."""
        return any(tap.write is not None for tapped in self._tapped.values() for tap in tapped.taps)

    @contextmanager
    def whole_pass(self) -> Iterator[None]:
        """Within the block is one forward pass, whatever modules are called and however often."""
        if self._within_pass:
            yield
            return
        self._restart()
        self._within_pass = True
        try:
            yield
        finally:
            self._within_pass = False

    def tap(
        self, site: Site, *, read: Reader | None = None, write: Writer | None = None, may_miss: bool = False
    ) -> Tap:
        """Lay a tap at a site (a port, or the part "pattern"); take it away with `untap`."""
        port = site.part if site.part == "pattern" else site.port
        tap = Tap(self.module(site.path), (port, site.call), site.leaf, read, write, may_miss)
        tapped = self._tapped.setdefault(tap.module, _Tapped())
        tapped.taps.append(tap)
        if not tapped.handles:
            module = tap.module
            tapped.handles = [
                module.register_forward_pre_hook(self._before, with_kwargs=True),
                module.register_forward_hook(self._after, with_kwargs=True, always_call=True),
            ]
        if self._root_handle is None:
            # Laid first in the list, so that counts are reset before a tap at the root itself counts.
            self._root_handle = self.root.register_forward_pre_hook(self._root_entered, prepend=True)
        return tap

    def untap(self, tap: Tap) -> None:
        """Take a tap away; the last one at a module takes the hooks along."""
        tapped = self._tapped[tap.module]
        tapped.taps.remove(tap)
        if not tapped.taps:
            tapped.restart()
            for handle in tapped.handles:
                handle.remove()
            del self._tapped[tap.module]
        if not self._tapped and self._root_handle is not None:
            self._root_handle.remove()
            self._root_handle = None

    def _root_entered(self, module: nn.Module, args: Any) -> None:
        # A pass may also start without `whole_pass`: by calling the module itself.
        if not self._within_pass:
            self._restart()

    def _restart(self) -> None:
        for tapped in self._tapped.values():
            tapped.restart()

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tapped = self._tapped.get(module)
        if tapped is None:
            return None
        value = {**{str(index): arg for index, arg in enumerate(args)}, **kwargs}
        changed = self._act(tapped.at("in"), value)
        if tapped.at("pattern"):
            first = next((tensor for _, tensor in leaves(changed)), None)
            mode = _AttentionMode(
                tapped.at("pattern"), one_position=first is not None and first.dim() == 3 and first.shape[1] == 1
            )
            mode.__enter__()
            tapped.modes.append(mode)
        if changed is value:
            return None
        return tuple(changed[str(index)] for index in range(len(args))), {key: changed[key] for key in kwargs}

    def _after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        tapped = self._tapped.get(module)
        if tapped is None:
            return None
        mode = tapped.modes.pop() if tapped.modes else None
        if mode is not None:
            mode.__exit__(None, None, None)
        if output is None:  # also how a pass that raised arrives here
            tapped.calls += 1
            return None
        if mode is not None and not mode.done and not all(tap.may_miss for tap in mode.taps):
            raise MulliganError(
                f"no attention weights were computed in {self._first[module]}: its attention is neither a softmax of "
                "[batch, head, query, key] nor scaled_dot_product_attention."
            )
        changed = self._act(tapped.at("out"), output)
        tapped.calls += 1
        return None if changed is output else changed

    def _act(self, taps: list[Tap], value: Any) -> Any:
        for tap in taps:
            if tap.write is not None:
                leaf, tensor = pick(value, tap.leaf)
                value = swap(value, leaf, tap.write(tensor))
        for tap in taps:
            if tap.read is not None:
                tap.read(pick(value, tap.leaf)[1])
        return value


class _AttentionMode(TorchFunctionMode):
    """While an attention module runs: catch its weights after the softmax, whichever way it computes them.

    A fused `scaled_dot_product_attention` is computed step by step instead, since the weights exist only so.

    Args:
        taps: who reads and writes them.
        one_position: the module is given a single position; transformers then hands the heads that share a key to the
            fused kernel as if they were positions, [batch, group, head of the group, feature].
    """

    def __init__(self, taps: list[Tap], one_position: bool) -> None:
        super().__init__()
        self.taps, self.one_position, self.done = taps, one_position, False

    def _through(self, weights: Tensor) -> Tensor:
        self.done = True
        shape = weights.shape
        if self.one_position and shape[2] > 1:
            weights = weights.flatten(1, 2).unsqueeze(2)
        for tap in self.taps:
            if tap.write is not None:
                weights = tap.write(weights)
        for tap in self.taps:
            if tap.read is not None:
                tap.read(weights)
        return weights.reshape(shape)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.done:
            return func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func in (F.softmax, torch.softmax, Tensor.softmax):
            weights = func(*args, **kwargs)
            return self._through(weights) if weights.dim() == 4 else weights
        return func(*args, **kwargs)

    def _attention(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        if query.dim() != 4:
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        if enable_gqa:
            repeat = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(repeat, -3), value.repeat_interleave(repeat, -3)
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            length, past = scores.shape[-2:]
            allowed = torch.ones(length, past, dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~allowed, float("-inf"))
        if attn_mask is not None:
            scores = (
                scores.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else scores + attn_mask
            )
        weights = torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(query.dtype)
        # A row whose every key is masked is 0/0; the fused kernel answers zero there.
        weights = weights.masked_fill((scores == float("-inf")).all(-1, keepdim=True), 0.0)
        return self._through(weights) @ value
