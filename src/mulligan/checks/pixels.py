"""Pictures as pixels on a 0-1 scale, at the network's size: what checks that change pictures work on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..networks import ImageInput, Network
from ..records import BadInput
from ..runs import Context
from .check import Subject


def taken(network: Network) -> ImageInput:
    """How the network takes pictures.

    Raises:
        BadInput: if it takes none.
    """
    if not isinstance(network.input, ImageInput):
        raise BadInput("this network takes no pictures", where=network.name, fix="leave this check out")
    return network.input


_kept: dict[str, Float[Tensor, "n c h w"]] = {}


def pixels(context: Context, rows: Sequence[int]) -> Float[Tensor, "n c h w"]:
    """Examples as pixels from 0 to 1; those asked for last are kept, since pieces share them."""
    key = f"{context.identity}/{hash(tuple(rows))}"
    if key not in _kept:
        own = taken(context["network"])
        crops = [own.crop(context["dataset"].raw(int(row))) for row in rows]
        if len(_kept) >= 3:
            _kept.pop(next(iter(_kept)))
        _kept[key] = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().div_(255)
    return _kept[key]


def pictures(subject: Subject, rows: Sequence[int] | np.ndarray) -> Float[Tensor, "n c h w"]:
    """Examples of the data as the network would see them, cropped and resized, in float32 from 0 to 1."""
    own = taken(subject.network)
    arrays = [own.crop(subject.dataset.raw(int(row))) for row in rows]  # type: ignore[arg-type]
    stacked = np.stack(arrays) if arrays else np.zeros((0, *own.size, own.channels), np.uint8)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255


def answers(network: Network, pixels: Float[Tensor, "n c h w"], *, batch: int = 256) -> Float[Tensor, "n classes"]:
    """The logits on pixels from 0 to 1, on the CPU, without gradients."""
    own = taken(network)
    with torch.no_grad():
        parts = [network.logits_unchecked(own.normalise(part)).float().cpu() for part in pixels.split(batch)]
    return torch.cat(parts) if parts else torch.zeros((0, len(network.classes or ())))
