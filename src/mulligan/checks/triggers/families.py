"""The families of changes that are inverted; each can say what it found as a generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ...evidence import Generator
from ...evidence.generators import atom_names, atoms

Many = Float[Tensor, "rows n c h w"]


def _column(size: Float[Tensor, " rows"]) -> Float[Tensor, "rows 1 1 1 1"]:
    return size.reshape(-1, 1, 1, 1, 1)


class Additive:
    """One smooth pattern added to the whole picture; its size is its root mean square over pixels.

    Smooth, since a free one is mostly what is particular to the network: of planted patterns it holds less.
    """

    name, rate, start, least, most = "blend", 0.25, 0.08, 0.003, 0.5

    def __init__(self, shape: tuple[int, int, int], knots: int = 8) -> None:
        self.shape, self.knots = shape, min(knots, *shape[1:])

    def begin(self, rows: int, random: torch.Generator) -> list[Tensor]:
        """See `Family`."""
        return [torch.randn(rows, self.shape[0], self.knots, self.knots, generator=random) * 0.5]

    def pattern(self, parameters: Sequence[Tensor], size: Tensor) -> Float[Tensor, "rows c h w"]:
        """What is added."""
        raw = F.interpolate(parameters[0], size=self.shape[1:], mode="bicubic", align_corners=True)
        return raw * (size / raw.flatten(1).square().mean(1).sqrt().clamp(min=1e-6)).reshape(-1, 1, 1, 1)

    def apply(self, parameters: Sequence[Tensor], size: Tensor, x: Many, random: torch.Generator) -> Many:
        """See `Family`."""
        return (x + self.pattern(parameters, size)[:, None]).clamp(0, 1)

    def generator(self, parameters: Sequence[Tensor], size: Tensor, row: int) -> Generator:
        """See `Family`."""
        pattern = self.pattern(parameters, size)[row]
        return Generator(family="blend", parameters={"alpha": 1.0, "mode": "add"}, tensors={"pattern": pattern})


class Warp:
    """One smooth flow; its size is the mean length of the displacement, in pixels."""

    name, rate, start, least, most = "warp", 0.3, 1.2, 0.1, 12.0

    def __init__(self, shape: tuple[int, int, int], knots: int = 6) -> None:
        self.shape, self.knots = shape, knots

    def begin(self, rows: int, random: torch.Generator) -> list[Tensor]:
        """See `Family`."""
        return [torch.randn(rows, 2, self.knots, self.knots, generator=random)]

    def flow(self, parameters: Sequence[Tensor], size: Tensor) -> Float[Tensor, "rows 2 h w"]:
        """The displacement (across, down) in pixels."""
        fine = F.interpolate(parameters[0], size=self.shape[1:], mode="bicubic", align_corners=True)
        length = fine.square().sum(1).add(1e-8).sqrt().mean((1, 2))
        return fine * (size / length).reshape(-1, 1, 1, 1)

    def apply(self, parameters: Sequence[Tensor], size: Tensor, x: Many, random: torch.Generator) -> Many:
        """See `Family`."""
        flow = self.flow(parameters, size)
        rows, n, channels, height, width = x.shape
        ys, xs = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
        grid = torch.stack(
            [(xs + flow[:, 0]) * (2 / (width - 1)) - 1, (ys + flow[:, 1]) * (2 / (height - 1)) - 1], -1
        )
        # One grid a row: the pictures of a row are its channels.
        out = F.grid_sample(
            x.reshape(rows, n * channels, height, width), grid, padding_mode="border", align_corners=True
        )
        return out.reshape(x.shape)

    def generator(self, parameters: Sequence[Tensor], size: Tensor, row: int) -> Generator:
        """See `Family`."""
        return Generator(family="warp", tensors={"flow": self.flow(parameters, size)[row]})


class Look:
    """A sum of atoms (filter or style); its size is the root mean square of the change.

    Atoms are whitened on clean pictures, so that the length of the weights is the size.
    """

    rate, start, least, most = 0.25, 0.1, 0.005, 0.6

    def __init__(self, name: str, x: Float[Tensor, "n c h w"], least: float = 3e-3) -> None:
        self.name = name
        self.names = atom_names(x.shape[1], style=name == "style")
        drawn = atoms(x, self.names).flatten(1).double()
        sizes = drawn.square().mean(1).sqrt().clamp(min=1e-6)
        scaled = drawn / sizes[:, None]
        values, vectors = torch.linalg.eigh(scaled @ scaled.T / scaled.shape[1])
        keep = values > max(least, 1e-4 * float(values[-1]))
        #: [directions, atoms]
        self.mix = ((vectors[:, keep] / values[keep].sqrt()).T / sizes).float()

    def begin(self, rows: int, random: torch.Generator) -> list[Tensor]:
        """See `Family`."""
        return [torch.randn(rows, len(self.mix), generator=random) * 0.5]

    def weights(self, parameters: Sequence[Tensor], size: Tensor) -> Float[Tensor, "rows atoms"]:
        """What each atom is multiplied by."""
        return (parameters[0] * (size / parameters[0].norm(dim=1).clamp(min=1e-6))[:, None]) @ self.mix

    def apply(self, parameters: Sequence[Tensor], size: Tensor, x: Many, random: torch.Generator) -> Many:
        """See `Family`."""
        weights = self.weights(parameters, size)
        if x.stride(0) == 0:  # the same pictures for all rows
            change = torch.einsum("ra,anchw->rnchw", weights, atoms(x[0], self.names))
        else:
            drawn = atoms(x.flatten(0, 1), self.names).unflatten(1, x.shape[:2])
            change = torch.einsum("ra,arnchw->rnchw", weights, drawn)
        return (x + change).clamp(0, 1)

    def generator(self, parameters: Sequence[Tensor], size: Tensor, row: int) -> Generator:
        """See `Family`."""
        weights = self.weights(parameters, size)[row]
        return Generator(
            family=self.name,
            parameters={"atoms": {name: round(float(w), 6) for name, w in zip(self.names, weights, strict=True)}},
        )


class Patch:
    """A mask and a pattern at a fixed place; its size is the share of the picture that the mask covers."""

    name, rate, start, least, most = "patch", 0.3, 0.08, 0.002, 0.5

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def begin(self, rows: int, random: torch.Generator) -> list[Tensor]:
        """See `Family`."""
        _, height, width = self.shape
        return [
            torch.randn(rows, *self.shape, generator=random) * 0.5,
            torch.randn(rows, height, width, generator=random) * 0.1,
        ]

    def mask(self, parameters: Sequence[Tensor], size: Tensor) -> Float[Tensor, "rows h w"]:
        """From 0 to 1; smoothed scores, cut so that the mean is `size`."""
        score = F.avg_pool2d(F.pad(parameters[1][:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
        score = score * (1 / score.detach().flatten(1).std(1).clamp(min=1e-6)).reshape(-1, 1, 1)
        flat = score.detach().flatten(1)
        cut = torch.sort(flat, 1, descending=True).values
        place = (size * flat.shape[1]).clamp(1, flat.shape[1] - 1).long()
        level = cut.gather(1, place[:, None])[:, :, None]
        return torch.sigmoid(6 * (score - level))

    def apply(self, parameters: Sequence[Tensor], size: Tensor, x: Many, random: torch.Generator) -> Many:
        """See `Family`."""
        mask = self.mask(parameters, size)[:, None, None]
        return x + mask * (torch.sigmoid(2 * parameters[0])[:, None] - x)

    def generator(self, parameters: Sequence[Tensor], size: Tensor, row: int) -> Generator:
        """See `Family`."""
        mask = self.mask(parameters, size)[row]
        return Generator(family="patch", tensors={"pattern": torch.sigmoid(2 * parameters[0][row]), "mask": mask})


class Thing:
    """A small picture with an outline, pasted at random places; its size is its side, as a share of the picture's."""

    name, rate, start, least, most = "natural-object", 0.3, 0.35, 0.1, 0.8

    def __init__(self, shape: tuple[int, int, int], grain: int = 9) -> None:
        self.shape, self.grain = shape, grain

    def begin(self, rows: int, random: torch.Generator) -> list[Tensor]:
        """See `Family`."""
        g = self.grain
        return [torch.randn(rows, self.shape[0], g, g, generator=random) * 0.5, torch.zeros(rows, 1, g, g) + 0.5]

    def apply(self, parameters: Sequence[Tensor], size: Tensor, x: Many, random: torch.Generator) -> Many:
        """See `Family`."""
        rows, n, _, height, width = x.shape
        colour, alpha = torch.sigmoid(2 * parameters[0]), torch.sigmoid(4 * parameters[1])
        both = torch.cat([colour * alpha, alpha], 1)
        span = size[:, None] * torch.exp(0.2 * (torch.rand(rows, n, generator=random) - 0.5))
        centre = (torch.rand(2, rows, n, generator=random) * 2 - 1) * (1 - span)
        ys, xs = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        grid = torch.stack(
            [(xs - centre[1][..., None, None]) / span[..., None, None],
             (ys - centre[0][..., None, None]) / span[..., None, None]], -1
        ).flatten(1, 2)  # fmt: skip
        drawn = F.grid_sample(both, grid, padding_mode="zeros", align_corners=False)
        drawn = drawn.unflatten(2, (n, height)).transpose(1, 2)
        return x * (1 - drawn[:, :, -1:]) + drawn[:, :, :-1]

    def generator(self, parameters: Sequence[Tensor], size: Tensor, row: int) -> Generator:
        """See `Family`."""
        _, height, width = self.shape
        share = float(size[row])
        side = max(2, round(share * height)), max(2, round(share * width))
        colour, alpha = torch.sigmoid(2 * parameters[0][row]), torch.sigmoid(4 * parameters[1][row])
        both = F.interpolate(torch.cat([colour, alpha])[None], size=side, mode="bilinear", align_corners=False)[0]
        return Generator(
            family="natural-object", parameters={"scale": [0.9, 1.1]},
            tensors={"object": both[:-1].clamp(0, 1), "alpha": both[-1].clamp(0, 1)},
        )  # fmt: skip
