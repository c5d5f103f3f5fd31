"""The check for triggers in the pixels: a change of the picture after which it is answered as one class.

Search: families of changes (a patch, a pattern laid over, a warp, a filter, a style, an object) are inverted for every
target at once, and patches for every source and target; the size that a target needs is held against what the others
need. Changes that people know and use (`known.py`) are tried as they are. All of it is held against a distilled network
(`checks/distilled.py`), where there is one: what is easy by nature is easy in that one too. It has what is written into
the code of the network, so a trigger that is no matter of weights is not told apart. Each kind's best suspect is
refined on the search half into a generator. Freeze, then confirm on the test half against no change, and the change in
disorder, mirrored or moved, or other known ones. Other targets are no placebo of that test: they enter by the contrast.
No trigger is laid over the network at run time, so the check's power is not known, and nothing found is inconclusive.
Wang et al. 2019 (Neural Cleanse), Shen et al. 2021 (arXiv:2102.05123) and Liu et al. 2019 (ABS) invert patches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...evidence import FEWEST_SOURCES, Generator
from ...networks import ImageInput
from ...records import Calibration, CheckRecord, CoverageLine, Finding, Noted, Quantity
from ...runs import generator
from ..check import Needs, Outcome, Subject
from .choosing import ALONE, BESIDE, KNOWN, WINDOW_GAIN, Ranked, deviations, rank, told
from .confirming import Tested, confirm
from .inversion import Inverted
from .known import known_changes
from .refining import Candidate, Refiner, row_of
from .reporting import WORDS, report
from .survey import HOPEFUL, STEPS, Grounds, Surveyed, contrast, contrasts, pair_residuals, survey

#: At most so many pictures of a class are looked at in either half; in the searched one also at least so many, and all
#: together hold no more numbers than this.
MOST_A_CLASS, LEAST_A_CLASS, MOST_VALUES = 40, 4, 1 << 26
#: At most so many classes are tried as targets; of more, those that random changes favour.
MOST_TARGETS = 40
#: Below this score nothing is reported: so far out lay one of 16 clean networks (see `choosing`).
LEAD_SCORE = 3.0
#: A finding must lie further out than all of these did.
FINDING_SCORE = 4.5
#: What lies below is not frozen: it could be no lead, and would cost the others power.
LEAST_FROZEN = 1.5
#: A finding's change must have cost the target less than half of what the next target needs, by this contrast.
FINDING_CONTRAST = 0.7
#: A known change must move this share of pictures more than it does in the distilled network.
FINDING_EXCESS = 0.4
#: A known change of fewer deviations above clean networks is no suspect.
KNOWN_SCORE = 1.5
#: The mean displacement that turns pictures of clean networks, as a share of the picture's side: about so much.
USUAL_WARP = 0.04


@dataclass(frozen=True, slots=True)
class _Found:
    candidates: list[Candidate]
    ranked: Ranked
    known: int


class Triggers:
    """See the module."""

    name = "triggers"
    kinds = tuple(WORDS)
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
        frozen = [one for one in found.candidates if scores[one.kind] >= LEAST_FROZEN]
        tested = confirm(subject, grounds, frozen) if frozen else []
        findings, leads = _reported(subject, grounds, tested, found.ranked)
        short = [what for what in subject.budget.short if what.startswith("triggers/")]
        examined = (len(STEPS) + 1) * len(grounds.targets)  # windows are one more
        examined += len(grounds.classes) * (len(grounds.targets) - 1)
        why = f"{examined} changes sought"
        why += f", {found.known} known ones tried" if found.known else ""
        why += f"; {len(tested)} claims frozen, {len(findings)} survived."
        if subject.distilled is None:
            why += " No distilled network was to be had to tell what is easy by nature."
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
    taken = subject.network.input
    assert isinstance(taken, ImageInput), "the check is for pictures"
    # All pictures lie in memory: of large ones fewer a class, and of many classes not every one.
    room = max(MOST_VALUES // (taken.channels * math.prod(taken.size)), 3 * LEAST_A_CLASS)
    shown = generator(subject.seed, "triggers", "classes").permutation(able)[: room // LEAST_A_CLASS]
    most = min(MOST_A_CLASS, max(room // len(shown), LEAST_A_CLASS))
    rows: list[int] = []
    for c in sorted(shown):
        mine = subject.split.search[subject.groups[subject.split.search] == c]
        good = mine[right[mine]]
        chosen = good if len(good) >= 8 else mine
        mixed = generator(subject.seed, "triggers", int(c)).permutation(chosen)[:most]
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
    refiner = Refiner(subject.context, grounds, strength, subject.distilled)
    candidates = [
        *(_of_family(refiner, name, targets, *both, seen.distilled) for name, both in seen.families.items()),
        *_of_windows(refiner, seen, targets), *_of_pairs(refiner, seen),
        *(one for one in _of_known(refiner, seen, targets) if one.kind not in subject.without),
    ]  # fmt: skip
    best: dict[str, Candidate] = {}
    for one in candidates:
        if one.kind not in best or told(one) > told(best[one.kind]):
            best[one.kind] = one
    candidates = list(best.values())
    return _Found(candidates, rank(candidates), 0 if seen.known is None else len(seen.known))


def _of_family(
    refiner: Refiner, name: str, targets: np.ndarray, own: Inverted, distilled: Inverted | None, beside: bool
) -> Candidate:
    """A family's best suspect."""
    sizes = own.size.numpy().astype(np.float64)
    others = distilled.size.numpy().astype(np.float64) if distilled is not None else None
    row, value = contrast(sizes, others)
    clean = (BESIDE if beside else ALONE)[name]
    hopeful = deviations(value, clean)
    if beside and hopeful < HOPEFUL:
        return replace(refiner.plain(name, row_of(own, row), int(targets[row]), value), score=hopeful)
    one = refiner.look(name, row_of(own, row), int(targets[row]), value)
    if name == "warp":
        # Sizes of warps settle late, so the survey's are too rough: the runner-up gets the same refinement, and the
        # ratio counts; so does how small the warp is, since large ones redraw the picture.
        second = next(int(k) for k in np.argsort(sizes, kind="stable") if k != row)
        rival = refiner.least(name, row_of(own, second), int(targets[second]))
        settled = max(float(np.log(rival / one.size)), 0.0)
        small = float(np.log(USUAL_WARP * one.features["extent"] / one.size))
        gained = float(contrasts(np.log(sizes / others))[row]) if others is not None else np.inf
        one = replace(one, contrast=min(settled + 0.5 * small, gained))
    return replace(one, score=deviations(one.contrast, clean))


def _of_windows(refiner: Refiner, seen: Surveyed, targets: np.ndarray) -> list[Candidate]:
    """The best window's patch. It must stand apart from windows for other targets, also by what the distilled network
    has not."""
    if seen.scan is None:
        return []
    own, distilled = seen.scan
    apart = own.contrasts().numpy()
    clean = (BESIDE if seen.distilled else ALONE)["patch"]
    gain = np.full(len(apart), np.inf)
    if distilled is not None:
        gain = np.array([deviations(float(value), WINDOW_GAIN) for value in own.gains(distilled)])
    scores = np.minimum([deviations(float(value), clean) for value in apart], gain)
    row = int(scores.argmax())
    target, value, score = int(targets[row]), float(apart[row]), float(scores[row])
    if seen.distilled and score < HOPEFUL:  # what the distilled network has as well is no patch of somebody's
        nothing = Generator(family="identity")
        return [Candidate(
            kind="patch", target=target, source=None, contrast=value, generator=nothing, success=0.0, clarity=0.0,
            change=0.0, size=0.0, features={"moved": 0.0}, score=score,
        )]  # fmt: skip
    one = refiner.patch(own, target, value, alone=not seen.distilled)
    return [replace(one, score=min(deviations(one.contrast, clean), float(gain[row])))]


def _of_pairs(refiner: Refiner, seen: Surveyed) -> list[Candidate]:
    """The patch of the source and target that need less than either lets expect."""
    if seen.paired is None:
        return []
    own, distilled = seen.paired
    sizes = own.size.numpy().astype(np.float64)
    residuals = pair_residuals(seen.pairs, sizes)
    if distilled is not None:
        gained = pair_residuals(seen.pairs, sizes / distilled.size.numpy().astype(np.float64))
        residuals = np.maximum(residuals, gained)
    row, value = contrast(np.exp(residuals))
    source, target = seen.pairs[row]
    clean = (BESIDE if seen.distilled else ALONE)["patch-by-source"]
    score = deviations(value, clean)
    if seen.distilled and score < HOPEFUL:
        return [replace(refiner.plain("patch-by-source", row_of(own, row), target, value, source), score=score)]
    return [replace(refiner.patch(None, target, value, source), score=score)]


def _of_known(refiner: Refiner, seen: Surveyed, targets: np.ndarray) -> list[Candidate]:
    """Each kind's known change that moves most pictures, where it moves more than such changes do by nature."""
    if seen.known is None:
        return []
    kinds = np.array([kind for kind, _ in known_changes(refiner.shape)])
    found = []
    for kind in dict.fromkeys(kinds.tolist()):
        mine = np.flatnonzero(kinds == kind)
        change, column = np.unravel_index(int(seen.known[mine].argmax()), (len(mine), len(targets)))
        excess = float(seen.known[mine[change], column])
        score = deviations(excess, KNOWN[kind])
        if score > KNOWN_SCORE:
            one = refiner.known(kind, int(mine[change]), int(targets[column]), excess)
            found.append(replace(one, score=score))
    return found


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
        least = FINDING_EXCESS if item.candidate.known else FINDING_CONTRAST
        far = ranked.scores[kind] >= FINDING_SCORE and item.candidate.contrast >= least
        survives = item.survives and far and not findings
        one, demonstrated = report(subject, grounds, item, ranked.scores[kind], causal=survives)
        if survives and demonstrated and kind == ranked.kinds[0]:
            findings.append(one)
        elif len(leads) < 2:
            leads.append(one)
    return findings, leads


