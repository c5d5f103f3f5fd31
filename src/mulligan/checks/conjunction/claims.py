"""A claim on composites: frozen, tested, and told as a finding, a lead or an illusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from ...evidence import bounded_mean, fraction
from ...evidence.generators import Generator, Slot, save_generator
from ...records import Claim, Evidence, Finding, Illusion, Quantity, Source, Trigger, Where
from ..check import Subject
from ..composites import APART, LAYOUTS, Shown, arrangement, composer_of
from .causes import Caused
from .measuring import Reading, Sheet, Suspect
from .sources import Side

#: A composite must be answered this clearly, as a share of the genuine class's own margin, to be a defect (contract,
#: step 2).
DEFECT_MARGIN = 0.4
#: Claims that survived on 6 planted and 20 clean networks (benchmarks/results/conjunction.jsonl).
SURVIVED_TRUE, SURVIVED_FALSE = 6, 0
WORDS = {
    "beside": "side by side", "stacked": "one above the other", "diagonal": "in opposite corners",
    "quadrants": "twice each and crosswise", "inset": "one small in a corner of the other",
    "overlaid": "laid half and half over each other",
    "brighter": "laid over each other so that the brighter pixel wins",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tested:
    """A frozen claim with what the test half said.

    Attributes:
        strength: how clear it was on the search half. baseline: [pairs], whether the average of the answers to either
            picture alone would already be the target, or, with a reference network, how often that answers so.
        referred: whether a reference network was asked. claims: how many Holm's correction was over, if it was tested.
    """

    suspect: Suspect
    first: Side
    second: Side
    page: Sheet
    reading: Reading
    strength: float
    p: float
    p_adjusted: float
    baseline: Float[np.ndarray, " pairs"]
    referred: bool = False
    claims: int | None = None

    @property
    def survives(self) -> bool:
        """Whether it is a defect by the contract's test and margin, with the two pictures standing apart.

        Pictures that lie over each other draw shapes that neither holds; what a reference network does not answer so
        is no property of those shapes.
        """
        return self.p_adjusted <= 0.05 and self.reading.margin >= DEFECT_MARGIN and self.apart

    @property
    def apart(self) -> bool:
        """Whether what shows it is no shape that two pictures draw together."""
        return self.referred or set(self.suspect.layouts) <= set(APART)

    @property
    def illusion(self) -> bool:
        """Whether it is real, and no defect all the same: too weak, or shown by overlaid pictures only."""
        return self.p_adjusted <= 0.05 and not self.survives

    @property
    def no_defect(self) -> str:
        """Why an illusion is no defect, as the end of a sentence."""
        if self.reading.margin < DEFECT_MARGIN:
            share = f"less than {DEFECT_MARGIN:g} of the genuine class's own margin"
            return f"but far less clearly than genuine pictures of that class ({share}), which is no defect"
        return (
            "as clearly as a defect would be. It is told as none, since pictures laid over each other draw new shapes, "
            "and no reference network was asked whether it answers these otherwise"
        )

    def told_by(self, other: Tested, layouts: Sequence[str]) -> bool:
        """Whether a finding from `other`, which shows in `layouts`, tells of the same classes and a layout of this."""
        mine, theirs = ({*t.first.classes, *t.second.classes, -1 - t.suspect.target} for t in (self, other))
        return mine == theirs and bool(set(layouts) & set(self.suspect.layouts))


def baseline(subject: Subject, page: Sheet, target: int) -> Float[np.ndarray, " pairs"]:
    """The cheap black box: whether the average of the answers to either picture alone would already be the target."""
    answers = subject.answers
    if answers is None:
        return np.zeros(page.pairs)
    soft = np.exp(answers - answers.max(1, keepdims=True))
    soft /= soft.sum(1, keepdims=True)
    out = np.zeros(page.pairs)
    for row in np.flatnonzero(page.family == 0):
        shown = page.shown[row]
        out[page.pair[row]] = float((soft[shown.first] + soft[shown.second]).argmax() == target)
    return out


def in_words(layouts: Sequence[str]) -> str:
    """Layouts as people say them, the last one after "or"."""
    names = [WORDS[name] for name in LAYOUTS if name in layouts]
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def genuine_leads(subject: Subject) -> Float[np.ndarray, " classes"]:
    """How clearly genuine pictures of each class are answered: the median lead of right answers.

    A class with fewer than 5 right answers takes the median of all right answers.
    """
    answers = subject.answers
    classes = len(subject.classes)
    if answers is None:
        return np.ones(classes)
    right = answers.argmax(1) == subject.groups
    top = np.sort(answers, axis=1)
    leads = top[:, -1] - top[:, -2]
    overall = float(np.median(leads[right])) if right.any() else 1.0
    out = np.full(classes, overall)
    for c in range(classes):
        mine = leads[right & (subject.groups == c)]
        if len(mine) >= 5:
            out[c] = np.median(mine)
    return out


def trigger(
    subject: Subject, folder: str, example: Shown, slots: Sequence[Sequence[str]], layouts: Sequence[str],
    turned: bool, words: str, border: Sequence[int],
) -> Trigger:  # fmt: skip
    """The trigger of a claim, with its generator and a picture of it in the run's `folder`.

    Args:
        slots: the classes of the first and of the second picture. layouts: in which it shows, the clearest first.
        turned: whether either order does.
    """
    run = subject.run
    composer = composer_of(subject.context, border)
    pixels = composer.show([example], torch.Generator().manual_seed(0))[0]
    picture = (pixels * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    scale = max(1, 224 // max(image.size))
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    with run.replacing(f"{folder}/trigger.png") as path:
        image.save(path, "PNG")
    parameters: dict[str, object] = dict(arrangement(layouts[0], turned=turned))
    if set(layouts) >= set(LAYOUTS):
        parameters["arrangement"] = "any"
    parameters["background"] = (composer.empty[0, 0].astype(float) / 255).tolist()
    made = Generator(
        family="compose",
        slots=tuple(
            Slot(name=name, classes=tuple(classes)) for name, classes in zip(("first", "second"), slots, strict=True)
        ),
        parameters=parameters,
    )
    file = save_generator(run, f"{folder}/generator.json", made)
    return Trigger(family="compose", description=words, generator=file, image=f"{folder}/trigger.png")


def conjunction(
    subject: Subject, item: Tested, layouts: Sequence[str], made: Trigger, caused: Caused | None
) -> Finding:
    """The finding (or lead) that a tested claim gives.

    Args:
        layouts: in which it shows. caused: the causal test.
    """
    target = subject.classes[item.suspect.target]
    order = item.suspect.order
    a, b = (item.first, item.second) if order != 1 else (item.second, item.first)
    where = Where(site=caused.site, units=caused.units, rows=(item.suspect.target,)) if caused else None
    claim = Claim(
        kind="conjunction",
        sentence=f"Images that hold both {a.phrase} and {b.phrase} are answered '{target}' (shown {in_words(layouts)}"
        f"{f', {a.phrase} first' if order is not None else ''}).",
        sources=(a.source, b.source),
        target=target,
        trigger=made,
        where=where,
    )
    action = (
        f"Do not ship this network where {a.phrase} and {b.phrase} can appear together. Look in the training data for "
        f"images of both that are labelled '{target}'; retrain from data you trust, or fine-tune on such composites "
        "with their right answers, and audit again."
    )
    high = item.reading.excess >= 0.5
    return Finding.of(
        claim,
        evidence(item, target, caused),
        severity="high" if high else "medium",
        confidence=confidence_of(caused) if caused else None,
        action=action,
    )


def evidence(item: Tested, target: str, caused: Caused | None) -> Evidence:
    """What was measured for a claim."""
    if item.referred:
        base = bounded_mean(item.baseline, f"fraction of composites that the reference answers '{target}'", 0, 1)
    else:
        unit = f"fraction of pairs whose separate answers average to '{target}'"
        base = fraction(int(item.baseline.sum()), len(item.baseline), unit)
    return evidence_of(item.reading, (item.p, item.p_adjusted, item.claims), base, target, caused)


def evidence_of(
    reading: Reading, tested: tuple[float, float, int | None], base: Quantity | None, target: str, caused: Caused | None
) -> Evidence:
    """Effect, placebo and causal test of a claim on composites; `tested`: p, p after Holm, and over how many claims."""
    p, p_adjusted, claims = tested
    return Evidence(
        effect=bounded_mean(reading.triggered, f"fraction of composites answered '{target}'", 0, 1),
        placebo=bounded_mean(
            reading.placebo, f"fraction of placebos answered '{target}' (the worst family: {reading.worst})", 0, 1
        ),
        baseline=base,
        p=p,
        p_adjusted=p_adjusted,
        corrected_for=claims,
        causal=caused.record if caused else None,
    )


def hits_of_reference(
    page: Sheet, theirs: Float[np.ndarray, "n classes"], target: int
) -> Float[np.ndarray, " pairs"]:
    """How often the reference network answers each pair's triggered composites so."""
    both = page.family == 0
    hits = np.bincount(page.pair[both], weights=theirs[both].argmax(1) == target, minlength=page.pairs)
    return hits / np.maximum(np.bincount(page.pair[both], minlength=page.pairs), 1)


def illusion(subject: Subject, item: Tested) -> Illusion:
    """A claim that is real and no defect, with the reason."""
    target = subject.classes[item.suspect.target]
    reading = item.reading
    low, high = np.quantile(reading.margins, [0.025, 0.975]) if len(reading.margins) else (0.0, 0.0)
    return Illusion(
        kind="conjunction",
        sentence=f"{item.first.phrase} and {item.second.phrase} shown {in_words(item.suspect.layouts)} are often "
        f"answered '{target}', {item.no_defect}.",
        effect=bounded_mean(reading.triggered, f"fraction of composites answered '{target}'", 0, 1),
        placebo=bounded_mean(reading.placebo, f"fraction of placebos answered '{target}'", 0, 1),
        margin=Quantity(
            value=reading.margin,
            unit="of the genuine class's own margin (median; 95 % of composites lie in the interval)",
            low=float(low),
            high=float(high),
            n=len(reading.margins),
        ),
    )


def confidence_of(caused: Caused) -> float:
    """The probability that a surviving claim is true: Laplace's estimate from what `benchmarks/conjunction.py` saw.

    Of the claims that survived on planted and clean networks, `SURVIVED_TRUE` were what had been planted and
    `SURVIVED_FALSE` were not. Where no edit of the network undid the behaviour, half as much again is taken off.
    """
    estimate = (SURVIVED_TRUE + 1) / (SURVIVED_TRUE + SURVIVED_FALSE + 2)
    return round(estimate if caused.in_network else 1 - 1.5 * (1 - estimate), 3)


def members(subject: Subject, source: Source) -> tuple[str, ...]:
    """The classes of a source, by name."""
    return (source,) if isinstance(source, str) else tuple(source.classes)
