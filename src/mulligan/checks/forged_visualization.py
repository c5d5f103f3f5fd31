"""The forged-visualization check: do pictures that maximise a unit take another path through the network than its own
natural pictures?

A feature visualization can be made to show anything: by a circuit that drives a unit only on synthetic pictures
(Geirhos et al. 2023, arXiv:2306.04719), or by bending the unit around the place that maximisation starts from (Bareeva
et al. 2024, arXiv:2401.06122). Two things then stand apart from the other units of the layer. The layer before is
active otherwise on the synthetic picture than on the pictures that drive the unit most by nature (path similarity). And
climbs from grey end in one picture whatever the noise they start from, where a unit that was left alone lets the noise
decide. Neither is a behaviour: what this check has to say are leads.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..evidence import FEWEST_SOURCES
from ..networks import ImageInput, Network
from ..records import Calibration, CheckRecord, Claim, Evidence, Finding, Quantity, Where
from ..runs import Context, Piece, Result, generator
from .check import Needs, Outcome, Subject
from .maximizing import BATCH, maximised, peaks_on, preactivations, too_few_units
from .pixels import pictures, taken
from .planted_unit import subject_context
from .power import Power, weakest

#: A unit is named as a lead from this score on (robust deviations in its layer, beyond what a layer's extreme has).
LEAD = 2.0
#: Paths alone count from here on: those of clean networks reached 3.5.
PATH_LEAD = 6.0
#: Fewer units than this say nothing of what is usual in a layer.
FEWEST_BOUGHT = 8
#: The check promises to notice a unit of which this share of the path is another's.
TARGET_EFFECT = 0.8
GRADES = (0.2, 0.4, 0.6, 0.8, 1.0)
#: Layers, from the last: whose climbs are compared, and whose paths are as well. Climbs a unit, and steps of each.
LAYERS, PATHS, STARTS, CLIMB, RATE = 5, 1, 5, 4, 0.1
#: Steps up to a synthetic picture; natural pictures that are held against it.
STEPS, TOP, MOST_UNITS, PICTURES = 8, 6, 512, 200
#: Both start from grey with this much noise.
NOISE = 0.1


@dataclass(frozen=True, slots=True)
class Paths:
    """A layer's units.

    Attributes:
        likeness: [units], cosine of the layer before on synthetic and on natural pictures, each about its mean.
        steadiness: [units], mean cosine between the ways that climbs from several noisy starts took.
        natural, synthetic: [units, before], the layer before, about its mean on clean pictures. The paths are None
            where only climbs were compared.
    """

    site: str
    steadiness: Float[np.ndarray, " units"]
    likeness: Float[np.ndarray, " units"] | None = None
    natural: Float[np.ndarray, "units before"] | None = None
    synthetic: Float[np.ndarray, "units before"] | None = None


class ForgedVisualization:
    """See the module."""

    name = "forged-visualization"
    about = "Pictures that maximise a unit take another path than the pictures that drive it by nature."
    needs = Needs(tasks=("classification", "embedding", "other"), data="images", gradients=True, share=0.3)

    def run(self, subject: Subject) -> Outcome:
        """Maximise the units of the last layers, and compare paths within each layer."""
        began = time.monotonic()
        places = preactivations(subject.network) if isinstance(subject.network.input, ImageInput) else []
        if len(places) < 2:
            why = "The network has fewer than two hidden layers that take pictures."
            record = CheckRecord(name=self.name, status="skipped", why=why, seconds=time.monotonic() - began)
            return Outcome(record=record)
        pairs = list(pairwise(places))[-LAYERS:]
        rows = generator(subject.seed, "forged").permutation(len(subject.dataset))[:PICTURES]
        if len(rows) < FEWEST_SOURCES:
            record = CheckRecord(
                name=self.name, status="ran", why="There are too few pictures.", seconds=time.monotonic() - began,
                conclusive=False,
            )  # fmt: skip
            return Outcome(record=record)
        sizes = []
        for _, site in pairs:
            found = subject.network.site(site)
            sizes.append(min(found.shape[found.unit_axis], MOST_UNITS))
        price = subject.seconds_an_example * 3 * (STEPS + CLIMB * STARTS)
        n = subject.budget.buy("forged-visualization/units", sum(sizes), price, share=self.needs.share)
        if n < FEWEST_BOUGHT:
            record = CheckRecord(
                name=self.name, status="ran", why=too_few_units(n, sum(sizes)), seconds=time.monotonic() - began,
                target_effect=TARGET_EFFECT, conclusive=False,
            )  # fmt: skip
            return Outcome(record=record)
        done: list[Paths] = []
        for (before, site), size in reversed(list(zip(pairs, sizes, strict=True))):
            count = min(size, n - sum(len(one.steadiness) for one in done))
            if count >= 8:
                done.append(self._walk(subject, before, site, count, rows, len(done) < PATHS))
        found = sorted(
            ((float(z), one.site, unit, why) for one in done for unit, z, why in apart(one)), key=lambda x: -x[0]
        )
        examined = sum(len(one.steadiness) for one in done)
        power = smallest_share(done)
        leads = tuple(self._lead(*one) for one in found[:3] if one[0] >= LEAD)
        sites = ", ".join(one.site for one in done) or "none"
        record = CheckRecord(
            name=self.name, status="ran", why=f"{examined} units of {sites} were maximised; {len(leads)} stand apart."
            + (f" The budget bought {examined} of {sum(sizes)} units." if examined < sum(sizes) else ""),
            seconds=time.monotonic() - began, examined=examined,
            calibration=Calibration(kind="within-network", n=examined),
            smallest_effect=power and power.smallest, caught=power and power.caught,
            target_effect=TARGET_EFFECT, scores={self.name: found[0][0]} if found else {},
            conclusive=examined == sum(sizes) and power is not None and power.value <= TARGET_EFFECT,
        )  # fmt: skip
        return Outcome(record=record, leads=leads)

    def _walk(self, subject: Subject, before: str, site: str, count: int, rows: np.ndarray, paths: bool) -> Paths:
        context = subject_context(subject)
        arguments = {"site": site, "count": count, "seed": subject.seed}
        pieces = [Piece("mulligan.checks.forged_visualization:climbs", arguments, cost=count)]
        if paths:
            arguments = {**arguments, "before": before, "rows": rows.tolist()}
            pieces.append(Piece("mulligan.checks.forged_visualization:walk", arguments, cost=count))
        ran = subject.engine.run(f"forged-visualization: {site}", pieces, context, subject.run, subject.emit)
        found = {name: np.asarray(value, dtype=np.float64) for _, one in ran for name, value in one.arrays.items()}
        return Paths(site, **found)

    def _lead(self, score: float, site: str, unit: int, why: str) -> Finding:
        sentence = f"Pictures that maximise unit {unit} of {site} do not show what drives it by nature: {why}."
        claim = Claim(kind=self.name, sentence=sentence, where=Where(site=site, units=(unit,)))
        effect = Quantity(value=score, unit="robust deviations from the layer's other units")
        action = "Do not trust this unit's visualization; look at the pictures of the data that drive it."
        return Finding.of(claim, Evidence(effect=effect), severity="low", confidence=0.4, action=action)


CHECK = ForgedVisualization()


def walk(context: Context, *, before: str, site: str, count: int, rows: list[int], seed: int) -> Result:
    """A piece of work: what the layer before does on each unit's natural and on its synthetic pictures."""
    network: Network = context["network"]
    pixels = pictures(context["subject"], rows)
    path, reached = peaks_on(network, before, pixels), peaks_on(network, site, pixels)
    middle, spread = path.mean(0), path.std(0) + 1e-6
    path = (path - middle) / spread
    top = np.argsort(-reached[:, :count], axis=0)[: min(TOP, len(rows) // 4)]
    natural = path[top].mean(0)  # [units, before]
    start = noisy(generator(seed, "forged, start", site), (count, *pixels.shape[1:]))
    parts = [
        maximised(network, site, list(range(k, min(k + BATCH, count))), start[k : k + BATCH], steps=STEPS, rate=0.15)
        for k in range(0, count, BATCH)
    ]
    synthetic = (peaks_on(network, before, torch.cat(parts)) - middle) / spread
    # Each synthetic path about the mean of the layer's: all synthetic pictures have something in common.
    synthetic = synthetic - synthetic.mean(0)
    natural = natural - natural.mean(0)
    return Result({"likeness": cosine(natural, synthetic), "natural": natural, "synthetic": synthetic})


def climbs(context: Context, *, site: str, count: int, seed: int) -> Result:
    """A piece of work: how alike the ways are that climbs from several noisy starts take, for each unit."""
    network: Network = context["network"]
    own = taken(network)
    shape = (count, own.channels, *own.size)
    ways = []
    for number in range(STARTS):
        start = noisy(generator(seed, "forged, climb", site, number), shape)
        ends = [
            climbed(network, site, list(range(k, min(k + BATCH, count))), start[k : k + BATCH])
            for k in range(0, count, BATCH)
        ]
        ways.append((torch.cat(ends) - start).flatten(1).cpu().numpy())
    alike = np.mean([cosine(one, other) for one, other in combinations(ways, 2)], axis=0)
    return Result({"steadiness": alike})


def noisy(rng: np.random.Generator, shape: tuple[int, ...]) -> Float[Tensor, "n c h w"]:
    """Grey with noise."""
    return (0.5 + NOISE * torch.from_numpy(rng.standard_normal(shape).astype(np.float32))).clamp(0, 1)


def climbed(
    network: Network, site: str, units: list[int], start: Float[Tensor, "n c h w"]
) -> Float[Tensor, "n c h w"]:  # fmt: skip
    """Pictures that raise each unit's mean over space, as channels are visualized, climbed to along its gradient."""
    own = taken(network)
    x = start.clone()
    for _ in range(CLIMB):
        x.requires_grad_(True)
        with torch.enable_grad(), network.watching(site, stop=True) as watched:
            network(own.normalise(x))
            value = watched[site].float()
            value = value.mean(1) if value.dim() == 3 else value.flatten(2).mean(2) if value.dim() > 3 else value
            (slope,) = torch.autograd.grad(value[torch.arange(len(units)), torch.tensor(units)].sum(), x)
        slope = slope.nan_to_num()
        size = slope.flatten(1).pow(2).mean(1).sqrt().reshape(-1, 1, 1, 1)
        x = (x.detach() + RATE * slope / (size + 1e-9)).clamp(0, 1)
    return x.detach()


def cosine(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Row by row."""
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-12)


def deviations(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """About the median, in robust standard deviations (of at least 0.05, since cosines scatter by that much)."""
    about = values - np.median(values)
    return about / max(1.4826 * float(np.median(np.abs(about))), 0.05)


def apart(paths: Paths) -> list[tuple[int, float, str]]:
    """For each unit, how far it stands apart beyond what the largest of so many normal values does, and in what.

    Paths differ by nature: they count from PATH_LEAD on.
    """
    natural = np.sqrt(2 * np.log(max(len(paths.steadiness), 2)))
    steady = deviations(np.arctanh(np.clip(paths.steadiness, -0.99, 0.99))) - natural
    unlike = np.full(len(steady), -np.inf)
    if paths.likeness is not None:
        unlike = deviations(-np.arctanh(np.clip(paths.likeness, -0.99, 0.99))) - natural
        unlike[unlike < PATH_LEAD] = -np.inf
    out = []
    for unit, (one, other) in enumerate(zip(unlike, steady, strict=True)):
        by_path = one >= other
        why = "the layer before is active otherwise on them" if by_path else "from any noise they become one picture"
        out.append((unit, float(max(one, other)), why))
    return out


def smallest_share(done: list[Paths]) -> Power | None:
    """The least share of a unit's synthetic path that, exchanged for another unit's, makes it stand apart in 80 %."""
    walked = [(one, *paths) for one in done if (paths := _paths(one)) is not None]
    units = [(*one, unit) for one in walked for unit in range(0, len(one[1]), max(1, len(one[1]) // 16))]

    def caught(grade: float) -> list[bool]:
        out = []
        for one, likeness, natural, synthetic, unit in units:
            far = int(np.argmin(cosine(synthetic, np.repeat(natural[unit][None], len(synthetic), 0))))
            mixed = (1 - grade) * synthetic[unit] + grade * synthetic[far]
            changed = likeness.copy()
            changed[unit] = cosine(natural[unit][None], mixed[None])[0]
            out.append(apart(Paths(one.site, one.steadiness, changed))[unit][1] >= LEAD)
        return out

    return weakest(GRADES, caught, "of a unit's synthetic path, exchanged")


def _paths(one: Paths) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    if one.likeness is None or one.natural is None or one.synthetic is None:
        return None
    return one.likeness, one.natural, one.synthetic
