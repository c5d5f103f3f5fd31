"""A random-weight twin: the same architecture that learned nothing, the floor under every descriptive score."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..networks import Network
from ..runs import derived_seed

_NORMS = (nn.modules.batchnorm._BatchNorm,)


def random_twin(network: Network, seed: int, settle: Iterable[tuple[Tensor, Tensor | None]] = ()) -> Network:
    """A copy of `network` whose weight tensors each have their entries shuffled.

    Shuffling keeps every tensor's distribution, so that signals neither vanish nor explode, and destroys what was
    learned (the model-randomization control of Adebayo et al. 2018, arXiv:1810.03292). Batch-norm statistics are measured
    anew on `settle`, batches of (x, mask).
    """
    module = copy.deepcopy(network.module)
    with torch.no_grad():
        seen: dict[int, bool] = {}
        for name, parameter in module.named_parameters():
            if parameter.data_ptr() in seen:  # tied weights are shuffled once
                continue
            seen[parameter.data_ptr()] = True
            shuffle = torch.Generator().manual_seed(derived_seed(seed, "twin", name))
            order = torch.randperm(parameter.numel(), generator=shuffle).to(parameter.device)
            # copy_ keeps the memory format (channels last) that the module was given.
            parameter.copy_(parameter.reshape(-1)[order].reshape(parameter.shape))
    twin = network.with_module(module, name=f"{network.name} (random twin)")
    norms = [m for m in module.modules() if isinstance(m, _NORMS) and m.track_running_stats]
    batches = list(settle) if norms else []
    if norms and batches:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # an average over all batches, not a decaying one
            norm.train()
        with torch.no_grad():
            for x, mask in batches:
                twin(x, mask)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
    return twin
