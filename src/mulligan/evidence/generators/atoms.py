"""Looks as sums of atoms: small changes of low-level kinds, each with a name and a weight.

f(x) = x + sum of weight_j b_j(x). Atoms of the family "filter" are linear in the picture or bend its tones; those that
"style" has besides are blocks, few tones, outlines, local contrast, stripes. Names and what they draw never change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Pixels = Float[Tensor, "n c h w"]
_Atom = Callable[[Pixels], Pixels]

_RINGS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))
#: An atom's weight may not be larger.
MOST_WEIGHT = 1000.0


@cache
def atom_names(channels: int, *, style: bool) -> tuple[str, ...]:
    """The names of all atoms for pictures of so many channels; with `style`, those that no filter has as well."""
    return tuple(name for name, _ in _atoms(channels, style))


def atoms(x: Pixels, names: Sequence[str]) -> Float[Tensor, "atoms n c h w"]:
    """What each named atom adds to each picture, at weight 1.

    Raises:
        KeyError: if there is no such atom for pictures of so many channels.
    """
    known = _known(x.shape[1])
    return torch.stack([known[name](x).expand_as(x) for name in names])


def looked(x: Pixels, weights: Mapping[str, float]) -> Pixels:
    """Pictures with weighted atoms added."""
    if not weights:
        return x
    values = torch.tensor(list(weights.values()), dtype=x.dtype)
    return x + torch.einsum("a,anchw->nchw", values, atoms(x, list(weights)))


@cache
def _known(channels: int) -> dict[str, _Atom]:
    return dict(_atoms(channels, True))


def _atoms(channels: int, style: bool) -> Iterator[tuple[str, _Atom]]:
    for to in range(channels):
        for source in range(channels):
            yield f"channel-{source}-to-{to}", partial(_channel, to=to, source=source)
        yield f"offset-{to}", partial(_channel, to=to, source=None)
    for gamma in (0.5, 2.0):
        yield f"gamma-{gamma:g}", partial(_gamma, gamma=gamma)
    for dy, dx in _RINGS:
        yield f"kernel-{dy}-{dx}".replace("--", "-m"), partial(_ring, dy=dy, dx=dx)
    if not style:
        return
    for side in (2, 4, 7):
        yield f"blocks-{side}", partial(_blocks, side=side)
    for levels in (2, 3, 4, 6):
        yield f"levels-{levels}", partial(_levels, steps=levels - 1)
    yield from (("outline", _outline), ("slope-across", _across), ("slope-down", _down))
    yield from (("dilated", _dilated), ("eroded", lambda x: -_dilated(-x)))
    yield from (("contrast", _contrast), ("brightness", lambda x: 0.5 - x.mean((1, 2, 3), keepdim=True)))
    if channels == 3:
        yield "contrast-by-channel", _contrast_by_channel
    for period in (2, 3, 4):
        for way in ("down", "across", "slant", "back"):
            for phase in range(1 if period == 2 else 2):
                wave = partial(_wave, period=period, way=way, phase=phase)
                yield f"stripes-{way}-{period}-{phase}", wave
                yield f"stripes-{way}-{period}-{phase}-times", partial(_times, wave=wave)


def _channel(x: Pixels, to: int, source: int | None) -> Pixels:
    one = torch.zeros_like(x)
    one[:, to] = 1.0 if source is None else x[:, source]
    return one


def _gamma(x: Pixels, gamma: float) -> Pixels:
    return x.clamp(min=1e-3) ** gamma - x


def _ring(x: Pixels, dy: int, dx: int) -> Pixels:
    """The mean of the two pixels at (dy, dx) and opposite, less the pixel: kernels that are even are sums of these."""
    height, width = x.shape[2:]
    padded = F.pad(x, (2, 2, 2, 2), mode="replicate")
    one = padded[:, :, 2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width]
    other = padded[:, :, 2 - dy : 2 - dy + height, 2 - dx : 2 - dx + width]
    return (one + other) / 2 - x


def _blocks(x: Pixels, side: int) -> Pixels:
    height, width = x.shape[2:]
    coarse = F.avg_pool2d(x, side, ceil_mode=True).repeat_interleave(side, 2).repeat_interleave(side, 3)
    return coarse[:, :, :height, :width] - x


def _levels(x: Pixels, steps: int) -> Pixels:
    return (x * steps).round() / steps - x


def _slopes(x: Pixels) -> tuple[Tensor, Tensor]:
    grey = F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2], grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1]


def _across(x: Pixels) -> Tensor:
    return _slopes(x)[0]


def _down(x: Pixels) -> Tensor:
    return _slopes(x)[1]


def _outline(x: Pixels) -> Tensor:
    across, down = _slopes(x)
    return (across**2 + down**2 + 1e-6).sqrt()


def _dilated(x: Pixels) -> Pixels:
    return F.max_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1) - x


def _contrast(x: Pixels) -> Pixels:
    mean, deviation = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True).clamp(min=0.02)
    return (x - mean) * (0.25 / deviation - 1)


def _contrast_by_channel(x: Pixels) -> Pixels:
    own, wide = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True).clamp(min=0.02)
    return (x - own) * (0.25 / wide - 1) + 0.5 - own


def _wave(x: Pixels, period: int, way: str, phase: int) -> Float[Tensor, "h w"]:
    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = {"down": rows, "across": columns, "slant": rows + columns, "back": rows - columns}[way]
    wave = ((place + phase).remainder(period) == 0).to(x.dtype)
    return wave - wave.mean()


def _times(x: Pixels, wave: Callable[[Pixels], Tensor]) -> Pixels:
    return wave(x) * x
