"""The preprocessing check: are inputs prepared as they were when the network was trained?

Batch norms remember the mean and variance of what passed them in training. Inputs prepared otherwise arrive with other
statistics, and are answered worse. Each common preparation is tried on the search half. One that agrees much better
with what the first batch norms remember, or that is answered rightly more often, is frozen as the one claim; the test
half decides whether the network answers better under it. A network without batch norms is judged by its answers alone,
where labels are known.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from ..datasets import Dataset, batches
from ..evidence import FEWEST_SOURCES, fraction, mcnemar_p, sources
from ..evidence.generators import Generator, save_generator
from ..networks import ImageInput, Network
from ..records import (
    BadInput,
    Calibration,
    Causal,
    CheckRecord,
    Claim,
    Evidence,
    Finding,
    Quantity,
    Site,
    Trigger,
    Where,
)
from ..runs import Context, Piece, Result, digest
from .check import Needs, Outcome, Subject

#: Statistics must disagree this many times more under the given preparation than under another to suspect it.
RATIO = 1.5
#: The check promises to notice a loss of this share of right answers.
TARGET_EFFECT = 0.1
MOST_SEARCH, MOST_TEST = 160, 1000
#: The first batch norms that a picture passes: later ones have seen what earlier ones normalised.
MOST_NORMS = 3
#: Preparations in use: (name, mean, deviation) on a 0-1 scale of pixels.
COMMON = (
    ("ImageNet's mean and deviation", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ("(x - 127) / 128, which is pixels from -1 to 1", (127 / 255,) * 3, (128 / 255,) * 3),
    ("pixels from 0 to 1", (0.0,) * 3, (1.0,) * 3),
    ("pixels from 0 to 255", (0.0,) * 3, (1 / 255,) * 3),
    ("CIFAR-10's mean and deviation", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
)
#: The same for networks of one channel, which are given each of COMMON's too, averaged over colours.
COMMON_GREY = (
    ("MNIST's mean and deviation", (0.1307,), (0.3081,)),
    ("Fashion-MNIST's mean and deviation", (0.2860,), (0.3530,)),
)


@dataclass(frozen=True, slots=True)
class Preparation:
    """One way of preparing pictures."""

    name: str
    input: ImageInput


@dataclass(frozen=True, slots=True)
class Tried:
    """A preparation on the search half.

    Attributes:
        disagreement: with what the batch norms remember, in remembered deviations; infinite where it overflows.
        answers: [n], the network's answers.
    """

    way: Preparation
    disagreement: float
    answers: Int[np.ndarray, " n"]


class Preprocessing:
    """See the module."""

    name = "preprocessing"
    kinds = ("wrong-preprocessing",)
    about = "Inputs are not prepared as they were in training."
    needs = Needs(tasks=("classification",), data="images", share=0.15)

    def run(self, subject: Subject) -> Outcome:
        """Try the common preparations; confirm the better one by its answers."""
        began = time.monotonic()
        network, own = subject.network, subject.network.input
        norms = first_norms(network) if isinstance(own, ImageInput) else []
        if not isinstance(own, ImageInput) or not (norms or (subject.labels >= 0).any()):
            why = "The network has no batch norm that remembers its training, and no label is known."
            record = CheckRecord(name=self.name, status="skipped", why=why, seconds=time.monotonic() - began)
            return Outcome(record=record)
        ways = preparations(own)
        search, test = (_once(subject, half) for half in (subject.split.search, subject.split.test))
        price = len(ways) * subject.seconds_an_example
        n = subject.budget.buy(
            "preprocessing/examples a preparation", min(MOST_SEARCH, len(search)), price, share=self.needs.share,
            least=min(16, len(search)),
        )  # fmt: skip
        rows = search[:n]
        if not rows:
            why = "There are no examples to try preparations on."
            return self._outcome(began, why, ways, None, None, conclusive=False)
        tried = [self._try(subject, way, rows, norms) for way in ways]
        effect = smallest_loss(subject, rows, test, len(tried))
        figures = _nearest(tried) if norms else "no batch norms"
        score = suspicion(tried, subject.labels[rows])
        best = suspect(tried, subject.labels[rows])
        if best is not None:
            return self._confirm(subject, began, tried, best, test, norms, figures, effect, score)
        why = f"No other preparation agrees clearly better with the first {len(norms)} batch norms ({figures})"
        if not norms:
            why = "Without batch norms, no other preparation agrees better with what the network remembers"
        if effect is not None:
            why += ", or is answered rightly more often."
            return self._outcome(began, why, ways, effect, score, conclusive=effect.value <= TARGET_EFFECT)
        why += f"; answers could not be compared, since {self._incomparable(subject, rows, search[n:], test)}."
        return self._outcome(began, why, ways, None, score, conclusive=False)

    def _incomparable(self, subject: Subject, rows: list[int], unbought: list[int], test: list[int]) -> str:
        """Why answers on these examples of the search half say nothing."""
        known, more, held = (int((subject.labels[part] >= 0).sum()) for part in (rows, unbought, test))
        if not known + more + held:
            return "no label is known"
        if known >= FEWEST_SOURCES and held >= FEWEST_SOURCES:
            return "so few examples could prove no loss, however large"
        if known < FEWEST_SOURCES <= known + more:
            return f"the budget bought {known} labelled examples a preparation and {FEWEST_SOURCES} are needed"
        few = f"only {known + more} labelled examples are there to search on and {held} to confirm on"
        return f"{few}, and {FEWEST_SOURCES} of each are needed"

    def _try(self, subject: Subject, way: Preparation, rows: list[int], norms: list[str]) -> Tried:
        arguments = {"indices": rows, "norms": norms, "batch": subject.batch}
        piece = Piece("mulligan.checks.preprocessing:try_out", arguments, cost=len(rows))
        context = _context(subject, way)
        ((_, result),) = subject.engine.run(f"preprocessing: {way.name}", [piece], context, subject.run, subject.emit)
        distance = float(np.mean([result.arrays[f"{path}|distance"] for path in norms])) if norms else 0.0
        return Tried(way, distance if np.isfinite(distance) else float("inf"), result.arrays["answer"])

    def _confirm(
        self, subject: Subject, began: float, tried: list[Tried], best: int, test: list[int], norms: list[str],
        figures: str, effect: Quantity | None, score: float,
    ) -> Outcome:  # fmt: skip
        """Open the test half for the one claim."""
        given, better, ways = tried[0], tried[best], [one.way for one in tried]
        name = better.way.name
        known = [i for i in test if subject.labels[i] >= 0]
        n = subject.budget.buy(
            "preprocessing/examples to confirm on", min(MOST_TEST, len(known)), subject.seconds_an_example, share=0.3,
            least=min(100, len(known)),
        )  # fmt: skip
        rows = known[:n]
        fits = bool(norms) and given.disagreement >= RATIO * better.disagreement
        sentence = f"Inputs are not prepared as in training: the network answers better with {name}."
        if fits:
            sentence = f"Inputs are not prepared as in training: what the first batch norms remember fits {name}."
        generated = as_generator(given.way.input, better.way.input)
        generator = None
        if generated is not None:
            generator = save_generator(subject.run, "artifacts/wrong-preprocessing-0/generator.json", generated)
        trigger = Trigger(family="preparation", description=f"pictures prepared with {name}", generator=generator)
        where = Where(site=f"{norms[0]}.in") if norms else None
        claim = Claim(kind="wrong-preprocessing", sentence=sentence, trigger=trigger, where=where)
        action = f"Prepare inputs with {name}: --input {better.way.input.spec()}"
        unit = "times the disagreement with what the batch norms remember"
        ratio = Quantity(
            value=min(given.disagreement, 1e9) / max(better.disagreement, 1e-9), unit=unit, n=len(given.answers)
        ) if norms else None
        if len(rows) < FEWEST_SOURCES:
            finding = Finding.of(claim, Evidence(effect=ratio), severity="low", confidence=0.5, action=action)
            why = f"Fewer than {FEWEST_SOURCES} labelled examples are there to confirm {name} ({figures})."
            return self._outcome(began, why, ways, None, score, leads=(finding,), conclusive=False)
        labels = subject.labels[rows]
        was = self._answers(subject, given.way, rows) if subject.answers is None else subject.answers[rows].argmax(1)
        was, now = was == labels, self._answers(subject, better.way, rows) == labels
        gained, lost = int((now & ~was).sum()), int((was & ~now).sum())
        p = mcnemar_p(gained, lost)
        right = "fraction of images answered right"
        evidence = Evidence(
            effect=fraction(gained, len(rows), "fraction of images answered right only with the other preparation"),
            placebo=fraction(lost, len(rows), "fraction of images answered right only with the given preparation"),
            baseline=ratio, p=p, p_adjusted=p, corrected_for=1,
            causal=Causal(
                edit=f"prepare inputs with {name} instead; undone, the errors are back",
                before=fraction(int(was.sum()), len(rows), right), after=fraction(int(now.sum()), len(rows), right),
            ),
        )  # fmt: skip
        demonstrated = p <= 0.05
        loss = (gained - lost) / len(rows)
        severity = "low" if not demonstrated or loss < 0.02 else "high" if loss >= 0.2 else "medium"
        confidence = 0.97 if demonstrated else 0.4
        finding = Finding.of(claim, evidence, severity=severity, confidence=confidence, action=action)
        why = f"With {name}, {gained} of {len(rows)} test images turn from wrong to right, and {lost} the other way."
        why += f" Disagreement with the batch norms: {figures}." if norms else ""
        shown = ((finding,), ()) if demonstrated else ((), (finding,))
        conclusive = demonstrated or (effect is not None and effect.value <= TARGET_EFFECT)
        return self._outcome(
            began, why, ways, effect, score, findings=shown[0], leads=shown[1], conclusive=conclusive
        )

    def _answers(self, subject: Subject, way: Preparation, rows: list[int]) -> Int[np.ndarray, " n"]:
        parts = [rows[k : k + 128] for k in range(0, len(rows), 128)]
        arguments = [{"indices": part, "norms": [], "batch": subject.batch} for part in parts]
        pieces = [Piece("mulligan.checks.preprocessing:try_out", one, cost=len(one["indices"])) for one in arguments]
        ran = subject.engine.run("preprocessing: confirm", pieces, _context(subject, way), subject.run, subject.emit)
        return np.concatenate([result.arrays["answer"] for _, result in ran])

    def _outcome(
        self, began: float, why: str, ways: list[Preparation], effect: Quantity | None, score: float | None, *,
        conclusive: bool,
        findings: tuple[Finding, ...] = (), leads: tuple[Finding, ...] = (),
    ) -> Outcome:  # fmt: skip
        record = CheckRecord(
            name=self.name, status="ran", why=why, seconds=time.monotonic() - began, examined=len(ways),
            calibration=Calibration(kind="within-network", n=len(ways)), smallest_effect=effect,
            target_effect=TARGET_EFFECT, conclusive=conclusive,
            scores={} if score is None else {"wrong-preprocessing": score},
        )  # fmt: skip
        return Outcome(record=record, findings=findings, leads=leads)


CHECK = Preprocessing()


def _nearest(tried: Sequence[Tried]) -> str:
    """How far the given preparation is from what batch norms remember, and the nearest of the others."""
    given, others = tried[0], tried[1:]
    told = f"{given.way.name} is off by {given.disagreement:.2f}"
    if not others:
        return told
    best = min(others, key=lambda one: one.disagreement)
    return f"{told}, the nearest of {len(others)} others, {best.way.name}, by {best.disagreement:.2f}"


def suspect(tried: Sequence[Tried], labels: Int[np.ndarray, " n"]) -> int | None:
    """Which preparation to confirm instead of the first, the given one; None if none looks better."""
    best = int(np.argmin([one.disagreement for one in tried]))
    if best and tried[0].disagreement >= RATIO * tried[best].disagreement:
        return best
    # Some slips (blue and red exchanged) change statistics little and answers much.
    known = labels >= 0
    was = (tried[0].answers == labels)[known]
    ps = []
    for other in tried[1:]:
        now = (other.answers == labels)[known]
        ps.append(mcnemar_p(int((now & ~was).sum()), int((was & ~now).sum())) * (len(tried) - 1))
    return int(np.argmin(ps)) + 1 if ps and min(ps) <= 0.05 else None


def suspicion(tried: Sequence[Tried], labels: Int[np.ndarray, " n"]) -> float:
    """How much better the best other preparation is than the given one: below zero where none is.

    It adds the difference in right answers to half the log of how many times the statistics disagree more.
    """
    known = labels >= 0
    given = tried[0]
    best = -1.0
    for other in tried[1:]:
        was, now = (one.answers[known] == labels[known] for one in (given, other))
        gain = float(now.mean() - was.mean()) if known.any() else 0.0
        mine, theirs = (min(max(one.disagreement, 1e-3), 1e6) for one in (given, other))
        best = max(best, gain + 0.5 * float(np.clip(np.log(mine / theirs), -1, 2)))
    return best


def as_generator(given: ImageInput, better: ImageInput) -> Generator | None:
    """What must happen to pixels before the given preparation for the network to get the better one.

    None where the two differ by more than a generator may scale.
    """
    ratio = np.asarray(given.std) / np.asarray(better.std)
    offset = np.asarray(given.mean) - np.asarray(better.mean) * ratio
    if given.order == "bgr":  # means stand in the network's order, and pixels are red first outside it
        ratio, offset = ratio[::-1], offset[::-1]
    if max(np.abs(ratio).max(), np.abs(offset).max()) > 1e4:
        return None
    order = "bgr" if given.order != better.order else "rgb"
    parameters = {"scale": ratio.tolist(), "offset": offset.tolist(), "order": order}
    return Generator(family="preparation", parameters=parameters)


def smallest_loss(subject: Subject, search: Sequence[int], test: Sequence[int], tried: int) -> Quantity | None:
    """The least loss of answers that is suspected on the search half by answers alone, and confirmed on the test half.

    One image is reckoned lost the other way for five that are gained.

    Args:
        search, test: examples of either half. tried: how many preparations were tried, the given one included.
    """
    worst, least = 0.0, MOST_TEST
    for rows, alpha in ((search, 0.05 / max(tried - 1, 1)), (test[:MOST_TEST], 0.05)):
        n = int((subject.labels[list(rows)] >= 0).sum())
        needed = next((k for k in range(1, n + 1) if mcnemar_p(k, k // 5) <= alpha), None)
        if needed is None or n < FEWEST_SOURCES:
            return None
        worst, least = max(worst, needed / n), min(least, n)
    return Quantity(value=worst, unit="fraction of images answered right only with the right preparation", n=least)


def first_norms(network: Network, most: int = MOST_NORMS) -> list[str]:
    """Paths of the first batch norms that a picture passes and that remember statistics."""
    order = dict.fromkeys(step.path for step in network.dry_run.order if step.leaving)
    return [path for path in order if _remembered(network.taps.module(path)) is not None][:most]


def _remembered(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor] | None:
    """A batch norm's running mean and deviation, [channels]."""
    if not isinstance(module, nn.BatchNorm2d) or module.running_mean is None or module.running_var is None:
        return None
    return module.running_mean.double(), module.running_var.double().clamp(min=1e-12).sqrt()


def preparations(own: ImageInput) -> list[Preparation]:
    """The given preparation, then the common ones that differ from it and from each other, at the same size."""
    ways = [Preparation("the given preparation", own)]
    common = [*COMMON, *COMMON_GREY] if own.channels == 1 else list(COMMON)
    for name, mean, std in common:
        if own.channels == 1:
            mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
        elif own.order == "bgr":
            mean, std = mean[::-1], std[::-1]
        other = replace(own, mean=mean, std=std)
        if not any(_same(other, way.input) for way in ways):
            ways.append(Preparation(name, other))
    if own.channels == 3:
        # Exchanged just before the network, as when OpenCV has read the file: the means stay where they are.
        swapped = replace(own, order="bgr" if own.order == "rgb" else "rgb")
        ways.append(Preparation("blue and red exchanged", swapped))
    return ways


def _same(a: ImageInput, b: ImageInput) -> bool:
    """Whether two preparations give nearly the same numbers: (x - 127) / 128 is 2x - 1 to half a percent."""
    return np.allclose(a.mean, b.mean, rtol=0, atol=0.01) and np.allclose(a.std, b.std, rtol=0.05, atol=0)


def _once(subject: Subject, rows: Int[np.ndarray, " n"]) -> list[int]:
    """Examples of a half, in a random order that lasts, each content once: copies are not independent."""
    ids = [subject.dataset.ids[int(i)] for i in rows]
    _, first = np.unique(sources(ids), return_index=True)
    mixed = sorted(first.tolist(), key=lambda k: digest(str(subject.seed), "preprocessing", ids[k]))
    return [int(rows[k]) for k in mixed]


def _context(subject: Subject, way: Preparation) -> Context:
    network = subject.network.with_input(way.input)
    identity = digest(subject.network.identity, *way.input.steps(), way.input.spec(), subject.dataset.identity)
    return Context(identity, {"network": network, "dataset": subject.dataset})


def try_out(context: Context, *, indices: list[int], norms: list[str], batch: int) -> Result:
    """A piece of work: the answer on each example, and how far each norm's inputs are from what it remembers.

    The distance is the mean over channels of |mean - remembered mean| / remembered deviation + |log of the ratio of
    deviations|; channels that were nearly constant in training say nothing.
    """
    network: Network = context["network"]
    dataset: Dataset = context["dataset"]
    if network.input is None:
        raise BadInput("this network does not say what it takes", where=network.name, fix="pass --input")
    sums: dict[str, Float[torch.Tensor, "3 channels"]] = {}

    def reduce(tensor: torch.Tensor, site: Site) -> torch.Tensor:
        flat = tensor.transpose(0, 1).flatten(1).double()
        return torch.stack([flat.sum(1), (flat**2).sum(1), torch.full_like(flat[:, 0], flat.shape[1])])

    answers = []
    with torch.no_grad(), network.watching([f"{path}.in" for path in norms], reduce=reduce) as watched:
        for group in batches(dataset, network.input, indices, batch):
            # A preparation that makes the answers overflow is a bad one, not an error.
            answers.append(network.logits_unchecked(group.x, group.mask).argmax(1).cpu().numpy())
            for path in norms:
                sums[path] = sums.get(path, 0) + watched[f"{path}.in"]
    out: dict[str, np.ndarray] = {"answer": np.concatenate(answers)}
    for path in norms:
        total, squares, number = sums[path]
        mean = total / number
        deviation = (squares / number - mean**2).clamp(min=1e-12).sqrt()
        known = _remembered(network.taps.module(path))
        assert known is not None  # `first_norms` chose it
        remembered, spread = known
        live = spread > 1e-3 * spread.max()
        distance = ((mean - remembered).abs() / spread + (deviation / spread).log().abs())[live].mean()
        out[f"{path}|distance"] = np.asarray([float(distance)])
    return Result(out)
