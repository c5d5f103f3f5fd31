"""The places that a reader would name first: outputs of the blocks that a network is a chain of."""

from __future__ import annotations

from contextlib import suppress

from torch import nn

from ..records import BadInput, Site
from .network import Network


def trunk(network: Network) -> list[Site]:
    """Outputs of the blocks that the network's outermost lists and sequences of modules hold, in order of passing.

    A sequence of sequences is opened until its members are blocks: modules whose own children are plain layers, or that
    are no sequences. Members without parameters and the head are left out. Without such containers: outputs of all
    modules that have parameters of their own.
    """
    named = dict(network.module.named_modules())
    wanted: set[str] = set()
    pending = [("", network.module)]
    while pending:
        path, module = pending.pop()
        for name, child in module.named_children():
            inner = f"{path}.{name}".lstrip(".")
            if _is_sequence(child) and (
                not _is_sequence(module) or any(True for c in child.children() for _ in c.children())
            ):
                pending.append((inner, child))
            elif _is_sequence(module):
                wanted.add(inner)
            else:
                pending.append((inner, child))
    wanted = {path for path in wanted if any(True for _ in named[path].parameters())}
    outermost = {path for path in wanted if not any(path.startswith(f"{other}.") for other in wanted)}
    if not outermost:
        outermost = {
            path for path, module in named.items() if path and any(True for _ in module.parameters(recurse=False))
        }
    with suppress(BadInput):  # an encoder has no head
        outermost.discard(network.head)
    return [
        site
        for site in network.sites("*")
        if site.path in outermost and not site.part and site.call == 0 and ({"channel", "feature"} & set(site.axes))
    ]


def _is_sequence(module: nn.Module) -> bool:
    return isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1


def spread(sites: list[Site], most: int) -> list[Site]:
    """At most `most` of them, evenly spaced, the last one always among them."""
    if len(sites) <= most:
        return sites
    return [sites[round((k + 1) * len(sites) / most) - 1] for k in range(most)]


def neurons(network: Network) -> list[Site]:
    """For each block of a transformer, the feed-forward's neurons: what its widest narrowing linear layer is given.

    Unlike the residual stream's axes, these are directions that a nonlinearity singles out. Empty for other networks.
    """
    if network.task not in ("language", "embedding"):
        return []
    found = []
    for block in trunk(network):
        inner = [
            (module.in_features, f"{block.path}.{path}")
            for path, module in network.taps.module(block.path).named_modules()
            if isinstance(module, nn.Linear) and module.in_features > module.out_features
        ]
        if inner:
            found.append(network.site(f"{max(inner)[1]}.in"))
    return found
