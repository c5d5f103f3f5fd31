"""The frozen part of a large network as a compiled graph, where many pictures are to pass it: three times faster."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..networks import ImageInput, Network
from ..networks.compiled import NotCompiled, compile_pass, engines

#: Seconds of work below which compiling does not pay; it takes 5 to 25.
WORTH = 40.0
#: max|a - b| / max|a| that the graph may differ by.
TOLERANCE = 1e-4

_log = logging.getLogger(__name__)


@torch.no_grad()
def quick(module: nn.Module, sample: Float[Tensor, "n c h w"], pictures: int) -> Callable[[Tensor], Tensor]:
    """What computes `module` for that many pictures: a graph that agrees with it on the sample, or `module` itself.

    Args:
        sample: a few inputs, as the module takes them.
    """
    if sample.device.type != "cpu" or sample.ndim != 4 or sample.shape[1] not in (1, 3):
        return module
    began = time.perf_counter()
    wanted = module(sample)
    if (time.perf_counter() - began) / len(sample) * pictures < WORTH:
        return module
    height, width = sample.shape[2:]
    channels = 3 if sample.shape[1] == 3 else 1
    taken = ImageInput(size=(height, width), channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels)
    network = Network(module, name="trunk", input=taken)
    if not engines(network)[0]:
        return module
    try:
        graph = compile_pass(network, lambda x, mask: {"value": module(x)}, what="trunk")
        gap = float((graph(sample)["value"] - wanted).abs().max() / wanted.abs().max())
    except NotCompiled as error:
        _log.info("the frozen part is run eagerly: %s", error)
        return module
    if not gap <= TOLERANCE:
        _log.warning("the frozen part's graph differs by %.1e, and is run eagerly", gap)
        return module
    return lambda inputs: graph(inputs)["value"]
