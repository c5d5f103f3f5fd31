"""What the figures of `see.py quality` come to: one row a unit, and the goals."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

THEIRS, OURS, PHOTOGRAPHS = "dreamlens", "mulligan", "photographs"

# What each does in a step, read in its source; the reader of the figures must know it.
DIFFERENCES = [
    "- all climb the mean over places of one channel, on the same module with the same weights (their answers to one "
    "input are compared), float32, and pass the network's own scale of pixels; pictures are as large as the network's "
    "input",
    "- DreamLens 0.1.1: Fourier parametrization, AdamW at 9e-3, gradients clipped to norm 1, one random scale from 0.5 "
    "to 1.2 and one rotation of at most 15 degrees a step for the whole batch, cropped or padded with black to full "
    "size; the whole network runs to its logits, and gradients of all weights are computed and kept (a user can turn "
    "them off by hand, which is a variant of its own here). `visualize` takes one unit; `maximize_channels` takes "
    "several in one batch, which share the clipping",
    "- torch-lucent 0.1.8: Fourier parametrization, Adam at 5e-2, grey padding by 12 pixels, jitter, scales from 0.9 "
    "to 1.1, rotations of at most 10 degrees; the network is given the padded size (about 250 of 224 pixels), all of "
    "it runs, and weights get gradients. Its torchvision does not fit the CPU build of torch: an empty module stands "
    "in for the one class that it imports and that is not used. For the transformer its picture is resized to 32 "
    "pixels, and its objective is written by hand, for it knows channels on the second axis alone",
    "- Mulligan at its defaults: the pass ends at the site, of whose layer only the units that are read are computed; "
    "batch norms are folded, weights have no gradients, channels last; the first two fifths of the steps are taken on "
    "a canvas of half the side where the network allows, and a picture that no longer rises stops. Steps are counted "
    "as they were taken; `every step at full size` does "
    "without both",
    "- the transformer has one size and no batch norm, so only the shorter pass and the missing gradients of weights "
    "count: its matrix products alone take 41 to 44 ms a step of eight pictures here, and three times DreamLens's rate "
    "would be 46 (`docs/design/seeing.md`)",
]


@dataclass(frozen=True)
class Unit:
    """One unit. Attributes: theirs, ours, photographs: measure to value; empty if it was not measured."""

    name: str
    theirs: dict[str, float]
    ours: dict[str, float]
    photographs: dict[str, float]

    @property
    def whole(self) -> bool:
        """Whether all three were measured."""
        return bool(self.theirs and self.ours and self.photographs)


def units(file: Path) -> list[Unit]:
    """All units of the ledger, in its order; the newest row of a measurement counts."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for line in file.open() if file.exists() else ():
        row: dict[str, Any] = json.loads(line)
        found.setdefault(row["case"], {}).setdefault(row["variant"], {})[row["measure"]] = row["value"]
    order = sorted(found, key=lambda name: (name.partition(":")[0], int(name.partition(":")[2])))
    return [Unit(name, *(found[name].get(variant, {}) for variant in (THEIRS, OURS, PHOTOGRAPHS))) for name in order]


def median(values: Sequence[float]) -> str:
    """With its bootstrap interval over units."""
    return _interval(values, lambda data: np.median(data, axis=-1), "{:.3g}")


def share(hits: Sequence[bool]) -> str:
    """Of units, with its exact (Clopper-Pearson) interval."""
    from mulligan.evidence import fraction

    found = fraction(sum(hits), len(hits), "of units")
    assert found.low is not None
    assert found.high is not None
    return f"{sum(hits)} of {len(hits)} ({100 * found.value:.0f} % [{100 * found.low:.0f}, {100 * found.high:.0f}])"


def _interval(values: Sequence[float], of: Callable[[np.ndarray], np.ndarray], form: str) -> str:
    data = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(0).choice(data, (10_000, len(data)))
    low, high = np.quantile(of(drawn), (0.025, 0.975))
    return f"{form.format(of(data))} [{form.format(low)}, {form.format(high)}]"


def compared(some: Sequence[Unit], statistic: str) -> list[tuple[str, str]]:
    """(what, figure) of units of which all was measured, by "mean" or "peak"."""
    ratios = [unit.ours[statistic] / unit.theirs[statistic] for unit in some if unit.theirs[statistic] > 0]
    out = len(some) - len(ratios)
    best = f"best {statistic}"
    without = f" (without {out} where DreamLens's is not above 0)" if out else ""
    return [
        (f"ours / DreamLens's, median of units{without}", median(ratios) if ratios else "none"),
        ("units on which ours is higher", share([unit.ours[statistic] > unit.theirs[statistic] for unit in some])),
        ("ours above the best of the photographs", share([u.ours[statistic] > u.photographs[best] for u in some])),
        ("DreamLens's above it", share([unit.theirs[statistic] > unit.photographs[best] for unit in some])),
        ("ours / best photograph, median", median([u.ours[statistic] / u.photographs[best] for u in some])),
        ("DreamLens's / best photograph, median", median([u.theirs[statistic] / u.photographs[best] for u in some])),
    ]


# Goals
SPEED_GOAL, SHARE_GOAL = 3.0, 0.9


def goals(speed: Sequence[dict[str, Any]], some: Sequence[Unit]) -> list[tuple[str, str, str]]:
    """(goal, figure, verdict), of the rows of the speed ledger and of units of which all was measured."""
    found = []
    for case in dict.fromkeys(row["case"] for row in speed if row["measure"] == "unit-steps a second"):
        for measure, what in (("unit-steps a second", "wall"), ("unit-steps a processor-second", "processor time")):
            rates: dict[str, dict[int, float]] = {}
            for row in speed:
                if row["case"] == case and row["measure"] == measure and row["value"] is not None:
                    rates.setdefault(row["variant"], {})[row["repeat"]] = row["value"]
            ours = rates.get("Mulligan", {})
            # Its two public ways as they are; the faster one of each repeat counts.
            theirs = [rates.get(f"DreamLens, {way}", {}) for way in ("unit after unit", "one batch")]
            ratios = [
                rate / max(way[repeat] for way in theirs if repeat in way)
                for repeat, rate in ours.items()
                if any(repeat in way for way in theirs)
            ]
            if ratios:
                verdict = "met" if np.median(ratios) >= SPEED_GOAL else "missed"
                goal = f"{SPEED_GOAL:g} times DreamLens's unit-steps a second, by {what}: {case}"
                found.append((goal, f"{median(ratios)} times, {len(ratios)} repeats", verdict))
    if some:
        figures = dict(compared(some, "mean"))
        name, ratio = next(iter(figures.items()))
        reached = [unit.ours["mean"] / unit.theirs["mean"] for unit in some if unit.theirs["mean"] > 0]
        verdict = "met" if np.median(reached) >= 1 else "missed"
        found.append(("reached activation at least DreamLens's in equal time", f"{ratio} ({name})", verdict))
        above = np.mean([unit.ours["mean"] > unit.photographs["best mean"] for unit in some])
        what = f"above the best of 1,000 photographs on {100 * SHARE_GOAL:.0f} % of the units"
        figure = figures["ours above the best of the photographs"]
        found.append((what, figure, "met" if above >= SHARE_GOAL else "missed"))
    return found
