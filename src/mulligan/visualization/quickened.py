"""A copy of a network that gives the same gradients of pictures for less work, and memory that is not given back.

Batch norms are folded into the convolutions before them, weights need no gradient, and convolutions lie in memory as
CPUs like them (channels last). The copy is held against the network; where it disagrees, the plain network is used.
"""

from __future__ import annotations

import copy
import ctypes
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..networks import Network
from ..records import Site

#: max|a - b| / max|a| that the copy may differ by.
TOLERANCE = 1e-3
_Conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_Norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def quickened(network: Network, sites: Sequence[Site]) -> Network:
    """A copy whose `sites` carry the same, with weights that need no gradient.

    Args:
        sites: what will be watched: no batch norm is folded into these.
    """
    asked = (tuple(str(site.place) for site in sites), _state(network.module))
    kept = _made.setdefault(network.module, {})
    if asked not in kept:
        kept.clear()
        kept[asked] = _quickened(network, sites)
    return kept[asked]


#: The latest copy of each network, as long as its weights stay.
_made: WeakKeyDictionary[nn.Module, dict[Any, Network]] = WeakKeyDictionary()


def _state(module: nn.Module) -> tuple[int, ...]:
    """Changes with the weights, also in place."""
    tensors = [*module.parameters(), *module.buffers()]
    return (*(tensor._version for tensor in tensors), *(tensor.data_ptr() for tensor in tensors))


def _quickened(network: Network, sites: Sequence[Site]) -> Network:
    plain = network.with_module(_frozen(network.module))
    folded = network.with_module(_frozen(network.module))
    try:
        _fold(folded, {site.path for site in sites})
        if network.device.type == "cpu" and any(isinstance(module, nn.Conv2d) for module in folded.module.modules()):
            folded.module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if agrees(plain, folded, sites):
            return folded
    except Exception:  # whatever a user's own module does when it is taken apart: it is then left as it is
        pass
    return plain


def agrees(one: Network, other: Network, sites: Sequence[Site]) -> bool:
    """Whether the same passes the sites of both (or is answered, without any), up to rounding."""
    x, mask = one.example()

    def seen(network: Network) -> list[Tensor]:
        with torch.no_grad(), network.watching(list(sites), copy=True) as watched:
            answer = network.logits_unchecked(x, mask)
        return [*(watched[site] for site in sites), answer]

    for a, b in zip(seen(one), seen(other), strict=True):
        scale = float(a.abs().max())
        if a.shape != b.shape or not float((a - b).abs().max()) <= TOLERANCE * max(scale, 1e-6):
            return False
    return True


def _frozen(module: nn.Module) -> nn.Module:
    copied = copy.deepcopy(module)
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    return copied


def _fold(network: Network, kept: set[str]) -> None:
    """Fold each batch norm into the convolution whose output it is given, where both run once in a pass."""
    names = {module: path for path, module in network.module.named_modules()}
    runs: Counter[nn.Module] = Counter()
    given: dict[nn.Module, int] = {}
    made: dict[int, tuple[nn.Module, Tensor]] = {}

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        runs[module] += 1
        if isinstance(module, _Conv) and isinstance(output, Tensor):
            made[id(output)] = (module, output)  # held, so that no other tensor takes its place
        elif isinstance(module, _Norm) and inputs and id(inputs[0]) in made:
            given[module] = id(inputs[0])

    handles = [m.register_forward_hook(look) for m in names if isinstance(m, (*_Conv, *_Norm))]
    try:
        x, mask = network.example()
        with torch.no_grad():
            network(x, mask)
    finally:
        for handle in handles:
            handle.remove()
    norm: Any
    for norm, number in given.items():
        conv: Any = made[number][0]
        if runs[conv] != 1 or runs[norm] != 1 or names[conv] in kept or not _fixed(norm):
            continue
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        conv.weight = nn.Parameter(weight.detach(), requires_grad=False)
        conv.bias = nn.Parameter(bias.detach(), requires_grad=False)
        parent, _, name = names[norm].rpartition(".")
        setattr(network.module.get_submodule(parent), name, nn.Identity().eval())
    for conv in [m for m in names if isinstance(m, nn.Conv2d) and names[m] not in kept]:
        _pad_within(conv, kept, names)


def _pad_within(conv: nn.Conv2d, kept: set[str], names: dict[nn.Module, str]) -> None:
    """A convolution that pads by a module of its own (as those with "same" padding do) pads by itself: no copy."""
    pads = [(name, child) for name, child in conv.named_children() if isinstance(child, nn.ZeroPad2d)]
    if len(pads) != 1 or conv.padding != (0, 0) or conv.padding_mode != "zeros" or names[pads[0][1]] in kept:
        return
    left, right, top, bottom = pads[0][1].padding
    if left == right and top == bottom and left >= 0 and top >= 0:
        conv.padding = (top, left)
        setattr(conv, pads[0][0], nn.Identity().eval())


def _fixed(norm: nn.Module) -> bool:
    return norm.running_mean is not None and not norm.training


_keeping = False


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within the block, glibc keeps what large tensors free instead of handing it back to the system and asking anew.

    Half the time of an eager pass over large pictures is otherwise spent on fresh pages. The setting is the process's;
    blocks may lie within blocks.
    """
    global _keeping
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is None or _keeping:
        yield
        return
    _keeping = True
    trim, top_pad, mmap = -1, -2, -3
    for option, value in ((mmap, 1 << 30), (trim, (1 << 31) - 1), (top_pad, 64 << 20)):
        mallopt(option, value)
    try:
        yield
    finally:
        _keeping = False
        for option, value in ((mmap, 128 << 10), (trim, 128 << 10), (top_pad, 128 << 10)):
            mallopt(option, value)
        trimmed = getattr(libc, "malloc_trim", None)
        if trimmed is not None:
            trimmed(0)
