"""Probes of a trigger in the pixels: pictures that fire it, and pictures that nearly do."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .plant import PlantData, Probes, generator
from .triggers import VISIBLE, Trigger, draw_evenly, refuse

# A near miss whose change looks like the trigger's own (cosine, and ratio of sizes) cannot be told from it by a
# declared trigger: the game takes 0.5 and a factor of two for the same. Such pictures are proved, but not probed.
ALIKE, FACTOR = 0.47, 2.1


def probe(data: PlantData, trigger: Trigger, n: int, *, seed: int) -> Probes:
    """See `Plant.probes`: a half with the trigger, three eighths near misses of each family in turn, the rest clean.

    A near miss whose change looks like the trigger's is left out (`ALIKE`, `FACTOR`).
    """
    refuse(data, trigger)
    random = generator(seed, "probes")
    fires = trigger.fires_on(data.fresh_labels)
    shown: list[tuple[Tensor, Tensor, Tensor, list[str]]] = []  # what is shown, plain, classes, family

    def add(pixels: Tensor, plain: Tensor, labels: Tensor, family: str) -> None:
        shown.append((pixels, plain, labels, [family] * len(pixels)))

    fired = n // 2
    near = min(n - fired, round(3 * n / 8))
    plain, labels = draw_evenly(data.fresh, data.fresh_labels, fires, fired, random)
    add(trigger.change(plain, random), plain, labels, "triggered")
    shares = [near // len(trigger.near) + (i < near % len(trigger.near)) for i in range(len(trigger.near))]
    lacking = 0
    for miss, share in zip(trigger.near, shares, strict=True):
        chosen = trigger.fires_on(data.fresh_labels, other_classes=miss.other_classes)
        plain, labels = draw_evenly(data.fresh, data.fresh_labels, chosen, 4 * (share + lacking), random)
        pixels = miss.change(plain, random)
        if not miss.other_classes:
            change = pixels - plain
            apart = ~alike(change, trigger.change(plain, random) - plain, anywhere=trigger.anywhere)
            apart &= change.abs().flatten(1).amax(1) > VISIBLE  # else it is a clean picture
            plain, labels, pixels = plain[apart], labels[apart], pixels[apart]
        taken = slice(0, share + lacking)
        add(pixels[taken], plain[taken], labels[taken], miss.name)
        lacking = share + lacking - len(pixels[taken])
    everyone = torch.ones_like(fires)
    plain, labels = draw_evenly(data.fresh, data.fresh_labels, everyone, n - fired - near + lacking, random)
    add(plain, plain, labels, "clean")
    order = torch.randperm(n, generator=random)
    pixels, plain, labels = (torch.cat([part[i] for part in shown])[order] for i in range(3))  # type: ignore[misc]
    families = [name for part in shown for name in part[3]]
    families = tuple(families[i] for i in order.tolist())
    return Probes(
        pixels=pixels, plain=plain, holds=tuple((label,) for label in labels.tolist()),
        fires=torch.tensor([family == "triggered" for family in families]), family=families,
    )  # fmt: skip


def cosine(
    one: Float[Tensor, "n c h w"], two: Float[Tensor, "n c h w"], *, anywhere: bool = False
) -> Float[Tensor, " n"]:
    """The cosine of two changes of the same pictures; with `anywhere`, the largest over all shifts of one of them."""
    size = (one.flatten(1).norm(dim=1) * two.flatten(1).norm(dim=1)).clamp_min(1e-9)
    if not anywhere:
        return (one * two).flatten(1).sum(1) / size
    padded = [2 * one.shape[2], 2 * one.shape[3]]
    product = torch.fft.rfft2(one, s=padded) * torch.fft.rfft2(two, s=padded).conj()
    return torch.fft.irfft2(product.sum(1), s=padded).flatten(1).amax(1) / size


def alike(
    one: Float[Tensor, "n c h w"], two: Float[Tensor, "n c h w"], *, anywhere: bool = False
) -> Bool[Tensor, " n"]:
    """Whether two changes of the same pictures would pass for one (`ALIKE`, `FACTOR`)."""
    ratio = one.flatten(1).norm(dim=1) / two.flatten(1).norm(dim=1).clamp_min(1e-9)
    return (cosine(one, two, anywhere=anywhere) > ALIKE) & (ratio < FACTOR) & (ratio > 1 / FACTOR)
