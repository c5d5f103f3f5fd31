"""Which units drive an output, to first order: gradient times how far the activation is from its mean.

This is the linear estimate of what mean ablation would change (gradient x input: Shrikumar et al. 2017, arXiv:1704.02685;
attribution patching: Nanda 2023; Syed et al. 2023, arXiv:2310.10348), for every unit of every site in one backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..networks import Network
from ..records import BadInput, Site


def pick_outputs(logits: Float[Tensor, "batch ..."], output: int, positions: Sequence[int] | None) -> Float[Tensor, " batch"]:
    """Logit `output` of each example; of a language model, at each example's position.

    Raises:
        BadInput: if a language model's answers are asked for without positions.
    """
    if logits.dim() == 2:
        return logits[:, output]
    if positions is None:
        raise BadInput("a language model answers at every position", where=f"output {output}", fix="say at which position of each text")
    return logits[torch.arange(len(logits)), torch.as_tensor(positions), output]


def attribute(
    network: Network, sites: Sequence[Site], x: Tensor, mask: Tensor | None, output: int, positions: Sequence[int] | None, means: Mapping[str, Float[Tensor, " units"]]
) -> dict[str, Float[Tensor, "batch units"]]:
    """Attribution of one output to every unit of `sites`, summed over places and positions: [batch, units] a site.

    Args:
        positions: for a language model, where in each text the output is read; None for a classifier.
        means: each site's mean activation, by alias.
    """
    with torch.enable_grad():
        frozen = [(p, p.requires_grad) for p in network.module.parameters()]
        for parameter, _ in frozen:
            parameter.requires_grad_(False)  # gradients of weights are not wanted, and cost as much again
        try:
            if x.is_floating_point():
                x = x.detach().clone().requires_grad_(True)
                root = None
            else:
                root = _embedding_leaf(network)
            with network.watching(sites) as watched:
                handle = root.register_forward_hook(lambda module, args, output: output.detach().requires_grad_(True)) if root is not None else None
                try:
                    chosen = pick_outputs(network.logits(x, mask), output, positions)
                    tensors = [watched[site] for site in sites]
                    gradients = torch.autograd.grad(chosen.sum(), tensors, allow_unused=True)
                finally:
                    if handle is not None:
                        handle.remove()
        finally:
            for parameter, needed in frozen:
                parameter.requires_grad_(needed)
    out = {}
    for site, tensor, gradient in zip(sites, tensors, gradients, strict=True):
        axis = site.unit_axis
        shape = [1] * tensor.dim()
        shape[axis] = -1
        product = torch.zeros_like(tensor) if gradient is None else (tensor.detach() - means[site.alias].to(tensor).reshape(shape)) * gradient
        walked = [a for a in range(1, tensor.dim()) if a != axis]
        out[site.alias] = product.sum(walked) if walked else product
    return out


def _embedding_leaf(network: Network) -> torch.nn.Module:
    """The first embedding, from which gradients of token networks begin."""
    for module in network.module.modules():
        if isinstance(module, torch.nn.Embedding):
            return module
    raise BadInput("this token network has no embedding layer", where=network.name, fix="attribution needs one to begin from")
