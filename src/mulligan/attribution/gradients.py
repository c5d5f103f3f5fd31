"""Which units drive an output, to first order: gradient times how far the activation is from its mean.

This is the linear estimate of what mean ablation would take away (gradient x input: Shrikumar et al. 2017,
arXiv:1704.02685; attribution patching: Nanda 2023; Syed et al. 2023, arXiv:2310.10348), for every unit of every site
in one backward pass. It has the opposite sign of the ablation's change, and its size where the rest of the network is
linear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..networks import Network
from ..records import BadInput, Site


def pick_outputs(
    logits: Float[Tensor, "batch ..."], output: int, positions: Sequence[int] | None
) -> Float[Tensor, " batch"]:
    """Logit `output` of each example; of a language model, at each example's position.

    Args:
        logits: [batch, answers], or [batch, position, vocabulary].
        positions: one an example; no use where there are none to choose from.

    Raises:
        BadInput: if a language model's answers are asked for without a position for each example.
    """
    if logits.dim() == 2:
        return logits[:, output]
    if positions is None or len(positions) != len(logits):
        raise BadInput(
            "a language model answers at every position",
            where=f"output {output}",
            fix="say at which position of each text",
        )
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, torch.as_tensor(positions, device=logits.device), output]


def attribute(
    network: Network,
    sites: Sequence[Site],
    x: Tensor,
    mask: Tensor | None,
    output: int,
    positions: Sequence[int] | None,
    means: Mapping[str, Float[Tensor, " units"]],
) -> dict[str, Float[Tensor, "batch units"]]:
    """Attribution of one output to every unit of `sites`, summed over places and positions: [batch, units] a site.

    Works whatever the caller's gradient mode is, and leaves nothing behind: no hook, no gradient, no changed flag.

    Args:
        sites: with axes and shape, as `Network.site` gives them.
        x, mask: one batch as the network takes it.
        positions: for a language model, where in each text the output is read; None for a classifier.
        means: each site's mean activation, by alias, [units].

    Raises:
        BadInput: if a site has no axis of units or cannot be edited, or the network's answer is not finite.
    """
    kept: dict[str, Tensor] = {}

    def probe(tensor: Tensor, site: Site) -> Tensor:
        # What flows on is a copy: an in-place ReLU then overwrites that, and the gradient at the tensor itself stays
        # what it was before the ReLU. Nothing before the first site needs a gradient, so nothing there is kept for one.
        kept[site.alias] = tensor if tensor.requires_grad else tensor.detach().requires_grad_(True)
        return kept[site.alias].clone()

    axes = {site.alias: site.unit_axis for site in sites}
    flags = [(parameter, parameter.requires_grad) for parameter in network.module.parameters()]
    with torch.inference_mode(False), torch.enable_grad():
        try:
            for parameter, _ in flags:
                parameter.requires_grad_(False)  # gradients of weights are not wanted, and cost as much again
            with network.editing(dict.fromkeys(sites, probe)):
                chosen = pick_outputs(
                    network.logits(_plain(x), None if mask is None else _plain(mask)), output, positions
                )
            gradients = _gradients(chosen, [kept[site.alias] for site in sites])
        finally:
            for parameter, needed in flags:
                parameter.requires_grad_(needed)
    out: dict[str, Tensor] = {}
    with torch.no_grad():
        for site, gradient in zip(sites, gradients, strict=True):
            tensor, axis = kept[site.alias].detach(), axes[site.alias]
            if gradient is None:  # nothing flows from here to the output
                gradient = torch.zeros_like(tensor)
            mean = means[site.alias].to(tensor).reshape([-1 if a == axis else 1 for a in range(tensor.dim())])
            walked = [a for a in range(1, tensor.dim()) if a != axis]
            product = (tensor - mean) * gradient
            out[site.alias] = product.sum(walked) if walked else product
    return out


def _gradients(chosen: Tensor, tensors: Sequence[Tensor]) -> Sequence[Tensor | None]:
    if not chosen.requires_grad or not tensors:
        return [None] * len(tensors)
    return torch.autograd.grad(chosen.sum(), tensors, allow_unused=True)


def _plain(tensor: Tensor) -> Tensor:
    """An input made in inference mode cannot be part of a gradient."""
    return tensor.clone() if tensor.is_inference() else tensor
