"""Where hidden units may be renamed or rescaled without a change of any answer: read off the network's graph.

A chain is a layer whose units go, one by one, through norms, activations and pooling to a single layer that reads them.
Everything between acts on each unit by itself, so that units may change places as long as all of them agree on the new
order; and behind ReLU, a unit may be louder as long as its reader listens less (Neyshabur et al. 2015).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, fx, nn

_log = logging.getLogger(__name__)

Layer = nn.Conv2d | nn.Linear
# f(c x) = c f(x) for c > 0, and unit by unit.
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Dropout, nn.Flatten, *_POOLS)
_UNITWISE = (*_HOMOGENEOUS, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish)


@dataclass(frozen=True, slots=True)
class Chain:
    """Paths of a layer, of what its units go through, and of the layer that reads them."""

    producer: str
    between: tuple[str, ...]
    consumer: str


def chains(module: nn.Module) -> tuple[Chain, ...]:
    """All chains, in the order of passing; none where the network's code cannot be traced."""
    followers = _followers(module)
    found: list[Chain] = []
    for path in followers:
        layer = module.get_submodule(path)
        if not _mixes(layer):
            continue
        between: list[str] = []
        at = followers[path]
        while at is not None and _unitwise(module.get_submodule(at)):
            between.append(at)
            at = followers[at]
        if at is None or not _mixes(reader := module.get_submodule(at)):
            continue
        if _inputs(reader) % _outputs(layer) == 0:
            found.append(Chain(path, tuple(between), at))
    return tuple(found)


def batch_normed(module: nn.Module) -> tuple[tuple[str, str], ...]:
    """Pairs of a convolution (or linear layer) and the batch norm that alone takes its output."""
    followers = _followers(module)
    return tuple(
        (path, after)
        for path, after in followers.items()
        if after is not None
        and isinstance(module.get_submodule(path), Layer)
        and isinstance(norm := module.get_submodule(after), nn.BatchNorm1d | nn.BatchNorm2d)
        and norm.running_var is not None
        and norm.affine
    )


@torch.no_grad()
def permute(module: nn.Module, chain: Chain, random: torch.Generator) -> bool:
    """Put the units of a chain in another order; nothing that the network answers changes. In place.

    Under group norm, units keep to their group, and groups change places whole. False where that cannot be done.
    """
    layer, reader = module.get_submodule(chain.producer), module.get_submodule(chain.consumer)
    between = [module.get_submodule(path) for path in chain.between]
    units = _outputs(layer)
    groups = {one.num_groups for one in between if isinstance(one, nn.GroupNorm)} or {1}
    if len(groups) > 1:
        return False
    order = _order(units, groups.pop(), random)
    for one in (layer, *between):
        for tensor in _by_unit(one):
            tensor.copy_(tensor[order.to(tensor.device)])
    weight = _columns(reader, units)
    weight.copy_(weight[:, order.to(weight.device)])
    return True


@torch.no_grad()
def rescale(module: nn.Module, chain: Chain, factors: Float[Tensor, " units"]) -> bool:
    """Make each unit louder by a positive factor, and its reader listen less by the same. In place.

    False where something between the unit's last own weights and its reader is not positively homogeneous.
    """
    path, rest = chain.producer, list(chain.between)
    for index, name in enumerate(chain.between):
        if next(iter(_by_unit(module.get_submodule(name))), None) is not None:
            path, rest = name, list(chain.between[index + 1 :])
    if not all(isinstance(module.get_submodule(name), _HOMOGENEOUS) for name in rest):
        return False
    reader = module.get_submodule(chain.consumer)
    for tensor in (module.get_submodule(path).weight, module.get_submodule(path).bias):
        if isinstance(tensor, Tensor):
            tensor.mul_(factors.to(tensor).reshape(-1, *[1] * (tensor.ndim - 1)))
    weight = _columns(reader, len(factors))
    weight.div_(factors.to(weight).reshape(1, -1, *[1] * (weight.ndim - 2)))
    return True


@torch.no_grad()
def refold(
    layer: nn.Module, norm: nn.Module, factors: Float[Tensor, " units"], shifts: Float[Tensor, " units"]
) -> None:
    """Move a part of a batch norm's scale into the layer before it, and of its mean into its bias, so that it answers
    as before in evaluation mode. In place.

    Args:
        factors: what the layer's outputs are multiplied by, not zero. shifts: in running standard deviations.
    """
    assert isinstance(layer, Layer)
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    factors = factors.to(var)
    # The new variance, without epsilon, has to stay positive.
    least = (2 * norm.eps / (var + norm.eps)).sqrt()
    factors = torch.where(factors.abs() < least, least, factors)
    layer.weight.mul_(factors.reshape(-1, *[1] * (layer.weight.ndim - 1)))
    if layer.bias is not None:
        layer.bias.mul_(factors)
    mean.mul_(factors)
    var.copy_(factors**2 * (var + norm.eps) - norm.eps)
    norm.weight.mul_(factors.sign())
    moved = shifts.to(var) * (var + norm.eps).sqrt()
    mean.add_(moved)
    norm.bias.add_(norm.weight * moved / (var + norm.eps).sqrt())


def _followers(module: nn.Module) -> dict[str, str | None]:
    """For each submodule that is called once, the submodule that alone takes its output; None where there is none."""
    try:
        graph = fx.Tracer().trace(module)
    except Exception as error:  # any code may stand in a user's forward
        _log.info("the network cannot be traced, and no chains are found: %s", error)
        return {}
    called = [node for node in graph.nodes if node.op == "call_module"]
    times: dict[str, int] = {}
    for node in called:
        times[str(node.target)] = times.get(str(node.target), 0) + 1
    found: dict[str, str | None] = {}
    for node in called:
        if times[str(node.target)] > 1:
            continue
        users = list(node.users)
        only = users[0] if len(users) == 1 else None
        single = only is not None and only.op == "call_module" and times[str(only.target)] == 1
        found[str(node.target)] = str(only.target) if only is not None and single else None
    return found


def _mixes(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def _unitwise(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.groups == layer.in_channels == layer.out_channels
    if isinstance(layer, nn.Flatten):
        return layer.start_dim == 1 and layer.end_dim == -1
    return isinstance(layer, (*_UNITWISE, nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm))


def _by_unit(layer: nn.Module) -> list[Tensor]:
    """The tensors of a layer whose first axis counts its units."""
    if not isinstance(layer, nn.Linear | nn.Conv2d | nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm):
        return []
    names = ("weight", "bias", "running_mean", "running_var")
    return [tensor for name in names if isinstance(tensor := getattr(layer, name, None), Tensor)]


def _outputs(layer: nn.Module) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else int(layer.out_channels)  # type: ignore[arg-type]


def _inputs(layer: nn.Module) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else int(layer.in_channels)  # type: ignore[arg-type]


def _columns(reader: nn.Module, units: int) -> Tensor:
    """A view of the reader's weights, [outputs, units, ...]: of flattened maps, a unit has a stretch of features."""
    weight = reader.weight
    assert isinstance(weight, Tensor)
    return weight.view(len(weight), units, -1)


def _order(units: int, groups: int, random: torch.Generator) -> Int[Tensor, " units"]:
    size = units // groups
    starts = torch.randperm(groups, generator=random) * size
    return torch.cat([int(start) + torch.randperm(size, generator=random) for start in starts])
