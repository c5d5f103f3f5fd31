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
    learned (the model-randomization control of Adebayo et al. 2018, arXiv:1810.03292). Tied weights stay tied. The
    network given is not changed.

    Args:
        settle: batches of (x, mask) on which batch-norm statistics are measured anew; without any, the trained ones
            stay, which fit nothing. A batch of one example is left out: it may have no variance.
    """
    module = copy.deepcopy(network.module)
    with torch.no_grad():
        seen: set[tuple[int, int]] = set()
        for name, parameter in module.named_parameters():
            # One parameter under two names is listed once; two parameters on one storage are shuffled once, here.
            place = (parameter.data_ptr(), parameter.numel())
            if place in seen:
                continue
            seen.add(place)
            shuffle = torch.Generator().manual_seed(derived_seed(seed, "twin", name))
            order = torch.randperm(parameter.numel(), generator=shuffle).to(parameter.device)
            # copy_ keeps the memory format (channels last) that the module was given.
            parameter.copy_(parameter.reshape(-1)[order].reshape(parameter.shape))
    twin = network.with_module(module, name=f"{network.name} (random twin)")
    norms = [m for m in module.modules() if isinstance(m, _NORMS) and m.track_running_stats]
    batches = [(x, mask) for x, mask in settle if len(x) > 1] if norms else []
    if batches:
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
