"""What drives hidden units: where their pre-activations pass, and inputs that maximise them (activation maximization).

Erhan et al. 2009; Olah et al. 2017 (distill.pub/2017/feature-visualization). Units are maximised before their
non-linearity, since a unit that is silent has no gradient after it. All units of a layer are maximised side by side in
one batch, a picture each.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..networks import Network
from .clean import layers_run
from .pixels import taken

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
#: Units maximised in one batch.
BATCH = 128


def preactivations(network: Network) -> list[str]:
    """For each layer that runs, the head left out: where its units pass before the non-linearity (after its norm)."""
    order = list(dict.fromkeys(step.path for step in network.dry_run.order if step.leaving))
    layers = layers_run(network)
    places = [order.index(path) for path in layers]
    out = []
    for path, place, following in zip(layers[:-1], places[:-1], places[1:], strict=True):
        first = next((p for p in order[place + 1 : following] if p), None)
        norm = first if first is not None and isinstance(network.taps.module(first), _NORMS) else None
        out.append(norm or path)
    return out


def peaks(tensor: Float[Tensor, "n units ..."]) -> Float[Tensor, "n units"]:
    """Each unit's largest value over space."""
    if tensor.dim() == 3:  # [n, position, units]
        return tensor.amax(1)
    return tensor.flatten(2).amax(2) if tensor.dim() > 3 else tensor


def peaks_on(network: Network, site: str, pixels: Float[Tensor, "n c h w"]) -> Float[np.ndarray, "n units"]:
    """Each unit's largest value over space on each picture."""
    own = taken(network)
    kept = []
    with torch.no_grad(), network.watching(site, reduce=lambda t, s: peaks(t.float()), stop=True) as watched:
        for part in pixels.split(256):
            network(own.normalise(part))
            kept.append(watched[site].cpu().numpy().copy())
    return np.concatenate(kept)


def maximised(
    network: Network, site: str, units: list[int], start: Float[Tensor, "n c h w"], *, steps: int, rate: float,
    mask: Float[Tensor, "n 1 h w"] | None = None,
) -> Float[Tensor, "n c h w"]:  # fmt: skip
    """Pictures that maximise each unit, climbed to from `start` by signed steps, pixels kept from 0 to 1.

    Args:
        units: one a picture. steps, rate: the size of a step falls from `rate` to a tenth of it.
        mask: where pixels may change; None: everywhere.
    """
    own = taken(network)
    x = start.clone()
    wanted = torch.tensor(units, device=network.device)
    for step in range(steps):
        x.requires_grad_(True)
        with torch.enable_grad(), network.watching(site, stop=True) as watched:
            network(own.normalise(x))
            value = peaks(watched[site].float())
            total = value[torch.arange(len(units), device=value.device), wanted].sum()
            (slope,) = torch.autograd.grad(total, x)
        size = rate * (1 - 0.9 * step / max(steps - 1, 1))
        x = x.detach()
        moved = (x + size * slope.sign().nan_to_num().to(x)).clamp(0, 1)
        x = moved if mask is None else x * (1 - mask) + moved * mask
    return x.detach()


def too_few_units(bought: int, wanted: int) -> str:
    """Why so few units as the budget bought say nothing."""
    if not bought:
        return f"The budget bought none of {wanted} units."
    return f"The budget bought {bought} of {wanted} units: too few to tell whether one stands apart."
