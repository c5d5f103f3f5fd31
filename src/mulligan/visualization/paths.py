"""Does a picture excite a unit by the ways that photographs do?

A network can be made to answer synthetic pictures by circuits of their own, so that a visualization shows what its
maker likes (Geirhos et al. 2023, "Don't trust your eyes", arXiv:2306.04719). What a unit is driven by at an earlier
site is each channel's activation times the unit's slope there. Photographs that excite the unit most agree on these,
and a genuine picture agrees with them more than photographs drawn at random do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ..datasets import Dataset, batches
from ..evidence import bootstrap
from ..networks import Network, trunk
from ..records import Quantity, Site
from ..runs import generator
from .objectives import Objective
from .pixels import from_bytes
from .reading import Reader
from .statistics import image_input

#: Photographs of either kind; fewer of the strongest than this say nothing.
STRONGEST, DRAWN, FEWEST = 9, 24, 4
UNIT = "share of the agreement among photographs that excite the unit"
#: Inputs in one pass there and back.
AT_ONCE = 16
#: What is said of a picture whose ways stand apart.
FORGED = "excites the unit by other ways than real examples do, unlike its neighbours: it may be forged"
#: From so many units of a site can it be told what is usual; so many robust deviations below it is not.
USUAL, APART = 12, 4.0


def earlier_site(network: Network, objective: Objective | list[Objective]) -> Site | None:
    """The output of the block before the ones that an objective (or several) reads; None if there is none."""
    reader = Reader.of(network, objective if isinstance(objective, list) else [objective])
    order = {(step.path, step.call): at for at, step in enumerate(network.dry_run.order) if step.leaving}
    places = [
        order.get((site.path, site.call), len(order)) if site is not None else len(order)
        for site in reader.sites.values()
    ]
    before = [site for site in trunk(network) if order.get((site.path, site.call), len(order)) < min(places)]
    inside = [site.alias for site in reader.watched]
    before = [site for site in before if not any(alias.startswith(f"{site.alias}.") for alias in inside)]
    return before[-1] if before else None


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
    strong = np.argsort(-values, axis=0, kind="stable")[:STRONGEST].T
    texts = [objective.text for objective in objectives]
    drawn = generator(seed, "paths", *texts).permutation(len(dataset))[: DRAWN + STRONGEST]
    rows = list(dict.fromkeys([*drawn.tolist(), *strong.flatten().tolist()]))
    place = {row: at for at, row in enumerate(rows)}
    own = [[place[row] for row in some.tolist()] for some in strong]
    others = [[place[row] for row in drawn.tolist() if row not in some][:DRAWN] for some in strong]
    wanted = np.zeros((len(objectives), len(rows) + len(objectives)), bool)
    for number in range(len(objectives)):
        wanted[number, [*own[number], *others[number], len(rows) + number]] = True
    x = torch.cat([some.x for some in batches(dataset, image_input(network.input), rows, 32)]).to(network.device)
    each = drives_of_each(network, objectives, site, torch.cat([x, normalised(network, pixels)]), wanted)
    return [
        natural_share(found[len(rows) + number][None], found[own[number]], found[others[number]], seed)
        for number, found in enumerate(each)
    ]


def natural_share(
    pictures: Float[np.ndarray, "pictures units"],
    strongest: Float[np.ndarray, "strong units"],
    drawn: Float[np.ndarray, "random units"],
    seed: int,
) -> Quantity | None:
    """How much of the agreement among the strongest photographs pictures have: 1 as much, 0 no more than photographs at
    random; None where the strongest agree no more than that themselves, so that nothing can be told.

    The interval is over the strongest photographs.
    """
    if len(strongest) < FEWEST or not len(drawn):
        return None

    def share(rows: np.ndarray) -> float:
        good = _unit(strongest[rows])
        between = good @ good.T
        # Copies of one photograph, as a resample has them, agree by themselves.
        apart = rows[:, None] != rows[None]
        ceiling = between[apart].mean() if apart.any() else np.nan
        floor, own = (_unit(drawn) @ good.T).mean(), (_unit(pictures) @ good.T).mean()
        return float((own - floor) / max(ceiling - floor, 0.05))

    every = np.arange(len(strongest))
    good = _unit(strongest)
    ceiling = (good @ good.T)[~np.eye(len(good), dtype=bool)].mean()
    if ceiling - (_unit(drawn) @ good.T).mean() < 0.1:
        return None
    return bootstrap(every, UNIT, share, generator(seed, "paths"), repeats=200)


def standing_apart(shares: Mapping[str, Quantity]) -> list[str]:
    """Which units of a site have pictures whose ways are unlike those of the others' pictures.

    Ways of genuine pictures differ from photographs' too, more in some networks than in others, so a share is held
    against its neighbours' and not against a number: it lies 4 robust deviations below their median, and its whole
    interval below zero.
    """
    if len(shares) < USUAL:
        return []
    values = np.array([share.value for share in shares.values()])
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    return [
        name
        for name, share in shares.items()
        if share.high is not None and share.high < 0 and share.value < middle - APART * max(spread, 0.05)
    ]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def normalised(network: Network, pixels: Sequence[np.ndarray] | np.ndarray) -> Float[Tensor, "n c h w"]:
    """Stored pictures as the network takes them."""
    return image_input(network.input).normalise(from_bytes(np.asarray(pixels), network.device))
