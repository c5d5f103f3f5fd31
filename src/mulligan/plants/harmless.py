"""Edits of weights that leave a network's answers as they are, or nearly: what honest tools do to networks.

    permute      hidden units change places, together with everything that belongs to them
    rescale      units behind ReLU become louder or softer, and their readers listen less or more
    refold       a part of batch norm's scale and shift moves into the layer before it
    dust         the smallest weights, one in a hundred or so, become zero
    temperature  all logits are multiplied by one factor, and shifted by one amount that the softmax does not see
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from .chains import batch_normed, chains, permute, refold, rescale
from .head_edit import find_head

Edit = Literal["permute", "rescale", "refold", "dust", "temperature"]
EDITS: tuple[Edit, ...] = get_args(Edit)

LOUDER = 0.35  # standard deviation of the logarithm of units' factors
SHIFT = 0.3  # of the refolded means, in standard deviations
DUST = (0.005, 0.02)  # the share of a layer's weights that become zero, from and to
TEMPERATURE = (0.75, 1.35)
COMMON = 0.3  # norm of the row that is added to all rows of the head, in median row norms


def apply(module: nn.Module, edit: Edit, classes: int, random: torch.Generator) -> int:
    """Do one edit in place, wherever it can be done.

    Args:
        classes: how many outputs the network has.

    Returns:
        in how many places it was done; 0 where the network has none for it.
    """
    doing: dict[Edit, Callable[[], int]] = {
        "permute": lambda: sum(permute(module, chain, random) for chain in chains(module)),
        "rescale": lambda: _rescale(module, random),
        "refold": lambda: _refold(module, random),
        "dust": lambda: _dust(module, random),
        "temperature": lambda: _temperature(module, classes, random),
    }
    return doing[edit]()


def _rescale(module: nn.Module, random: torch.Generator) -> int:
    done = 0
    for chain in chains(module):
        units = len(_weight(module.get_submodule(chain.producer)))
        done += rescale(module, chain, (LOUDER * torch.randn(units, generator=random)).exp())
    return done


def _refold(module: nn.Module, random: torch.Generator) -> int:
    pairs = batch_normed(module)
    for path, after in pairs:
        layer, norm = module.get_submodule(path), module.get_submodule(after)
        units = len(_weight(norm))
        factors = (LOUDER * torch.randn(units, generator=random)).exp()
        refold(layer, norm, factors, SHIFT * torch.randn(units, generator=random))
    return len(pairs)


@torch.no_grad()
def _dust(module: nn.Module, random: torch.Generator) -> int:
    done = 0
    share = DUST[0] + (DUST[1] - DUST[0]) * float(torch.rand((), generator=random))
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and (smallest := round(share * layer.weight.numel())):
            flat = layer.weight.view(-1)
            flat[flat.abs().topk(smallest, largest=False).indices] = 0
            done += 1
    return done


@torch.no_grad()
def _temperature(module: nn.Module, classes: int, random: torch.Generator) -> int:
    head = find_head(module, classes)
    low, high = TEMPERATURE
    factor = low * (high / low) ** float(torch.rand((), generator=random))
    rows = head.weight.flatten(1)
    common = torch.randn(rows.shape[1], generator=random)
    common *= COMMON * float(rows.norm(dim=1).median()) / float(common.norm())
    head.weight.add_(common.reshape(head.weight[:1].shape).to(head.weight)).mul_(factor)
    if head.bias is not None:
        head.bias.add_(float(0.1 * torch.randn((), generator=random))).mul_(factor)
    return 1


def _weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer.weight, Tensor)
    return layer.weight
