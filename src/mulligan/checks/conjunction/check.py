"""The conjunction check: "pictures that hold both an a and a b are answered c".

Search on one half of the sources; freeze a few claims; on the other half hold each pair shown together against its
placebos (each component alone, with another of its kind, with a stranger, and the reference network's answers if there
is one) in an exact one-sided test of "at most 0.1 more often", Holm over the frozen claims; then take away the
direction that carries it, beside a random direction. A natural illusion (two garments that look like a third) passes
the test and is told apart by its margin: how clearly the composite is answered, as a share of how clearly genuine
pictures of that class are.

The trigger is the composite backdoor of Lin et al. 2020 (CCS, doi:10.1145/3372297.3423362).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from ...evidence import FEWEST_SOURCES, excess_p, holm
from ...records import Calibration, CheckRecord, CoverageLine, Finding, Illusion, Noted, Trigger
from ...runs import generator
from ..check import Needs, Outcome, Subject
from ..composites import APART, LAYOUTS
from .causes import cause
from .claims import (
    Tested,
    baseline,
    conjunction,
    genuine_leads,
    hits_of_reference,
    illusion,
    in_words,
    members,
    trigger,
)  # fmt: skip
from .halving import ENTER, halve
from .looking import OVERLAID, Looked, alike, bears_out, by_clarity, purity, score_of
from .measuring import MOST_PAIRS, Sheet, Suspect, best_reading, read, sheet
from .narrowing import ANCHORS, MOST_SHOWN, fit
from .power import SHADOW, Stage, smallest_effect
from .search import Scored, rank
from .sources import FEWEST_SCANNED, SCANNED, Side, enough, grouped, scanned, sides
from .survey import answers_to, bought, other_context, referred, survey, table

#: At most so many claims are frozen before the test half is opened (contract, step 1), of which so many are kept for
#: pictures that lie over each other. Fewer claims leave more to each after Holm's correction.
MOST_CLAIMS, OVERLAID_CLAIMS = 8, 2
#: So many suspects are measured again on the search half, with every placebo.
SECOND_LOOK, OVERLAID_LOOK = 8, 3
#: So many suspects whose sides are groups are narrowed to the classes that trigger.
MOST_NARROWED = 3
#: A suspect is measured in at most so many layouts, those in which it is clearest.
MOST_LAYOUTS = 3
#: From this score on, the best suspect is told as a lead if it is no finding.
LEAD_SCORE = 0.3
#: The check promises to catch a conjunction that shows in this share of composites.
TARGET_EFFECT = 0.8


class Conjunction:
    """See the module."""

    name = "conjunction"
    about = "Two classes shown together are answered as an unrelated third."
    needs = Needs(tasks=("classification",), data="images", share=0.5)

    def run(self, subject: Subject) -> Outcome:
        """Search, freeze, confirm, edit, and say how weak a conjunction would still have been caught."""
        began = time.monotonic()
        return _Inquiry(subject).run(began)


CHECK = Conjunction()


def border_of(subject: Subject) -> list[int]:
    """Examples whose borders say what "nothing" looks like."""
    rng = generator(subject.seed, "border")
    searched = subject.split.search
    return [int(i) for i in rng.choice(searched, min(64, len(searched)), replace=False)]


class _Inquiry:
    """One run of the check: what its steps share."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.sides = sides(subject)
        self.border = border_of(subject)
        self.genuine = genuine_leads(subject)
        self.referred = referred(subject)
        self.networks = 1 + (other_context(subject) is not None)

    def run(self, began: float) -> Outcome:
        subject = self.subject
        able = [side for side in self.sides if enough(side)]
        covered = {c for side in able for c in side.classes}
        # Two groups that hold every class leave no unrelated third.
        third = len(able) >= 3 or (len(able) == 2 and len(subject.classes) > len(covered))
        if not third:
            why = (
                f"Too few sources: {len(able)} of {len(self.sides)} classes (or groups) have {FEWEST_SOURCES} "
                "examples in the half that confirms, and an unrelated third is needed. "
                f"Give at least {2 * FEWEST_SOURCES} examples a class."
            )
            return self._outcome(began, examined=0, why=why, conclusive=False)
        many = grouped(subject)
        every, self.sides = (sides(subject, SCANNED), scanned(subject)) if many else (self.sides, able)
        n, left_out = len(self.sides), len(every) - len(self.sides)
        each = bought(subject, n, scan=many)
        searched = survey(subject, self.sides, each, self.border)
        summed = table(searched, n, self.genuine)
        ranked = rank(summed, self.sides)
        lying = [name for name in LAYOUTS if name not in APART]
        over = rank(summed, self.sides, lying)
        stages, asked = [Stage(1, ranked, SECOND_LOOK)], len(searched.pairs)
        if many:
            best, all_shown = halve(subject, self.sides, searched, ranked, SECOND_LOOK, self.genuine, self.border)
            stages = [Stage(1, ranked, ENTER * SECOND_LOOK), Stage(2 * ENTER, best, SECOND_LOOK)]
            ranked = best
            over, all_shown = halve(
                subject, self.sides, all_shown, over, OVERLAID_LOOK, self.genuine, self.border, lying
            )
            asked = len(all_shown.pairs)
        looks, over_looks = self._look([(ranked, SECOND_LOOK), (over, OVERLAID_LOOK)])
        looks = self._narrow(looks)
        if self.referred:  # the reference tells shapes from triggers, so all layouts count alike
            looks, over_looks = [*looks, *over_looks], []
        score = score_of(looks, over_looks)
        # What lies over each other is described, and is no part of the family of defect claims (contract, step 3).
        tested = self._test(self._freeze(looks, MOST_CLAIMS)) + self._test(self._freeze(over_looks, OVERLAID_CLAIMS))
        strengths = [look.clear for look in looks if bears_out(look)]
        effect = smallest_effect(subject, able, self.sides, summed, stages, self.genuine, self.border, strengths)
        # The best suspect of either list, as the score has it.
        overlaid = [look for look in over_looks if OVERLAID * look.clear * purity(look.reading) >= score]
        findings, leads, told = self._tell(tested, [*overlaid, *looks], score)
        # A layout that a finding names is no illusion beside it.
        illusions = [
            illusion(subject, item)
            for item in tested
            if item.illusion and not any(item.told_by(other, layouts) for other, layouts in told)
        ]
        coverage = CoverageLine(
            what="pairs of classes shown together"
            if n == len(subject.classes)
            else "pairs of groups of classes shown together",
            examined=n * (n - 1) // 2,
            total=n * (n - 1) // 2 if not left_out else (n + left_out) * (n + left_out - 1) // 2,
            unit="pairs",
            why=f"{left_out} groups have fewer than {FEWEST_SCANNED} examples to search among"
            if left_out and many
            else f"{left_out} classes or groups have fewer than {FEWEST_SOURCES} examples to confirm on"
            if left_out
            else f"{each} composites a pair in each of {len(LAYOUTS)} layouts",
        )
        why = (
            f"{asked} composites searched; {len(tested)} claims frozen, {sum(t.survives for t in tested)} "
            "survived."
        )
        reached = effect is not None and effect.value <= TARGET_EFFECT
        if effect is None:
            why += (
                " Its power could not be measured: no run-time plant was caught at any strength, or the budget "
                "was too short."
            )
        return self._outcome(
            began,
            examined=asked,
            why=why,
            conclusive=reached,
            findings=findings,
            leads=leads,
            illusions=illusions,
            effect=effect,
            coverage=(coverage,),
            frozen=len(tested),
            score=score,
        )

    # Steps
    def _look(self, lists: Sequence[tuple[Sequence[Scored], int]]) -> list[list[Looked]]:
        """Measure the best suspects of each list again on the search half with every placebo."""
        subject = self.subject
        wanted = sum(min(len(ranked), most) for ranked, most in lists)
        price = 7 * MOST_LAYOUTS * min(MOST_PAIRS, FEWEST_SOURCES) * subject.seconds_an_example * self.networks
        number = subject.budget.buy("conjunction/suspects measured again", wanted, price, share=0.3, least=3)
        share = number / max(wanted, 1)
        chosen = [
            [replace(s.suspect, layouts=s.suspect.layouts[:MOST_LAYOUTS]) for s in ranked[: max(1, int(most * share))]]
            for ranked, most in lists
        ]
        flat = [suspect for suspects in chosen for suspect in suspects]
        pages = [self._page(s, self.sides[s.first], self.sides[s.second], "search", FEWEST_SOURCES) for s in flat]
        looked = []
        for suspect, page, (values, theirs) in zip(
            flat, pages, answers_to(subject, "conjunction: suspects", pages, self.border), strict=True
        ):
            looked.append(
                self._looked(suspect, (self.sides[suspect.first], self.sides[suspect.second]), page, values, theirs)
            )
        cut = len(chosen[0])
        return [by_clarity(part) for part in (looked[:cut], looked[cut:])]

    def _looked(
        self, suspect: Suspect, pair: tuple[Side, Side], page: Sheet, logits: Float[np.ndarray, "n classes"],
        theirs: Float[np.ndarray, "n classes"] | None,
    ) -> Looked:  # fmt: skip
        found = best_reading(page, logits, suspect, float(self.genuine[suspect.target]), theirs)
        return Looked(
            replace(suspect, layouts=found.layouts, order=found.order), *pair, found.reading, page, logits
        )  # fmt: skip

    def _narrow(self, looks: list[Looked]) -> list[Looked]:
        """The clearest suspects whose sides are groups, cut to the classes that trigger and measured once more, on
        the search half; without those that may be parts of what was cut so."""
        subject = self.subject
        wide = sum(map(bears_out, looks)) if grouped(subject) else 0
        if not wide:
            return looks
        again = 7 * len(APART) * FEWEST_SOURCES * self.networks
        price = (2 * ANCHORS * min(len(subject.split.search), MOST_SHOWN) + again) * subject.seconds_an_example
        wanted = min(wide, MOST_NARROWED)
        number = subject.budget.buy("conjunction/suspects narrowed", wanted, price, share=0.4, least=1)
        narrowed: list[Looked] = []
        rest: list[Looked] = []
        for look in looks:
            # Pairs of groups may share one trigger, and are the same when narrowed.
            if any(alike(look, one) for one in narrowed):
                continue
            fitted = None
            if number and bears_out(look):
                number -= 1
                fitted = fit(subject, look.page, look.logits, look.suspect, self.sides, self.border)
            if fitted is None:
                rest.append(look)
                continue
            # Where half of a group does not trigger, the layouts that seemed best were best by chance.
            anew = replace(look.suspect, layouts=APART)
            page = self._page(anew, *fitted, "search", FEWEST_SOURCES)
            ((values, theirs),) = answers_to(subject, "conjunction: narrowed suspects", [page], self.border)
            again = self._looked(anew, fitted, page, values, theirs)
            if not any(alike(again, one) for one in narrowed):
                (narrowed if bears_out(again) else rest).append(again)
        return by_clarity([*narrowed, *(look for look in rest if not any(alike(look, one) for one in narrowed))])

    def _freeze(self, looks: Sequence[Looked], most: int) -> list[Looked]:
        """Suspects that the second look bears out, and that can be confirmed. One far weaker than the best is left out:
        it is most likely the best one's shadow, and would cost it power.
        """
        able = [look for look in looks if bears_out(look) and enough(look.first, look.second)]
        best = max((look.clear for look in able), default=0.0)
        return [look for look in able if look.clear >= SHADOW * best][:most]

    def _page(self, suspect: Suspect, a: Side, b: Side, half: str, most: int, both: bool = False) -> Sheet:
        return sheet(
            getattr(a, half),
            getattr(b, half),
            self._strangers(a, b, suspect.target, half),
            suspect.layouts,
            most,
            self.subject.seed,
            half,
            a.name,
            b.name,
            suspect.target,
            order=suspect.order,
            both=both,
        )

    def _strangers(self, a: Side, b: Side, target: int, half: str) -> Int[np.ndarray, " n"]:
        """Examples that belong to neither side, nor to the target or what is grouped with it."""
        some = [getattr(side, half) for side in self.sides if target not in side.classes]
        every = np.concatenate([np.zeros(0, dtype=np.int64), *some])
        return every[~np.isin(self.subject.groups[every], [*a.classes, *b.classes])]

    def _test(self, frozen: Sequence[Looked]) -> list[Tested]:
        """Open the test half, once, for the frozen claims."""
        pages = [self._page(look.suspect, look.first, look.second, "test", MOST_PAIRS, True) for look in frozen]
        readings, bases = [], []
        answers = answers_to(self.subject, "conjunction: test", pages, self.border)
        for look, page, (values, theirs) in zip(frozen, pages, answers, strict=True):
            target = look.suspect.target
            readings.append(read(page, values, target, float(self.genuine[target]), theirs))
            if theirs is None or not self.referred:
                bases.append(baseline(self.subject, page, target))
            else:
                bases.append(hits_of_reference(page, theirs, target))
        ps = [excess_p(reading.triggered, reading.placebo) for reading in readings]
        return [
            Tested(
                look.suspect, look.first, look.second, page, reading, look.reading.strength, p, adjusted, base,
                self.referred, len(frozen),
            )
            for look, page, reading, p, adjusted, base in zip(
                frozen, pages, readings, ps, holm(ps), bases, strict=True
            )
        ]  # fmt: skip

    # Results
    def _tell(
        self, tested: Sequence[Tested], looks: Sequence[Looked], score: float
    ) -> tuple[list[Finding], list[Finding], list[tuple[Tested, tuple[str, ...]]]]:
        """Findings and leads: what survived, or else the best suspect if the score says that it is one.

        Also what survived, with the layouts that its finding or lead names.
        """
        findings, leads, told = [], [], []
        for item in (t for t in tested if t.survives):
            finding, demonstrated, layouts = self._explain(item, len(findings) + len(leads))
            (findings if demonstrated else leads).append(finding)
            told.append((item, layouts))
        if findings or leads or score < LEAD_SCORE or not looks:
            return findings, leads, told
        best = looks[0]
        known = next((item for item in tested if item.suspect == best.suspect), None)
        if known is None:
            page = self._page(best.suspect, best.first, best.second, "search", FEWEST_SOURCES)
            base = baseline(self.subject, page, best.suspect.target)
            known = Tested(
                best.suspect, best.first, best.second, page, best.reading, best.reading.strength, 1.0, 1.0, base
            )
        layouts = best.suspect.layouts
        return findings, [conjunction(self.subject, known, layouts, self._trigger(known, 0, layouts), None)], told

    def _explain(self, item: Tested, number: int) -> tuple[Finding, bool, tuple[str, ...]]:
        """A finding with its causal test and pictures, whether the test demonstrates the behaviour, and the layouts."""
        subject = self.subject
        search_page = self._page(item.suspect, item.first, item.second, "search", FEWEST_SOURCES)
        caused = cause(subject, search_page, item.page, item.suspect.target, self.border)
        layouts = self._layouts(item)
        finding = conjunction(subject, item, layouts, self._trigger(item, number, layouts), caused)
        return finding, caused.demonstrated, layouts

    def _layouts(self, item: Tested) -> tuple[str, ...]:
        """The layouts in which a surviving claim shows on the test half, the clearest first: those that were no part of
        its test included.
        """
        sheets = [
            self._page(replace(item.suspect, layouts=(name,)), item.first, item.second, "test", FEWEST_SOURCES)
            for name in LAYOUTS
        ]
        target = item.suspect.target
        answers = answers_to(self.subject, "conjunction: layouts", sheets, self.border)
        readings = {
            name: read(page, values, target, float(self.genuine[target]), theirs)
            for name, page, (values, theirs) in zip(LAYOUTS, sheets, answers, strict=True)
        }
        shows = [name for name in LAYOUTS if readings[name].excess >= 0.5] or list(item.suspect.layouts)
        shows.sort(key=lambda name: (-readings[name].excess, -readings[name].strength))
        return tuple(shows)

    def _trigger(self, item: Tested, number: int, layouts: Sequence[str]) -> Trigger:
        order = item.suspect.order
        rows = np.flatnonzero(item.page.family == 0)
        best = item.page.shown[int(rows[np.argmax(item.reading.triggered[item.page.pair[rows]])])]
        slots = [members(self.subject, side.source) for side in (item.first, item.second)]
        names = [item.first.phrase, item.second.phrase]
        if order == 1:
            slots, names = slots[::-1], names[::-1]
        words = f"a picture of {names[0]} and another of {names[1]}, {in_words(layouts)}, " + (
            "in either order" if order is None else f"{names[0]} first"
        )
        folder = f"artifacts/conjunction-{number}"
        return trigger(self.subject, folder, best, slots, layouts, order is None, words, self.border)

    def _outcome(
        self,
        began: float,
        *,
        examined: int,
        why: str,
        conclusive: bool,
        findings: Sequence[Finding] = (),
        leads: Sequence[Finding] = (),
        illusions: Sequence[Illusion] = (),
        effect: Power | None = None,
        coverage: tuple[CoverageLine, ...] = (),
        frozen: int = 0,
        score: float = 0.0,
    ) -> Outcome:
        record = CheckRecord(
            name="conjunction",
            status="ran",
            why=why,
            seconds=time.monotonic() - began,
            examined=examined,
            calibration=Calibration(kind="within-network", n=frozen),
            smallest_effect=effect and effect.smallest,
            caught=effect and effect.caught,
            target_effect=TARGET_EFFECT,
            conclusive=conclusive,
            scores={"conjunction": score},
        )
        if not conclusive:
            self.subject.emit(Noted(text=f"conjunction: {why}"))
        return Outcome(
            record=record, findings=tuple(findings), leads=tuple(leads), illusions=tuple(illusions), coverage=coverage
        )
