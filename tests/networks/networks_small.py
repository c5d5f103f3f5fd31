"""Small networks, and the plain hooks that everything of ours is held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mulligan.networks import ArrayInput, Network


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    """max|a - b| / max|a| <= tolerance, as the design says what "equal" means."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    assert ours.dtype == theirs.dtype
    ours, theirs = ours.detach().double(), theirs.detach().double()
    size = float(theirs.abs().max()) if theirs.numel() else 0.0
    error = float((ours - theirs).abs().max()) if theirs.numel() else 0.0
    assert error <= tolerance * max(size, 1e-30), f"off by {error:.3g} of {size:.3g}"


def tensors_in(value: Any) -> list[Tensor]:
    """Every tensor of a nested value, in order; written without our own `leaves`."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    elif hasattr(value, "__dataclass_fields__"):
        value = [getattr(value, name) for name in value.__dataclass_fields__]
    return [tensor for item in value for tensor in tensors_in(item)] if isinstance(value, list | tuple) else []


def everything(module: nn.Module, run: Callable[[], Any]) -> dict[tuple[str, str, int], list[Tensor]]:
    """All that passes every module, by (path, port, call), from plain hooks."""
    seen: dict[tuple[str, str, int], list[Tensor]] = {}
    handles = []
    for path, child in module.named_modules():
        calls = [0]

        def before(m: nn.Module, args: Any, kwargs: Any, path: str = path, calls: list[int] = calls) -> None:
            seen[path, "in", calls[0]] = [t.detach().clone() for t in tensors_in([*args, *kwargs.values()])]

        def after(m: nn.Module, args: Any, out: Any, path: str = path, calls: list[int] = calls) -> None:
            seen[path, "out", calls[0]] = [t.detach().clone() for t in tensors_in(out)]
            calls[0] += 1

        handles += [child.register_forward_pre_hook(before, with_kwargs=True), child.register_forward_hook(after)]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return seen


def check_every_port(network: Network, x: Tensor, mask: Tensor | None = None) -> int:
    """Every port that the network knows holds what plain hooks see, and none is left out; how many."""
    theirs = everything(network.module, lambda: network(x, mask))
    ports = list(network.dry_run.ports)
    with torch.no_grad(), network.watching(ports) as watched:
        network(x, mask)
    groups: dict[tuple[str, str, int], list[Tensor]] = {}
    for port in ports:
        groups.setdefault((port.path, port.port, port.call), []).append(watched[port])
    assert set(groups) == {key for key, tensors in theirs.items() if tensors}
    for key, tensors in groups.items():
        assert len(tensors) == len(theirs[key]), key
        for ours, raw in zip(tensors, theirs[key], strict=True):
            assert_close(ours, raw)
    no_hooks_left(network.module)
    return len(ports)


def no_hooks_left(module: nn.Module) -> None:
    for child in module.modules():
        assert not child._forward_hooks
        assert not child._forward_pre_hooks
        assert not child._forward_hooks_always_called
        assert "forward" not in child.__dict__
    assert torch._C._len_torch_function_stack() == 0


class Mlp(nn.Module):
    """Two layers with a ReLU between; features 5 -> 7 -> 3."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.act, self.second = nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.act(self.first(x)))


class Conv(nn.Module):
    """A convolution, batch norm, ReLU in place, and a head over the mean of space."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm, self.act = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.act(self.norm(self.conv(x)))).flatten(1))


def mlp(seed: int = 0) -> Network:
    return Network(Mlp(seed).double(), name="mlp", input=ArrayInput(shape=(5,)))
