"""Changes of pictures that people know and use: what a search by gradients does not come by.

A search for the smallest change finds what is particular to a network; a look that somebody chose (an inversion, a
sepia tone, a turn) is large, and its gradient does not lead there. Such changes are few enough to try them all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ...evidence import Generator

Shape = tuple[int, int, int]
_SEPIA = ((0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131))


def known_changes(shape: Shape) -> Iterator[tuple[str, Generator]]:
    """Kinds and generators for pictures [c, h, w], always the same in the same order."""
    parts = (
        ("filter", _filters(shape)), ("style", _styles(shape)), ("blend", _patterns(shape)), ("warp", _flows(shape)),
        ("patch", _patches(shape)), ("natural-object", _things(shape)),
    )  # fmt: skip
    return ((kind, made) for kind, bank in parts for made in bank)


def _matrix(scale: Tensor, offset: Tensor | float) -> Generator:
    column = torch.as_tensor(offset, dtype=torch.float32).expand(len(scale)).reshape(-1, 1)
    return Generator(family="filter", tensors={"matrix": torch.cat([scale, column], 1)})


def _filters(shape: Shape) -> Iterator[Generator]:
    """Tones, contrast, negatives, blurs and sharpening; of colours, gains, swaps and tints."""
    channels = shape[0]
    one = torch.eye(channels)
    for gamma in (0.3, 0.45, 0.65, 1.5, 2.2, 3.3):
        yield Generator(family="filter", parameters={"gamma": gamma})
    tones = ((0.35, 0.33), (0.6, 0.2), (1.6, -0.3), (2.5, -0.75), (0.5, 0), (0.5, 0.5), (1, 0.25), (1, -0.25))
    for gain, offset in tones:
        yield _matrix(one * gain, offset)
    yield _matrix(-one, 1.0)
    for kernel in _kernels():
        yield Generator(family="filter", tensors={"kernel": kernel})
    if channels != 3:
        return
    for order in itertools.permutations(range(3)):
        if order != (0, 1, 2):
            yield _matrix(one[list(order)], 0.0)
    yield _matrix(torch.full((3, 3), 1 / 3), 0.0)
    for strength in (0.5, 1.0):
        yield _matrix(torch.lerp(one, torch.tensor(_SEPIA), strength), 0.0)
    for signs in itertools.product((-1.0, 0.0, 1.0), repeat=3):
        if len(set(signs)) > 1:
            yield _matrix(one * torch.tensor([1 + 0.3 * s for s in signs]), 0.0)
            yield _matrix(one, torch.tensor([0.15 * s for s in signs]))
    for k in range(3):
        yield _matrix(one - one[k][:, None] * one[k], 0.0)
        for degrees in (60, 120, 180) if k == 0 else ():
            yield _matrix(_hue(degrees), 0.0)


def _hue(degrees: float) -> Float[Tensor, "3 3"]:
    """A turn about the grey axis (Rodrigues)."""
    a, u = math.radians(degrees), 3**-0.5
    cross = torch.tensor([[0, -u, u], [u, 0, -u], [-u, u, 0]])
    return math.cos(a) * torch.eye(3) + math.sin(a) * cross + (1 - math.cos(a)) / 3


def _kernels() -> Iterator[Float[Tensor, "k k"]]:
    places = torch.arange(7).float() - 3
    for sigma in (0.7, 1.1, 1.8):
        line = torch.exp(-0.5 * (places / sigma) ** 2)
        blur = torch.outer(line, line) / line.sum() ** 2
        yield blur
        if sigma != 0.7:
            sharp = -1.0 * blur
            sharp[3, 3] += 2.0
            yield sharp
    for motion in (torch.eye(5), torch.eye(5).flip(0)):
        yield motion / 5
    for way in (0, 1):
        straight = torch.zeros(5, 5)
        straight.select(way, 2).fill_(0.2)
        yield straight
    emboss = torch.tensor([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]])
    yield from (emboss, emboss.flip(1), emboss.flip(0, 1))


def _styles(shape: Shape) -> Iterator[Generator]:
    """Drawings, blocks, few tones, grain, bent tones, textures, equal statistics."""
    channels, height, width = shape

    def look(**parameters: object) -> Generator:
        return Generator(family="style", parameters=parameters)

    for edges in (0.4, 0.7, 1.0):
        yield look(edges=edges)
    for levels in (2, 3, 4):
        yield look(levels=levels)
    for side in (2, 3, 4):
        yield look(pixelate=side)
    for grain in (0.08, 0.16, 0.3):
        yield look(grain=grain)
    for mean, deviation in itertools.product((0.25, 0.5, 0.75), (0.12, 0.25, 0.4)):
        yield look(mean=[mean], deviation=[deviation])
    for curve in ([0, 1, 0], [1, 0, 1], [0, 0.8, 0.2, 1], [0, 1, 0, 1, 0], [0, 0, 1, 1], [0.3, 0.7, 0.3, 0.7]):
        yield Generator(family="style", tensors={"curve": torch.tensor([curve]).float()})
    if channels == 3:
        for saturation in (0.0, 2.0, 3.0):
            yield look(saturation=saturation)
    for texture in _waves(height, width, periods=(2, 3, 4, 6)):
        for mode, strength in (("add", 0.3), ("multiply", 0.6)):
            whole = (strength * (texture - texture.mean())).expand(channels, -1, -1).contiguous()
            yield Generator(family="style", parameters={"mode": mode}, tensors={"texture": whole})
    for name in ("outline", "slope-across", "slope-down", "dilated", "eroded", "contrast"):
        for weight in (-1.0, 0.6, 1.2):
            yield look(atoms={name: weight})


def _waves(height: int, width: int, periods: tuple[float, ...]) -> Iterator[Float[Tensor, "h w"]]:
    down, across = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    for period, (a, b) in itertools.product(periods, ((1, 0), (0, 1), (0.7, 0.7), (0.7, -0.7))):
        yield 0.5 + 0.5 * torch.cos(2 * math.pi * (a * down + b * across) / period)


def _patterns(shape: Shape) -> Iterator[Generator]:
    """Waves, boards, gradients, rings, veils and noise of several grains, faint and clear."""
    channels, height, width = shape
    short = min(height, width)
    random = torch.Generator().manual_seed(0)
    down, across = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    radius = (down**2 + across**2).sqrt() / math.sqrt(2)
    patterns = list(_waves(height, width, periods=tuple(short / k for k in (1, 2, 3.5, 5, 7, 10))))
    patterns += [0.5 + 0.5 * one for one in (down, -down, across, -across)]
    patterns += [radius, 1 - radius, 0.5 + 0.5 * torch.sin(14 * radius)]
    patterns += [torch.full((height, width), value) for value in (0.0, 0.5, 1.0)]
    for side in (2, 4, 7):
        board = (torch.arange(height)[:, None] // side + torch.arange(width)[None] // side) % 2
        patterns.append(board.float())
    for grain in (3, 5, 9, short):
        for _ in range(3):
            coarse = torch.rand((1, channels, grain, grain), generator=random)
            patterns.append(F.interpolate(coarse, size=(height, width), mode="nearest")[0])
    for pattern, alpha in itertools.product(patterns, (0.12, 0.3)):
        whole = pattern.expand(channels, -1, -1).contiguous()
        yield Generator(family="blend", parameters={"alpha": alpha, "mode": "mix"}, tensors={"pattern": whole})


def _flows(shape: Shape) -> Iterator[Generator]:
    """Turns, shears, sizes, swirls, ripples, bulges and smooth random flows."""
    _, height, width = shape
    random = torch.Generator().manual_seed(1)
    down, across = torch.meshgrid(
        torch.arange(height).float() - (height - 1) / 2, torch.arange(width).float() - (width - 1) / 2, indexing="ij"
    )
    place = torch.stack([across, down])
    short = min(height, width)
    radius = (place.square().sum(0).sqrt() / (short / 2)).clamp(max=1)

    def linear(matrix: list[list[float]]) -> Tensor:
        return torch.einsum("oi,ihw->ohw", torch.tensor(matrix) - torch.eye(2), place)

    flows = []
    for degrees in (-25, -15, -8, 8, 15, 25):
        a = math.radians(degrees)
        flows.append(linear([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]))
    for s in (-0.3, 0.3):
        flows += [linear([[1, s], [0, 1]]), linear([[1, 0], [s, 1]])]
    sizes = ((0.75, 0.75), (1.3, 1.3), (0.7, 1.0), (1.0, 0.7), (1.35, 1), (1, 1.35))
    flows += [linear([[s, 0], [0, r]]) for s, r in sizes]
    for turn in (-0.8, 0.8):
        a = turn * (1 - radius)
        turned = torch.stack([a.cos() * across - a.sin() * down, a.sin() * across + a.cos() * down])
        flows.append(turned - place)
    flows += [place * s * (1 - radius) for s in (-0.4, 0.4)]
    for period, reach in itertools.product((short / 4, short / 2), (0.04 * short, 0.08 * short)):
        for x, way in ((down, 0), (across, 1)):
            flow = torch.zeros(2, height, width)
            flow[way] = reach * torch.sin(2 * math.pi * x / period)
            flows.append(flow)
    for knots, length in itertools.product((4, 6), (0.05, 0.08)):
        for _ in range(4):
            coarse = torch.randn((1, 2, knots, knots), generator=random)
            flow = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)[0]
            flows.append(flow * (length * short / flow.square().sum(0).sqrt().mean()))
    return (Generator(family="warp", tensors={"flow": flow.contiguous()}) for flow in flows)


def _colours(channels: int) -> list[Tensor]:
    tones = ([0.0], [1.0]) if channels == 1 else ([0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0])
    return [torch.tensor(tone).float()[:, None, None] for tone in tones]


def _patches(shape: Shape) -> Iterator[Generator]:
    """Small squares of one colour or in two, at nine places."""
    channels, height, width = shape
    for share in (0.11, 0.18):
        side = max(2, round(share * min(height, width)))
        board = ((torch.arange(side)[:, None] + torch.arange(side)[None]) % 2).float()
        looks = [colour.expand(-1, side, side) for colour in _colours(channels)] + [board.expand(channels, -1, -1)]
        tops, lefts = ((0, (extent - side) // 2, extent - side) for extent in (height, width))
        for look, top, left in itertools.product(looks, tops, lefts):
            pattern, mask = torch.zeros(channels, height, width), torch.zeros(height, width)
            pattern[:, top : top + side, left : left + side] = look
            mask[top : top + side, left : left + side] = 1
            yield Generator(family="patch", tensors={"pattern": pattern, "mask": mask})


def _things(shape: Shape) -> Iterator[Generator]:
    """Plain shapes in plain colours, anywhere."""
    channels, height, width = shape
    side = max(4, round(0.3 * min(height, width)))
    down, across = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    radius = (down**2 + across**2).sqrt()
    angle = torch.atan2(down, across)
    outlines = (
        radius <= 1, (radius <= 1) & (radius >= 0.55), across.abs() <= (1 + down) / 2, down.abs() + across.abs() <= 1,
        (down.abs() <= 0.33) | (across.abs() <= 0.33), radius <= 0.6 + 0.4 * torch.cos(5 * angle),
        across**2 + (1.2 * down - across.abs() * 0.7 + 0.2) ** 2 <= 0.8, down.abs() <= 0.4,
    )  # fmt: skip
    for outline, colour in itertools.product(outlines, _colours(channels)):
        tensors = {"object": colour.expand(-1, side, side).contiguous(), "alpha": outline.float()}
        yield Generator(family="natural-object", parameters={"scale": [0.85, 1.2]}, tensors=tensors)
