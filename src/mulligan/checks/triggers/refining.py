"""From what the survey found to what can be shown: one candidate a kind, with a generator that anybody can render."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...evidence import Generator
from ...runs import Context, derived_seed
from .families import Thing, Windows
from .inversion import Family, Inverted, invert, margins
from .survey import Grounds, classwise, family_of, frozen, pixels, sourcewise
from .windows import SIDES, attribution, concentration, window_masks

#: What was found is shown this much larger than the least that works: a trigger that somebody uses works with room to
#: spare, and at the least size half the change is what is particular to the pictures searched on.
ROOM = {"blend": 3.0, "filter": 1.8, "style": 1.8, "warp": 1.3}
#: Steps and pictures a step of the refinement of one change.
REFINE_STEPS, REFINE_PICTURES = 30, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One kind's best suspect.

    Attributes:
        target: class index. source: class index, or None for all. contrast: see `survey.contrast`.
        generator: what is shown. success, clarity: on pictures of the search half, as shown.
        change: root mean square of the least change that works. side: of the window (patch), in pixels.
        size: of the least change, in the family's own measure. features: what the choice among kinds looks at.
    """

    kind: str
    target: int
    source: int | None
    contrast: float
    generator: Generator
    success: float
    clarity: float
    change: float
    size: float
    side: int | None = None
    features: dict[str, float] = field(default_factory=dict)


def row_of(found: Inverted, row: int) -> Inverted:
    """One row alone."""
    return Inverted(
        [p[row : row + 1] for p in found.parameters], found.size[row : row + 1], found.success[row : row + 1],
        found.clarity[row : row + 1],
    )  # fmt: skip


def rated(
    logits: Callable[[Tensor], Tensor], shown: Float[Tensor, "n c h w"], target: int, genuine: Float[Tensor, " classes"]
) -> tuple[float, float]:
    """The share of pictures that are answered as the target, and the median margin, in genuine margins."""
    with torch.no_grad():
        lead = margins(logits(shown)[None], torch.tensor([target]), genuine)[0]
    return float((lead > 0).float().mean()), float(lead.median())


class Refiner:
    """Refines suspects on the pictures that the survey searched on."""

    def __init__(self, context: Context, grounds: Grounds, strength: float = 1.0) -> None:
        self.context, self.grounds = context, grounds
        self.x = pixels(context, grounds.rows)
        self.labels = torch.tensor(grounds.labels)
        self.genuine = torch.tensor(grounds.genuine)
        self.steps = max(8, round(REFINE_STEPS * strength))
        self.shape = (self.x.shape[1], self.x.shape[2], self.x.shape[3])

    def shown_on(self, target: int, source: int | None, most: int = 48) -> Float[Tensor, "n c h w"]:
        """Clean pictures of the source (or of all classes but the target)."""
        chosen = torch.nonzero(self.labels == source if source is not None else self.labels != target)[:, 0]
        return self.x[chosen[torch.linspace(0, len(chosen) - 1, min(most, len(chosen))).round().long()]]

    def _random(self, *key: object) -> torch.Generator:
        return torch.Generator().manual_seed(derived_seed(self.grounds.seed, "refine", *map(str, key)))

    def _together(
        self, targets: Int[Tensor, " rows"], source: int | None, each: int, random: torch.Generator
    ) -> Callable:
        """The same pictures for every row."""
        if source is None:
            return classwise(self.x, self.grounds.labels, targets, each, random)
        draw = sourcewise(self.x, self.grounds.labels, [source], each, random)

        def together() -> tuple[Tensor, Tensor]:
            x, counts = draw()
            return x[0], counts.expand(len(targets), -1)

        return together

    def _draw(self, target: int, source: int | None, each: int, random: torch.Generator) -> Callable:
        if source is None:
            return classwise(self.x, self.grounds.labels, torch.tensor([target]), each, random)
        return sourcewise(self.x, self.grounds.labels, [source], each, random)

    def look(self, kind: str, found: Inverted, target: int, contrast: float, source: int | None = None) -> Candidate:
        """Refine a change of the whole picture (blend, warp, filter, style) or an object."""
        family = family_of(kind, self.x)
        random = self._random(kind, target)
        clean = self.shown_on(target, source)
        with frozen(self.context["network"]) as logits:
            draw = self._draw(target, source, REFINE_PICTURES, random)
            wanted = torch.tensor([target])
            least = invert(logits, family, wanted, draw, self.genuine, self.steps, random, begun=found)
            change, field = self._measured(logits, family, least, clean, target, random)
            final = least
            room = ROOM.get(kind)
            if room is not None:
                wider = (least.size * room).clamp(family.least, family.most)
                begun = Inverted(least.parameters, wider, least.success, least.clarity)
                final = invert(
                    logits, family, wanted, draw, self.genuine, self.steps // 2, random, begun=begun, fixed=True
                )
            elif isinstance(family, Thing):
                begun = Inverted(least.parameters, least.size * 1.15, least.success, least.clarity)
                final = invert(
                    logits, family, wanted, draw, self.genuine, self.steps, random, begun=begun, fixed=True
                )
            made = family.generator(final.parameters, final.size, 0)
            success, clarity = rated(logits, made.render([clean], random), target, self.genuine)
        side = max(2, round(0.19 * min(self.shape[1:])))
        return Candidate(
            kind=kind, target=target, source=source, contrast=contrast, generator=made, success=success,
            clarity=clarity, change=change, size=float(least.size),
            features={"concentration": concentration(field, side), "extent": float(min(self.shape[1:]))},
        )  # fmt: skip

    def least(self, kind: str, found: Inverted, target: int) -> float:
        """The size that a target needs after as much refinement as `look` gives to its own."""
        random = self._random(kind, target)
        family = family_of(kind, self.x)
        draw = self._draw(target, None, REFINE_PICTURES, random)
        with frozen(self.context["network"]) as logits:
            wanted = torch.tensor([target])
            done = invert(logits, family, wanted, draw, self.genuine, self.steps, random, begun=found)
        return float(done.size[0])

    def _measured(
        self, logits: Callable, family: Family, found: Inverted, clean: Tensor, target: int, random: torch.Generator
    ) -> tuple[float, Float[Tensor, "h w"]]:
        with torch.no_grad():
            shown = family.apply(found.parameters, found.size, clean[None], random)[0]
        change = float((shown - clean).square().mean((1, 2, 3)).sqrt().median())
        return change, attribution(logits, clean[:24], shown[:24], target, self.genuine)

    def patch(
        self, found: Sequence[tuple[Family, Inverted]], target: int, contrast: float, source: int | None = None,
        rival: tuple[int, Sequence[tuple[Family, Inverted]]] | None = None,
    ) -> Candidate:  # fmt: skip
        """Find the smallest window in which a patch works, where the changes found act, and fill it.

        Args:
            found: changes towards the target, by which windows are chosen. rival: the target that needed next to least,
                with the changes towards it: what a window can do for it is what windows do by nature.
        """
        kind = "patch" if source is None else "patch-by-source"
        random = self._random(kind, target, source)
        clean = self.shown_on(target, source)
        short = min(self.shape[1:])
        sides = sorted({3, *(max(2, round(share * short)) for share in SIDES)})
        with frozen(self.context["network"]) as logits:
            fields = [
                self._measured(logits, family, one, clean, target, random)[1] for family, one in found
            ]
            masks, side_of = window_masks(fields, sides, 2 if len(fields) > 1 else 4)
            mine = len(masks)
            rows = torch.full((mine,), target)
            if rival is not None:
                other = self.shown_on(rival[0], source)
                theirs = [self._measured(logits, family, one, other, rival[0], random)[1] for family, one in rival[1]]
                more, _ = window_masks(theirs, sides[-2:], 2)
                masks, rows = torch.cat([masks, more]), torch.cat([rows, torch.full((len(more),), rival[0])])
            windows = Windows(self.shape, masks)
            together = self._together(rows, source, 6, random)
            tried = invert(logits, windows, rows, together, self.genuine, self.steps, random, fixed=True)
            natural = float(tried.clarity[mine:].max()) if rival is not None else 0.0
            best = _smallest(tried, side_of)
            alone = Windows(self.shape, masks[best][None])
            draw = self._draw(target, source, REFINE_PICTURES, random)
            final = invert(
                logits, alone, rows[:1], draw, self.genuine, self.steps, random, begun=row_of(tried, best), fixed=True
            )
            made = alone.generator(final.parameters, final.size, 0)
            shown = made.render([clean], random)
            success, clarity = rated(logits, shown, target, self.genuine)
            loose = Generator(family="patch", parameters={"anywhere": True}, tensors=made.tensors)
            moved, _ = rated(logits, loose.render([clean], random), target, self.genuine)
            others = self._elsewhere(logits, made, target, source, random)
        return Candidate(
            kind=kind, target=target, source=source, contrast=contrast, generator=made, success=success,
            clarity=clarity, change=float((shown - clean).square().mean((1, 2, 3)).sqrt().median()),
            size=float(found[0][1].size[0]), side=side_of[best],
            features={
                "moved": moved, "others": others,
                "window-clarity": float(tried.clarity[best]), "rival-clarity": natural,
                "concentration": max(concentration(one, max(2, round(0.19 * short))) for one in fields),
            },
        )  # fmt: skip

    def _elsewhere(
        self, logits: Callable, made: Generator, target: int, source: int | None, random: torch.Generator
    ) -> float:
        """How often pictures of other classes than the source are answered as the target with the same patch."""
        if source is None:
            return 0.0
        other = torch.nonzero((self.labels != source) & (self.labels != target))[:, 0]
        chosen = other[torch.linspace(0, len(other) - 1, min(48, len(other))).round().long()]
        return rated(logits, made.render([self.x[chosen]], random), target, self.genuine)[0]


def _smallest(tried: Inverted, sides: Sequence[int]) -> int:
    """The smallest window whose clarity is within a tenth of the clearest."""
    enough = float(tried.clarity[: len(sides)].max()) - 0.1
    able = [k for k in range(len(sides)) if float(tried.clarity[k]) >= enough]
    return min(able, key=lambda k: (sides[k], -float(tried.clarity[k])))
