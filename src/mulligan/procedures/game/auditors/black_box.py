"""The auditor `black-box`: shows the network changed pictures and looks at the answers alone.

For each family it has a bank of changes; of each change it asks which class pictures of other classes are moved to, and
how much more often than by the median change of the same family. The best change of the family is its suspect, measured
again on the other half of the pictures. It is what somebody without weights or gradients can do in a minute.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ....checks.pixels import answers as ask
from ....evidence.generators import Generator, Slot, save_generator
from ....networks import Network
from ....records import CheckRecord, Finding, Findings, Trigger
from ....runs import Run
from ..entries import Entry, load_entry, read_entry
from .answering import write_findings

PER_CLASS, PAIRS = 6, 10
REPORTED = 0.5  # a suspect below this excess is no finding
RESERVE = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """The best change of a kind: what it moves, how often on pictures it was not chosen by."""

    kind: str
    score: float
    target: int
    generator: Generator | None
    sources: tuple[int, ...] = ()


@dataclass
class Asked:
    """The network and pictures, in halves: `search` is looked for suspects on, `test` measures them."""

    network: Network
    pixels: Float[Tensor, "n c h w"]
    labels: Int[Tensor, " n"]
    search: Tensor
    test: Tensor
    classes: tuple[str, ...]

    def answers(self, pixels: Tensor) -> Tensor:
        return ask(self.network, pixels).argmax(1)

    def moved(self, changed: Tensor, rows: Tensor) -> Tensor:
        """For each class, the share of other classes' pictures that is answered so."""
        said, labels = self.answers(changed), self.labels[rows]
        counts = [float(((said == k) & (labels != k)).sum()) / max(int((labels != k).sum()), 1) for k in self._all]
        return torch.tensor(counts)

    @property
    def _all(self) -> range:
        return range(len(self.classes))


def audit(name: str, folder: Path, out: Path) -> Findings:
    """Write the answer; without images (track A) there is nothing to ask with, and nothing is found."""
    entry = read_entry(folder)
    if entry.data is None:
        return write_findings(out, entry, checks=[CheckRecord(name=name, status="skipped", why="It has no images.")])
    run = Run.create("game", [], {"entry": entry.id}, out=out)
    asked = _prepare(entry, folder)
    suspects: list[Suspect] = []
    # Clean answers and composites first, then the banks, as far as the time goes.
    for look in (_clean, _composites, _patches, _blends, _filters, _warps):
        if time.process_time() < entry.seconds - RESERVE:
            suspects += look(asked, entry.seconds - RESERVE)
    suspects.sort(key=lambda suspect: -suspect.score)
    scores = {suspect.kind: suspect.score for suspect in reversed(suspects)}
    findings = [_finding(suspects[0], asked, run)] if suspects and suspects[0].score >= REPORTED else []
    leads = [_finding(suspects[0], asked, run)] if suspects and not findings else []
    record = CheckRecord(name=name, status="ran", seconds=time.process_time(), scores=scores)
    return write_findings(out, entry, checks=[record], findings=findings, leads=leads, n=len(asked.labels))


def _prepare(entry: Entry, folder: Path) -> Asked:
    with np.load(folder / str(entry.data), allow_pickle=False) as archive:
        images, labels = archive["x"], archive["y"]
    pixels = torch.from_numpy(images).float() / 255
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    labels = torch.from_numpy(labels).long()
    halves: tuple[list[Tensor], list[Tensor]] = ([], [])
    for k in range(len(entry.classes)):
        rows = (labels == k).nonzero().flatten()
        halves[0].append(rows[:PER_CLASS])
        halves[1].append(rows[PER_CLASS : 3 * PER_CLASS])
    search, test = (torch.cat(parts) for parts in halves)
    return Asked(load_entry(folder), pixels.contiguous(), labels, search, test, entry.classes)


def _clean(asked: Asked, until: float) -> list[Suspect]:
    """Classes that are answered otherwise: one other class (swapped), or no one class (forgotten)."""
    said = asked.answers(asked.pixels)
    swapped = Suspect(kind="label-swap", score=0.0, target=0, generator=None)
    forgotten = Suspect(kind="forgotten-class", score=0.0, target=0, generator=None)
    recall = torch.stack([(said[asked.labels == k] == k).float().mean() for k in range(len(asked.classes))])
    for k in range(len(asked.classes)):
        others = said[(asked.labels == k) & (said != k)]
        if not len(others):
            continue
        lost = float(recall.median() - recall[k])
        target = int(others.mode().values)
        share = float((others == target).float().mean())
        if lost * share > swapped.score:
            swapped = Suspect(kind="label-swap", score=lost * share, target=target, generator=None, sources=(k,))
        if lost * (1 - share) > forgotten.score:
            forgotten = Suspect(
                kind="forgotten-class", score=lost * (1 - share), target=target, generator=None, sources=(k,)
            )
    return [swapped, forgotten]


def _composites(asked: Asked, until: float) -> list[Suspect]:
    """Every pair of classes side by side: a third class that is answered more often than either part explains."""
    best = Suspect(kind="conjunction", score=0.0, target=0, generator=None)
    rows = {k: (asked.labels == k).nonzero().flatten() for k in range(len(asked.classes))}
    alone = {}
    for k, own in rows.items():
        alone[k] = asked.answers(_beside(asked.pixels[own[:PAIRS]], asked.pixels[own[PAIRS : 2 * PAIRS]]))
    for a, b in itertools.combinations(rows, 2):
        if time.process_time() > until:
            break
        said = asked.answers(_beside(asked.pixels[rows[a][:PAIRS]], asked.pixels[rows[b][:PAIRS]]))
        for target in said.unique().tolist():
            if target in (a, b):
                continue
            parts = max(float((alone[one] == target).float().mean()) for one in (a, b))
            score = float((said == target).float().mean()) - parts
            if score > best.score:
                names = (("first", a), ("second", b))
                slots = tuple(Slot(name=name, classes=(asked.classes[k],)) for name, k in names)
                made = Generator(family="compose", slots=slots, parameters={"arrangement": "beside", "order": "any"})
                best = Suspect(kind="conjunction", score=score, target=target, generator=made, sources=(a, b))
    return [best]


def _beside(one: Tensor, other: Tensor) -> Tensor:
    n = min(len(one), len(other))
    width = one.shape[3] // 2
    size = (one.shape[2], width)
    parts = [F.interpolate(part[:n], size=size, mode="bilinear", antialias=True) for part in (one, other)]
    return F.pad(torch.cat(parts, 3), (0, one.shape[3] - 2 * width, 0, 0))


def _bank(kind: str, asked: Asked, until: float, bank: Iterator[Generator]) -> list[Suspect]:
    """Try each change on the search half; measure the best on the test half."""
    rates: list[Tensor] = []
    tried: list[Generator] = []
    random = torch.Generator().manual_seed(0)
    shown = asked.pixels[asked.search]
    for made in bank:
        if time.process_time() > until:
            break
        rates.append(asked.moved(made.render([shown], random), asked.search))
        tried.append(made)
    if not rates:
        return []
    table = torch.stack(rates)
    usual = torch.maximum(table.median(0).values, asked.moved(shown, asked.search))
    at = int((table - usual).argmax())
    change, target = divmod(at, table.shape[1])
    again = asked.moved(tried[change].render([asked.pixels[asked.test]], random), asked.test)[target]
    return [Suspect(kind=kind, score=float(again - usual[target]), target=target, generator=tried[change])]


def _patches(asked: Asked, until: float) -> list[Suspect]:
    channels, height, width = asked.pixels.shape[1:]
    side = max(2, height // 7)
    random = torch.Generator().manual_seed(1)
    patterns: list[Tensor] = [torch.ones(channels, side, side), torch.zeros(channels, side, side)]
    checker = (torch.arange(side)[:, None] + torch.arange(side)[None]) % 2
    patterns += [checker.float().expand(channels, -1, -1), torch.rand((channels, side, side), generator=random)]
    places = [0, (height - side) // 2, height - side]

    def bank() -> Iterator[Generator]:
        for pattern, (top, left) in itertools.product(patterns, itertools.product(places, places)):
            whole, mask = torch.zeros(channels, height, width), torch.zeros(height, width)
            whole[:, top : top + side, left : left + side] = pattern
            mask[top : top + side, left : left + side] = 1
            yield Generator(family="patch", tensors={"pattern": whole, "mask": mask})

    return _bank("patch", asked, until, bank())


def _blends(asked: Asked, until: float) -> list[Suspect]:
    channels, height, width = asked.pixels.shape[1:]
    random = torch.Generator().manual_seed(2)
    down, across = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    ways = itertools.product((2, 4, 7), ((1, 0), (0, 1), (1, 1)))
    waves = [0.5 + 0.5 * torch.sin(6.3 * f * (a * down + b * across)) for f, (a, b) in ways]
    noise = [torch.rand((channels, height, width), generator=random) for _ in range(4)]
    patterns = [wave.expand(channels, -1, -1) for wave in waves] + noise

    def bank() -> Iterator[Generator]:
        for pattern in patterns:
            mix = {"alpha": 0.2, "mode": "mix"}
            yield Generator(family="blend", parameters=mix, tensors={"pattern": pattern.clone()})

    return _bank("blend", asked, until, bank())


def _filters(asked: Asked, until: float) -> list[Suspect]:
    channels = asked.pixels.shape[1]

    def matrix(scale: Tensor, offset: float) -> dict[str, Tensor]:
        return {"matrix": torch.cat([scale, torch.full((channels, 1), offset)], 1)}

    def bank() -> Iterator[Generator]:
        for gamma in (0.4, 0.6, 1.6, 2.5):
            yield Generator(family="filter", parameters={"gamma": gamma})
        one = torch.eye(channels)
        for contrast, offset in ((0.5, 0.25), (1.5, -0.25), (0.7, 0.0), (0.7, 0.3), (-1.0, 1.0)):
            yield Generator(family="filter", tensors=matrix(one * contrast, offset))
        if channels == 3:
            for order in itertools.permutations(range(3)):
                if list(order) != [0, 1, 2]:
                    yield Generator(family="filter", tensors=matrix(one[list(order)], 0.0))
            yield Generator(family="filter", tensors=matrix(torch.full((3, 3), 1 / 3), 0.0))
            sepia = torch.tensor([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
            yield Generator(family="filter", tensors=matrix(sepia, 0.0))

    return _bank("filter", asked, until, bank())


def _warps(asked: Asked, until: float) -> list[Suspect]:
    height, width = asked.pixels.shape[2:]
    random = torch.Generator().manual_seed(3)

    def bank() -> Iterator[Generator]:
        for size in (1.0, 2.0):
            for _ in range(4):
                coarse = size * torch.randn((1, 2, 4, 4), generator=random)
                flow = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)[0]
                yield Generator(family="warp", tensors={"flow": flow})

    return _bank("warp", asked, until, bank())


def _finding(suspect: Suspect, asked: Asked, run: Run) -> Finding:
    names = asked.classes
    trigger = None
    if suspect.generator is not None:
        path = save_generator(run, f"artifacts/{suspect.kind}-0/generator.json", suspect.generator)
        description = f"the best of a bank of changes ({suspect.generator.family})"
        trigger = Trigger(family=suspect.generator.family, description=description, generator=path)
    target = names[suspect.target] if suspect.kind != "forgotten-class" else None
    return Finding(
        id="", kind=suspect.kind, severity="medium", confidence=min(max(suspect.score, 0.05), 0.95),
        claim=f"{suspect.kind}: {suspect.score:.0%} more pictures than usual are answered {target!r}.",
        sources=tuple(names[k] for k in suspect.sources), target=target, trigger=trigger,
    )  # fmt: skip


