"""Pictures as they are stored: 8-bit pixels."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_bytes(pixels: Float[Tensor, "n c h w"]) -> UInt8[np.ndarray, "n h w c"]:
    """Pixels from 0 to 1 as they are stored."""
    return (pixels.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def from_bytes(stored: UInt8[np.ndarray, "n h w c"], device: torch.device) -> Float[Tensor, "n c h w"]:
    """What is stored, from 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(stored)).to(device).permute(0, 3, 1, 2).float() / 255
