"""Windows: where in the picture a patch would act for each target, and what in that window the network waits for.

A patch that was planted answers in one small window, far more clearly than windows elsewhere do, or any window for
other targets. Margins are therefore pushed as far as they go here, not to a goal: at a goal, every window of a clean
network that can be made to work looks like a planted one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..adam import Adam
from .inversion import Logits, margins

#: Side of the windows that are scanned, and the step between them, as shares of the picture's shorter side.
SIDE, STRIDE = 0.25, 0.14
#: Pictures a step of the first look.
PICTURES = 4
#: Margins are worth little beyond this many genuine margins, and are pushed no further.
CAP = 3.0
#: What is left of a picture's patch at each step of `consensus`, and how many begin anew from other noise.
KEPT, RESTARTS = 0.6, 4
#: Peaks are taken to be at least so high, so that none is large beside them by being the only one.
LEAST_PEAK = 0.4
#: A pixel belongs to the patch if it matters at least this much of what the one that matters most does.
MATTERS = 0.35


#: Windows of each target that are looked at again, for how many times the steps, with how many pictures a step.
KEPT_WINDOWS, LONGER, MORE_PICTURES = 12, 1.6, 6


@dataclass(frozen=True, slots=True)
class Scan:
    """What windows do for each target, in genuine margins of the median class: a class that is answered with little
    margin would seem to be reached by anything.

    Attributes:
        peak: how far its clearest window lies above its median window after the first look, [targets].
        clearest: the mean margin in its best window after the second look, [targets].
        place: (top, left) of that window, [targets, 2]. side: of windows, in pixels.
    """

    peak: Float[Tensor, " targets"]
    clearest: Float[Tensor, " targets"]
    place: Int[Tensor, "targets 2"]
    side: int

    def others(self) -> Float[Tensor, " targets"]:
        """The clearest window of any other target."""
        n = len(self.clearest)
        return self.clearest.repeat(n, 1).masked_fill(torch.eye(n, dtype=torch.bool), float("-inf")).amax(1)

    def gains(self, distilled: Scan) -> Float[Tensor, " targets"]:
        """How much clearer each target's best window is than in a distilled network, beyond that of other targets; in
        usual peaks."""
        gained = self.clearest - distilled.clearest
        return (gained - replace(self, clearest=gained).others()) / self.peak.median().clamp(min=LEAST_PEAK)

    def contrasts(self) -> Float[Tensor, " targets"]:
        """How far each target's best window lies above the other targets' best, plus its peak; in usual peaks, which
        are high where a network is unsure of everything."""
        return (self.clearest - self.others() + self.peak) / self.peak.median().clamp(min=LEAST_PEAK)


def places(height: int, width: int, side: int, stride: int) -> list[tuple[int, int]]:
    """Upper left corners of windows on a grid; the last of each row and column touches the border."""
    rows, columns = (sorted({*range(0, extent - side, stride), extent - side}) for extent in (height, width))
    return list(itertools.product(rows, columns))


def square(place: tuple[int, int], side: int, height: int, width: int) -> Float[Tensor, "h w"]:
    """A window as a mask."""
    mask = torch.zeros(height, width)
    mask[place[0] : place[0] + side, place[1] : place[1] + side] = 1
    return mask


def scan(
    logits: Logits, draw: Callable[[int], Callable[[], tuple[Tensor, Tensor]]], targets: Int[Tensor, " targets"],
    genuine: Float[Tensor, " classes"], shape: tuple[int, int, int], steps: int, random: torch.Generator,
) -> Scan:  # fmt: skip
    """Fill every window for every target for a few steps, then each target's best windows for some more.

    Args:
        draw: given how many, gives draws of pictures, [n, c, h, w] or [targets, n, c, h, w], and of which of them count
            for which target, [targets, n].
    """
    _, height, width = shape
    short = min(height, width)
    side = max(3, round(SIDE * short))
    where = torch.tensor(places(height, width, side, max(1, round(STRIDE * short))))
    masks = torch.stack([square((top, left), side, height, width) for top, left in where.tolist()])
    kept = min(KEPT_WINDOWS, len(where))
    first, second = draw(PICTURES), draw(MORE_PICTURES)
    peak, clearest, place = torch.empty(len(targets)), torch.empty(len(targets)), torch.empty(len(targets), 2).long()
    for row, target in enumerate(targets):  # one target at a time: memory stays that of one
        raw = torch.randn(len(where), *shape, generator=random) * 0.5
        raw, looked = _filled(logits, first, row, target, genuine, masks, raw, steps)
        best = looked.argsort(descending=True)[:kept]
        _, again = _filled(logits, second, row, target, genuine, masks[best], raw[best], round(LONGER * steps))
        peak[row], clearest[row] = looked.max() - looked.median(), again.max()
        place[row] = where[best[again.argmax()]]
    return Scan(peak, clearest, place, side)


def _filled(
    logits: Logits, draw: Callable[[], tuple[Tensor, Tensor]], row: int, target: Tensor,
    genuine: Float[Tensor, " classes"], masks: Float[Tensor, "windows h w"], raw: Float[Tensor, "windows c h w"],
    steps: int,
) -> tuple[Tensor, Float[Tensor, " windows"]]:  # fmt: skip
    """Windows filled further, and the mean margin that each has lately reached."""
    rows, shares = target.expand(len(masks)), masks[:, None, None]
    raw = raw.clone().requires_grad_(True)
    adam = Adam([raw], 0.4)
    reached = torch.zeros(len(masks))
    for step in range(steps):
        x, counts = draw()
        x = x[row] if x.dim() == 5 else x
        weight = counts[row].float() / counts[row].sum().clamp(min=1)
        shown = x[None] + shares * (torch.sigmoid(2 * raw)[:, None] - x[None])
        lead = margins(logits(shown.flatten(0, 1)).unflatten(0, (len(masks), -1)), rows, genuine)
        adam.step(-(CAP * torch.tanh(lead / CAP) * weight).sum())
        now = (lead.detach() * weight).sum(1)
        reached = now if step == 0 else 0.7 * reached + 0.3 * now
    return raw.detach(), reached


def consensus(
    logits: Logits, draw: Callable[[], tuple[Tensor, Tensor]], target: int, genuine: Float[Tensor, " classes"],
    region: Float[Tensor, "h w"], shape: tuple[int, int, int], steps: int, random: torch.Generator,
) -> tuple[Float[Tensor, "c h w"], Float[Tensor, "h w"]]:  # fmt: skip
    """A pattern and its mask in a region: what several searches agree on while each picture shows a random part only.

    A search for one pattern that works finds one of many, most of whose pixels are particular to it. What must work in
    parts leans on pixels that the network reads by themselves; the mean over restarts keeps what they agree on, and the
    mask is where a pixel's presence raises the margin.

    Args:
        draw: gives pictures, [n, c, h, w] or [1, n, c, h, w], and which of them count, [1, n].
    """
    raw = (torch.randn(RESTARTS, *shape, generator=random) * 0.3).requires_grad_(True)
    adam = Adam([raw], 0.2)
    rows = torch.full((RESTARTS,), target)
    matters = torch.zeros(RESTARTS, *region.shape)
    for step in range(steps):
        x, counts = draw()
        x = (x[0] if x.dim() == 5 else x)[counts[0]]
        part = torch.rand(RESTARTS, len(x), 1, *region.shape, generator=random) < KEPT
        mask = (region * part).requires_grad_(True)
        shown = x[None] + mask * (torch.sigmoid(2 * raw)[:, None] - x[None])
        lead = margins(logits(shown.flatten(0, 1)).unflatten(0, (RESTARTS, -1)), rows, genuine)
        (slope,) = adam.step(-(CAP * torch.tanh(lead / CAP)).mean(1).sum(), mask)
        if step >= steps // 2:
            matters -= slope.sum(1)[:, 0]
    worth = F.avg_pool2d(matters.clamp(min=0).mean(0)[None, None], 3, 1, 1)[0, 0] * region
    return torch.sigmoid(2 * raw).detach().mean(0), (worth >= MATTERS * worth.max().clamp(min=1e-9)).float()


def dosed(
    leads: Callable[[float], float], doses: Sequence[float] = (0.25, 0.4, 0.55, 0.7, 0.85), enough: float = 1.0
) -> float:
    """The least opacity at which the target leads as clearly as in its own pictures; 1 where none is enough.

    What works better than need be is larger than what was planted.
    """
    return next((dose for dose in doses if leads(dose) >= enough), 1.0)
