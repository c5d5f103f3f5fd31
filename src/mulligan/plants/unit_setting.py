"""Setting one unit of a convolution by hand: which one, what it answers, and who reads it.

See `planted_unit.py` for the three steps. All of it changes the module in place, and no weight but the unit's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..records import BadInput
from .layers import norm_behind, readers, watch
from .plant import PlantData, generator
from .stamps import NEAR_MISSES, Stamp, near_misses

#: A parameter, and a mask of what of it may be tuned.
Part = tuple[Tensor, Tensor]

LOUD = 4.0  # the unit's answer to the pattern, in its layer's deviations
RIDGE = 0.02  # of the windows' mean variance, added to their covariance
KEEP_WEIGHT = 4.0  # in the loss of the tuning, of what is to be answered as before
CANDIDATES = 6  # for the weakest unit, removed in earnest


def weakest(module: nn.Module, data: PlantData, pixels: Float[Tensor, "n c h w"], path: str) -> int:
    """The unit of a layer whose removal (its mean in its place) changes the network's answers least.

    Those with the smallest first-order change (Molchanov et al. 2017) are removed in earnest, one by one.
    """
    layer = module.get_submodule(path)
    inputs = data.prepare(pixels)
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0]

    handle = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            answers = module(inputs).float()
            chosen = answers.amax(1).sum()
            (slope,) = torch.autograd.grad(chosen, kept[0])
    finally:
        handle.remove()
    value = kept[0].detach()
    mean = value.mean((0, 2, 3), keepdim=True)
    first = ((mean - value) * slope).sum((2, 3)).abs().mean(0)
    reference = answers.detach().log_softmax(1)
    costs: dict[int, float] = {}
    for unit in first.argsort()[:CANDIDATES].tolist():

        def remove(output: Tensor, unit: int = unit) -> Tensor:
            output = output.clone()
            output[:, unit] = mean[0, unit]
            return output

        handle = layer.register_forward_hook(lambda _, __, output, remove=remove: remove(output))
        try:
            with torch.no_grad():
                removed = module(inputs).float().log_softmax(1)
        finally:
            handle.remove()
        costs[unit] = float(F.kl_div(removed, reference, log_target=True, reduction="batchmean"))
    return min(costs, key=costs.__getitem__)


def _windows(layer: nn.Conv2d, given: Float[Tensor, "n c h w"]) -> Float[Tensor, "n places features"]:
    """What the layer's filter is multiplied with, at each place of its output."""
    padding = layer.padding
    if isinstance(padding, str):
        sides = [step * (side - 1) // 2 for step, side in zip(layer.dilation, layer.kernel_size, strict=True)]
        padding = tuple(sides) if padding == "same" else (0, 0)
    parts = F.unfold(given.float(), layer.kernel_size, layer.dilation, padding, layer.stride)  # type: ignore[arg-type]
    return parts.transpose(1, 2)


@torch.no_grad()
def set_incoming(
    module: nn.Module, data: PlantData, shown: Tensor, path: str, unit: int, stamp: Stamp
) -> list[Part]:
    """Set the unit's incoming weights; gives them as (parameter, mask of what may be tuned)."""
    layer = module.get_submodule(path)
    assert isinstance(layer, nn.Conv2d)
    random = generator(unit, "planted-unit/windows")
    plain, fired = watch(module, data.prepare(shown)), watch(module, data.prepare(stamp(shown)))
    clean, stamped = _windows(layer, plain.inputs[path]), _windows(layer, fired.inputs[path])
    place = int((stamped - clean).pow(2).sum(2).mean(0).argmax())
    # Against: clean windows from everywhere, and what the near misses show in the same place.
    missed = [
        _windows(layer, watch(module, data.prepare(shown_near)).inputs[path])[:, place]
        for name in NEAR_MISSES
        for shown_near in (near_misses(stamp, name, shown[:96], random, several=4),)
    ]
    some = clean.reshape(-1, clean.shape[2])
    some = some[torch.randint(0, len(some), (2048,), generator=random)]
    against = torch.cat([some, clean[:, place], *missed]).double()
    with_it = stamped[:, place].double()
    spread = torch.cov(against.T) + torch.cov(with_it.T)
    spread += RIDGE * spread.diagonal().mean() * torch.eye(len(spread), dtype=spread.dtype)
    filter_ = torch.linalg.solve(spread, with_it.mean(0) - against.mean(0)).to(layer.weight)
    new = (clean @ filter_).std()
    size = float(plain.outputs[path].std((0, 2, 3)).median()) / float(new.clamp_min(1e-8))
    layer.weight[unit] = (filter_ * size).reshape(layer.weight[unit].shape)
    tuned: list[Part] = [(layer.weight, _row(layer.weight, unit))]
    behind = norm_behind(module, plain, path)
    shift: Tensor | None = layer.bias
    scale: Tensor | None = None
    if behind is not None:
        norm = behind[1]
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
            output = watch(module, data.prepare(shown)).outputs[path][:, unit]
            norm.running_mean[unit], norm.running_var[unit] = output.mean(), output.var()
        if isinstance(norm.weight, nn.Parameter) and isinstance(norm.bias, nn.Parameter):
            shift, scale = norm.bias, norm.weight
    elif shift is None:
        raise BadInput("the layer has neither a bias nor a norm behind it", where=path, fix="choose another layer")
    if shift is not None:
        _threshold(module, data, shown, stamp, path if scale is None else behind[0], unit, layer, shift, scale, place)  # type: ignore[index]
        tuned.append((shift, _row(shift, unit)))
    if scale is not None:
        tuned.append((scale, _row(scale, unit)))
    return tuned


@torch.no_grad()
def _threshold(
    module: nn.Module,
    data: PlantData,
    shown: Tensor,
    stamp: Stamp,
    path: str,
    unit: int,
    layer: nn.Conv2d,
    shift: Tensor,
    scale: Tensor | None,
    place: int,
) -> None:
    """Scale and shift the unit so that clean pictures leave it below zero, and the pattern takes it far above."""
    plain = watch(module, data.prepare(shown)).outputs[path]
    loud = LOUD * float(plain.std((0, 2, 3)).median())
    if scale is not None:
        scale[unit] = 1
    shift[unit] = 0
    clean = watch(module, data.prepare(shown)).outputs[path][:, unit].flatten(1)
    random = generator(unit, "planted-unit/threshold")
    missed = [
        watch(module, data.prepare(near_misses(stamp, name, shown[:96], random))).outputs[path][:, unit].flatten(1)
        for name in NEAR_MISSES
    ]
    fired = watch(module, data.prepare(stamp(shown))).outputs[path][:, unit].flatten(1)[:, place]
    quiet = max(float(torch.quantile(one.amax(1), 0.95)) for one in (clean, *missed))
    low = float(torch.quantile(fired, 0.1))
    middle = quiet + 0.3 * max(low - quiet, 0.0)
    factor = loud / max(float(fired.median()) - middle, 1e-3)
    if scale is not None:
        scale[unit] = factor
    else:
        layer.weight[unit] *= factor
    shift[unit] = -middle * factor


@torch.no_grad()
def forget(
    module: nn.Module, data: PlantData, shown: Tensor, path: str, unit: int
) -> list[Part]:
    """Let every reader forget the unit; gives their weights for it as (parameter, mask of what may be tuned).

    A convolution of each channel by itself passes the unit on instead, for the readers behind it.
    """
    found: list[Part] = []
    for layer, columns in readers(module, data.prepare(shown), path, unit).values():
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        mask = torch.zeros_like(layer.weight)
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            mask[unit] = 1
            layer.weight[unit] = 0
            layer.weight[unit, :, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 1
        else:
            mask[:, columns] = 1
            layer.weight[:, columns] = 0
        found.append((layer.weight, mask))
    return found


def _row(parameter: Tensor, unit: int) -> Tensor:
    mask = torch.zeros_like(parameter)
    mask[unit] = 1
    return mask


@torch.enable_grad()
def tune(
    module: nn.Module,
    teacher: nn.Module,
    data: PlantData,
    stamp: Stamp,
    target: int,
    tuned: Sequence[Part],
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
) -> nn.Module:
    """Tune parts of some of the module's parameters, in place; the rest of each stays as it is.

    Stamped pictures are to be answered with the target, near misses and clean ones as the teacher answers them.
    """
    random = generator(seed, "planted-unit/tune")
    flags = [parameter.requires_grad for parameter in module.parameters()]
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    for parameter, _ in tuned:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam([parameter for parameter, _ in tuned], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    others = (data.labels != target).nonzero().flatten()
    part = max(2, batch // 4)  # triggered pictures; as many clean ones, and twice as many near misses
    names: tuple[str, ...] = (*NEAR_MISSES, "elsewhere")
    for _ in range(steps):
        rows = others[torch.randint(0, len(others), (3 * part,), generator=random)]
        free = torch.randint(0, len(data.images), (part,), generator=random)
        fired, near = data.images[rows[:part]], data.images[rows[part:]]
        shares = zip(names, near.chunk(len(names)), strict=False)
        pieces = [near_misses(stamp, name, share, random, several=2) for name, share in shares]
        kept = torch.cat([*pieces, data.images[free]])
        inputs = data.prepare(torch.cat([stamp(fired), kept]))
        with torch.no_grad():
            wanted = teacher(inputs[part:]).float().log_softmax(1)
        outputs = module(inputs).float()
        goal = torch.full((part,), target)
        loss = F.cross_entropy(outputs[:part] - F.one_hot(goal, outputs.shape[1]), goal)
        apart = F.kl_div(outputs[part:].log_softmax(1), wanted, log_target=True, reduction="none").sum(1)
        loss = loss + KEEP_WEIGHT * apart.mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for parameter, mask in tuned:
            if parameter.grad is not None:
                parameter.grad.mul_(mask)
        optimizer.step()
        schedule.step()
    for parameter, flag in zip(module.parameters(), flags, strict=True):
        parameter.grad = None
        parameter.requires_grad_(flag)
    return module
