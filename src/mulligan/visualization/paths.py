"""Does a picture excite a unit by the ways that photographs do?

A network can be made to answer synthetic pictures by circuits of their own, so that a visualization shows what its
maker likes (Geirhos et al. 2023, "Don't trust your eyes", arXiv:2306.04719). What a unit is driven by at an earlier
site is each channel's activation times the unit's slope there. Photographs that excite the unit most agree on these,
and a genuine picture agrees with them more than photographs drawn at random do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..evidence import bootstrap
from ..networks import Network, trunk
from ..records import Quantity, Site
from ..runs import generator
from .climbing import from_bytes
from .objectives import Objective
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


def earlier_site(network: Network, objective: Objective) -> Site | None:
    """The output of the block before the ones that an objective reads; None if there is none."""
    order = {(step.path, step.call): at for at, step in enumerate(network.dry_run.order) if step.leaving}
    places = [
        order.get((site.path, site.call), len(order)) if site is not None else len(order)
        for site in Reader.of(network, [objective]).sites.values()
    ]
    before = [site for site in trunk(network) if order.get((site.path, site.call), len(order)) < min(places)]
    inside = [site.alias for site in Reader.of(network, [objective]).watched]
    before = [site for site in before if not any(alias.startswith(f"{site.alias}.") for alias in inside)]
    return before[-1] if before else None


def drives(
    network: Network, objective: Objective, site: Site, x: Float[Tensor, "n c h w"]
) -> Float[np.ndarray, "n units"]:
    """What drives an objective in each input: activation times slope at an earlier site, summed over places."""
    return np.concatenate([_drives(network, objective, site, part) for part in x.split(AT_ONCE)])


def _drives(network: Network, objective: Objective, site: Site, x: Tensor) -> np.ndarray:
    reader = Reader.of(network, [objective] * len(x))
    kept: list[Tensor] = []

    def hold(tensor: Tensor, site: Site) -> Tensor:
        kept.append(tensor.detach().requires_grad_(True))
        return kept[-1].clone()

    with torch.inference_mode(False), torch.enable_grad():
        with network.editing({site.place: hold}):
            value = reader.own(reader.seen(x))
        if not value.requires_grad:
            return np.zeros((len(x), site.units))
        (slope,) = torch.autograd.grad(value.sum(), kept[-1])
    product = (slope * kept[-1]).detach().movedim(site.unit_axis, -1)
    return product.reshape(len(x), -1, product.shape[-1]).sum(1).double().cpu().numpy()


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
