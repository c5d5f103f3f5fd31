"""The check for triggers in the pixels: a change of the picture after which it is answered as one class.

Search: families of changes (a patch, a pattern laid over, a warp, a filter, a style, an object) are inverted for every
target at once, and patches for every source and target; the size that a target needs is held against what the others
need. Each kind's best suspect is refined on the search half into a generator. Freeze, then confirm on the test half
against no change, and the change in disorder, mirrored or moved. Other targets are no placebo of that test: they enter
by the contrast. No trigger is laid over the network at run time, so the check's power is not known, and nothing found
is inconclusive. Wang et al. 2019 (Neural Cleanse), Shen et al. 2021 (arXiv:2102.05123) and Liu et al. 2019 (ABS) invert
patches.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...evidence import FEWEST_SOURCES
from ...records import Calibration, CheckRecord, CoverageLine, Finding, Noted, Quantity
from ...runs import generator
from ..check import Needs, Outcome, Subject
from .choosing import Ranked, rank
from .confirming import Tested, confirm
from .refining import Candidate, Refiner, row_of
from .reporting import report
from .survey import STEPS, Grounds, contrast, pair_residuals, survey

#: At most so many pictures of a class are looked at in either half.
MOST_A_CLASS = 40
#: At most so many classes are tried as targets; of more, those that random changes favour.
MOST_TARGETS = 40
#: Below this score nothing is reported. Of 16 clean networks of the game's bank, one lay above (2.93).
LEAD_SCORE = 2.5
#: A finding must lie further out than the 16 clean networks of the bank did on the scale of `choosing.CLEAN`.
FINDING_SCORE = 4.0
#: A finding's change must have cost the target less than half of what the next target needs, by this contrast.
FINDING_CONTRAST = 0.7
#: The mean displacement that turns pictures of clean networks, as a share of the picture's side: about so much.
USUAL_WARP = 0.04


@dataclass(frozen=True, slots=True)
class _Found:
    candidates: list[Candidate]
    ranked: Ranked


class Triggers:
    """See the module."""

    name = "triggers"
    about = "A change of the picture (patch, pattern, warp, filter, style, object) makes it be answered as one class."
    needs = Needs(tasks=("classification",), data="images", gradients=True, share=0.5)

    def run(self, subject: Subject) -> Outcome:
        """Search, freeze, confirm, edit."""
        began = time.monotonic()
        counts = np.bincount(subject.groups[subject.split.test], minlength=len(subject.classes))
        able = np.flatnonzero(counts >= FEWEST_SOURCES)
        if len(able) < 3:
            why = (
                f"Too few sources: {len(able)} of {len(subject.classes)} classes have {FEWEST_SOURCES} examples in the "
                f"half that confirms, and 3 are needed. Give at least {2 * FEWEST_SOURCES} examples a class."
            )
            return _outcome(subject, began, why, conclusive=False)
        grounds = grounds_of(subject, able)
        if isinstance(grounds, str):
            return _outcome(subject, began, grounds, conclusive=False)
        try:
            found = search(subject, grounds)
        except RuntimeError as error:
            if "grad" not in str(error):
                raise
            why = "The network gives no gradients, without which triggers are not searched for."
            return _outcome(subject, began, why, conclusive=False)
        scores = dict(found.ranked.scores)
        frozen = [one for one in found.candidates if scores[one.kind] > 0]
        tested = confirm(subject, grounds, frozen) if frozen and found.ranked.scores[found.ranked.kinds[0]] > 0 else []
        findings, leads = _reported(subject, grounds, tested, found.ranked)
        short = [what for what in subject.budget.short if what.startswith("triggers/")]
        examined = (len(STEPS) + 1) * len(grounds.targets)  # windows are one more
        examined += len(grounds.classes) * (len(grounds.targets) - 1)
        why = f"{examined} changes sought; {len(tested)} claims frozen, {len(findings)} survived."
        if not findings:
            why += " How weak a trigger it would have caught was not measured, so nothing found says little."
        if short:
            why += " The budget was too short for all steps."
        coverage = CoverageLine(
            what="targets of changes of the picture", examined=len(grounds.targets), total=len(subject.classes),
            unit="classes", why=f"{len(grounds.rows)} pictures searched on",
        )  # fmt: skip
        return _outcome(
            subject, began, why, conclusive=bool(findings), examined=examined, findings=findings, leads=leads,
            scores=scores, coverage=(coverage,), frozen=len(tested),
        )  # fmt: skip


CHECK = Triggers()


def _outcome(
    subject: Subject, began: float, why: str, *, conclusive: bool, examined: int = 0, findings: Sequence[Finding] = (),
    leads: Sequence[Finding] = (), scores: dict[str, float] | None = None, effect: Quantity | None = None,
    coverage: tuple[CoverageLine, ...] = (), frozen: int = 0,
) -> Outcome:  # fmt: skip
    record = CheckRecord(
        name=CHECK.name, status="ran", why=why, seconds=time.monotonic() - began, examined=examined,
        calibration=Calibration(kind="within-network", n=frozen), smallest_effect=effect, conclusive=conclusive,
        scores=scores or {},
    )  # fmt: skip
    if not conclusive:
        subject.emit(Noted(text=f"triggers: {why}"))
    return Outcome(record=record, findings=tuple(findings), leads=tuple(leads), coverage=coverage)


def grounds_of(subject: Subject, able: np.ndarray) -> Grounds | str:
    """What to search on: pictures of the search half that are answered rightly where a class has enough of these.

    A sentence where there is nothing to stand on.
    """
    answers = subject.answers
    if answers is None:
        return "The network's answers were not recorded."
    top = np.sort(answers, axis=1)
    leads, right = top[:, -1] - top[:, -2], answers.argmax(1) == subject.groups
    if not right.any():
        return "No picture is answered rightly."
    rows: list[int] = []
    for c in able:
        mine = subject.split.search[subject.groups[subject.split.search] == c]
        good = mine[right[mine]]
        chosen = good if len(good) >= 8 else mine
        mixed = generator(subject.seed, "triggers", int(c)).permutation(chosen)[:MOST_A_CLASS]
        rows += [int(i) for i in mixed]
    if len({int(subject.groups[row]) for row in rows}) < 3:
        return "Fewer than 3 classes have pictures to search on."
    overall = float(np.median(leads[right]))
    genuine = []
    for c in range(len(subject.classes)):
        mine = leads[right & (subject.groups == c)]
        genuine.append(max(float(np.median(mine)) if len(mine) >= 5 else overall, 1e-3))
    targets = [int(c) for c in able]
    if len(targets) > MOST_TARGETS:
        # Those that are most often answered wrongly: a trigger's target is drawn to by chance as well.
        wrong = np.bincount(answers.argmax(1)[~right], minlength=len(subject.classes))[able]
        mixed = generator(subject.seed, "triggers", "targets").permutation(len(able))
        targets = [int(able[k]) for k in sorted(mixed, key=lambda k: -wrong[k])[:MOST_TARGETS]]
    labels = [int(subject.groups[row]) for row in rows]
    return Grounds(rows=rows, labels=labels, targets=targets, genuine=genuine, seed=subject.seed)


def search(subject: Subject, grounds: Grounds) -> _Found:
    """Survey, and refine each kind's best suspect."""
    seen = survey(subject, grounds)
    targets = np.array(grounds.targets)
    price = subject.seconds_an_example * 16 * 3 * 30
    strength = subject.budget.buy("triggers/refinements", 10, price, share=0.3, least=3) / 10
    refiner = Refiner(subject.context, grounds, strength)
    candidates = []
    for name, found in seen.families.items():
        row, value = contrast(found.size.numpy().astype(np.float64))
        one = refiner.look(name, row_of(found, row), int(targets[row]), value)
        if name == "warp":
            # Sizes of warps settle late, so the survey's are too rough: the runner-up gets the same refinement, and the
            # ratio counts; so does how small the warp is, since large ones redraw the picture.
            second = int(np.argsort(found.size.numpy(), kind="stable")[1])
            rival = refiner.least(name, row_of(found, second), int(targets[second]))
            settled = max(float(np.log(rival / one.size)), 0.0)
            small = float(np.log(USUAL_WARP * one.features["extent"] / one.size))
            one = replace(one, contrast=settled + 0.5 * small)
        candidates.append(one)
    if seen.scan is not None:
        apart = seen.scan.contrasts()
        row = int(apart.argmax())
        candidates.append(refiner.patch(seen.scan, int(targets[row]), float(apart[row])))
    if seen.paired is not None:
        residuals = pair_residuals(seen.pairs, seen.paired.size.numpy().astype(np.float64))
        row, value = contrast(np.exp(residuals))
        source, target = seen.pairs[row]
        candidates.append(refiner.patch(None, target, value, source))
    return _Found(candidates, rank(candidates))


def _reported(
    subject: Subject, grounds: Grounds, tested: Sequence[Tested], ranked: Ranked
) -> tuple[list[Finding], list[Finding]]:
    """The first kind as a finding if it survives; else it, and others that stand out, as leads."""
    findings: list[Finding] = []
    leads: list[Finding] = []
    known = {item.candidate.kind: item for item in tested}
    for kind in ranked.kinds:
        item = known.get(kind)
        if item is None or ranked.scores[kind] < LEAD_SCORE:
            continue
        far = ranked.scores[kind] >= FINDING_SCORE and item.candidate.contrast >= FINDING_CONTRAST
        survives = item.survives and far and not findings
        one, demonstrated = report(subject, grounds, item, ranked.scores[kind], causal=survives)
        if survives and demonstrated and kind == ranked.kinds[0]:
            findings.append(one)
        elif len(leads) < 2:
            leads.append(one)
    return findings, leads


