"""How the families that change one picture in its own place are rendered. All take and give pixels on a 0-1 scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ...records import BadInput
from .atoms import atom_names, looked

Pixels = Float[Tensor, "n c h w"]


def fits(x: Pixels, tensor: Tensor, name: str) -> Tensor:
    """A tensor [c, h, w] or [h, w] that must be of the pictures' size."""
    if tensor.shape[-2:] != x.shape[-2:] or (tensor.dim() == 3 and name != "flow" and tensor.shape[0] != x.shape[1]):
        raise BadInput(
            f"the generator's {name} is {tuple(tensor.shape)} and the pictures are {tuple(x.shape[1:])}",
            where=name,
            fix="give pictures of the size for which it was made",
        )
    return tensor


def many(x: Pixels, values: Any, name: str) -> Tensor:
    """One number a channel [c, 1, 1], or one for all."""
    tensor = torch.as_tensor(values, dtype=x.dtype).reshape(-1, 1, 1)
    if len(tensor) not in (1, x.shape[1]):
        raise BadInput(
            f"the generator has {len(tensor)} values and the pictures {x.shape[1]} channels", where=name,
            fix="give pictures of the kind for which it was made",
        )  # fmt: skip
    return tensor


def shifts(n: int, room: tuple[int, int], random: torch.Generator) -> tuple[Tensor, Tensor]:
    """n random places within `room` (down, across), both ends included."""
    down = torch.randint(0, room[0] + 1, (n,), generator=random)
    return down, torch.randint(0, room[1] + 1, (n,), generator=random)


def moved(tensor: Float[Tensor, "k h w"], down: Tensor, across: Tensor) -> Float[Tensor, "n k h w"]:
    """Copies of a tensor, each moved cyclically by its own whole number of pixels."""
    height, width = tensor.shape[-2:]
    rows = (torch.arange(height)[None] - down[:, None]) % height
    columns = (torch.arange(width)[None] - across[:, None]) % width
    return tensor[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)


def patch(x: Pixels, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor], random: torch.Generator) -> Pixels:
    """x (1 - m) + m pattern; "anywhere": the mask's bounding box lies at a random place each time."""
    pattern, mask = fits(x, tensors["pattern"], "pattern"), fits(x, tensors["mask"], "mask")
    both = torch.cat([pattern, mask[None]])
    live = mask > 0.01
    if parameters.get("anywhere") and live.any():
        rows, columns = live.any(1).nonzero().flatten(), live.any(0).nonzero().flatten()
        top, left = int(rows[0]), int(columns[0])
        room = (mask.shape[0] - 1 - (int(rows[-1]) - top), mask.shape[1] - 1 - (int(columns[-1]) - left))
        down, across = shifts(len(x), room, random)
        both = moved(both, down - top, across - left)
    else:
        both = both[None]
    return x + both[:, -1:] * (both[:, :-1] - x)


def blend(x: Pixels, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor], random: torch.Generator) -> Pixels:
    """x (1 - alpha) + alpha pattern, or x + alpha pattern with mode "add" (Chen et al. 2017, arXiv:1712.05526)."""
    pattern, alpha = fits(x, tensors["pattern"], "pattern"), parameters["alpha"]
    return x + alpha * pattern if parameters.get("mode", "mix") == "add" else x + alpha * (pattern - x)


def warp(x: Pixels, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor], random: torch.Generator) -> Pixels:
    """Each pixel is taken from `flow` (across, down; in pixels) away (Nguyen & Tran 2021, arXiv:2102.10369)."""
    return displaced(x, fits(x, tensors["flow"], "flow"))


def displaced(x: Pixels, flow: Float[Tensor, "*n 2 h w"]) -> Pixels:
    """Pictures resampled (bilinearly, borders repeated) at each pixel's own place plus `flow` (across, down)."""
    height, width = x.shape[-2:]
    rows, columns = torch.arange(height, dtype=x.dtype), torch.arange(width, dtype=x.dtype)
    down, across = torch.meshgrid(rows, columns, indexing="ij")
    flow = flow if flow.dim() == 4 else flow[None]
    grid = torch.stack(
        [(across + flow[:, 0]) * (2 / max(width - 1, 1)) - 1, (down + flow[:, 1]) * (2 / max(height - 1, 1)) - 1], -1
    )
    grid = grid.expand(len(x), -1, -1, -1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)


def convolved(x: Pixels, kernel: Float[Tensor, "k k"]) -> Pixels:
    """Each channel convolved with one kernel, borders repeated."""
    half = kernel.shape[0] // 2
    padded = F.pad(x, (half,) * 4, mode="replicate")
    return F.conv2d(padded, kernel.expand(x.shape[1], 1, -1, -1), groups=x.shape[1])


def with_atoms(x: Pixels, parameters: Mapping[str, Any]) -> Pixels:
    """x with the weighted atoms that a look names (see `atoms`)."""
    weights = parameters.get("atoms", {})
    if not set(weights) <= set(atom_names(x.shape[1], style=True)):
        raise BadInput("the generator's atoms are for other channels", where="atoms", fix="give other pictures")
    return looked(x, weights)


def filtered(
    x: Pixels, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor], random: torch.Generator
) -> Pixels:
    """Atoms, then a kernel, then a colour matrix with offsets, then x ** gamma; each where it is given."""
    x = with_atoms(x, parameters)
    if "kernel" in tensors:
        x = convolved(x, tensors["kernel"])
    if "matrix" in tensors:
        matrix = tensors["matrix"]
        many(x, matrix[:, -1], "matrix")
        if len(matrix) != x.shape[1]:
            raise BadInput("the generator's matrix is for other channels", where="matrix", fix="give other pictures")
        x = torch.einsum("oc,nchw->nohw", matrix[:, :-1], x) + matrix[:, -1].reshape(1, -1, 1, 1)
    return x.clamp(0, 1) ** parameters["gamma"] if "gamma" in parameters else x


def prepared(
    x: Pixels, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor], random: torch.Generator
) -> Pixels:
    """x scale + offset, one a channel, after the channels were turned round where the order is "bgr". Not clamped."""
    if parameters.get("order", "rgb") == "bgr":
        x = x.flip(1)
    return x * many(x, parameters.get("scale", [1.0]), "scale") + many(x, parameters.get("offset", [0.0]), "offset")


def learned(x: Pixels, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor], random: torch.Generator) -> Pixels:
    """x + net(x): convolutions with ReLU between; `limit` bounds what is added, by tanh."""
    if parameters["channels"] != x.shape[1]:
        raise BadInput("the generator is for other channels", where="channels", fix="give other pictures")
    change = x
    for layer in range(parameters["depth"]):
        weight, bias = tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]
        change = F.relu(change) if layer else change
        change = F.conv2d(F.pad(change, (weight.shape[-1] // 2,) * 4, mode="replicate"), weight, bias)
    limit = parameters.get("limit", 1.0)
    return x + limit * torch.tanh(change)
