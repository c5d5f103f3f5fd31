"""Does a picture excite a unit by the ways that photographs do?

A network can be made to answer synthetic pictures by circuits of their own, so that a visualization shows what its
maker likes (Geirhos et al. 2023, "Don't trust your eyes", arXiv:2306.04719). What a unit is driven by at an earlier
site is each channel's activation times the unit's slope there. Photographs that excite the unit most have much of this
in common, and a genuine picture shares it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ..datasets import Dataset, batches
from ..evidence import bootstrap
from ..networks import Network, trunk
from ..records import BadInput, Quantity, Site
from ..runs import generator
from .objectives import Objective
from .pixels import from_bytes
from .reading import Reader
from .statistics import image_input

#: Photographs that excite a unit most; fewer than `FEWEST` say nothing, and so do those that share less than `ALIKE`.
STRONGEST, FEWEST, ALIKE = 9, 4, 0.1
UNIT = "of what photographs that excite the unit have in common"
#: Inputs in one pass there and back.
AT_ONCE = 16
#: What is said of a picture whose ways stand apart.
FORGED = "excites the unit by other ways than real examples do, unlike its neighbours: it may be forged"
#: From so many units of a site can it be told what is usual; above it by so many robust deviations (of logarithms, and
#: of `LEAST` at least) is not. A share below `OTHER` is of other ways.
USUAL, APART, LEAST, OTHER = 12, 3.0, 0.1, 0.5


def earlier_site(network: Network, objective: Objective | list[Objective]) -> Site | None:
    """The output of the block before the ones that an objective (or several) reads; of the first block what it is
    given, unless that is the picture itself; None if there is none."""
    reader = Reader.of(network, objective if isinstance(objective, list) else [objective])
    order = {(step.path, step.call): at for at, step in enumerate(network.dry_run.order) if step.leaving}
    places = [
        order.get((site.path, site.call), len(order)) if site is not None else len(order)
        for site in reader.sites.values()
    ]
    before = [site for site in trunk(network) if order.get((site.path, site.call), len(order)) < min(places)]
    inside = [site.alias for site in reader.watched]
    before = [site for site in before if not any(alias.startswith(f"{site.alias}.") for alias in inside)]
    if before:
        return before[-1]
    blocks = (site for site in trunk(network) if any(f"{alias}.".startswith(f"{site.alias}.") for alias in inside))
    first = next(blocks, None)
    try:
        given = network.site(replace(first.place, port="in")) if first is not None else None
    except BadInput:
        return None
    return given if given is not None and given.units != image_input(network.input).channels else None


def drives(
    network: Network, objective: Objective, site: Site, x: Float[Tensor, "n c h w"]
) -> Float[np.ndarray, "n units"]:
    """What drives an objective in each input: activation times slope at an earlier site, summed over places."""
    return drives_of_each(network, [objective], site, x)[0]


def drives_of_each(
    network: Network,
    objectives: Sequence[Objective],
    site: Site,
    x: Float[Tensor, "n c h w"],
    wanted: Bool[np.ndarray, "objectives n"] | None = None,
) -> Float[np.ndarray, "objectives n units"]:
    """The same of several objectives that read the same sites: each input passes once.

    Args:
        wanted: which inputs each objective is asked of; zeros stand for the others.
    """
    reader = Reader.of(network, objectives)
    found = np.zeros((len(objectives), len(x), site.units))
    for start in range(0, len(x), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        asked = range(len(objectives)) if wanted is None else np.flatnonzero(wanted[:, rows].any(1)).tolist()
        for number, product in _drives(reader, site, x[rows], list(asked)):
            found[number, rows] = product
    return found if wanted is None else np.where(wanted[:, :, None], found, 0.0)


def _drives(reader: Reader, site: Site, x: Tensor, asked: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    kept: list[Tensor] = []

    def hold(tensor: Tensor, site: Site) -> Tensor:
        kept.append(tensor.detach().requires_grad_(True))
        return kept[-1].clone()

    with torch.inference_mode(False), torch.enable_grad():
        with reader.network.editing({site.place: hold}):
            values = reader.every(reader.seen(x))
        for number in asked if values.requires_grad else []:
            (slope,) = torch.autograd.grad(values[:, number].sum(), kept[-1], retain_graph=True)
            product = (slope * kept[-1]).detach().movedim(site.unit_axis, -1)
            yield number, product.reshape(len(x), -1, product.shape[-1]).sum(1).double().cpu().numpy()


def natural_shares(
    network: Network,
    objectives: Sequence[Objective],
    pixels: UInt8[np.ndarray, "objectives h w c"],
    dataset: Dataset,
    values: Float[np.ndarray, "n objectives"],
    seed: int,
) -> list[Quantity | None]:
    """`natural_share` of a finished picture of each objective, held against the data.

    Args:
        values: each objective on each example, from which its strongest are taken.
    """
    shares: list[Quantity | None] = [None] * len(objectives)
    if len(dataset) < 3 * STRONGEST or pixels.shape[1:3] != tuple(image_input(network.input).size):
        return shares
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, objective in enumerate(objectives):
        groups.setdefault(objective.sites, []).append(number)
    for numbers in groups.values():
        mine = [objectives[number] for number in numbers]
        for number, share in zip(
            numbers, _shares(network, mine, pixels[numbers], dataset, values[:, numbers], seed), strict=True
        ):
            shares[number] = share
    return shares


def _shares(
    network: Network, objectives: list[Objective], pixels: np.ndarray, dataset: Dataset, values: np.ndarray, seed: int
) -> list[Quantity | None]:
    """Of objectives that read the same sites: each example passes once, whoever's it is."""
    site = earlier_site(network, objectives)
    if site is None:
        return [None] * len(objectives)
    strong = np.argsort(-values, axis=0, kind="stable")[:STRONGEST].T.tolist()
    rows = sorted({row for own in strong for row in own})
    place = {row: at for at, row in enumerate(rows)}
    wanted = np.zeros((len(objectives), len(rows) + len(objectives)), bool)
    for number, own in enumerate(strong):
        wanted[number, [*(place[row] for row in own), len(rows) + number]] = True
    x = torch.cat([some.x for some in batches(dataset, image_input(network.input), rows, 32)]).to(network.device)
    each = drives_of_each(network, objectives, site, torch.cat([x, normalised(network, pixels)]), wanted)
    return [
        natural_share(found[len(rows) + number][None], found[[place[row] for row in own]], seed)
        for number, (own, found) in enumerate(zip(strong, each, strict=True))
    ]


def natural_share(
    pictures: Float[np.ndarray, "pictures units"], strongest: Float[np.ndarray, "strong units"], seed: int
) -> Quantity | None:
    """How alike what drives a unit in pictures and in the photographs that excite it most is: the part that both share,
    over the part that two of these photographs share. 1 is as alike as they are, 0 is nothing in common.

    None where the photographs share next to nothing themselves. The interval is over the photographs.
    """
    if len(strongest) < FEWEST:
        return None
    own, among = _shared(pictures, strongest).mean(0), _shared(strongest, strongest)
    apart = ~np.eye(len(strongest), dtype=bool)
    if among[apart].mean() < ALIKE:
        return None

    def share(rows: np.ndarray) -> float:
        # Copies of one photograph, as a resample has them, share everything.
        differ = rows[:, None] != rows[None]
        between = among[np.ix_(rows, rows)][differ].mean() if differ.any() else among[apart].mean()
        return float(own[rows].mean() / max(between, ALIKE))

    return bootstrap(np.arange(len(strongest)), UNIT, share, generator(seed, "paths"), repeats=200)


def standing_apart(shares: Mapping[str, Quantity], reached: Mapping[str, float]) -> list[str]:
    """Which units of a site have pictures that may be forged: most of what drives the unit in them drives it in no
    photograph, and they excite it far more than the neighbours' pictures do theirs.

    Ways of genuine pictures differ from photographs', too, in some networks by half: so that alone says nothing. But a
    circuit for pictures draws a climb away from the genuine one only if it is the steeper of the two.

    Args:
        reached: what each picture reaches, as a multiple of what the best example does, both from the median example.
    """
    if len(shares) < USUAL:
        return []
    heights = {name: math.log(max(reached[name], 1e-3)) for name in shares}
    middle = float(np.median(list(heights.values())))
    spread = 1.4826 * float(np.median([abs(height - middle) for height in heights.values()]))
    return [
        name
        for name, share in shares.items()
        if share.high is not None and share.high < OTHER and heights[name] > middle + APART * max(spread, LEAST)
    ]


def _shared(some: np.ndarray, others: np.ndarray) -> Float[np.ndarray, "some others"]:
    """Of what raises a unit in one of `some` and one of `others`, each as shares of 1: the part that both have."""
    one, other = (rows.clip(0) / np.maximum(rows.clip(0).sum(1, keepdims=True), 1e-12) for rows in (some, others))
    return np.minimum(one[:, None], other[None]).sum(-1)


def normalised(network: Network, pixels: Sequence[np.ndarray] | np.ndarray) -> Float[Tensor, "n c h w"]:
    """Stored pictures as the network takes them."""
    return image_input(network.input).normalise(from_bytes(np.asarray(pixels), network.device))
