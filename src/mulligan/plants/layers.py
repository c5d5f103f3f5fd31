"""Where a network's convolutions are: the block that each ends, the norm behind it, and who reads a channel.

All of it is watched in forward passes, so that it holds for any wiring: nothing is read off the modules' names but how
a block is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)


@dataclass(slots=True)
class Watch:
    """What went in and out of each layer in one pass, by the layer's path, in the order of passing."""

    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
def watch(module: nn.Module, prepared: Tensor, change: tuple[str, Callable[[Tensor], Tensor]] | None = None) -> Watch:
    """Run the module once on what it takes, and see every submodule's first input and its output, if they are tensors.

    Args:
        change: a module's path, and what to make of its output on the way.
    """
    seen = Watch()
    handles: list[Any] = []

    def hook(path: str) -> Callable[..., Any]:
        def watcher(_: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
            if given and isinstance(given[0], Tensor):
                seen.inputs[path] = given[0]
            if change is not None and path == change[0]:
                output = change[1](output)
            if isinstance(output, Tensor):
                seen.outputs[path] = output
            return output

        return watcher

    for path, layer in module.named_modules():
        if path:
            handles.append(layer.register_forward_hook(hook(path)))
    try:
        module(prepared)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def convolutions(module: nn.Module, prepared: Tensor) -> dict[str, nn.Conv2d]:
    """Convolutions across channels (not one of each channel by itself), in the order in which they pass.

    Those of 1 x 1 that lead around a larger one, as a residual block's way around does, are left out.
    """
    layers = dict(module.named_modules())
    seen = watch(module, prepared)
    passed = {path: layer for path in seen.outputs if isinstance(layer := layers[path], nn.Conv2d)}
    larger = [seen.inputs[path] for path, layer in passed.items() if layer.kernel_size != (1, 1)]
    found: dict[str, nn.Conv2d] = {}
    for path, layer in passed.items():
        around = layer.kernel_size == (1, 1) and any(seen.inputs[path] is given for given in larger)
        if layer.groups == 1 and not around:
            found[path] = layer
    return found


def norm_behind(module: nn.Module, seen: Watch, path: str) -> tuple[str, nn.Module] | None:
    """The path of the norm that takes a layer's output as it is, and the norm; None where there is none."""
    layers = dict(module.named_modules())
    for other, given in seen.inputs.items():
        if isinstance(layers[other], NORMS) and given is seen.outputs[path]:
            return other, layers[other]
    return None


def block_of(module: nn.Module, prepared: Tensor, path: str, unit: int) -> str:
    """The outermost numbered module around a layer ("blocks.2" of "blocks.2.conv") whose output holds the layer's
    channel as its own; the layer's path itself where there is none.

    That is so if a change of one channel of the layer's output is a change of that channel alone, there as well.
    """
    plain, moved = _with_and_without(module, prepared, path, unit)
    parts = path.split(".")
    for end in range(1, len(parts)):
        block = ".".join(parts[:end])
        inside = any(part.isdecimal() for part in parts[:end]) or end == len(parts) - 1
        if not inside or block not in plain.outputs or block not in moved.outputs:
            continue
        before, after = plain.outputs[block], moved.outputs[block]
        if before.ndim == 4 and before.shape[1] == plain.outputs[path].shape[1] and _changed(before, after) == {unit}:
            return block
    return path


def readers(module: nn.Module, prepared: Tensor, path: str, unit: int) -> dict[str, tuple[nn.Module, slice]]:
    """Layers that read one channel of a layer's output before it is mixed with others, in the order of passing.

    Found by raising the channel and seeing which convolutions' and linear layers' inputs differ in one channel (or, of
    flattened maps, one channel's stretch of features) alone.

    Returns:
        for each path, the layer and the slice of its input channels (features) that belongs to the unit.
    """
    layers = dict(module.named_modules())
    plain, moved = _with_and_without(module, prepared, path, unit)
    channels = plain.outputs[path].shape[1]
    found: dict[str, tuple[nn.Module, slice]] = {}
    for other, before in plain.inputs.items():
        layer = layers[other]
        if other == path or not isinstance(layer, nn.Conv2d | nn.Linear) or before.shape[1] % channels:
            continue
        width = before.shape[1] // channels if isinstance(layer, nn.Linear) else 1
        if isinstance(layer, nn.Conv2d) and before.shape[1] != channels:
            continue
        changed = _changed(before, moved.inputs[other])
        if changed and changed <= set(range(unit * width, (unit + 1) * width)):
            found[other] = (layer, slice(unit * width, (unit + 1) * width))
    return found


@torch.no_grad()
def maps(
    module: nn.Module, prepare: Callable[[Tensor], Tensor], pixels: Float[Tensor, "n c h w"], site: str, *,
    batch: int = 128,
) -> Float[Tensor, "n channels h w"]:  # fmt: skip
    """A layer's or block's output, [n, channels, height, width], on the CPU."""
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    seen: list[Tensor] = []
    handle = module.get_submodule(site).register_forward_hook(lambda _, __, output: seen.append(output.float().cpu()))
    try:
        for part in pixels.split(batch):
            module(prepare(part.to(device)))
    finally:
        handle.remove()
    return torch.cat(seen)


def _with_and_without(module: nn.Module, prepared: Tensor, path: str, unit: int) -> tuple[Watch, Watch]:
    """A pass as it is, and one with a layer's channel raised: behind its norm, which may scale it to nothing, or spread
    it over other channels."""
    plain = watch(module, prepared)
    behind = norm_behind(module, plain, path)

    def raised(output: Tensor) -> Tensor:
        output = output.clone()
        output[:, unit] += 10 * output.std() + 1
        return output

    return plain, watch(module, prepared, (path if behind is None else behind[0], raised))


def _changed(before: Tensor, after: Tensor) -> set[int]:
    """Channels (or features) in which two tensors differ by more than rounding."""
    apart = (before - after).abs().transpose(0, 1).flatten(1).amax(1)
    return set((apart > 1e-5 * (1 + before.abs().max())).nonzero().flatten().tolist())
