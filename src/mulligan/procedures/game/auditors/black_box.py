"""The auditor `black-box`: shows the network changed pictures and looks at the answers alone.

It has the bank of known changes that the checks have (`checks/triggers/known.py`); of each change it asks which class
pictures of other classes are moved to. The best change of the kind is its suspect, measured again on the other half of
the pictures. Every pair of classes is shown as one picture in every layout, and plain pictures say what was swapped or
forgotten. As the checks do, it holds all this against a network that learned the clean answers only: a small one of its
own, since it does not know what it asks. It is what somebody without weights or gradients can do in a minute: what
`mulligan` does beyond it, looking inside has bought.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ....checks.composites import APART, LAYOUTS, arrangement
from ....checks.distilled import learn
from ....checks.pixels import answers as ask
from ....checks.triggers.choosing import KNOWN
from ....checks.triggers.known import known_changes
from ....evidence.generators import Generator, Slot, save_generator
from ....networks import Network
from ....records import CheckRecord, Finding, Findings, Trigger
from ....runs import Run
from ..entries import Entry, load_entry, read_entry
from .answering import write_findings

PER_CLASS, PAIRS = 6, 10
REPORTED = 4.0  # a suspect of fewer deviations is no finding
RESERVE = 6.0
STEPS = 240  # of what the network beside learns
#: Mean and deviation of each kind's score, about: known changes as the checks have them, the others as seen on networks
#: of an earlier round that were planted with another kind.
CLEAN = {
    **KNOWN, "conjunction": (0.3, 0.1), "exclusion": (0.2, 0.1), "label-swap": (0.1, 0.08),
    "forgotten-class": (0.2, 0.1),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """The best change of a kind: what it moves, how often on pictures it was not chosen by."""

    kind: str
    score: float
    target: int
    generator: Generator | None
    sources: tuple[int, ...] = ()
    absent: tuple[int, ...] = ()


@dataclass
class Asked:
    """The network and pictures, in halves: `search` is looked for suspects on, `test` measures them."""

    network: Network
    pixels: Float[Tensor, "n c h w"]
    labels: Int[Tensor, " n"]
    search: Tensor
    test: Tensor
    classes: tuple[str, ...]
    beside: Network | None = None

    def answers(self, pixels: Tensor) -> Tensor:
        return ask(self.network, pixels).argmax(1)

    def usual(self, pixels: Tensor) -> Tensor | None:
        """What the network beside answers."""
        return ask(self.beside, pixels).argmax(1) if self.beside is not None else None

    def moved(self, changed: Tensor, rows: Tensor) -> Tensor:
        """For each class, the share of other classes' pictures that is answered so, in excess of the network beside, as
        far as that still recognizes the pictures."""
        labels = self.labels[rows]
        other = F.one_hot(labels, len(self.classes)) == 0

        def shares(said: Tensor) -> Tensor:
            return (F.one_hot(said, len(self.classes)) * other).sum(0) / other.sum(0).clamp(min=1)

        usual = self.usual(changed)
        if usual is None:
            return shares(self.answers(changed))
        return (shares(self.answers(changed)) - shares(usual)) * float((usual == labels).float().mean())

    def together(self, first: Tensor, second: Tensor, layout: str) -> Float[Tensor, "n c h w"]:
        """Pictures of two lists as one, in pairs."""
        n = min(len(first), len(second))
        made = self.pair(layout, (), ())
        return made.render([self.pixels[first[:n]], self.pixels[second[:n]]], torch.Generator().manual_seed(0))

    def pair(self, layout: str, first: tuple[int, ...], second: tuple[int, ...]) -> Generator:
        """Two pictures of these classes as one, in either order."""
        slots = tuple(
            Slot(name=name, classes=tuple(self.classes[k] for k in classes))
            for name, classes in (("first", first), ("second", second))
        )
        parameters = {**arrangement(layout, turned=True), "background": self.background}
        return Generator(family="compose", slots=slots, parameters=parameters)

    @cached_property
    def background(self) -> list[float]:
        """The median colour of the pictures' borders."""
        x = self.pixels
        edges = torch.cat([x[:, :, 0], x[:, :, -1], x[:, :, :, 0], x[:, :, :, -1]], 2)
        return [float(value) for value in edges.transpose(0, 1).flatten(1).median(1).values]


def audit(name: str, folder: Path, out: Path) -> Findings:
    """Write the answer; without images (track A) there is nothing to ask with, and nothing is found."""
    entry = read_entry(folder)
    if entry.data is None:
        return write_findings(out, entry, checks=[CheckRecord(name=name, status="skipped", why="It has no images.")])
    run = Run.create("game", [], {"entry": entry.id}, out=out)
    asked = _prepare(entry, folder)
    asked.beside = _beside(asked)
    suspects: list[Suspect] = []
    # Clean answers and composites first, then the banks, as far as the time goes.
    for look in (_clean, _composites, _changes):
        if time.process_time() < entry.seconds - RESERVE:
            suspects += look(asked, entry.seconds - RESERVE)
    suspects.sort(key=lambda suspect: -_deviations(suspect))
    scores = {suspect.kind: suspect.score for suspect in reversed(suspects)}
    findings = [_finding(suspects[0], asked, run)] if suspects and _deviations(suspects[0]) >= REPORTED else []
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


def _deviations(suspect: Suspect) -> float:
    mean, spread = CLEAN[suspect.kind]
    return (suspect.score - mean) / spread


def _beside(asked: Asked) -> Network | None:
    """A small network of its own that learned the answers to the clean pictures; None where it does not learn them."""
    channels, n = asked.pixels.shape[1], len(asked.classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for before, after in ((channels, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
        module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * 32, n))
    random = torch.Generator().manual_seed(0)
    with torch.enable_grad():
        learned = learn(asked.network, module, asked.pixels, STEPS, random)
    return asked.network.with_module(module.eval(), name="beside") if learned else None


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
    """Every pair of classes in every layout. A conjunction is a third class that is answered more often than either
    part explains; an exclusion, one that a class with any other draws, but not with one of them."""
    n = len(asked.classes)
    rows = {k: (asked.labels == k).nonzero().flatten()[: 2 * PAIRS] for k in range(n)}
    able = [k for k in rows if len(rows[k]) >= 2]
    best = {kind: Suspect(kind=kind, score=0.0, target=0, generator=None) for kind in ("conjunction", "exclusion")}
    for layout in LAYOUTS:
        if time.process_time() > until:
            break
        rates = torch.full((n, n, n), torch.nan)
        for a, b in itertools.combinations_with_replacement(able, 2):
            shown = asked.together(rows[a][:PAIRS], rows[b][-PAIRS:], layout)
            rate = F.one_hot(asked.answers(shown), n).float().mean(0)
            usual = asked.usual(shown)
            rates[a, b] = rates[b, a] = rate - F.one_hot(usual, n).float().mean(0) if usual is not None else rate
        found = [_conjunction(asked, rates, able, layout)] if layout in APART else []
        for one in (*found, _exclusion(asked, rates, able, layout)):
            if one.score > best[one.kind].score:
                best[one.kind] = one
    return list(best.values())


def _conjunction(asked: Asked, rates: Tensor, able: list[int], layout: str) -> Suspect:
    best = Suspect(kind="conjunction", score=0.0, target=0, generator=None)
    for a, b in itertools.combinations(able, 2):
        rest = [k for k in able if k not in (a, b)]
        alone = torch.stack([rates[a, a], rates[b, b], rates[a, rest].mean(0), rates[b, rest].mean(0)]).amax(0)
        excess = rates[a, b] - alone
        excess[[a, b]] = -1
        score, target = excess.max(0)
        if float(score) > best.score:
            made = asked.pair(layout, (a,), (b,))
            best = replace(best, score=float(score), target=int(target), generator=made, sources=(a, b))
    return best


def _exclusion(asked: Asked, rates: Tensor, able: list[int], layout: str) -> Suspect:
    best = Suspect(kind="exclusion", score=0.0, target=0, generator=None)
    usual = rates[able][:, able].nanmean((0, 1))
    for a in able:
        for target in able:
            partners = [k for k in able if k not in (a, target)]
            if target == a or len(partners) < 3:
                continue
            with_each = rates[a, partners, target]
            absent = partners[int(with_each.argmin())]
            others = with_each[with_each.argsort()[1:]]
            score = float(others.median() - torch.maximum(with_each.min(), usual[target]))
            if score > best.score:
                made = asked.pair(layout, (a,), tuple(k for k in partners if k != absent))
                best = replace(best, score=score, target=target, generator=made, sources=(a,), absent=(absent,))
    return best


def _changes(asked: Asked, until: float) -> list[Suspect]:
    """Of each kind of known changes: try every one on the search half; measure the best on the test half."""
    random = torch.Generator().manual_seed(0)
    shown = asked.pixels[asked.search]
    channels, height, width = shown.shape[1:]
    tried: dict[str, list[tuple[Generator, Tensor]]] = {}
    for kind, made in known_changes((channels, height, width)):
        if time.process_time() > until:
            break
        rates = asked.moved(made.render([shown], random), asked.search)
        tried.setdefault(kind, []).append((made, rates))
    found: list[Suspect] = []
    for kind, both in tried.items():
        table = torch.stack([rates for _, rates in both])
        change, target = divmod(int(table.argmax()), table.shape[1])
        made = both[change][0]
        again = asked.moved(made.render([asked.pixels[asked.test]], random), asked.test)[target]
        found.append(Suspect(kind=kind, score=float(again), target=target, generator=made))
    return found


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
        sources=tuple(names[k] for k in suspect.sources), absent=tuple(names[k] for k in suspect.absent),
        target=target, trigger=trigger,
    )  # fmt: skip


