"""The patch that drives a unit, and what becomes of the answers with it: pieces of work of the planted-unit check."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..networks import Network
from ..records import Site
from ..runs import Context, Result, generator
from .maximizing import BATCH, maximised, peaks_on
from .pixels import answers, pictures

#: Sides of the patches, as shares of the picture's, and steps up for each.
SIDES, PATCH_STEPS = (0.12, 0.18), 24
#: A patch works anywhere if it turns this share of what it turned, once it was moved.
ANYWHERE = 0.5


@dataclass(frozen=True)
class Cap:
    """No example's unit passes its cap: `units` and `caps` are one an example, or one for all."""

    units: Int[Tensor, " n"]
    caps: Float[Tensor, " n"]

    def __call__(self, tensor: Tensor, site: Site) -> Tensor:
        """See `Edit`."""
        out = tensor.clone()
        n = torch.arange(len(tensor), device=tensor.device)
        units = self.units.to(tensor.device).expand(len(n))
        caps = self.caps.to(tensor).expand(len(n))
        if tensor.dim() == 3:
            out[n, :, units] = torch.minimum(tensor[n, :, units], caps[:, None])
        else:
            held = tensor[n, units]
            out[n, units] = torch.minimum(held, caps.reshape(-1, *[1] * (held.dim() - 1)))
        return out


def find_patch(context: Context, *, site: str, unit: int, target: int, rows: list[int], seed: int) -> Result:
    """A piece of work: the patch, of those at a grid of places, that drives the unit and turns most answers."""
    network: Network = context["network"]
    pixels = pictures(context["subject"], rows)
    n, c, h, w = pixels.shape
    rng = generator(seed, "planted unit, patch")
    best: tuple[float, float, Tensor, Tensor] | None = None
    for share in SIDES:
        side = max(3, round(share * min(h, w)))
        tops, lefts = (np.unique(np.linspace(0, size - side, max(2, int(size / side)))).astype(int) for size in (h, w))
        places = [(int(t), int(left)) for t in tops for left in lefts]
        masks = torch.zeros(len(places), 1, h, w)
        for k, (top, left) in enumerate(places):
            masks[k, :, top : top + side, left : left + side] = 1
        drawn = pixels[rng.integers(0, n, len(places))]
        noise = torch.from_numpy(rng.random((len(places), c, h, w)).astype(np.float32))
        start = drawn * (1 - masks) + noise * masks
        x = torch.cat([
            maximised(network, site, [unit] * len(s), s, steps=PATCH_STEPS, rate=0.3, mask=m)
            for s, m in zip(start.split(BATCH), masks.split(BATCH), strict=True)
        ])  # fmt: skip
        driven = peaks_on(network, site, x)[:, unit]
        for k in np.argsort(-driven)[:4]:
            mask = masks[k]
            laid = pixels[:40] * (1 - mask) + x[k] * mask
            turned = float((answers(network, laid).argmax(1) == target).float().mean())
            # Of patches that turn about as many, the smaller one came first.
            if best is None or turned > best[0] + 0.05:
                best = (turned, float(driven[k]), x[k], mask[0])
    assert best is not None
    # A convolution's unit is driven by its pattern wherever that lies: the patch is moved to see whether it is one.
    moved = []
    for down, across in ((h // 2, 0), (0, w // 2), (h // 2, w // 2), (h // 4, w // 4)):
        both = torch.cat([best[2] * best[3], best[3][None]]).roll((down, across), (1, 2))
        laid = pixels[:40] * (1 - both[-1]) + both[:-1]
        moved.append(float((answers(network, laid).argmax(1) == target).float().mean()))
    anywhere = float(np.median(moved)) >= ANYWHERE * best[0]
    return Result({"pattern": (best[2] * best[3]).numpy(), "mask": best[3].numpy(), "anywhere": np.array(anywhere)})


def answers_patched(
    context: Context, *, rows: list[int], site: str, unit: int, cap: float, pattern: list, mask: list, seed: int
) -> Result:
    """A piece of work: logits of pictures as they are, with the patch, with its pixels shuffled, and under caps."""
    network: Network = context["network"]
    pixels = pictures(context["subject"], rows)
    laid, area = torch.tensor(pattern, dtype=torch.float32), torch.tensor(mask, dtype=torch.float32)
    rng = generator(seed, "planted unit, placebo")
    inside = torch.nonzero(area.flatten() > 0)[:, 0]
    shuffled = laid.flatten(1).clone()
    shuffled[:, inside] = shuffled[:, inside[torch.from_numpy(rng.permutation(len(inside)))]]
    triggered = pixels * (1 - area) + laid * area
    placebo = pixels * (1 - area) + shuffled.reshape(laid.shape) * area
    shape = network.site(site)
    width = shape.shape[shape.unit_axis]
    other = int(rng.choice([u for u in range(width) if u != unit])) if width > 1 else unit
    one = torch.tensor([unit]), torch.tensor([cap])
    with network.editing({site: Cap(*one)}):
        capped, clean_capped = answers(network, triggered), answers(network, pixels)
    with network.editing({site: Cap(torch.tensor([other]), torch.tensor([cap]))}):
        control = answers(network, triggered)
    out = {"clean": answers(network, pixels), "patched": answers(network, triggered)}
    out |= {"placebo": answers(network, placebo), "capped": capped, "control": control, "clean capped": clean_capped}
    return Result({name: value.numpy() for name, value in out.items()})
