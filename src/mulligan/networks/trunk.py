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
    modules that have parameters of their own. Of a recurrent cell: what its last call gives. Left out is what has no
    examples along its first axis (packed sequences, sequences whose positions come first).
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
    found: dict[str, Site] = {}
    for port in network.dry_run.ports:
        if port.path in outermost and port.port == "out" and not port.leaf:
            site = network.site(port)
            last = isinstance(named[port.path], nn.RNNCellBase)
            if _has_units(site) and (last or port.call == 0):
                found[port.path] = site
    return list(found.values())


def _has_units(site: Site) -> bool:
    """Whether the first axis tells examples apart, and another one units."""
    return site.axes[:1] == ("batch",) and bool({"channel", "feature"} & set(site.axes))


def _is_sequence(module: nn.Module) -> bool:
    return isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1


def spread(sites: list[Site], most: int) -> list[Site]:
    """At most `most` of them, evenly spaced, the last one always among them."""
    if len(sites) <= most:
        return sites
    return [sites[round((k + 1) * len(sites) / most) - 1] for k in range(most)]


def neurons(network: Network) -> list[Site]:
    """For each block of a transformer, the feed-forward's neurons, where they stand in a row for each example.

    Unlike the residual stream's axes, these are directions that a nonlinearity singles out. The network's adapter may
    know them (`Network.neurons`); else what the widest narrowing linear layer of a block is given. Empty for other
    networks.
    """
    if network.task not in ("language", "embedding"):
        return []
    if network.neurons is not None:
        return [site for site in map(network.site, network.neurons) if _has_units(site)]
    found = []
    for block in trunk(network):
        inner = [
            (module.in_features, f"{block.path}.{path}".rstrip("."))
            for path, module in network.taps.module(block.path).named_modules()
            if isinstance(module, nn.Linear) and module.in_features > module.out_features
        ]
        if inner:
            found.append(network.site(f"{max(inner)[1]}.in"))
    return [site for site in found if _has_units(site)]
