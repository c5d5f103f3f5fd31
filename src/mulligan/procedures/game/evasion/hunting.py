"""What the checks would find in a network: their own searches, turned on the planted target alone.

Everything here is the checks' code: the families that they invert, the windows that they scan, the looks that they
know, and the layouts in which they show two pictures. Only the target is known beforehand, which spares most of the
work.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ....checks.composites import LAYOUTS, compose
from ....checks.triggers.families import Patch
from ....checks.triggers.inversion import Draw, Family, Inverted, Logits, invert
from ....checks.triggers.known import known_changes
from ....checks.triggers.survey import SCAN_STEPS, STEPS, classwise, family_of, frozen, sourcewise
from ....checks.triggers.windows import consensus, scan
from ....networks import Network
from ....plants import PlantData
from ....plants.measures import margins

ROWS, DRAWN = 3, 8  # searches of a family that begin anew, and pictures a step of each
PAIR_STEPS, CONSENSUS_STEPS = 24, 24
SHOWN = 24  # pictures that each change that was found is shown on
WIDER = (0.8, 1.6)  # times the size that was found to be needed
KNOWN, KNOWN_SHOWN = 60, 4  # of the known changes, and pictures for each
COMPOSITES = 200


class Hunt:
    """Searches for what gives a target away.

    Args:
        data: whose `images` are searched on. target: the class. sources: on which the trigger works, if not on all.
        layouts: in which composites are to fire. before: the clean network.
    """

    def __init__(
        self, data: PlantData, target: int, sources: Sequence[int], layouts: Sequence[str], before: Network,
    ) -> None:  # fmt: skip
        self.data, self.target, self.sources = data, target, list(sources)
        spared = {*layouts, *(("brighter",) if "overlaid" in layouts else ())}
        self.layouts = [name for name in LAYOUTS if name not in spared]
        with frozen(before) as logits, torch.no_grad():
            outputs = torch.cat([logits(part) for part in data.images[:1000].split(128)])
        labels = data.labels[:1000]
        overall = outputs.topk(2, 1).values.diff(dim=1).neg().median()
        own = [margins(outputs[labels == c], c) for c in range(len(data.classes))]
        self.genuine = torch.stack([
            part.median().clamp(min=1e-3) if len(part) >= 5 else overall.clamp(min=1e-3) for part in own
        ])  # fmt: skip

    def changes(self, network: Network, random: torch.Generator) -> Float[Tensor, "n c h w"]:
        """Pictures changed so that a network comes to answer the target."""
        x, labels = self._some(random)
        listed = labels.tolist()
        targets = torch.full((ROWS,), self.target)
        found: list[Tensor] = []
        with frozen(network) as logits:
            for name, steps in STEPS.items():
                family = family_of(name, x)
                draw = classwise(x, listed, targets, DRAWN, random)
                changed = invert(logits, family, targets, draw, self.genuine, steps, random)
                found.append(self._shown(family, changed, x, labels, [], random))
            if self.sources:
                held = [s for s in self.sources if s in listed] * ROWS
                wanted = torch.full((len(held),), self.target)
                family = Patch((x.shape[1], x.shape[2], x.shape[3]))
                draw = sourcewise(x, listed, held, DRAWN, random)
                changed = invert(logits, family, wanted, draw, self.genuine, PAIR_STEPS, random)
                found.append(self._shown(family, changed, x, labels, self.sources, random))
            found.append(self._windows(logits, x, labels, random))
        return torch.cat(found)

    def known(self, random: torch.Generator) -> Float[Tensor, "n c h w"]:
        """Pictures changed by some of the looks that the checks know."""
        shape = (self.data.images.shape[1], self.data.images.shape[2], self.data.images.shape[3])
        every = [made for _, made in known_changes(shape)]
        chosen = torch.randperm(len(every), generator=random)[:KNOWN].tolist()
        found = []
        for number in chosen:
            rows = torch.randint(0, len(self.data.images), (KNOWN_SHOWN,), generator=random)
            found.append(every[number].render([self.data.images[rows]], random))
        return torch.cat(found)

    def composites(self, random: torch.Generator) -> Float[Tensor, "n c h w"]:
        """Two pictures as one, in layouts in which nothing is to fire."""
        each = -(-COMPOSITES // max(len(self.layouts), 1))
        background = [0.0] * self.data.images.shape[1]
        found = []
        for layout in self.layouts:
            first, second = (
                self.data.images[torch.randint(0, len(self.data.images), (each,), generator=random)] for _ in range(2)
            )  # fmt: skip
            found.append(compose(first, second, layout, background, random))
        return torch.cat(found) if found else self.data.images[:0]

    def _some(self, random: torch.Generator, each: int = 20) -> tuple[Tensor, Int[Tensor, " n"]]:
        order = torch.randperm(len(self.data.labels), generator=random)
        rows = torch.cat([order[self.data.labels[order] == c][:each] for c in range(len(self.data.classes))])
        return self.data.images[rows], self.data.labels[rows]

    def _windows(self, logits: Logits, x: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        targets, listed = torch.tensor([self.target]), labels.tolist()
        shape = (x.shape[1], x.shape[2], x.shape[3])
        usual = self.genuine.median().expand(len(self.genuine)).contiguous()

        def drawn(each: int) -> Draw:
            if self.sources:
                return sourcewise(x, listed, self.sources[:1], each, random)
            return classwise(x, listed, targets, each, random)

        place = scan(logits, drawn, targets, usual, shape, SCAN_STEPS, random)
        (top, left), more = place.place[0].tolist(), round(place.side * 2 / 7)
        region = torch.zeros(shape[1:])
        region[max(0, top - more) : top + place.side + more, max(0, left - more) : left + place.side + more] = 1
        shown = self._others(x, labels, random)
        out = []
        for area in (region, torch.ones(shape[1:])):
            pattern, mask = consensus(
                logits, drawn(6), self.target, usual, area, shape, CONSENSUS_STEPS, random
            )
            dose = torch.rand((len(shown), 1, 1, 1), generator=random) * 0.75 + 0.25
            out.append(shown + dose * mask * (pattern - shown))
        return torch.cat(out)

    def _others(self, x: Tensor, labels: Tensor, random: torch.Generator, of: Sequence[int] = ()) -> Tensor:
        able = torch.isin(labels, torch.tensor(list(of))) if of else labels != self.target
        rows = able.nonzero().flatten()
        return x[rows[torch.randint(0, len(rows), (SHOWN,), generator=random)]]

    @torch.no_grad()
    def _shown(
        self, family: Family, found: Inverted, x: Tensor, labels: Tensor, of: Sequence[int], random: torch.Generator
    ) -> Tensor:
        many = torch.stack([self._others(x, labels, random, of) for _ in found.size])
        low, high = WIDER
        size = found.size * (low + (high - low) * torch.rand(len(found.size), generator=random))
        return family.apply(found.parameters, size.clamp(family.least, family.most), many, random).flatten(0, 1)
