"""What is kept of an activation tensor: a number a unit (mean, maximum, one position), a few random places, or all of it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from ..records import BadInput, Site
from ..runs import derived_seed

_WALKED = ("position", "height", "width", "query", "key")


@dataclass(frozen=True, slots=True)
class Pool:
    """One way of pooling, by its text: "mean", "max", "argmax" (flat place of the maximum), "position:K" (K may be
    negative: from the text's end), "sample:K" (K random places an example), "full".

    Masked (padding) positions never count.
    """

    text: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"mean|max|argmax|full|position:-?\d+|sample:[1-9]\d*", self.text):
            raise BadInput("this is not a way of pooling", where=self.text, fix="write mean, max, argmax, full, position:K or sample:K")

    def __call__(self, tensor: Tensor, site: Site, mask: Bool[Tensor, "batch position"] | None, seed: int, start: int) -> Tensor:
        """Pool a batch whose first example is number `start` of the data set.

        Returns:
            [batch, units] for mean, max, argmax and position; [batch, K, units] for sample; the tensor itself for full.
        """
        if self.text == "full":
            return tensor
        walked = [axis for axis, name in enumerate(site.axes) if name in _WALKED]
        if not walked:
            return tensor
        if self.text in ("mean", "max") and len(walked) == tensor.dim() - 2 and (mask is None or "position" not in site.axes):
            # No reshaping: whatever the memory format, one pass over the tensor.
            return tensor.mean(walked) if self.text == "mean" else tensor.amax(walked)
        flat, live = _flatten(tensor, site, mask, walked)
        if self.text == "mean":
            if live is None:
                return flat.mean(1)
            weight = live.to(flat.dtype)
            return (flat * weight[..., None]).sum(1) / weight.sum(1, keepdim=True).clamp(min=1)
        if self.text in ("max", "argmax"):
            if live is not None:
                flat = flat.masked_fill(~live[..., None], -torch.inf)
            return flat.amax(1) if self.text == "max" else flat.argmax(1).to(torch.int32)
        number = int(self.text.partition(":")[2])
        places = flat.shape[1]
        if self.text.startswith("position"):
            ends = live.sum(1) if live is not None else torch.full((flat.shape[0],), places, device=flat.device)
            at = torch.full_like(ends, number) if number >= 0 else ends + number
            at = at.clamp(min=0).minimum(ends - 1).clamp(min=0)
            return flat[torch.arange(flat.shape[0], device=flat.device), at]
        rows = []
        for index in range(flat.shape[0]):
            # Each example's places hang on its own number, not on how examples fell into batches.
            draw = torch.Generator().manual_seed(derived_seed(seed, "sample", site.alias, start + index))
            allowed = torch.arange(places) if live is None else live[index].cpu().nonzero().flatten()
            rows.append(allowed[torch.randint(max(len(allowed), 1), (number,), generator=draw)] if len(allowed) else torch.zeros(number, dtype=torch.long))
        return flat.gather(1, torch.stack(rows).to(flat.device)[..., None].expand(-1, -1, flat.shape[2]))


def _flatten(tensor: Tensor, site: Site, mask: Tensor | None, walked: list[int]) -> tuple[Tensor, Tensor | None]:
    """[batch, places, units] and, for texts, which places are real."""
    unit = site.unit_axis
    # Every head's every feature is a unit.
    extra = [axis for axis in range(1, tensor.dim()) if axis not in walked and axis != unit]
    moved = tensor.permute([0, *walked, *extra, unit])
    units = math.prod(tensor.shape[axis] for axis in (*extra, unit))
    flat = moved.reshape(tensor.shape[0], -1, units)
    live = mask.bool() if mask is not None and "position" in site.axes and flat.shape[1] == mask.shape[1] else None
    return flat, live
