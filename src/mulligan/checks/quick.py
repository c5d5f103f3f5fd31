"""Answers to many inputs: eagerly at first, and compiled once that would have paid.

Nobody knows beforehand how often a check will ask. So a network is asked eagerly till that took as long as compiling
does, and from then on its graph is: at worst twice what the better choice would have cost (the ski rental problem).
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from ..activations.passes import CompiledPass, Wanted
from ..activations.planning import checked_pass
from ..datasets import Batch
from ..networks import Network
from ..networks.compiled import NotCompiled, engines, expected_seconds

_log = logging.getLogger(__name__)
_WANTED = Wanted(sites=(), pools=(), answers=True)


@dataclass(slots=True)
class _Tally:
    """What asking a network took so far, and, from some time on, its graph (None: not yet, or never)."""

    spent: float = 0.0
    price: float | None = None
    graph: CompiledPass | None = None


_TALLIES: WeakKeyDictionary[Network, _Tally] = WeakKeyDictionary()


@torch.no_grad()
def quick_logits(network: Network, x: Tensor) -> Tensor:
    """A network's logits on a batch, [n, classes], in float32; what is asked often is asked of its compiled graph."""
    tally = _TALLIES.setdefault(network, _Tally())
    if tally.graph is not None:
        return tally.graph(x, None, ())["answers"]
    began = time.perf_counter()
    logits = network.logits(x).float()
    tally.spent += time.perf_counter() - began
    if tally.price is None:
        usable, _ = engines(network)
        tally.price = expected_seconds(network, _WANTED.text(), usable[0])[0] if usable else float("inf")
    if tally.spent > tally.price:
        tally.price = float("inf")
        try:
            tally.graph = checked_pass(network, _WANTED, Batch(indices=np.arange(len(x)), x=x, mask=None, labels=None))
        except NotCompiled as error:
            _log.info("composites are answered eagerly: %s", error)
    return logits
