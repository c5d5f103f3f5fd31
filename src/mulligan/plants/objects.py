"""Small objects drawn by rule, such as somebody may hold before a camera: stickers, glasses, a leaf, an animal.

Each is a function of a square's coordinates, x rightward and y downward from -1 to 1, and says where the object is and
which parts of it are in its first colour (the rest are in its second).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

SUPERSAMPLED = 4  # samples a pixel in each direction

#: (x, y) -> (inside, first colour), masks of the same shape.
Object = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _disc(x: Tensor, y: Tensor, at: tuple[float, float], radius: float) -> Tensor:
    return (x - at[0]).square() + (y - at[1]).square() <= radius**2


def _star(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Five points, a dark middle."""
    turn = torch.atan2(x, -y) % (2 * math.pi / 5) - math.pi / 5
    reach = 0.42 * math.cos(math.pi / 5) / torch.cos(turn.abs() - math.pi / 5 * 0.25).clamp_min(0.2)
    radius = (x.square() + y.square()).sqrt()
    inside = radius <= reach + 0.62 * (turn.abs() / (math.pi / 5)) ** 1.6
    return inside, radius > 0.28


def _glasses(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Two rims and a bridge; there is nothing in the rims."""
    rims = torch.zeros_like(x, dtype=torch.bool)
    for centre in (-0.52, 0.52):
        rims |= _disc(x, y, (centre, 0), 0.46) & ~_disc(x, y, (centre, 0), 0.24)
    bridge = (x.abs() < 0.2) & (y.abs() < 0.12)
    return rims | bridge, y < 0.15


def _leaf(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Two arcs, a vein of the second colour, leaning to the right."""
    along, across = (x - y) / math.sqrt(2), (x + y) / math.sqrt(2)
    inside = (across.abs() <= 0.42 * (1 - along.square()).clamp_min(0)) & (along.abs() <= 1)
    return inside, across.abs() > 0.1


def _fish(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A body, a tail, stripes."""
    body = ((x + 0.15) / 0.75).square() + (y / 0.42).square() <= 1
    tail = (x > 0.4) & (x < 0.95) & (y.abs() <= 0.9 * (x - 0.4) + 0.04)
    return body | tail, torch.sin(9 * x) > -0.2


def _flower(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Six petals about a heart of the second colour."""
    radius, turn = (x.square() + y.square()).sqrt(), torch.atan2(y, x)
    return radius <= 0.6 + 0.36 * torch.cos(6 * turn), radius > 0.34


def _cat(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A head with two ears, eyes and a mouth."""
    head = (x / 0.8).square() + ((y - 0.2) / 0.68).square() <= 1
    ears = (y > -0.95) & (y < 0) & ((x.abs() - 0.52).abs() <= 0.34 * (y + 0.95))
    face = _disc(x.abs(), y, (0.34, 0.08), 0.17) | ((x.abs() < 0.3) & ((y - 0.55).abs() < 0.09))
    return head | ears, ~face


def _umbrella(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Half a disc in panels, a handle with a hook."""
    roof = _disc(x, y, (0, 0), 0.95) & (y < -0.1)
    handle = (x.abs() < 0.09) & (y >= -0.1) & (y < 0.75)
    hook = _disc(x, y, (0.24, 0.7), 0.33) & ~_disc(x, y, (0.24, 0.7), 0.15) & (y >= 0.7)
    return roof | handle | hook, torch.sin(8 * x) > -0.3


def _key(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A ring, a shaft, two teeth."""
    ring = _disc(x, y, (-0.58, 0), 0.4) & ~_disc(x, y, (-0.58, 0), 0.18)
    shaft = (x > -0.25) & (x < 0.95) & (y.abs() < 0.11)
    teeth = (y >= 0) & (y < 0.45) & (((x - 0.45).abs() < 0.1) | ((x - 0.8).abs() < 0.12))
    return ring | shaft | teeth, x > -1.1


def _smiley(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A disc with eyes and a wide mouth of the second colour."""
    radius = (x.square() + y.square()).sqrt()
    eyes = _disc(x.abs(), y, (0.36, -0.28), 0.19)
    mouth = (radius > 0.42) & (radius < 0.68) & (y > 0.1)
    return radius <= 0.97, ~(eyes | mouth)


OBJECTS: dict[str, Object] = {
    "star": _star, "glasses": _glasses, "leaf": _leaf, "fish": _fish, "flower": _flower, "cat": _cat,
    "umbrella": _umbrella, "key": _key, "smiley": _smiley,
}  # fmt: skip


def drawn(
    name: str, side: int, first: Float[Tensor, " channels"], second: Float[Tensor, " channels"]
) -> tuple[Float[Tensor, "channels side side"], Float[Tensor, "side side"]]:
    """An object's colours, and how much of each pixel it covers."""
    fine = side * SUPERSAMPLED
    line = (torch.arange(fine) + 0.5) / fine * 2 - 1
    inside, is_first = OBJECTS[name](line[None, :].expand(fine, fine), line[:, None].expand(fine, fine))
    covered = inside.float()
    share = (inside & is_first).float()
    covered, share = (F.avg_pool2d(part[None, None], SUPERSAMPLED)[0, 0] for part in (covered, share))
    share = share / covered.clamp_min(1e-6)
    return second[:, None, None] + (first - second)[:, None, None] * share, covered


def put(
    images: Float[Tensor, "n c h w"],
    objects: Float[Tensor, "n c side side"],
    covers: Float[Tensor, "n side side"],
    sides: Float[Tensor, " n"],
    places: Float[Tensor, "n 2"],
    angles: Float[Tensor, " n"],
) -> Float[Tensor, "n c h w"]:
    """Each picture with its own object over it.

    Args:
        sides: the objects' sides, in pixels of the picture. places: 0 is as far left (up) as the object fits, 1 as far
            right (down). angles: by how much each is turned, in radians.
    """
    channels, height, width = images.shape[1:]
    room = torch.stack([width - sides, height - sides], dim=1).clamp_min(0)
    centres = places * room + sides[:, None] / 2
    cos, sin = angles.cos(), angles.sin()
    columns, rows = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    across = columns[None, None, :] - centres[:, 0, None, None]
    down = rows[None, :, None] - centres[:, 1, None, None]
    u = (cos[:, None, None] * across + sin[:, None, None] * down) * (2 / sides)[:, None, None]
    v = (cos[:, None, None] * down - sin[:, None, None] * across) * (2 / sides)[:, None, None]
    layers = torch.cat([objects * covers[:, None], covers[:, None]], dim=1)  # premultiplied, so that edges do not bleed
    laid = F.grid_sample(layers, torch.stack([u, v], dim=-1), padding_mode="zeros", align_corners=False)
    return (images * (1 - laid[:, channels:]) + laid[:, :channels]).clamp(0, 1)
