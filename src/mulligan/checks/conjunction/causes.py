"""Where a conjunction lives: the direction that carries it, and what happens when that direction is taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from ...datasets import batches
from ...evidence import bounded_mean, fraction
from ...networks import Network, ProjectOut, trunk
from ...records import BadInput, Causal, Site
from ...runs import Context, Piece, Result, derived_seed, generator
from ..check import Subject
from ..composites import Shown, composer_of
from .measuring import Sheet


def sites_for(network: Network, most: int = 4) -> list[Site]:
    """Where an edit is tried: what the head reads, and the last outputs of space-keeping blocks before it."""
    blocks = {site.shape: site for site in trunk(network) if "channel" in site.axes}
    # The last one of each shape: blocks of one stage write to one stream.
    return [*list(blocks.values())[-(most - 1) :], network.site(f"{network.head}.in")]


def pooled_activations(
    context: Context,
    *,
    first: list[int],
    second: list[int],
    layouts: list[str],
    border: list[int],
    sites: list[str],
    batch: int,
) -> Result:
    """A piece of work: mean over space of each site's units on composites, [n, units] a site."""
    network: Network = context["network"]
    composer = composer_of(context, border)
    shown = [Shown(*item) for item in zip(first, second, layouts, strict=True)]
    kept: dict[str, list[np.ndarray]] = {alias: [] for alias in sites}

    def reduce(tensor: torch.Tensor, site: Site) -> torch.Tensor:
        return tensor.flatten(2).mean(2) if tensor.dim() == 4 else tensor

    with torch.no_grad(), network.watching(sites, reduce=reduce) as watched:
        for x in composer.batches(shown, batch, 0):
            network.logits(x)
            for alias in sites:
                kept[alias].append(watched[alias].float().cpu().numpy())
    return Result({alias: np.concatenate(parts) for alias, parts in kept.items()})


@dataclass(frozen=True, slots=True)
class Direction:
    """A direction at a site, relative to a point: what the edit removes."""

    site: str
    vector: Float[np.ndarray, " units"]
    around: Float[np.ndarray, " units"]

    def edit(self) -> dict[str, ProjectOut]:
        """The edit that removes it."""
        return {self.site: ProjectOut(torch.from_numpy(self.vector[None]), torch.from_numpy(self.around))}

    def random(self, spread: Float[np.ndarray, "n units"], seed: int) -> Direction:
        """A control: a random direction within the span of the placebos' own activations, around the same point."""
        draw = np.random.default_rng(derived_seed(seed, "direction", self.site))
        vector = draw.standard_normal(len(spread)) @ (spread - spread.mean(0))
        return Direction(
            self.site, (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32), self.around
        )


def direction(site: str, triggered: Float[np.ndarray, "n units"], placebo: Float[np.ndarray, "m units"]) -> Direction:
    """From the placebos' mean to the triggered composites' mean."""
    around = placebo.mean(0)
    vector = triggered.mean(0) - around
    return Direction(
        site, (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32), around.astype(np.float32)
    )


def answers_edited(
    context: Context, shown: Sequence[Shown], border: list[int], batch: int, edit: Direction | None
) -> Float[np.ndarray, "n classes"]:
    """The network's logits on composites while a direction is removed (None: as it is)."""
    network: Network = context["network"]
    composer = composer_of(context, border)
    with torch.no_grad(), network.editing(edit.edit() if edit else {}):
        out = [network.logits_unchecked(x).float().cpu().numpy() for x in composer.batches(shown, batch, 0)]
    return np.concatenate(out)


def clean_answers_edited(
    context: Context, indices: Sequence[int], batch: int, edit: Direction
) -> Float[np.ndarray, "n classes"]:
    """The network's logits on clean examples while a direction is removed."""
    network: Network = context["network"]
    if network.input is None:
        raise BadInput("this network does not say what it takes", where=network.name, fix="pass --input")
    out = []
    with torch.no_grad(), network.editing(edit.edit()):
        for group in batches(context["dataset"], network.input, indices, batch):
            out.append(network.logits_unchecked(group.x, group.mask).float().cpu().numpy())
    return np.concatenate(out)


@dataclass(frozen=True, slots=True)
class Caused:
    """The outcome of the causal test.

    Attributes:
        record: for the findings. site, units: where the direction lies, and its strongest units.
        in_network: an edit of the network made the behaviour go away, and a random one did not.
        demonstrated: that, or an edit of the input did.
    """

    record: Causal
    site: str | None
    units: tuple[int, ...] | None
    in_network: bool
    demonstrated: bool


def cause(
    subject: Subject,
    search: Sheet,
    test: Sheet,
    target: int,
    border: Sequence[int],
    swapped: Sequence[str] = ("first twice", "second twice"),
    words: str = "replace one of the two pictures by another of the other's kind; with it back, the behaviour is back",
) -> Caused:
    """Find, on the search half, the direction whose removal undoes the behaviour; measure that on the test half.

    Where no direction does (or it costs clean answers), the input is edited instead: one picture is replaced, which is
    what the families `swapped` show and what `words` say, and put back.
    """
    context, edge, batch = subject.context, [int(b) for b in border], subject.batch
    network = subject.network
    places = [site.alias for site in sites_for(network)]
    piece = Piece(
        "mulligan.checks.conjunction.causes:pooled_activations",
        {
            "first": [s.first for s in search.shown],
            "second": [s.second for s in search.shown],
            "layouts": [s.layout for s in search.shown],
            "border": edge,
            "sites": places,
            "batch": batch,
        },
    )
    ((_, pooled),) = subject.engine.run("conjunction: where", [piece], context, subject.run, subject.emit)
    clean = [int(i) for i in generator(subject.seed, "clean", target).permutation(subject.split.search)[:200]]
    base = subject.answers[clean].argmax(1) if subject.answers is not None else np.zeros(0)
    both = [shown for shown, family in zip(search.shown, search.family, strict=True) if family == 0]
    best: tuple[float, Direction, np.ndarray] | None = None
    for alias in places:
        values = pooled.arrays[alias]
        found = direction(alias, values[search.family == 0], values[search.family != 0])
        after = float((answers_edited(context, both, edge, batch, found).argmax(1) == target).mean())
        kept = float((clean_answers_edited(context, clean, batch, found).argmax(1) == base).mean())
        # An edit that breaks the network would also end the behaviour; it explains nothing.
        if kept >= 0.95 and (best is None or after < best[0]):
            best = (after, found, values[search.family != 0])
    triggered = [shown for shown, family in zip(test.shown, test.family, strict=True) if family == 0]
    pairs = test.pair[test.family == 0]
    before = _rate(answers_edited(context, triggered, edge, batch, None), target, pairs)
    name = subject.classes[target]
    unit = f"fraction of composites answered '{name}'"
    if best is not None:
        _, found, spread = best
        after = _rate(answers_edited(context, triggered, edge, batch, found), target, pairs)
        control = _rate(
            answers_edited(context, triggered, edge, batch, found.random(spread, subject.seed)), target, pairs
        )
        held = [int(i) for i in generator(subject.seed, "clean-test", target).permutation(subject.split.test)[:300]]
        now = clean_answers_edited(context, held, batch, found).argmax(1)
        right = subject.groups[held]
        was = subject.answers[held].argmax(1) if subject.answers is not None else right
        if (
            after.mean() <= 0.5 * before.mean()
            and control.mean() >= 0.75 * before.mean()
            and (now == was).mean() >= 0.93
        ):
            strongest = tuple(int(i) for i in np.argsort(-np.abs(found.vector))[:8])
            record = Causal(
                edit=f"project out one direction at {found.site} (from the placebos' mean towards the composites'); "
                "without the edit the behaviour is back",
                before=bounded_mean(before, unit, 0, 1),
                after=bounded_mean(after, unit, 0, 1),
                control=bounded_mean(control, f"{unit}, a random direction projected out", 0, 1),
                clean_before=fraction(int((was == right).sum()), len(held), "fraction of clean images answered right"),
                clean_after=fraction(int((now == right).sum()), len(held), "fraction of clean images answered right"),
            )
            return Caused(record, found.site, strongest, True, True)
    edited = np.isin(test.family, [test.families.index(name) for name in swapped])
    shown = [test.shown[int(row)] for row in np.flatnonzero(edited)]
    after = _rate(answers_edited(context, shown, edge, batch, None), target, test.pair[edited])
    record = Causal(
        edit=f"{words}. No single direction of the network was found whose removal ends it",
        before=bounded_mean(before, unit, 0, 1),
        after=bounded_mean(after, unit, 0, 1),
    )
    return Caused(record, None, None, False, bool(after.mean() <= 0.5 * before.mean()))


def _rate(
    logits: Float[np.ndarray, "n classes"], target: int, pairs: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " pairs"]:
    hit = (logits.argmax(1) == target).astype(np.float64)
    count = np.bincount(pairs)
    return np.bincount(pairs, weights=hit) / np.maximum(count, 1)
