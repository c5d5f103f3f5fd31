"""The label-swap check: are pictures of one class answered as another, although their features tell them apart?

A class whose pictures look like another's is confused with it by any reader of the features. Here the network's answers
are held against those of a linear probe of its own features, fitted on other pictures: what the network answers b and
the probe does not is in excess of natural confusion. Where only some labels were exchanged, features do not tell the
two apart any more, and a pair shows by its answers alone. See `deficits`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..evidence import FEWEST_SOURCES
from ..evidence.generators import Generator, Slot, save_generator
from ..records import Calibration, CheckRecord, Claim, Evidence, Finding, Quantity, Trigger, Where
from .check import Needs, Outcome, Subject
from .clean import Seen, able, deserved, head_path, see, smallest_share
from .deficits import MOST_FROZEN, SUSPECTED, Deficit, deficits, frozen, most_exchanged, tested, without_head
from .power import Power

#: A suspect is named as a lead from this score on; 52 clean networks reached 0.14 (cats and dogs of CIFAR-10).
LEAD = 0.18
#: Two classes were exchanged if the one's pictures go to the other at least this much as often as the other way.
MUTUAL = 0.4
#: The check promises to catch a swap of this share of a class's pictures.
TARGET_EFFECT = 0.8


class LabelSwap:
    """See the module."""

    name = "label-swap"
    about = "Pictures of one class are answered as another class, although their features tell them apart."
    needs = Needs(tasks=("classification",), labels=True, share=0.15)

    def run(self, subject: Subject) -> Outcome:
        """Compare the answers with what the features deserve; confirm the largest excess on the test half."""
        began = time.monotonic()
        seen = see(subject, "clean data", self.needs.share)
        enough = able(seen)
        if len(np.unique(seen.labels)) < 2 or min(seen.test.sum(), (~seen.test).sum()) < FEWEST_SOURCES:
            return Outcome(record=self._record(began, "There are too few labelled examples.", 0, {}, None, False))
        everything = without_head(subject.network, seen, deficits(seen), SUSPECTED)
        best = max(everything, key=lambda d: d.swap_score)
        pair, by_source = most_exchanged(seen), {d.source: d for d in everything}
        mixed_score = 0.0
        if pair is not None:
            mixed_score = pair.score * (1 - max(by_source[one].by_head for one in (pair.one, pair.other)))
        edited = {row for d in everything if d.by_head >= 1 for row in (d.source, d.target)}
        claims = frozen(seen, enough, lambda d: d.swapped and not edited & {d.source, d.target})
        results = tested(
            seen, claims, "fraction of the class's images answered as the other",
            lambda claim, answers: answers == claim.target, margin=True,
        )  # fmt: skip
        proven = {t.claim.source: t for t in results if t.proven}
        findings: list[Finding] = []
        for source, result in proven.items():
            claim = result.claim
            back = proven.get(claim.target)
            mutual = exchanged(claim, everything)
            if mutual and back is not None and back.claim.target == source and back.claim.lost > claim.lost:
                continue  # told once, from the side that lost more
            findings.append(self._finding(subject, claim, result.evidence, mutual=mutual, number=len(findings)))
        leads: tuple[Finding, ...] = ()
        if not findings and pair is not None and mixed_score >= max(LEAD, best.swap_score):
            effect = Quantity(value=pair.score, unit="of both classes' answers exchanged, as far as hardly told apart")
            swap = replace(by_source[pair.one], target=pair.other)
            leads = (self._finding(subject, swap, Evidence(effect=effect), mutual=True, number=0, proven=False),)
        elif not findings and best.swap_score >= LEAD and best.swapped:
            unit = "of the class's answers, in excess of what the features deserve"
            effect = Quantity(value=best.excess, unit=unit)
            mutual = exchanged(best, everything)
            leads = (self._finding(subject, best, Evidence(effect=effect), mutual=mutual, number=0, proven=False),)
        unit = "fraction of the class's images answered as another"
        power = smallest_share(natural(seen, enough), unit, subject.seed, claims=MOST_FROZEN)
        conclusive = len(enough) == len(subject.classes) and power is not None and power.value <= TARGET_EFFECT
        why = f"{len(enough)} of {len(subject.classes)} classes have {FEWEST_SOURCES} examples to confirm on; "
        why += f"{len(claims)} swaps suspected, {len(findings)} confirmed."
        scores = {self.name: float(max(best.swap_score, mixed_score))}
        record = self._record(began, why, len(everything), scores, power, conclusive)
        return Outcome(record=record, findings=tuple(findings), leads=leads)

    def _record(
        self, began: float, why: str, examined: int, scores: dict[str, float], power: Power | None, conclusive: bool
    ) -> CheckRecord:
        return CheckRecord(
            name=self.name, status="ran", why=why, seconds=time.monotonic() - began, examined=examined,
            calibration=Calibration(kind="within-network", n=examined),
            smallest_effect=power and power.smallest, caught=power and power.caught,
            target_effect=TARGET_EFFECT, conclusive=conclusive, scores=scores,
        )  # fmt: skip

    def _finding(
        self, subject: Subject, swap: Deficit, evidence: Evidence, *, mutual: bool, number: int, proven: bool = True
    ) -> Finding:
        a, b = subject.classes[swap.source], subject.classes[swap.target]
        name = f"artifacts/{self.name}-{number}/generator.json"
        generator = Generator(family="identity", slots=(Slot(classes=(a, b) if mutual else (a,)),))
        trigger = Trigger(
            family="identity", description=f"plain pictures of '{a}'",
            generator=save_generator(subject.run, name, generator),
        )  # fmt: skip
        sentence = f"Pictures of '{a}' are answered '{b}'" + (f", and those of '{b}' '{a}'" if mutual else "")
        # What was not confirmed may be a mixture that reached the features.
        sentence += (
            ", although the network's own features tell the two apart." if proven else ", more than likeness explains."
        )
        where = Where(site=head_path(subject.network), rows=(swap.source, swap.target))
        sources = (a, b) if mutual else (a,)
        target = None if mutual else b  # each is answered as the other
        claim = Claim(kind=self.name, sentence=sentence, sources=sources, target=target, trigger=trigger, where=where)
        action = f"Look at the labels of '{a}' in the training data, and at what was trained last."
        severity = "low" if not proven else "high" if swap.lost >= 0.5 else "medium"
        confidence = 0.95 if proven else 0.4
        return Finding.of(claim, evidence, severity=severity, confidence=confidence, action=action)


def exchanged(swap: Deficit, everything: Sequence[Deficit]) -> bool:
    """Whether the other class's pictures go the other way."""
    back = next((d for d in everything if d.source == swap.target), None)
    return back is not None and back.target == swap.source and back.excess >= MUTUAL * swap.excess


def natural(seen: Seen, enough: Sequence[int]) -> list[np.ndarray]:
    """For each class, whether the probe answers its test pictures as the class that it takes them for most often."""
    probe = deserved(seen, ~seen.test, seen.test).argmax(1)
    labels = seen.labels[seen.test]
    out = []
    for c in enough:
        mine = probe[labels == c]
        counts = np.bincount(mine, minlength=seen.logits.shape[1])
        counts[c] = -1
        out.append((mine == counts.argmax()).astype(np.float64))
    return out


CHECK = LabelSwap()
