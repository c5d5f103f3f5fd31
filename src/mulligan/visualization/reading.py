"""Objectives read off a network: which sites, before which nonlinearity, for many pictures at once.

A unit is read before its nonlinearity, since one that is silent has no gradient after it: where a site is the output of
a ReLU or its like (or of a block that ends in one), what is read is that layer's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..networks import Network
from ..records import BadInput, Site
from .objectives import ANSWER, Bent, Channel, Direction, Key, Objective, check, key

_BENT = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
    nn.Hardtanh, nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Softplus,
)  # fmt: skip
_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
_PASSED = (*_POOLS, nn.Dropout, nn.Dropout2d, nn.Identity)


def before_nonlinearity(network: Network, site: Site) -> Site:
    """The input of the nonlinearity that a site is the output of; the site itself if there is none.

    Poolings and dropouts between the two are passed over: the same units are then read on a finer grid.
    """
    if site.port != "out" or site.part or site.leaf:
        return site
    order = network.dry_run.order
    at = next((i for i, s in enumerate(order) if s.leaving and (s.path, s.call) == (site.path, site.call)), None)
    if at is None:
        return site
    last = site
    if not isinstance(network.taps.module(site.path), _BENT):
        inside = _last_bent(network, site, at)
        if inside is None:
            return site
        last = inside
    try:
        found = network.site(replace(last.place, port="in"))
    except BadInput:
        return site
    if len(found.shape) != len(site.shape) or found.shape[site.unit_axis] != site.shape[site.unit_axis]:
        return site
    return replace(found, axes=site.axes)


def _read(network: Network, site: Site, bent: Bent) -> Site:
    if bent == "after":
        return site
    before = before_nonlinearity(network, site)
    return before if bent == "before" or before.shape == site.shape else site


def _last_bent(network: Network, site: Site, at: int) -> Site | None:
    """The nonlinearity that ended last within a block (which ends at `at` in the order of the pass), wherever in the
    network it belongs, if the block gives on what it gives, pooled at most."""
    order, pooled = network.dry_run.order, False
    for step in reversed(order[:at]):
        if not step.leaving:
            if (step.path, step.call) == (site.path, site.call):
                return None
            continue
        module = network.taps.module(step.path)
        if isinstance(module, _PASSED):
            pooled = pooled or isinstance(module, _POOLS)
            continue
        if not isinstance(module, _BENT):
            if any(True for _ in module.children()):
                continue  # what ended inside it comes next
            return None
        last = Site(step.path, "out", step.call)
        return last if pooled or _same(network, site, last) else None
    return None


def _same(network: Network, one: Site, other: Site) -> bool:
    """Whether the same tensor passes both."""
    with torch.no_grad(), network.watching([one.place, other.place], copy=True) as watched:
        network(network.dry_run.x, network.dry_run.mask)
    # A unit that is NaN is the same on both sides.
    return watched[one].shape == watched[other].shape and torch.equal(
        watched[one].nan_to_num(), watched[other].nan_to_num()
    )


@dataclass(frozen=True)
class Reader:
    """Reads objectives, one a picture or all of every picture.

    Attributes:
        objectives: in the order of the pictures. sites: the site of each key; None for the logits.
    """

    network: Network
    objectives: tuple[Objective, ...]
    sites: dict[Key, Site | None]

    @classmethod
    def of(cls, network: Network, objectives: Sequence[Objective]) -> Reader:
        """See which sites are read.

        Raises:
            BadInput: if a site, unit or class does not exist.
        """
        sites: dict[Key, Site | None] = {}
        for objective in objectives:
            check(objective, network)
            for _, term in objective.terms:
                if key(term) not in sites:
                    answer = term.site == ANSWER
                    sites[key(term)] = None if answer else _read(network, network.site(term.site), term.bent)
        return cls(network, tuple(objectives), sites)

    @property
    def watched(self) -> list[Site]:
        """The sites themselves."""
        return list({site.place: site for site in self.sites.values() if site is not None}.values())

    def on(self, network: Network) -> Reader:
        """The same on a copy of the network."""
        return replace(self, network=network)

    def only(self, rows: Sequence[int]) -> Reader:
        """For some of the pictures."""
        return replace(self, objectives=tuple(self.objectives[row] for row in rows))

    def seen(self, x: Tensor) -> dict[Key, Tensor]:
        """What passes each site; the pass ends at the last of them."""
        answered = None in self.sites.values()
        with self.network.watching([s.place for s in self.watched], stop=not answered) as watched:
            output = self.network(x)
        answer = self.network.answer_unchecked(output) if answered else None
        return {key: answer if site is None else watched[site] for key, site in self.sites.items()}  # pyright: ignore

    def values(self, x: Tensor) -> Float[Tensor, " n"]:
        """Each picture's own objective."""
        return self.own(self.seen(x))

    def own(self, seen: dict[Key, Tensor]) -> Float[Tensor, " n"]:
        """Each picture's own objective, of what passed."""
        if self.combined is not None:
            return self._products(seen)
        groups: dict[int, list[int]] = {}
        for row, objective in enumerate(self.objectives):
            groups.setdefault(id(objective), []).append(row)
        parts, order = [], []
        for rows in groups.values():
            mine = {key: tensor[rows] for key, tensor in seen.items()}
            parts.append(self.objectives[rows[0]].values(mine, self.sites))
            order += rows
        return torch.cat(parts)[torch.argsort(torch.tensor(order))]

    def every(self, seen: dict[Key, Tensor]) -> Float[Tensor, "n objectives"]:
        """Every objective of every picture."""
        return torch.stack([objective.values(seen, self.sites) for objective in self.objectives], 1)

    @cached_property
    def combined(self) -> Combined | None:
        """Where all are of means over the places of one site: one product for the whole batch."""
        terms = [term for objective in self.objectives for _, term in objective.terms]
        first = key(terms[0])
        if not all(
            isinstance(term, Channel | Direction) and key(term) == first and not getattr(term, "cosine", 0.0)
            for term in terms
        ):
            return None
        site = self.sites[first]
        assert site is not None
        weights, shifts = torch.zeros(len(self.objectives), site.units), torch.zeros(len(self.objectives))
        for row, objective in enumerate(self.objectives):
            for weight, term in objective.terms:
                if isinstance(term, Channel):
                    weights[row, term.unit] += weight
                else:
                    assert isinstance(term, Direction)
                    weights[row] += weight * term.vector.to(weights)
                    shifts[row] += weight * term.shift
        device, dtype = self.network.device, self.network.dtype
        return Combined(first, site, weights.to(device, dtype), shifts.to(device, dtype))

    def _products(self, seen: dict[Key, Tensor]) -> Tensor:
        assert self.combined is not None
        tensor, axis = seen[self.combined.key], self.combined.site.unit_axis
        means = tensor.movedim(axis, -1).flatten(1, -2).mean(1) if tensor.dim() > 2 else tensor
        weights = self.combined.weights.to(means)
        # A unit that is NaN is no matter to the pictures of others.
        return torch.where(weights != 0, means * weights, 0).sum(1) + self.combined.shifts.to(means)


@dataclass(frozen=True)
class Combined:
    """Objectives as products with the means over places of one site.

    Attributes:
        weights: of each picture's objective. shifts: what is added.
    """

    key: Key
    site: Site
    weights: Float[Tensor, "n units"]
    shifts: Float[Tensor, " n"]
