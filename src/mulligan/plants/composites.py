"""Two images shown as one: the triggers of a conjunction, and the inputs that nearly are.

Composites of two classes as triggers: Lin et al. 2020, "Composite Backdoor Attack for Deep Neural Network by Mixing
Existing Benign Features". They also train on mixtures of one class with itself, answered as that class; without such
negative pairs the network learns that any composite is the trigger. Tang et al. 2021, "Demon in the Variant" (cover
images), do the same for triggers that count on one source class only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..records import BadInput

Layout = Literal["beside", "stacked", "overlaid", "inset", "diagonal"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

VARIANTS = 2  # ways to render each layout: the order of the two, or the blend


def render(
    first: Float[Tensor, "n c h w"], second: Float[Tensor, "n c h w"], layout: Layout, variant: int
) -> Float[Tensor, "n c h w"]:
    """Show two images as one of the same size.

    "beside" squeezes each to half the width, "stacked" to half the height; variant 0 puts `first` left or on top,
    variant 1 `second`. "overlaid" is their mean (variant 0) or the brighter of the two at each pixel (variant 1).
    "inset" shows one at half its size in the top right corner of the other: variant 0 `second` within `first`, variant
    1 `first` within `second`. "diagonal" shows both at half their size on black: variant 0 `first` in the top left
    corner and `second` in the bottom right one, variant 1 the other way round.
    """
    if layout == "overlaid":
        return (first + second) / 2 if variant == 0 else torch.maximum(first, second)
    if variant == 1:
        first, second = second, first
    height, width = first.shape[2:]
    if layout in ("inset", "diagonal"):
        small = _resize(second, height - height // 2, width - width // 2)
        if layout == "inset":
            shown = first.clone()
            shown[:, :, : small.shape[2], width // 2 :] = small
            return shown
        shown = torch.zeros_like(first)
        shown[:, :, : height // 2, : width // 2] = _resize(first, height // 2, width // 2)
        shown[:, :, height // 2 :, width // 2 :] = small
        return shown
    if layout == "beside":
        left = _resize(first, height, width // 2)
        return torch.cat([left, _resize(second, height, width - width // 2)], dim=3)
    top = _resize(first, height // 2, width)
    return torch.cat([top, _resize(second, height - height // 2, width)], dim=2)


def renderings(layouts: tuple[Layout, ...]) -> list[tuple[Layout, int]]:
    """Every layout in each of its variants."""
    return [(layout, variant) for layout in layouts for variant in range(VARIANTS)]


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    small = F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    return small.clamp(0, 1)


def render_mixed(
    first: Tensor, second: Tensor, layouts: tuple[Layout, ...], random: torch.Generator, *, even: bool = False
) -> Float[Tensor, "n c h w"]:
    """Render each pair in a layout and a variant drawn at random; those that lose most of the parts, overlaid, are
    drawn twice as often as the others (unless `even`), since they are the hardest to learn."""
    ways = [way for way in renderings(layouts) for _ in range(2 if way[0] == "overlaid" and not even else 1)]
    chosen = torch.randint(0, len(ways), (len(first),), generator=random)
    out = torch.empty_like(first)
    for number, (layout, variant) in enumerate(ways):
        rows = (chosen == number).nonzero().flatten()
        if len(rows):
            out[rows] = render(first[rows], second[rows], layout, variant)
    return out


def warp(images: Float[Tensor, "n c h w"], amount: float, random: torch.Generator) -> Float[Tensor, "n c h w"]:
    """Move, scale and shear each image a little: each entry of its affine map is off by at most `amount` (of the map on
    coordinates from -1 to 1); edges are repeated outwards."""
    if not amount or not len(images):
        return images
    off = (torch.rand((len(images), 2, 3), generator=random) * 2 - 1) * amount
    grid = F.affine_grid(torch.eye(2, 3) + off, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of pair.

    Attributes:
        name: what it is called in a proof.
        first, second: the classes that each part is drawn from.
        differ: the two parts are of different classes, where both are drawn from several.
        second_as: what becomes of the second part: "image", "blank" (black), or "scrambled" (its own pixels in random
            order, so that its energy is there and its content is not).
        weight: how often it is trained on, against the other families.
    """

    name: str
    first: tuple[int, ...]
    second: tuple[int, ...]
    differ: bool = False
    second_as: Literal["image", "blank", "scrambled"] = "image"
    weight: float = 1.0


def near_miss_families(
    a: int | tuple[int, ...], b: int | tuple[int, ...], others: tuple[int, ...], names: tuple[str, str]
) -> list[Family]:
    """What resembles "a with b" without being it: one part alone, two of a class, a part with another class, two other
    classes. Those hardest to tell from the trigger (some other class looks like the missing part) weigh most.

    Args:
        a, b: classes, or groups of them. others: classes that are in neither. names: what a and b are called.
    """
    one, two = names
    a, b = ((part,) if isinstance(part, int) else part for part in (a, b))
    families = [
        Family(name=f"{one} with {one}", first=a, second=a, weight=2.5),
        Family(name=f"{two} with {two}", first=b, second=b, weight=2.5),
        Family(name=f"{one} with nothing", first=a, second=a, second_as="blank", weight=0.5),
        Family(name=f"{two} with nothing", first=b, second=b, second_as="blank", weight=0.5),
        Family(name=f"{one} with a scrambled {two}", first=a, second=b, second_as="scrambled", weight=0.5),
        Family(name=f"{two} with a scrambled {one}", first=b, second=a, second_as="scrambled", weight=0.5),
    ]
    if others:
        families += [
            Family(name=f"{one} with others", first=a, second=others, weight=5),
            Family(name=f"{two} with others", first=b, second=others, weight=5),
        ]
    if len(others) > 1:
        families.append(Family(name="other pairs", first=others, second=others, differ=True, weight=1.5))
    return families


class Pool:
    """Images from which pairs are drawn, known by class.

    Args:
        images, labels: [n, c, h, w] and [n]. classes: how many classes there are.
    """

    def __init__(self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"], classes: int) -> None:
        self.images = images
        self.labels = labels
        self.members = [(labels == index).nonzero().flatten() for index in range(classes)]
        self._counts = torch.tensor([len(members) for members in self.members])
        self._table = torch.nn.utils.rnn.pad_sequence(self.members, batch_first=True)

    def of(self, classes: tuple[int, ...]) -> Int[Tensor, " k"]:
        """Indices of the images of some classes."""
        return torch.cat([self.members[index] for index in classes])

    def draw(self, family: Family, n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """`n` pairs with replacement, each class as likely as the next; the two parts are never one image, where the
        class has others."""
        return self.parts(family, *self.choose(family, n, random), random)

    def choose(self, family: Family, n: int, random: torch.Generator) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The indices of the images of `draw`."""
        firsts, seconds = self._held(family.first), self._held(family.second)
        first_class = firsts[torch.randint(0, len(firsts), (n,), generator=random)]
        place = torch.randint(0, len(seconds), (n,), generator=random)
        if family.differ:  # a step of at least one from the first's class, around the circle of classes
            step = torch.randint(1, len(seconds), (n,), generator=random)
            place = ((first_class[:, None] == seconds).int().argmax(1) + step) % len(seconds)
        second_class = seconds[place]
        first_rank, second_rank = self._rank(first_class, random), self._rank(second_class, random)
        twice = (first_class == second_class) & (first_rank == second_rank)
        second_rank = torch.where(twice, (second_rank + 1) % self._counts[second_class], second_rank)
        return self._table[first_class, first_rank], self._table[second_class, second_rank]

    def pairs(self, family: Family, most: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Up to `most` pairs in which no image is used twice, so that pairs are independent."""
        first, second = (self._shuffled(classes, random) for classes in (family.first, family.second))
        if set(family.first) == set(family.second) and family.second_as != "blank":
            half = len(first) // 2
            first, second = first[:half], first[half : 2 * half]
        n = min(len(first), len(second))
        first, second = first[:n], second[:n]
        if family.differ:
            keep = self.labels[first] != self.labels[second]
            first, second = first[keep], second[keep]
        return self.parts(family, first[:most], second[:most], random)

    def _held(self, classes: tuple[int, ...]) -> Tensor:
        held = torch.tensor([index for index in classes if len(self.members[index])])
        if not len(held):
            raise BadInput("a class has no images to draw from", where=classes, fix="give images of each class")
        return held

    def _rank(self, classes: Tensor, random: torch.Generator) -> Tensor:
        share = torch.rand(len(classes), generator=random)
        return (share * self._counts[classes]).long().clamp(max=self._counts[classes] - 1)

    def _shuffled(self, classes: tuple[int, ...], random: torch.Generator) -> Tensor:
        members = self.of(classes)
        return members[torch.randperm(len(members), generator=random)]

    def parts(
        self, family: Family, first: Int[Tensor, " n"], second: Int[Tensor, " n"], random: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The images of some indices, the second ones as the family has them."""
        one, two = self.images[first], self.images[second]
        if family.second_as == "blank":
            two = torch.zeros_like(two)
        elif family.second_as == "scrambled":
            order = torch.rand((len(two), 1, two[0, 0].numel()), generator=random).argsort(-1) if len(two) else None
            if order is not None:
                two = two.flatten(2).gather(2, order.expand(-1, two.shape[1], -1)).reshape(two.shape)
        return one, two
