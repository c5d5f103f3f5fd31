"""Where in an example a feature fires, and which part of a picture it sees there.

The receptive field is measured and not derived from kernels: the gradient of the feature at its peak with respect to
the pixels of this very picture, squared. The box that holds 95 % of it is the effective receptive field (Luo et al.
2016, arXiv:1701.04128), whatever the network is made of; padding, strides and attention need no cases of their own.

A feature without places, such as a logit, is followed back to the last layer that has some: what each place there adds
to it, to first order (HiResCAM: Draelos & Carin 2020, arXiv:2011.08891).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..activations.pools import WALKED
from ..attribution import Target, attributions
from ..datasets import Batch, batches
from ..networks import ImageInput, Network, TokenInput, trunk
from ..records import MulliganError, Site
from ..runs import Context, Result

#: The box holds at least such a part of the squared gradient.
SHARE = 0.95
#: A box that reaches over such a part of either side is the whole picture.
WHOLE = 0.9
_AT_ONCE = 8  # pictures in one backward pass: each holds all its activations
_PREFIXES = (0, 1, 2, 5)  # class, distillation and register tokens, that stand before those of the patches

Box = tuple[int, int, int, int]
Values = Float[np.ndarray, "batch *places"]


def box_of(weight: Float[np.ndarray, "height width"], share: float = SHARE) -> Box | None:
    """[left, top, right, bottom) that holds at least `share` of the weight: an equal part is cut off at each side.

    None where there is no weight, or it is not finite. A box that is nearly the whole picture is the whole picture.
    """
    total = float(weight.sum(dtype=np.float64))
    if not math.isfinite(total) or total <= 0:
        return None
    cut = (1 - share) / 4 * total
    height, width = weight.shape
    top, bottom = _span(weight.sum(1, dtype=np.float64), cut)
    left, right = _span(weight.sum(0, dtype=np.float64), cut)
    if right - left >= WHOLE * width and bottom - top >= WHOLE * height:
        return 0, 0, width, height
    return left, top, right, bottom


def _span(mass: Float[np.ndarray, " side"], cut: float) -> tuple[int, int]:
    before, after = np.cumsum(mass), np.cumsum(mass[::-1])
    return int(np.argmax(before > cut)), len(mass) - int(np.argmax(after > cut))


def field_of(network: Network, site: Site, seed: int = 0) -> tuple[int, int] | None:
    """Height and width of all pixels that a unit at the middle of a site sees, on noise of the network's own size.

    None for a site without rows and columns. Where it is as large as that noise, it may be larger.
    """
    taken = network.input
    if not isinstance(taken, ImageInput) or not {"height", "width"} <= set(site.axes):
        return None
    random = torch.Generator().manual_seed(seed)
    x = torch.randn((_AT_ONCE, taken.channels, *taken.size), generator=random).to(network.device)
    with torch.inference_mode(False), torch.enable_grad(), frozen(network):
        x.requires_grad_(True)
        # A copy flows on, so that a layer that works in place leaves the pixels alone.
        with network.watching(site, stop=True) as watched:
            network(x.clone())
        value = laid_out(watched[site], site)
        middle = value[:, value.shape[1] // 2, value.shape[2] // 2]
        weights = torch.randn(middle.shape, generator=random).to(middle)
        (gradient,) = torch.autograd.grad((weights * middle).sum(), x)
    seen = gradient.abs().sum((0, 1)) > 0
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    return (int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1) if len(rows) else None


def laid_out(tensor: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "batch *places units"]:
    """What passed a site: batch first, then its places in their order, then its units as they are counted when pooled.

    Raises:
        BadInput: if the site has no axis of units.
    """
    unit, axes = site.unit_axis, site.axes
    walked = [at for at, name in enumerate(axes) if name in WALKED]
    batch = axes.index("batch")
    others = [at for at in range(len(axes)) if at not in (batch, unit, *walked)]
    return tensor.permute([batch, *walked, *others, unit]).flatten(1 + len(walked))


def token_grid(positions: int, size: tuple[int, int]) -> tuple[int, int, int] | None:
    """(tokens before the patches, rows, columns) of a vision transformer's tokens; None where they form no grid."""
    for prefix in _PREFIXES:
        for rows in range(2, positions - prefix):
            columns, rest = divmod(positions - prefix, rows)
            if not rest and columns > 1 and rows * size[1] == columns * size[0]:
                return prefix, rows, columns
    return None


@contextmanager
def frozen(network: Network) -> Iterator[None]:
    """Within the block weights need no gradient, whatever they say."""
    flags = [(parameter, parameter.requires_grad) for parameter in network.module.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, needed in flags:
            parameter.requires_grad_(needed)


def look(context: Context, *, site: str | None, unit: int, rows: list[int], share: float = SHARE) -> Result:
    """A piece of work: where one feature fires in some examples.

    Args:
        site: where it is read; None: output number `unit`.
        rows: numbers of the examples.

    Returns:
        Arrays, one row an example: "peak" (index in the site's places, in the order of its axes), "values" (the
        feature at every place; of texts NaN beyond their end), "boxes" ([left, top, right, bottom), -1 without one),
        "grid" (of pictures: "values" as rows and columns; of a feature without places, what each place of the site
        that values["through"] names adds to it), "answers" (a classifier's, -1 else); of texts, the tokens. Where it
        cannot be done, {"failed": why} alone.
    """
    network: Network = context["network"]
    parts: list[dict[str, np.ndarray]] = []
    tokens: list[list[str]] = []
    read = network.site(site) if site is not None else None
    through = _last_space(network) if read is None or not set(WALKED) & set(read.axes) else None
    size = 1 if isinstance(network.input, TokenInput) else _AT_ONCE
    try:
        with torch.inference_mode(False), torch.enable_grad(), frozen(network):
            for group in batches(context["dataset"], network.input, rows, size):  # type: ignore[arg-type]
                parts.append(_look(network, read, unit, through, group, share))
                if isinstance(network.input, TokenInput):
                    tokens += [network.input.tokens(ids) for ids in group.x]
    except (RuntimeError, MulliganError) as error:
        return Result({}, {"failed": str(error).strip().split("\n")[0]})
    longest = max((part["values"].shape[1] for part in parts), default=0) if tokens else 0
    for part in parts:
        if tokens:
            short = longest - part["values"].shape[1]
            part["values"] = np.pad(part["values"], ((0, 0), (0, short)), constant_values=np.nan)
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Result(arrays, {"tokens": tokens, "through": through.alias if through and "grid" in arrays else ""})


def _last_space(network: Network) -> Site | None:
    """The last block's output that has rows and columns; None where pictures pass no such."""
    if not isinstance(network.input, ImageInput):
        return None
    spaces = [site for site in trunk(network) if {"height", "width"} <= set(site.axes)]
    spaces = [s for s in spaces if min(s.shape[s.axes.index("height")], s.shape[s.axes.index("width")]) > 1]
    return spaces[-1] if spaces else None


def _look(
    network: Network, site: Site | None, unit: int, through: Site | None, group: Batch, share: float
) -> dict[str, np.ndarray]:
    x = group.x.clone()
    pictures = isinstance(network.input, ImageInput)
    classifies = network.task == "classification"
    if pictures:
        x.requires_grad_(True)
    # A copy flows on, so that a layer that works in place leaves the pixels alone.
    value, answer = _read(network, site, unit, x.clone() if pictures else x, group.mask, classifies)
    flat = value.reshape(len(x), -1)
    peak = flat.detach().argmax(1)
    places = np.unravel_index(peak.cpu().numpy(), value.shape[1:]) if value.dim() > 1 else ()
    found = {
        "peak": np.stack(places, 1).astype(np.int32) if places else np.zeros((len(x), 0), np.int32),
        "values": value.detach().float().cpu().numpy().reshape(len(x), *value.shape[1:]),
        "boxes": np.full((len(x), 4), -1, np.int32),
        "answers": np.full(len(x), -1, np.int32) if answer is None else answer.cpu().numpy().astype(np.int32),
    }
    if pictures:
        if through is not None:
            found |= _added(network, site, unit, through, group.x)
        elif places:
            found |= _seen(flat.gather(1, peak[:, None]).sum(), x, found["values"], share)
    return found


def _read(
    network: Network, site: Site | None, unit: int, x: Tensor, mask: Tensor | None, classifies: bool
) -> tuple[Tensor, Tensor | None]:
    """The feature at every place, [batch, *places], and a classifier's answers."""
    if site is None:
        output = network.answer_unchecked(network(x, mask))
        return output[..., unit], output.detach().argmax(-1) if classifies else None
    with network.watching(site, stop=True) as watched:
        network(x, mask)
        value = laid_out(watched[site], site)[..., unit]
    if not classifies:
        return value, None
    with torch.no_grad():  # what lies behind the site needs no gradient
        return value, network.answer_unchecked(network(x, mask)).argmax(-1)


def _added(network: Network, site: Site | None, unit: int, through: Site, x: Tensor) -> dict[str, np.ndarray]:
    """What each place that passes `through` adds to the feature, to first order."""

    def read(tensor: Tensor) -> Tensor:
        return (tensor if site is None else laid_out(tensor, site))[..., unit]

    target = Target(read, "the feature", site)
    places = attributions(network, [through], x, None, target, "gradient x activation")[through.alias].by_place()
    # A feature that lies before `through` gets nothing from there.
    return {"grid": places.float().cpu().numpy()} if bool(places.any()) else {}


def _seen(chosen: Tensor, x: Tensor, values: Values, share: float) -> dict[str, np.ndarray]:
    """Boxes, and the values as a grid, where they form one."""
    found: dict[str, np.ndarray] = {}
    if values.ndim == 3 and min(values.shape[1:]) > 1:
        found["grid"] = values
    elif values.ndim == 2 and (tokens := token_grid(values.shape[1], (x.shape[2], x.shape[3]))):
        prefix, rows, columns = tokens
        found["grid"] = values[:, prefix:].reshape(len(values), rows, columns)
    gradient = torch.autograd.grad(chosen, x, allow_unused=True)[0] if chosen.requires_grad else None
    if gradient is not None:
        squares = gradient.double().square().sum(1).cpu().numpy()
        boxes = [box_of(weight, share) for weight in squares]
        found["boxes"] = np.asarray([box or (-1, -1, -1, -1) for box in boxes], np.int32)
    return found
