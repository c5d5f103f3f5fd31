"""DeepDream: what a layer finds in a photograph becomes more of it, at several sizes (Mordvintsev et al. 2015)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from ..networks import Network
from ..records import BadInput
from .climbing import visualize
from .objectives import Objective, layer
from .pixels import from_bytes
from .statistics import ImageStatistics, image_input

#: Each octave is so many times as large as the one before; none is smaller than this.
RATIO, LEAST = 1.4, 64


def dream(
    network: Network,
    site: str | Objective,
    picture: Float[Tensor, "c h w"],
    *,
    octaves: int = 4,
    steps: int = 24,
    rate: float = 0.008,
    statistics: ImageStatistics | None = None,
    seed: int = 0,
) -> tuple[UInt8[np.ndarray, "h w c"], int]:
    """A photograph in which what a layer (or an objective) sees is exaggerated, coarse sizes first.

    Args:
        picture: pixels from 0 to 1, as large as the network takes. octaves: sizes, at most; where the network runs on
            one size alone, that one. steps: at each size.

    Returns:
        The picture, and how many octaves it went through.

    Raises:
        BadInput: if the picture has another size than the network takes, or what `visualize` raises.
    """
    whole = image_input(network.input).size
    if tuple(picture.shape[1:]) != whole:
        raise BadInput(
            f"the photograph is {picture.shape[1]} x {picture.shape[2]} pixels and the network takes "
            f"{whole[0]} x {whole[1]}", where="picture", fix="use network.input.crop",
        )  # fmt: skip
    objective = site if isinstance(site, Objective) else layer(site)
    sizes = [whole]
    while len(sizes) < octaves and min(sizes[0]) / RATIO >= LEAST:
        sizes.insert(0, (round(sizes[0][0] / RATIO), round(sizes[0][1] / RATIO)))
    detail = torch.zeros(1, *picture.shape[:1], *sizes[0])
    done = 0
    stored = (255 * picture.permute(1, 2, 0)).round().to(torch.uint8).numpy()
    for size in sizes:
        base = _resized(picture[None].cpu(), size)
        start = (base + _resized(detail, size)).clamp(0, 1)
        try:
            made = visualize(
                network, objective, start=start, size=size, steps=steps, rate=rate, statistics=statistics, seed=seed,
                progressive=False, patient=True,
            )  # fmt: skip
        except (BadInput, RuntimeError):
            if size == whole:
                raise
            continue  # a network of one size
        if made.failed:
            raise BadInput(made.failed[0], where=objective.text, fix="choose another site")
        done += 1
        stored = made.pixels[0]
        detail = from_bytes(made.pixels, torch.device("cpu")) - base
    return stored, done


def _resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(pictures.shape[2:]) == size:
        return pictures
    return F.interpolate(pictures, size=size, mode="bilinear", antialias=True)
