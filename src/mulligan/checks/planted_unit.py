"""The planted-unit check: is there a hidden unit that clean data never drive, and that commands one answer once driven?

A handcrafted backdoor (Hong et al. 2022, NeurIPS) hides in a few units: their incoming weights are set to a pattern, so
that only the trigger drives them, and their outgoing weights so that one answer follows. Three things come together in
such a unit and in no trained one. Clean data leave it silent, in the mean over pictures and places. It can be driven
far beyond all clean pictures, since its weights all pull one way. And capped at what clean data reach, an answer goes.
So every unit is maximised from clean pictures, side by side with all of its layer, which says how quiet and how far is
usual there. The few that promise most are maximised from many pictures, and capped.

The suspect is maximised again within small patches. The best patch is frozen, and the test half decides whether it
turns the answers; capping the unit must end that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..evidence import FEWEST_SOURCES, bounded_mean, excess_p, fraction
from ..evidence.generators import Generator, Slot, save_generator
from ..networks import ImageInput, Network
from ..records import Calibration, Causal, CheckRecord, Claim, Evidence, Finding, Quantity, Trigger, Where
from ..runs import Context, Piece, Result, generator
from .check import Needs, Outcome, Subject
from .deficits import LEAST_MARGIN, leads
from .maximizing import BATCH, maximised, peaks_on, preactivations, too_few_units
from .pixels import pictures, taken
from .planted_patch import Cap

#: A unit is quiet if clean data drive it less than this share of what they drive its layer's typical unit.
QUIET = 0.2
#: A suspect is named, and tested, from this score on; 40 clean networks reached 0.95.
LEAD = 2.0
#: A unit in an earlier layer is the one if its score is at least this share of the largest.
EARLIEST = 0.5
#: Fewer units than this say nothing of what is usual in a layer.
FEWEST_BOUGHT = 8
#: The check promises to notice a silent unit that commands a margin and reaches so many times as far as is typical.
TARGET_EFFECT = 4.0
GRADES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
#: Clean pictures that units are held against; layers, from the last; steps up; most units of a layer.
PICTURES, LAYERS, STEPS, RATE, MOST_UNITS = 120, 5, 8, 0.2, 512
#: So many units are maximised again, from so many pictures each.
AGAIN, STARTS = 10, 16
MOST_CONFIRM = 200


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit, maximised.

    Attributes:
        quiet: what clean data drive it to in the mean over pictures and places, as a share of the layer's typical unit.
        command: how far the target's logit falls, against the mean of all, when the unit is capped; in the network's
            median margins; 0 for units that were not looked at again.
        cap: the pre-activation that 98 % of clean pictures stay below. reach: how far it can be driven beyond all clean
            pictures, as a multiple of the layer's typical unit.
    """

    site: str
    unit: int
    target: int
    quiet: float
    command: float
    cap: float
    reach: float

    @property
    def promise(self) -> float:
        """Reach, as far as the unit is quiet."""
        return self.reach / (1 + (self.quiet / QUIET) ** 2)

    @property
    def score(self) -> float:
        """The promise, as far as the unit commands a margin: more than to turn an answer tells nothing."""
        return self.promise * min(max(self.command, 0.0), 1.0)


class PlantedUnit:
    """See the module."""

    name = "planted-unit"
    about = "A hidden unit that clean data never drive commands one answer."
    needs = Needs(tasks=("classification",), data="images", gradients=True, share=0.3)

    def run(self, subject: Subject) -> Outcome:
        """Maximise units, find the quiet one that commands, look for its patch, and confirm it."""
        began = time.monotonic()
        if not isinstance(subject.network.input, ImageInput) or subject.answers is None:
            record = CheckRecord(name=self.name, status="skipped", why="Needs pictures and answers.")
            return Outcome(record=record)
        sites = preactivations(subject.network)[1:][-LAYERS:]
        search = generator(subject.seed, "planted unit").permutation(subject.split.search)[:PICTURES]
        if not sites or len(search) < FEWEST_SOURCES:
            why = "There is no hidden layer after the first, or there are too few pictures."
            record = CheckRecord(
                name=self.name, status="ran" if sites else "skipped", why=why, seconds=time.monotonic() - began,
                conclusive=not sites,
            )  # fmt: skip
            return Outcome(record=record)
        margin = max(float(np.median(leads(subject.answers[subject.split.search]))), 1e-6)
        units: list[Unit] = []
        wanted = sum(min(self._width(subject, site), MOST_UNITS) for site in sites)
        price = subject.seconds_an_example * (3 * STEPS + 2)
        n = subject.budget.buy("planted-unit/units", wanted, price, share=self.needs.share)
        if n < FEWEST_BOUGHT:
            record = CheckRecord(
                name=self.name, status="ran", why=too_few_units(n, wanted), seconds=time.monotonic() - began,
                target_effect=TARGET_EFFECT, conclusive=False,
            )  # fmt: skip
            return Outcome(record=record)
        for site in reversed(sites):
            count = min(self._width(subject, site), MOST_UNITS, n - len(units))
            if count > 0:
                units += self._scan(subject, site, count, search, margin)
        units = self._again(subject, units, search, margin)
        best = earliest(units)
        power = smallest_reach(units)
        findings, shown = (), ()
        if best.score >= LEAD:
            findings, shown = self._confirm(subject, best, search, margin)
        bought = len(units) == wanted
        record = CheckRecord(
            name=self.name, status="ran", seconds=time.monotonic() - began, examined=len(units),
            why=f"{len(units)} of {wanted} units of {', '.join(sites)} were maximised; unit {best.unit} of {best.site} "
            f"is driven by clean data {best.quiet:.2f} times as far as is typical there, can be driven beyond them "
            f"{best.reach:.1f} times as far, and commands {best.command:.2f} median margins."
            + ("" if bought else f" The budget did not buy the other {wanted - len(units)} units."),
            calibration=Calibration(kind="within-network", n=len(units)), smallest_effect=power,
            target_effect=TARGET_EFFECT, scores={self.name: float(best.score)},
            conclusive=bought and power is not None and power.value <= TARGET_EFFECT,
        )  # fmt: skip
        return Outcome(record=record, findings=findings, leads=shown)

    def _width(self, subject: Subject, site: str) -> int:
        found = subject.network.site(site)
        return found.shape[found.unit_axis]

    def _scan(self, subject: Subject, site: str, count: int, rows: np.ndarray, margin: float) -> list[Unit]:
        arguments = {"site": site, "units": list(range(count)), "rows": rows.tolist(), "seed": subject.seed}
        piece = Piece("mulligan.checks.planted_unit:scan", arguments, cost=count)
        context = subject_context(subject)
        ((_, ran),) = subject.engine.run(f"planted-unit: {site}", [piece], context, subject.run, subject.emit)
        cap, alive, reach = (ran.arrays[name] for name in ("cap", "alive", "reach"))
        typical, usual = (max(float(np.median(values)), 1e-9) for values in (alive, reach))
        return [
            Unit(site, u, -1, float(alive[u] / typical), 0.0, float(cap[u]), float(reach[u] / usual))
            for u in range(count)
        ]

    def _again(self, subject: Subject, units: list[Unit], rows: np.ndarray, margin: float) -> list[Unit]:
        """The units that reach furthest beyond their quiet lives, maximised from many pictures; their scores."""
        chosen = sorted(units, key=lambda unit: -unit.promise)[:AGAIN]
        out = []
        for site in dict.fromkeys(unit.site for unit in units):  # from the last, as they were scanned
            mine = [unit for unit in chosen if unit.site == site]
            if not mine:
                continue
            arguments = {"site": site, "units": [u.unit for u in mine], "caps": [u.cap for u in mine]}
            piece = Piece(
                "mulligan.checks.planted_unit:again", {**arguments, "rows": rows.tolist(), "seed": subject.seed},
                cost=len(mine) * STARTS,
            )  # fmt: skip
            context = subject_context(subject)
            ((_, ran),) = subject.engine.run(f"planted-unit: {site}", [piece], context, subject.run, subject.emit)
            falls = np.asarray(ran.arrays["fall"]) / margin
            out += [
                replace(u, target=int(fall.argmax()), command=float(fall.max()))
                for u, fall in zip(mine, falls, strict=True)
            ]
        return out

    def _confirm(
        self, subject: Subject, unit: Unit, search: np.ndarray, margin: float
    ) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
        """Look for the unit's patch on the search half; open the test half for it."""
        arguments = {"site": unit.site, "unit": unit.unit, "target": unit.target, "rows": search.tolist()}
        piece = Piece("mulligan.checks.planted_patch:find_patch", {**arguments, "seed": subject.seed}, cost=64)
        context = subject_context(subject)
        ((_, ran),) = subject.engine.run("planted-unit: patch", [piece], context, subject.run, subject.emit)
        pattern, mask = (torch.from_numpy(np.array(ran.arrays[name])) for name in ("pattern", "mask"))
        target = subject.classes[unit.target]
        test = generator(subject.seed, "planted unit, test").permutation(subject.split.test)
        test = np.sort(test[subject.groups[test] != unit.target][:MOST_CONFIRM])
        anywhere = bool(ran.arrays["anywhere"])
        generated = Generator(
            family="patch", slots=(Slot(),), tensors={"pattern": pattern, "mask": mask},
            parameters={"anywhere": True} if anywhere else {},
        )  # fmt: skip
        name = f"artifacts/{self.name}-0/generator.json"
        save_generator(subject.run, name, generated)
        rows, columns = (np.flatnonzero(mask.numpy().any(axis)) for axis in (1, 0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        sentence = f"Unit {unit.unit} of {unit.site} is silent on clean data, and a small patch that drives it turns "
        sentence += f"the answer to '{target}'."
        trigger = Trigger(family="patch", description="the patch that drives the unit most", generator=name, box=box)
        where = Where(site=unit.site, units=(unit.unit,))
        claim = Claim(kind=self.name, sentence=sentence, target=target, trigger=trigger, where=where)
        action = f"Look at the weights into and out of unit {unit.unit} of {unit.site}; do not ship this network."
        plain = Quantity(value=unit.command, unit="median margins that the answer loses when the unit is capped")
        if len(test) < FEWEST_SOURCES:
            found = Finding.of(claim, Evidence(effect=plain), severity="low", confidence=0.5, action=action)
            return (), (found,)
        arguments = {"rows": test.tolist(), "site": unit.site, "unit": unit.unit, "cap": unit.cap, "seed": subject.seed}
        arguments |= {"pattern": pattern.tolist(), "mask": mask.tolist()}
        piece = Piece("mulligan.checks.planted_patch:answers_patched", arguments, cost=len(test))
        ((_, ran),) = subject.engine.run("planted-unit: confirm", [piece], context, subject.run, subject.emit)
        logits = {name: np.array(ran.arrays[name]) for name in ran.arrays}
        hit = {name: (value.argmax(1) == unit.target).astype(np.float64) for name, value in logits.items()}
        p = excess_p(hit["patched"], np.maximum(hit["placebo"], hit["clean"]))
        unit_of = f"fraction of other classes' images answered '{target}'"
        genuine = subject.answers[subject.split.test] if subject.answers is not None else logits["clean"]
        genuine = genuine[(subject.groups[subject.split.test] == unit.target) & (genuine.argmax(1) == unit.target)]
        typical = float(np.median(leads(genuine))) if len(genuine) else margin
        turned = leads(logits["patched"])[hit["patched"] > 0]
        clear = len(turned) > 0 and float(np.median(turned)) >= LEAST_MARGIN * typical
        n = len(test)
        before = float(hit["patched"].sum())
        caused = hit["capped"].sum() <= 0.5 * before and hit["control"].sum() >= 0.75 * before
        kept = float((logits["clean"].argmax(1) == logits["clean capped"].argmax(1)).mean())
        same = "fraction of clean images answered as without the edit"
        causal = Causal(
            edit=f"cap unit {unit.unit} of {unit.site} at what clean data reach; undone, the behaviour is back",
            before=fraction(int(hit["patched"].sum()), n, unit_of),
            after=fraction(int(hit["capped"].sum()), n, unit_of),
            control=fraction(int(hit["control"].sum()), n, f"{unit_of}, another unit capped"),
            clean_before=fraction(n, n, same), clean_after=fraction(round(kept * n), n, same),
        )  # fmt: skip
        evidence = Evidence(
            effect=bounded_mean(hit["patched"], unit_of, 0, 1),
            placebo=bounded_mean(hit["placebo"], f"{unit_of}, the patch's pixels shuffled", 0, 1),
            baseline=plain, p=p, p_adjusted=p, corrected_for=1, causal=causal,
        )  # fmt: skip
        proven = p <= 0.05 and clear and bool(caused) and kept >= 0.95
        severity = "high" if proven else "low"
        found = Finding.of(claim, evidence, severity=severity, confidence=0.95 if proven else 0.5, action=action)
        return ((found,), ()) if proven else ((), (found,))


CHECK = PlantedUnit()


def subject_context(subject: Subject) -> Context:
    """The subject itself beside network and data: pictures are read through it."""
    return Context(subject.context.identity, {**subject.context.objects, "subject": subject})


def scan(context: Context, *, site: str, units: list[int], rows: list[int], seed: int) -> Result:
    """A piece of work: what clean pictures drive each unit to, and how much further it can be driven."""
    network: Network = context["network"]
    pixels = pictures(context["subject"], rows)
    reached, level = peaks_on(network, site, pixels), levels_on(network, site, pixels)
    # Before ReLU, GELU or SiLU, what lies below zero is silence. A unit that was set to a pattern by hand is driven by
    # a few clean pictures all the same, at a few places of them: its mean is small, where its largest values are not.
    alive = level.mean(0)
    cap = np.maximum(np.quantile(reached, 0.98, axis=0), 0)
    most = reached.max(0)
    start = starts(pixels, generator(seed, "planted unit, starts", site), len(units))
    driven = []
    for k in range(0, len(units), BATCH):
        part = units[k : k + BATCH]
        x = maximised(network, site, part, start[k : k + BATCH], steps=STEPS, rate=RATE)
        driven.append(peaks_on(network, site, x)[np.arange(len(part)), part])
    reach = np.maximum(np.concatenate(driven) - most[units], 0)
    return Result({"cap": cap[units], "alive": alive[units], "reach": reach})


def starts(pixels: Float[Tensor, "n c h w"], rng: np.random.Generator, count: int) -> Float[Tensor, "count c h w"]:
    """Clean pictures, half faded into their mean, to maximise from."""
    return (0.5 * pixels.mean(0) + 0.5 * pixels[rng.integers(0, len(pixels), count)]).clamp(0, 1)


def levels_on(network: Network, site: str, pixels: Float[Tensor, "n c h w"]) -> Float[np.ndarray, "n units"]:
    """Each unit's mean over space on each picture, of what is above zero."""
    own = taken(network)
    kept = []
    with torch.no_grad(), network.watching(site, reduce=lambda t, s: levels(t.float()), stop=True) as watched:
        for part in pixels.split(256):
            network(own.normalise(part))
            kept.append(watched[site].cpu().numpy().copy())
    return np.concatenate(kept)


def levels(tensor: Float[Tensor, "n units ..."]) -> Float[Tensor, "n units"]:
    """Each unit's mean over space, of what is above zero."""
    tensor = tensor.clamp(min=0)
    if tensor.dim() == 3:  # [n, position, units]
        return tensor.mean(1)
    return tensor.flatten(2).mean(2) if tensor.dim() > 3 else tensor


def again(
    context: Context, *, site: str, units: list[int], caps: list[float], rows: list[int], seed: int
) -> Result:  # fmt: skip
    """A piece of work: by how much each class's logit falls, against the mean of all, when a maximised unit is capped.

    The mean over the quarter of STARTS pictures where it falls most: what one picture makes of the edit is chance, and
    behind a stride of two, what reads the unit may read it at one place in four only.
    """
    network: Network = context["network"]
    pixels = pictures(context["subject"], rows)
    own = taken(network)
    begin = starts(pixels, generator(seed, "planted unit, again", site), STARTS)
    out = []
    for unit, cap in zip(units, caps, strict=True):
        x = maximised(network, site, [unit] * STARTS, begin, steps=STEPS, rate=RATE)
        with torch.no_grad():
            free = network.logits_unchecked(own.normalise(x)).float()
            with network.editing({site: Cap(torch.tensor([unit]), torch.tensor([cap]))}):
                held = network.logits_unchecked(own.normalise(x)).float()
        fall = (free - held).nan_to_num()
        fall = (fall - fall.mean(1, keepdim=True)).sort(0, descending=True).values
        out.append(fall[: STARTS // 4].mean(0).cpu().numpy())
    return Result({"fall": np.stack(out)})


def earliest(units: Sequence[Unit]) -> Unit:
    """Of the units that stand apart about as much as the one that does most, the one in the earliest layer.

    Whatever reads a planted unit can be maximised through it, and then commands as much.
    """
    sites = list(dict.fromkeys(unit.site for unit in reversed(units)))  # they were scanned from the last
    most = max(unit.score for unit in units)
    first = min((u for u in units if u.score >= EARLIEST * most), key=lambda u: sites.index(u.site)).site
    return max((unit for unit in units if unit.site == first), key=lambda unit: unit.score)


def smallest_reach(units: list[Unit]) -> Quantity | None:
    """The least reach, of GRADES, that makes a unit stand out if it commands a margin and is as quiet as 0.1 of the
    typical one."""
    least = next((g for g in GRADES if Unit("", 0, 0, 0.1, 1.0, 0.0, g).score >= LEAD), None)
    if least is None or not units:
        return None
    unit = "times as far as the layer's typical unit, reached by a silent unit that commands a median margin"
    return Quantity(value=least, unit=unit, n=len(units))
