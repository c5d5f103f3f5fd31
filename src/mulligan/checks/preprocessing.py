"""The preprocessing check: are inputs prepared as they were when the network was trained?

Batch norms remember the mean and variance of what passed them in training. Inputs prepared otherwise arrive with other
statistics. Each common preparation is tried on the search half; if one agrees much better with what the first batch norms
remember, the test half decides whether the network answers better under it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from ..datasets import Dataset, batches
from ..evidence import FEWEST_SOURCES, fraction, mcnemar_p
from ..networks import ImageInput, Network
from ..records import Calibration, Causal, CheckRecord, Claim, Evidence, Finding, Quantity, Where
from ..runs import Context, Piece, Result, digest
from .check import Needs, Outcome, Subject

#: Statistics must disagree this many times more under the given preparation than under another to suspect it.
RATIO = 1.5
#: The check promises to notice a loss of this share of right answers.
TARGET_EFFECT = 0.1
MOST_SEARCH, MOST_TEST = 128, 1000
#: Preparations in use: (name, mean, deviation) on a 0-1 scale of pixels.
COMMON = (
    ("ImageNet's mean and deviation", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ("pixels from -1 to 1", (0.5,) * 3, (0.5,) * 3),
    ("(x - 127) / 128", (127 / 255,) * 3, (128 / 255,) * 3),
    ("pixels from 0 to 1", (0.0,) * 3, (1.0,) * 3),
    ("pixels from 0 to 255", (0.0,) * 3, (1 / 255,) * 3),
    ("CIFAR-10's mean and deviation", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
)


@dataclass(frozen=True, slots=True)
class Preparation:
    """One way of preparing pictures."""

    name: str
    input: ImageInput


class Preprocessing:
    """See the module."""

    name = "preprocessing"
    about = "Inputs are not prepared as they were in training."
    needs = Needs(tasks=("classification",), data="images", share=0.15)

    def run(self, subject: Subject) -> Outcome:
        """Compare statistics under common preparations; confirm the better one by its answers."""
        began = time.monotonic()
        network, own = subject.network, subject.network.input
        norms = first_norms(network)
        if not norms or not isinstance(own, ImageInput):
            return self._outcome(subject, began, "skipped", "The network has no batch norm that remembers the statistics of its training.", 0)
        tried = preparations(own)
        price = len(tried) * subject.seconds_an_example
        n = subject.budget.buy("preprocessing/examples a preparation", min(MOST_SEARCH, len(subject.split.search)), price, share=self.needs.share, least=min(16, len(subject.split.search)))
        rows = [int(i) for i in subject.split.search[:n]]
        disagreement = [self._disagreement(subject, way, rows, norms) for way in tried]
        best = int(np.argmin(disagreement))
        figures = ", ".join(f"{way.name} {value:.2f}" for way, value in zip(tried, disagreement, strict=True))
        if best == 0 or disagreement[0] < RATIO * disagreement[best]:
            effect = self._smallest(subject)
            why = f"Statistics of inputs agree with what the first {len(norms)} batch norms remember (disagreement: {figures})."
            return self._outcome(subject, began, "ran", why, len(tried), effect=effect, conclusive=effect is not None and effect.value <= TARGET_EFFECT)
        return self._confirm(subject, began, tried, best, disagreement, figures, norms)

    def _disagreement(self, subject: Subject, way: Preparation, rows: list[int], norms: list[str]) -> float:
        context = _context(subject, way)
        piece = Piece("mulligan.checks.preprocessing:norm_statistics", {"indices": rows, "norms": norms, "batch": subject.batch}, cost=len(rows))
        ((_, result),) = subject.engine.run(f"preprocessing: {way.name}", [piece], context, subject.run, subject.emit)
        return float(np.mean([result.arrays[f"{path}|distance"] for path in norms]))

    def _confirm(self, subject: Subject, began: float, tried: list[Preparation], best: int, disagreement: list[float], figures: str, norms: list[str]) -> Outcome:
        given, better = tried[0], tried[best]
        known = [int(i) for i in subject.split.test if subject.labels[i] >= 0]
        n = subject.budget.buy("preprocessing/examples to confirm on", min(MOST_TEST, len(known)), subject.seconds_an_example, share=0.3, least=min(100, len(known)))
        rows = known[:n]
        where = Where(site=f"{norms[0]}.in")
        sentence = f"Inputs are not prepared as in training: the first batch norms remember statistics that fit '{better.name}', not '{given.name}'."
        action = f"Prepare inputs with {better.name}: --input {better.input.spec()}"
        ratio = Quantity(value=disagreement[0] / max(disagreement[best], 1e-9), unit="times the disagreement with what the batch norms remember", n=len(norms))
        claim = Claim(kind="wrong-preprocessing", sentence=sentence, where=where)
        if len(rows) < FEWEST_SOURCES:
            finding = Finding.of(claim, Evidence(effect=ratio), severity="medium", confidence=0.5, action=action)
            why = f"Another preparation fits better ({figures}), but fewer than {FEWEST_SOURCES} labelled examples are there to confirm it."
            return self._outcome(subject, began, "ran", why, len(tried), leads=(finding,), conclusive=False)
        context = _context(subject, better)
        pieces = [Piece("mulligan.checks.preprocessing:answers", {"indices": rows[k : k + 128], "batch": subject.batch}, cost=128) for k in range(0, len(rows), 128)]
        after = np.concatenate([r.arrays["answer"] for _, r in subject.engine.run("preprocessing: confirm", pieces, context, subject.run, subject.emit)])
        labels = subject.labels[rows]
        before = subject.answers[rows].argmax(1) if subject.answers is not None else after
        was, now = before == labels, after == labels
        gained, lost = int((now & ~was).sum()), int((was & ~now).sum())
        p = mcnemar_p(gained, lost)
        unit = "fraction of images answered right"
        evidence = Evidence(
            effect=fraction(gained, len(rows), "fraction of images that this preparation alone answers wrongly"),
            placebo=fraction(lost, len(rows), "fraction of images that the other preparation alone answers wrongly"),
            baseline=ratio, p=p, p_adjusted=p,
            causal=Causal(
                edit=f"prepare inputs with {better.name} instead; undone, the errors are back", before=fraction(int(was.sum()), len(rows), unit),
                after=fraction(int(now.sum()), len(rows), unit),
            ),
        )  # fmt: skip
        demonstrated = p <= 0.05
        loss = (gained - lost) / len(rows)
        finding = Finding.of(claim, evidence, severity="high" if loss >= 0.2 else "medium", confidence=0.97 if demonstrated else 0.4, action=action)
        why = f"Another preparation fits better (disagreement: {figures}); on the test half it answers {gained} images right that were wrong, and {lost} the other way."
        return self._outcome(
            subject, began, "ran", why, len(tried), findings=(finding,) if demonstrated else (), leads=() if demonstrated else (finding,), effect=self._smallest(subject),
        )  # fmt: skip

    def _smallest(self, subject: Subject) -> Quantity | None:
        """The least loss of answers that McNemar's test would confirm on this many labelled examples, none gained."""
        n = min(MOST_TEST, int((subject.labels[subject.split.test] >= 0).sum()))
        needed = next((k for k in range(1, n + 1) if mcnemar_p(k, 0) <= 0.05), None)
        if needed is None:
            return None
        # As many again may be lost by chance the other way: one in five of those gained.
        needed = next((k for k in range(needed, n + 1) if mcnemar_p(k, k // 5) <= 0.05), n)
        return Quantity(value=needed / n, unit="fraction of images answered right only with the right preparation", n=n)

    def _outcome(
        self, subject: Subject, began: float, status: str, why: str, examined: int, *, findings: tuple[Finding, ...] = (), leads: tuple[Finding, ...] = (),
        effect: Quantity | None = None, conclusive: bool = True,
    ) -> Outcome:  # fmt: skip
        record = CheckRecord(
            name=self.name, status="skipped" if status == "skipped" else "ran", why=why, seconds=time.monotonic() - began, examined=examined,
            calibration=Calibration(kind="within-network", n=examined), smallest_effect=effect, target_effect=TARGET_EFFECT if status == "ran" else None, conclusive=conclusive,
        )  # fmt: skip
        return Outcome(record=record, findings=findings, leads=leads)


CHECK = Preprocessing()


def first_norms(network: Network, most: int = 3) -> list[str]:
    """Paths of the first batch norms that a picture passes."""
    order = [step.path for step in network.dry_run.order if step.leaving]
    return [path for path in dict.fromkeys(order) if isinstance(network.taps.module(path), nn.BatchNorm2d) and getattr(network.taps.module(path), "running_mean", None) is not None][:most]


def preparations(own: ImageInput) -> list[Preparation]:
    """The given preparation, then the common ones that differ from it, at the same size."""
    ways = [Preparation("the given preparation", own)]
    for name, mean, std in COMMON:
        if own.channels == 1:
            mean, std = (sum(mean) / 3,), (sum(std) / 3,)
        other = replace(own, mean=mean, std=std)
        same = any(np.allclose(other.mean, way.input.mean, atol=0.01) and np.allclose(other.std, way.input.std, rtol=0.05) for way in ways)
        if not same:
            ways.append(Preparation(name, other))
    if own.channels == 3:
        ways.append(Preparation("blue and red exchanged", replace(own, order="bgr" if own.order == "rgb" else "rgb")))
    return ways


def _context(subject: Subject, way: Preparation) -> Context:
    network = subject.network.with_input(way.input)
    return Context(digest(subject.network.identity, *way.input.steps(), subject.dataset.identity), {"network": network, "dataset": subject.dataset})


def norm_statistics(context: Context, *, indices: list[int], norms: list[str], batch: int) -> Result:
    """A piece of work: how far each norm's inputs are from what it remembers.

    The distance is the mean over channels of |mean - remembered mean| / remembered deviation + |log of the ratio of deviations|.
    """
    network: Network = context["network"]
    dataset: Dataset = context["dataset"]
    sums: dict[str, list[Float[torch.Tensor, " channels"]]] = {path: [] for path in norms}
    counts: dict[str, int] = dict.fromkeys(norms, 0)

    def reduce(tensor: torch.Tensor, site: object) -> torch.Tensor:
        flat = tensor.transpose(0, 1).flatten(1).double()
        return torch.stack([flat.sum(1), (flat**2).sum(1), torch.full_like(flat[:, 0], flat.shape[1])])

    with torch.no_grad(), network.watching([f"{path}.in" for path in norms], reduce=reduce) as watched:
        for group in batches(dataset, network.input, indices, batch):  # type: ignore[arg-type]
            network.logits_unchecked(group.x, group.mask)
            for path in norms:
                sums[path].append(watched[f"{path}.in"])
                counts[path] += 1
    out = {}
    for path in norms:
        total, squares, number = torch.stack(sums[path]).sum(0)
        mean = total / number
        deviation = (squares / number - mean**2).clamp(min=1e-12).sqrt()
        norm = network.taps.module(path)
        remembered: torch.Tensor = norm.running_mean.double()  # type: ignore[union-attr, operator]
        spread: torch.Tensor = norm.running_var.double().clamp(min=1e-12).sqrt()  # type: ignore[union-attr, operator]
        live = spread > 1e-3 * spread.max()  # channels that never did anything say nothing
        distance = ((mean - remembered).abs() / spread + (deviation / spread).log().abs())[live].mean()
        out[f"{path}|distance"] = np.asarray(float(distance))
    return Result(out)


def answers(context: Context, *, indices: list[int], batch: int) -> Result:
    """A piece of work: the network's answer on each example."""
    network: Network = context["network"]
    kept = []
    with torch.no_grad():
        for group in batches(context["dataset"], network.input, indices, batch):  # type: ignore[arg-type]
            kept.append(network.logits(group.x, group.mask).argmax(1).cpu().numpy())
    return Result({"answer": np.concatenate(kept)})
