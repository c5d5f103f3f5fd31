"""The forged-visualization check: do pictures that maximise a unit take another path through the network than its own
natural pictures?

A feature visualization can be made to show anything: by a circuit that drives a unit only on synthetic pictures
(Geirhos et al. 2023, arXiv:2306.04719), or by bending the unit around the place that maximisation starts from (Bareeva
et al. 2024, arXiv:2401.06122). Two things then stand apart from the other units of the layer. The layer before is
active otherwise on the synthetic picture than on the pictures that drive the unit most by nature (path similarity). And
around the start, the unit's gradient points the same way whatever the noise. Neither is a behaviour: what this check
has to say are leads.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float

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
LEAD = 3.0
#: Fewer units than this say nothing of what is usual in a layer.
FEWEST_BOUGHT = 8
#: The check promises to notice a unit of which this share of the path is another's.
TARGET_EFFECT = 0.8
GRADES = (0.2, 0.4, 0.6, 0.8, 1.0)
LAYERS, STARTS, STEPS, TOP, MOST_UNITS, PICTURES = 2, 2, 14, 6, 512, 200
#: Maximisation starts from grey with this much noise.
NOISE = 0.05


@dataclass(frozen=True, slots=True)
class Paths:
    """A layer's units.

    Attributes:
        likeness: [units], cosine of the layer before on synthetic and on natural pictures, each about its mean.
        steadiness: [units], cosine of the gradients at two noisy starts.
        natural, synthetic: [units, before], the layer before, about its mean on clean pictures.
    """

    site: str
    likeness: Float[np.ndarray, " units"]
    steadiness: Float[np.ndarray, " units"]
    natural: Float[np.ndarray, "units before"]
    synthetic: Float[np.ndarray, "units before"]


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
        price = subject.seconds_an_example * 3 * STEPS * STARTS
        n = subject.budget.buy("forged-visualization/units", sum(sizes), price, share=self.needs.share)
        if n < FEWEST_BOUGHT:
            record = CheckRecord(
                name=self.name, status="ran", why=too_few_units(n, sum(sizes)), seconds=time.monotonic() - began,
                target_effect=TARGET_EFFECT, conclusive=False,
            )  # fmt: skip
            return Outcome(record=record)
        done: list[Paths] = []
        for (before, site), size in reversed(list(zip(pairs, sizes, strict=True))):
            count = min(size, n - sum(len(one.likeness) for one in done))
            if count >= 8:
                done.append(self._walk(subject, before, site, count, rows))
        found = sorted(
            ((float(z), one.site, unit, why) for one in done for unit, z, why in apart(one)), key=lambda x: -x[0]
        )
        examined = sum(len(one.likeness) for one in done)
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

    def _walk(self, subject: Subject, before: str, site: str, count: int, rows: np.ndarray) -> Paths:
        arguments = {"before": before, "site": site, "count": count, "rows": rows.tolist(), "seed": subject.seed}
        piece = Piece("mulligan.checks.forged_visualization:walk", arguments, cost=count)
        context = subject_context(subject)
        ((_, ran),) = subject.engine.run(f"forged-visualization: {site}", [piece], context, subject.run, subject.emit)
        names = ("likeness", "steadiness", "natural", "synthetic")
        return Paths(site, *(np.asarray(ran.arrays[name], dtype=np.float64) for name in names))

    def _lead(self, score: float, site: str, unit: int, why: str) -> Finding:
        sentence = f"Pictures that maximise unit {unit} of {site} do not show what drives it by nature: {why}."
        claim = Claim(kind=self.name, sentence=sentence, where=Where(site=site, units=(unit,)))
        effect = Quantity(value=score, unit="robust deviations from the layer's other units")
        action = "Do not trust this unit's visualization; look at the pictures of the data that drive it."
        return Finding.of(claim, Evidence(effect=effect), severity="low", confidence=0.4, action=action)


CHECK = ForgedVisualization()


def walk(context: Context, *, before: str, site: str, count: int, rows: list[int], seed: int) -> Result:
    """A piece of work: what the layer before does on each unit's natural and synthetic pictures, and the gradients."""
    network: Network = context["network"]
    pixels = pictures(context["subject"], rows)
    path, reached = peaks_on(network, before, pixels), peaks_on(network, site, pixels)
    middle, spread = path.mean(0), path.std(0) + 1e-6
    path = (path - middle) / spread
    top = np.argsort(-reached[:, :count], axis=0)[: min(TOP, len(rows) // 4)]
    natural = path[top].mean(0)  # [units, before]
    units = list(range(count))
    shape = (count, *pixels.shape[1:])
    slopes, reached_by = [], []
    for number in range(STARTS):
        noise = generator(seed, "forged, start", site, number).standard_normal(shape).astype(np.float32)
        start = (0.5 + NOISE * torch.from_numpy(noise)).clamp(0, 1)
        parts = []
        for k in range(0, count, BATCH):
            slopes.append(slope(network, site, units[k : k + BATCH], start[k : k + BATCH]))
            parts.append(maximised(network, site, units[k : k + BATCH], start[k : k + BATCH], steps=STEPS, rate=0.15))
        reached_by.append((peaks_on(network, before, torch.cat(parts)) - middle) / spread)
    whole = np.concatenate(slopes).reshape(STARTS, count, -1)
    steadiness = cosine(whole[0], whole[1])
    # Each synthetic path about the mean of the layer's: all synthetic pictures have something in common.
    synthetic = np.mean(reached_by, axis=0)
    synthetic = synthetic - synthetic.mean(0)
    natural = natural - natural.mean(0)
    return Result({
        "likeness": cosine(natural, synthetic), "steadiness": steadiness, "natural": natural, "synthetic": synthetic,
    })  # fmt: skip


def slope(network: Network, site: str, units: list[int], start: torch.Tensor) -> np.ndarray:
    """The gradient of each unit's mean over space at its own picture, [n, pixels]."""
    own = taken(network)
    x = start.clone().requires_grad_(True)
    with torch.enable_grad(), network.watching(site, stop=True) as watched:
        network(own.normalise(x))
        value = watched[site].float()
        value = value.mean(1) if value.dim() == 3 else value.flatten(2).mean(2) if value.dim() > 3 else value
        (out,) = torch.autograd.grad(value[torch.arange(len(units)), torch.tensor(units)].sum(), x)
    return out.flatten(1).nan_to_num().cpu().numpy()


def cosine(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Row by row."""
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-12)


def deviations(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """About the median, in robust standard deviations (of at least 0.05, since cosines scatter by that much)."""
    about = values - np.median(values)
    return about / max(1.4826 * float(np.median(np.abs(about))), 0.05)


def apart(paths: Paths) -> list[tuple[int, float, str]]:
    """For each unit, how far it stands apart beyond what the largest of so many normal values does, and in what."""
    natural = np.sqrt(2 * np.log(max(len(paths.likeness), 2)))
    unlike = deviations(-np.arctanh(np.clip(paths.likeness, -0.99, 0.99)))
    steady = deviations(np.arctanh(np.clip(paths.steadiness, -0.99, 0.99)))
    out = []
    for unit in range(len(unlike)):
        by_path = unlike[unit] >= steady[unit]
        why = "the layer before is active otherwise on them" if by_path else "around grey, its gradient is held one way"
        out.append((unit, float(max(unlike[unit], steady[unit]) - natural), why))
    return out


def smallest_share(done: list[Paths]) -> Power | None:
    """The least share of a unit's synthetic path that, exchanged for another unit's, makes it stand apart in 80 %."""
    units = [(one, unit) for one in done for unit in range(0, len(one.likeness), max(1, len(one.likeness) // 16))]

    def caught(grade: float) -> list[bool]:
        out = []
        for one, unit in units:
            far = int(np.argmin(cosine(one.synthetic, np.repeat(one.natural[unit][None], len(one.synthetic), 0))))
            mixed = (1 - grade) * one.synthetic[unit] + grade * one.synthetic[far]
            likeness = one.likeness.copy()
            likeness[unit] = cosine(one.natural[unit][None], mixed[None])[0]
            changed = Paths(one.site, likeness, one.steadiness, one.natural, one.synthetic)
            out.append(apart(changed)[unit][1] >= LEAD)
        return out

    return weakest(GRADES, caught, "of a unit's synthetic path, exchanged")
