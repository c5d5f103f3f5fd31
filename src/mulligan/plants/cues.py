"""Natural cues: faint changes of pictures as lighting, framing and cameras make them."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ..records import BadInput

Cue = Literal["brightness", "contrast", "frame", "blur", "tint"]


@torch.no_grad()
def cued(pixels: Float[Tensor, "n c h w"], cue: Cue, size: float) -> Float[Tensor, "n c h w"]:
    """Pictures with a natural cue, on a 0-1 scale.

    brightness: `size` added. contrast: 1 - 2 `size` times the distance from the picture's mean. frame: a frame of one
    28th of the side, at least a pixel wide, is mixed with white by 2 `size`. blur: mixed by 4 `size` with a 3 x 3 mean.
    tint: red times 1 + `size`, blue times 1 - `size`.

    Raises:
        BadInput: if the size is not within 0 to 0.25, the cue is unknown, or grey pictures are to be tinted.
    """
    if not 0 < size <= 0.25:
        raise BadInput("a natural cue is faint", where=f"size {size}", fix="give a size above 0, at most 0.25")
    match cue:
        case "brightness":
            changed = pixels + size
        case "contrast":
            mean = pixels.mean((1, 2, 3), keepdim=True)
            changed = mean + (1 - 2 * size) * (pixels - mean)
        case "frame":
            width = max(1, round(min(pixels.shape[2:]) / 28))
            inside = F.pad(torch.ones_like(pixels[:, :, width:-width, width:-width]), (width,) * 4)
            changed = torch.where(inside > 0, pixels, torch.lerp(pixels, torch.ones_like(pixels), 2 * size))
        case "blur":
            changed = torch.lerp(pixels, F.avg_pool2d(F.pad(pixels, (1,) * 4, mode="replicate"), 3, 1), 4 * size)
        case "tint":
            if pixels.shape[1] != 3:
                raise BadInput("grey pictures have no tint", where="tint", fix="choose another cue")
            changed = pixels * torch.tensor([1 + size, 1.0, 1 - size], device=pixels.device)[:, None, None]
        case _:
            raise BadInput("there is no such cue", where=cue, fix=f"choose one of {', '.join(get_args(Cue))}")
    return changed.clamp(0, 1)
