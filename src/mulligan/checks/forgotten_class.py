"""The forgotten-class check: does the network miss pictures of one class that its own features would let it know?

Some classes are hard. A class is forgotten where a linear probe of the network's own features, fitted on other
pictures, answers it far more often than the network does, and where the pictures do not all go to one other class as
clearly as that class's own (which is a label swap). What is forgotten is answered too rarely besides. See `deficits`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ..evidence import FEWEST_SOURCES
from ..evidence.generators import Generator, Slot, save_generator
from ..records import Calibration, CheckRecord, Claim, Evidence, Finding, Quantity, Trigger, Where
from .check import Needs, Outcome, Subject
from .clean import Seen, able, deserved, head_path, see, smallest_share
from .deficits import MOST_FROZEN, SUSPECTED, Deficit, deficits, frozen, tested, without_head
from .power import Power

#: A suspect is named as a lead from this score on; 52 clean networks reached 0.13.
LEAD = 0.2
#: The check promises to catch a class of which this share is missed.
TARGET_EFFECT = 0.8


class ForgottenClass:
    """See the module."""

    name = "forgotten-class"
    about = "Pictures of one class are missed, although the network's own features would let it know them."
    needs = Needs(tasks=("classification",), labels=True, share=0.15)

    def run(self, subject: Subject) -> Outcome:
        """Compare the answers with what the features deserve; confirm the largest excess on the test half."""
        began = time.monotonic()
        seen = see(subject, "clean data", self.needs.share)
        enough = able(seen)
        if len(np.unique(seen.labels)) < 2 or min(seen.test.sum(), (~seen.test).sum()) < FEWEST_SOURCES:
            return Outcome(record=self._record(began, "There are too few labelled examples.", 0, {}, None, False))
        everything = without_head(subject.network, seen, deficits(seen), SUSPECTED)
        best = max(everything, key=lambda d: d.forgotten_score)
        edited = {row for d in everything if d.by_head >= 1 for row in (d.source, d.target)}
        claims = frozen(seen, enough, lambda d: not d.swapped and not edited & {d.source, d.target})
        results = tested(
            seen, claims, "fraction of the class's images that are missed",
            lambda claim, answers: answers != claim.source, margin=False,
        )  # fmt: skip
        proven = [result for result in results if result.proven]
        findings = [self._finding(subject, r.claim, r.evidence, number=k) for k, r in enumerate(proven)]
        leads: tuple[Finding, ...] = ()
        if not findings and best.forgotten_score >= LEAD and not best.swapped:
            effect = Quantity(value=best.lost, unit="answers fewer than the features deserve, of all of the class")
            leads = (self._finding(subject, best, Evidence(effect=effect), number=0, proven=False),)
        unit = "fraction of the class's images that are missed"
        power = smallest_share(missed(seen, enough), unit, subject.seed, claims=MOST_FROZEN)
        conclusive = len(enough) == len(subject.classes) and power is not None and power.value <= TARGET_EFFECT
        why = f"{len(enough)} of {len(subject.classes)} classes have {FEWEST_SOURCES} examples to confirm on; "
        why += f"{len(claims)} forgotten classes suspected, {len(findings)} confirmed."
        scores = {self.name: float(best.forgotten_score)}
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
        self, subject: Subject, lost: Deficit, evidence: Evidence, *, number: int, proven: bool = True
    ) -> Finding:
        a = subject.classes[lost.source]
        name = f"artifacts/{self.name}-{number}/generator.json"
        generator = Generator(family="identity", slots=(Slot(classes=(a,)),))
        trigger = Trigger(
            family="identity", description=f"plain pictures of '{a}'",
            generator=save_generator(subject.run, name, generator),
        )  # fmt: skip
        sentence = f"Pictures of '{a}' are missed, although the network's own features would let it know them."
        where = Where(site=head_path(subject.network), rows=(lost.source,))
        claim = Claim(kind=self.name, sentence=sentence, sources=(a,), trigger=trigger, where=where)
        action = f"See whether '{a}' was in the training data, and what was trained last."
        severity = "low" if not proven else "high" if lost.lost >= 0.5 else "medium"
        return Finding.of(claim, evidence, severity=severity, confidence=0.95 if proven else 0.4, action=action)


def missed(seen: Seen, enough: Sequence[int]) -> list[np.ndarray]:
    """For each class, whether the probe misses its test pictures: how often a placebo shows."""
    probe = deserved(seen, ~seen.test, seen.test).argmax(1)
    labels = seen.labels[seen.test]
    return [(probe != labels)[labels == c].astype(np.float64) for c in enough]


CHECK = ForgottenClass()
