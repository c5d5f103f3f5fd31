"""Directions of a site as units of a derived one, so that whatever looks at units can look at them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..networks import Network, Part
from ..records import BadInput, Site
from ..runs import digest


def with_directions(
    network: Network, site: Site | str, vectors: Float[np.ndarray, "directions units"] | Sequence[Sequence[float]]
) -> tuple[Network, Site]:
    """The same network with one more site: at each place of `site`, its activation along each of `vectors`.

    Returns:
        The network, and the new site, `PATH#directions-DIGEST`; its unit k is the scalar product with vectors[k].

    Raises:
        BadInput: if the site has no axis of units, or the vectors do not fit it or are not finite.
    """
    found = network.site(site)
    rows = np.atleast_2d(np.asarray(vectors, np.float32))
    units = found.shape[found.unit_axis]
    if rows.ndim != 2 or rows.shape[1] != units or not np.isfinite(rows).all():
        raise BadInput(
            f"directions of shape {rows.shape} do not fit the {units} units here, or are not finite",
            where=found.alias,
            fix="give [directions, units]",
        )
    axis, weight = found.unit_axis, torch.from_numpy(rows)
    part = network.parts.get(found.place)
    if part is not None and part.combine is None:
        raise BadInput("this site cannot be read along a direction", where=found.alias, fix="choose another site")

    def along(*tensors: Tensor) -> Tensor:
        tensor = part.combine(*tensors) if part is not None and part.combine is not None else tensors[0]
        return (tensor.movedim(axis, -1) @ weight.to(tensor).T).movedim(-1, axis)

    name = digest(found.alias, rows.tobytes().hex()).rpartition(":")[2][:16]
    here = Site(found.path, call=found.call, part=f"directions-{name}")
    reads = part.reads if part is not None else (found.place,)
    meaning = f"{network.meaning(found)}, along {len(rows)} given direction{'s' if len(rows) > 1 else ''}"
    derived = Part(here, found.axes, meaning, reads, along)
    other = network.with_module(network.module)
    other.recipe = dict(network.recipe)
    other.parts = {**network.parts, here.place: derived}
    return other, other.site(here)
