"""The engine: one forward and one backward pass give every site's slopes; the methods differ in how they weigh them.

An attribution is a product, element by element, of a *slope* (how the target changes with this number) and a *step*
(by how much the number is counted). All methods below are such products of what one kind of pass gives:

    method                  slope                                       step
    gradient                the gradient                                1
    gradient x activation   the gradient                                activation - baseline
    integrated gradients    the mean gradient from baseline to there    activation - baseline
    grad-cam                the gradient's mean over places             activation

Gradient x activation: Shrikumar et al. 2017, arXiv:1704.02685. Integrated gradients along the straight path of a
site's activation: Sundararajan et al. 2017, arXiv:1703.01365; they are complete: they sum to what the target changes
between baseline and activation. Grad-CAM: Selvaraju et al. 2017, arXiv:1610.02391 (before its ReLU).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..networks import Network, Tail
from ..records import BadInput, Site
from .targets import Target

_Run = Callable[[Tensor], tuple[Tensor, Tensor]]
Places = Float[Tensor, "batch *places"]
Method = Literal["gradient", "gradient x activation", "integrated gradients", "grad-cam"]


@dataclass(frozen=True, slots=True)
class Attribution:
    """What every number at a site did for the target.

    Attributes:
        site: with its axes.
        activation, slope, step: in the shape of what passes the site; the attribution is slope times step.
        reached: the target at the activation, [batch].
        start: the target at the baseline, [batch], where the method walks from there; else None.
    """

    site: Site
    activation: Tensor
    slope: Tensor
    step: Tensor
    reached: Float[Tensor, " batch"]
    start: Float[Tensor, " batch"] | None = None

    @property
    def values(self) -> Tensor:
        """The attribution of every number."""
        return self.slope * self.step

    def total(self) -> Float[Tensor, " batch"]:
        """All of it, an example."""
        return _units_last(self.values, self.site).flatten(1).sum(1)

    def by_unit(self) -> Float[Tensor, "batch units"]:
        """Summed over places."""
        values = _units_last(self.values, self.site)
        return values.flatten(1, -2).sum(1) if values.dim() > 2 else values

    def by_place(self) -> Places:
        """Summed over units: [batch, height, width] of a convolution, [batch, position] of tokens."""
        return _units_last(self.values, self.site).sum(-1)

    def by_group(self, groups: Float[Tensor, "group units"]) -> Float[Tensor, "batch group"]:
        """Summed over units with each group's weights, of any sign; groups that partition the units sum to the whole.

        Raises:
            BadInput: if there is not one weight a unit.
        """
        return self.by_unit() @ _fitting(groups, self.site, self.step).T

    def by_direction(
        self, directions: Float[Tensor, "group units"], sizes: Float[Tensor, "batch *places group"]
    ) -> Float[Tensor, "batch group"]:
        """What each direction's part of the activation did: its size at each place, times how the target changes there
        along it.

        Args:
            sizes: how much of each direction is there; `sizes @ directions` is the part of the activation (of the
                step) that they make up. Where that is all of it, the groups sum to the whole.

        Raises:
            BadInput: if there is not one weight a unit, or not one size a place.
        """
        return self.by_direction_and_place(directions, sizes).flatten(1, -2).sum(1)

    def by_direction_and_place(
        self, directions: Float[Tensor, "group units"], sizes: Float[Tensor, "batch *places group"]
    ) -> Float[Tensor, "batch *places group"]:
        """The same, place by place."""
        slope = _units_last(self.slope, self.site)
        along = slope @ _fitting(directions, self.site, self.step).T
        if sizes.shape != along.shape:
            raise BadInput(
                f"sizes of shape {tuple(sizes.shape)} are given where {tuple(along.shape)} pass",
                where=self.site.alias,
                fix="give [batch, places, groups]",
            )
        return along * sizes.to(along)

    def gap(self) -> Float[Tensor, " batch"] | None:
        """By how much an integral along a path is off: what it says in all, less what the target changed."""
        return None if self.start is None else self.total() - (self.reached - self.start)


def attributions(
    network: Network,
    sites: Sequence[Site],
    x: Tensor,
    mask: Tensor | None,
    target: Target,
    method: Method = "gradient x activation",
    *,
    baselines: Mapping[str, Tensor] | None = None,
    steps: int = 32,
    tails: Mapping[str, Tail] | None = None,
    finite: bool = True,
) -> dict[str, Attribution]:
    """Attribution of `target` to what passes each of `sites`, by alias.

    One pass serves all sites, save for integrated gradients, which walk each site's path alone in `steps` passes (the
    points and weights of Gauss and Legendre). Works whatever the caller's gradient mode is, and leaves nothing behind:
    no hook, no gradient, no changed flag.

    Args:
        sites: with axes and shape, as `Network.site` gives them.
        x, mask: one batch as the network takes it.
        baselines: by alias, what stands for "nothing" there: [units], or a tensor as it passes; zeros if not named.
        tails: by alias, the network after a site: its path is then walked without what comes before it.
        finite: whether an activation or a gradient that is NaN or infinite is refused, or given as it is.

    Raises:
        BadInput: if a site has no axis of units or cannot be edited, the method is not known, or the network's answer
            (or, as asked, an activation or a gradient) is not finite.
    """
    if method not in get_args(Method):
        raise BadInput(f"there is no method {method!r}", where="method", fix=f"choose {', '.join(get_args(Method))}")
    for site in sites:
        _ = site.unit_axis  # refused before the work
    flags = [(parameter, parameter.requires_grad) for parameter in network.module.parameters()]
    with torch.inference_mode(False), torch.enable_grad():
        try:
            for parameter, _ in flags:
                parameter.requires_grad_(False)  # gradients of weights are not wanted, and cost as much again
            x, mask = _plain(x), None if mask is None else _plain(mask)
            kept, slopes, reached = _pass(network, sites, x, mask, target)
            out = {}
            for site in sites:
                activation = kept[site.alias]
                start = _baseline(baselines, site, activation)
                if finite:
                    _require_finite(site, activation=activation, gradient=slopes[site.alias])
                if method == "integrated gradients":
                    tail = (tails or {}).get(site.alias) if target.site is None else None
                    run = _after(tail, x, mask, target) if tail else _through(network, site, x, mask, target)
                    slope, begun = _walk(run, activation, start, steps)
                    step = activation - start
                else:
                    slope, begun = slopes[site.alias], None
                    step = torch.ones_like(activation) if method == "gradient" else activation - start
                if method == "grad-cam":
                    slope, step = _over_places(slope, site), activation
                out[site.alias] = Attribution(site, activation, slope, step, reached, begun)
            return out
        finally:
            for parameter, needed in flags:
                parameter.requires_grad_(needed)


def _pass(
    network: Network,
    sites: Sequence[Site],
    x: Tensor,
    mask: Tensor | None,
    target: Target,
    put: Mapping[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """What passed each site, the target's gradient there, and the target.

    Args:
        put: by alias, what is to pass instead.
    """
    kept: dict[str, Tensor] = {}

    def probe(tensor: Tensor, site: Site) -> Tensor:
        # What flows on is a copy: an in-place ReLU then overwrites that, and the gradient at the tensor itself stays
        # what it was before the ReLU. Nothing before the first site needs a gradient, so nothing there is kept for one.
        passed = tensor if put is None else put[site.alias]
        kept[site.alias] = passed if passed.requires_grad else passed.detach().requires_grad_(True)
        return kept[site.alias].clone()

    watched = nullcontext({}) if target.site is None else network.watching(target.site)
    with network.editing(dict.fromkeys(sites, probe)), watched as passed:
        answer = network.logits(x, mask)
        chosen = target.read(answer if target.site is None else passed[target.site.alias])
    tensors = [kept[site.alias] for site in sites]
    gradients: Sequence[Tensor | None] = [None] * len(tensors)
    if chosen.requires_grad and tensors:
        gradients = torch.autograd.grad(chosen.sum(), tensors, allow_unused=True)
    slopes: dict[str, Tensor] = {}
    for site, gradient in zip(sites, gradients, strict=True):
        kept[site.alias] = kept[site.alias].detach()
        # None: nothing flows from here to the target.
        slopes[site.alias] = torch.zeros_like(kept[site.alias]) if gradient is None else gradient
    return kept, slopes, chosen.detach()


def _through(network: Network, site: Site, x: Tensor, mask: Tensor | None, target: Target) -> _Run:
    """For a value that is to pass the site: the target's gradient there, and the target."""

    def run(value: Tensor) -> tuple[Tensor, Tensor]:
        _, slopes, chosen = _pass(network, [site], x, mask, target, {site.alias: value})
        return slopes[site.alias], chosen

    return run


def _after(tail: Tail, x: Tensor, mask: Tensor | None, target: Target) -> _Run:
    """The same by what comes after the site alone."""
    with torch.no_grad():
        held = tail.hold(x, mask)

    def run(value: Tensor) -> tuple[Tensor, Tensor]:
        value = value.detach().requires_grad_(True)
        answer = tail(held, value)
        tail.network.check_answer(answer)
        chosen = target.read(answer)
        (gradient,) = torch.autograd.grad(chosen.sum(), value, allow_unused=True)
        return torch.zeros_like(value) if gradient is None else gradient, chosen.detach()

    return run


def _walk(run: _Run, activation: Tensor, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The mean gradient on the way from `start` to the activation, and the target at the start."""
    if steps < 1:
        raise BadInput(f"a path of {steps} steps cannot be walked", where="steps", fix="give 1 or more")
    points, weights = np.polynomial.legendre.leggauss(steps)
    mean = torch.zeros_like(activation)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        mean += weight * run(start + point * (activation - start))[0]
    # `start` may be one tensor for the whole batch, laid out by broadcasting: what passes must have its own memory.
    return mean, run(start.expand_as(activation).contiguous())[1]


def _baseline(baselines: Mapping[str, Tensor] | None, site: Site, activation: Tensor) -> Tensor:
    """What stands for nothing, to be laid over the activation by broadcasting."""
    given = (baselines or {}).get(site.alias)
    if given is None:
        return activation.new_zeros(())
    given = given.to(activation)
    if given.dim() == 1:
        axis = site.unit_axis
        if len(given) != activation.shape[axis]:
            raise BadInput(
                f"a baseline of {len(given)} numbers is given for {activation.shape[axis]} units",
                where=site.alias,
                fix="give one number a unit",
            )
        given = given.reshape([-1 if a == axis else 1 for a in range(activation.dim())])
    return given


def _require_finite(site: Site, **tensors: Tensor) -> None:
    for what, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise BadInput(
                f"the {what} here is NaN or infinite",
                where=site.alias,
                fix="check the weights file and the input's scale, or choose another site",
            )


def _over_places(slope: Tensor, site: Site) -> Tensor:
    kept = {site.unit_axis, _batch_axis(site)}
    walked = [axis for axis in range(slope.dim()) if axis not in kept]
    return slope.mean(walked, keepdim=True).expand_as(slope) if walked else slope


def _batch_axis(site: Site) -> int:
    return site.axes.index("batch") if "batch" in site.axes else 0


def _units_last(tensor: Tensor, site: Site) -> Tensor:
    """[batch, *places, units]."""
    batch, unit = _batch_axis(site), site.unit_axis
    others = [axis for axis in range(tensor.dim()) if axis not in (batch, unit)]
    return tensor.permute([batch, *others, unit])


def _fitting(groups: Tensor, site: Site, like: Tensor) -> Tensor:
    units = like.shape[site.unit_axis]
    if groups.dim() != 2 or groups.shape[1] != units:
        raise BadInput(
            f"groups of shape {tuple(groups.shape)} are given for {units} units",
            where=site.alias,
            fix="give [groups, units]",
        )
    return groups.to(like)


def _plain(tensor: Tensor) -> Tensor:
    """An input made in inference mode cannot be part of a gradient."""
    return tensor.clone() if tensor.is_inference() else tensor
