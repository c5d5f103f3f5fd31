"""Which units drive an output, to first order: gradient times how far the activation is from its mean.

This is the linear estimate of what mean ablation would take away (gradient x input: Shrikumar et al. 2017,
arXiv:1704.02685; attribution patching: Nanda 2023; Syed et al. 2023, arXiv:2310.10348), for every unit of every site
in one backward pass. It has the opposite sign of the ablation's change, and its size where the rest of the network is
linear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from ..networks import Network
from ..records import Site
from .passes import attributions
from .targets import logit


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

    This is `attributions` by gradient x activation with the means as baselines; see there.

    Args:
        sites: with axes and shape, as `Network.site` gives them.
        x, mask: one batch as the network takes it.
        positions: for a language model, where in each text the output is read; None for a classifier.
        means: each site's mean activation, by alias, [units].

    Raises:
        BadInput: as `attributions` does.
    """
    found = attributions(network, sites, x, mask, logit(output, positions), baselines=means, finite=False)
    return {alias: one.by_unit() for alias, one in found.items()}
