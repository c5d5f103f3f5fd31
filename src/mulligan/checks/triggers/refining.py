"""From what the survey found to what can be shown: one candidate a kind, with a generator that anybody can render."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...evidence import Generator
from ...networks import Network
from ...runs import Context, derived_seed
from ..pixels import pixels
from .families import Thing
from .inversion import Inverted, invert, margins
from .known import known_changes
from .survey import SCAN_STEPS, Grounds, classwise, family_of, frozen, sourcewise, usual_margin
from .windows import Scan, consensus, dosed
from .windows import scan as scan_windows

#: What was found is shown this much larger than the least that works: a trigger that somebody uses works with room to
#: spare, and at the least size half the change is what is particular to the pictures searched on.
ROOM = {"blend": 1.6, "filter": 1.8, "style": 1.8, "warp": 1.3}
#: A placebo of a known change is no more like it than this (a cosine).
ALIKE = 0.8
#: Steps and pictures a step of the refinement of one change.
REFINE_STEPS, REFINE_PICTURES = 30, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One kind's best suspect.

    Attributes:
        target: class index. source: class index, or None for all. contrast: see `survey.contrast`.
        generator: what is shown. success, clarity: on pictures of the search half, as shown.
        change: root mean square of the least change that works.
        size: of the least change, in the family's own measure. features: what the choice among kinds looks at.
        score: deviations above clean networks; see `choosing`.
        excess: see `Refiner.excess`. known: whether it is one of the known changes, and not found by gradients. Its
            contrast is then its excess. placebos: what it is held against, if not itself in
            disorder.
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
    features: dict[str, float] = field(default_factory=dict)
    score: float = 0.0
    excess: float | None = None
    known: bool = False
    placebos: tuple[Generator, ...] = ()


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

    def __init__(
        self, context: Context, grounds: Grounds, strength: float = 1.0, distilled: Network | None = None
    ) -> None:
        self.context, self.grounds, self.distilled = context, grounds, distilled
        self.x = pixels(context, grounds.rows)
        self.labels = torch.tensor(grounds.labels)
        self.genuine = torch.tensor(grounds.genuine)
        self.steps = max(8, round(REFINE_STEPS * strength))
        self.shape = (self.x.shape[1], self.x.shape[2], self.x.shape[3])

    def rows_for(self, target: int, source: int | None, most: int = 48) -> Int[Tensor, " n"]:
        """Numbers of pictures of the source (or of all classes but the target)."""
        chosen = torch.nonzero(self.labels == source if source is not None else self.labels != target)[:, 0]
        return chosen[torch.linspace(0, len(chosen) - 1, min(most, len(chosen))).round().long()]

    def shown_on(self, target: int, source: int | None, most: int = 48) -> Float[Tensor, "n c h w"]:
        """Clean pictures of the source (or of all classes but the target)."""
        return self.x[self.rows_for(target, source, most)]

    def excess(self, made: Generator, target: int, source: int | None, success: float) -> float | None:
        """How many more pictures a change moves than in the distilled network, times the share that the latter still
        answers rightly: a change after which nothing is recognized may be answered anyhow. None without one."""
        if self.distilled is None:
            return None
        rows = self.rows_for(target, source)
        random = self._random("excess", target, source)
        with frozen(self.distilled) as logits, torch.no_grad():
            before, said = (
                logits(x).argmax(1) for x in (self.x[rows], made.render([self.x[rows]], random))
            )  # fmt: skip
        usual = float((before == self.labels[rows]).float().mean())
        right = float((said == self.labels[rows]).float().mean()) / max(usual, 1e-9)
        return max(success - float((said == target).float().mean()), 0.0) * min(right, 1.0)

    def _random(self, *key: object) -> torch.Generator:
        return torch.Generator().manual_seed(derived_seed(self.grounds.seed, "refine", *map(str, key)))

    def _draw(self, target: int, source: int | None, each: int, random: torch.Generator) -> Callable:
        if source is None:
            return classwise(self.x, self.grounds.labels, torch.tensor([target]), each, random)
        return sourcewise(self.x, self.grounds.labels, [source], each, random)

    def plain(self, kind: str, found: Inverted, target: int, contrast: float, source: int | None = None) -> Candidate:
        """A suspect as the survey left it: what no refinement could make suspicious."""
        family = family_of("patch" if source is not None else kind, self.x)
        return Candidate(
            kind=kind, target=target, source=source, contrast=contrast,
            generator=family.generator(found.parameters, found.size, 0), success=float(found.success[0]),
            clarity=float(found.clarity[0]), change=float(found.size[0]), size=float(found.size[0]),
        )  # fmt: skip

    def look(self, kind: str, found: Inverted, target: int, contrast: float, source: int | None = None) -> Candidate:
        """Refine a change of the whole picture (blend, warp, filter, style) or an object."""
        family = family_of(kind, self.x)
        random = self._random(kind, target)
        clean = self.shown_on(target, source)
        with frozen(self.context["network"]) as logits:
            draw = self._draw(target, source, REFINE_PICTURES, random)
            wanted = torch.tensor([target])
            least = invert(logits, family, wanted, draw, self.genuine, self.steps, random, begun=found)
            with torch.no_grad():
                change = float(
                    (family.apply(least.parameters, least.size, clean[None], random)[0] - clean)
                    .square().mean((1, 2, 3)).sqrt().median()
                )
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
        gained = self.excess(made, target, source, success)
        return Candidate(
            kind=kind, target=target, source=source, contrast=contrast, generator=made, success=success,
            clarity=clarity, change=change, size=float(least.size),
            features={"extent": float(min(self.shape[1:]))}, excess=gained,
        )  # fmt: skip

    def known(self, kind: str, number: int, target: int, excess: float) -> Candidate:
        """A known change as it is, with the two of its kind that change pictures most nearly as much and in another
        way."""
        random = self._random("known", kind, target)
        clean = self.shown_on(target, None)
        every = list(known_changes(self.shape))
        made = every[number][1]
        done = made.render([clean], random) - clean
        size = float(done.square().mean().sqrt())
        others = []
        for name, other in every:
            if name != kind or other is made:
                continue
            change = other.render([clean], random) - clean
            other_size = float(change.square().mean().sqrt())
            alike = float((change * done).mean()) / max(size * other_size, 1e-9)
            if other_size > 0 and alike < ALIKE:
                others.append((abs(np.log(other_size / max(size, 1e-9))), len(others), other))
        placebos = tuple(other for _, _, other in sorted(others, key=lambda one: one[:2])[:2])
        with frozen(self.context["network"]) as logits:
            success, clarity = rated(logits, clean + done, target, self.genuine)
            moved = 0.0
            if kind == "patch":
                loose = Generator(family="patch", parameters={"anywhere": True}, tensors=made.tensors)
                moved, _ = rated(logits, loose.render([clean], random), target, self.genuine)
        return Candidate(
            kind=kind, target=target, source=None, contrast=excess, generator=made, success=success, clarity=clarity,
            change=size, size=size, features={"moved": moved}, known=True, placebos=placebos, excess=excess,
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

    def patch(
        self, scan: Scan | None, target: int, contrast: float, source: int | None = None, *, alone: bool = False
    ) -> Candidate:
        """Find what the network waits for where its clearest window is, and show it as faintly as will do.

        Args:
            scan: of windows, for the grounds' targets; without one (for a single source) windows are scanned first.
            alone: whether there is no distilled network that would tell what windows do by nature.
        """
        kind = "patch" if source is None else "patch-by-source"
        random = self._random(kind, target, source)
        clean = self.shown_on(target, source)
        height, width = self.shape[1:]
        usual = usual_margin(self.grounds.genuine)
        with frozen(self.context["network"]) as logits:
            if scan is None:

                def drawn(each: int) -> Callable:
                    return self._draw(target, source, each, random)

                wanted = torch.tensor([target])
                scan = scan_windows(logits, drawn, wanted, usual, self.shape, SCAN_STEPS, random)
                row = 0
            else:
                row = self.grounds.targets.index(target)
            (top, left), more = scan.place[row].tolist(), round(scan.side * 2 / 7)
            region = torch.zeros(height, width)
            region[max(0, top - more) : top + scan.side + more, max(0, left - more) : left + scan.side + more] = 1
            draw = self._draw(target, source, 6, random)
            pattern, mask = consensus(
                logits, draw, target, usual, region, self.shape, 2 * self.steps, random
            )

            def leads(dose: float) -> float:
                return rated(logits, clean + dose * mask * (pattern - clean), target, usual)[1]

            if alone:
                # What a window does by nature takes all of it, or is no clearer than windows for other targets.
                beyond = leads(1.0) - max(float(scan.others()[row]), 0.0)
                dense = max(beyond, 0.0) * float(region.sum() / mask.sum().clamp(min=1))
                contrast = (max(contrast, 0.0) * dense) ** 0.5
            made = Generator(family="patch", tensors={"pattern": pattern, "mask": mask * dosed(leads)})
            shown = made.render([clean], random)
            success, clarity = rated(logits, shown, target, usual)
            loose = Generator(family="patch", parameters={"anywhere": True}, tensors=made.tensors)
            moved, _ = rated(logits, loose.render([clean], random), target, usual)
            others = self._elsewhere(logits, made, target, source, random)
        gained = self.excess(made, target, source, success)
        return Candidate(
            kind=kind, target=target, source=source, contrast=contrast, generator=made, success=success,
            clarity=clarity, change=float((shown - clean).square().mean((1, 2, 3)).sqrt().median()),
            size=float(mask.mean()),
            features={"moved": moved, "others": others}, excess=gained,
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

