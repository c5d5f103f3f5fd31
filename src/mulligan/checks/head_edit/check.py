"""The head-edit check: was a row of the classifier's last layer tampered with?

The rows of a head are exchangeable as far as training goes, so each is held against the others: in size, in bias, in
how like it is to another row, in how much of it lies where features never go, and in how far it outruns another class's
own row on that class's images. A row that stands apart is an anomaly of weights: a lead.

It is a finding only if a behaviour is shown. The row is fitted anew on the search half, all others held (a logistic
regression whose prior is what its peers look like): a scaled, shifted, copied or bent row comes back from the data
alone. On the test half the images that it concerns must then be answered better, by more than 0.1 beyond what the same
refit gains for rows that do not stand apart.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from ...datasets import Dataset, batches
from ...evidence import FEWEST_SOURCES, bounded_mean, fraction, holm, sources
from ...networks import Network, TokenInput
from ...records import BadInput, Calibration, Causal, CheckRecord, Claim, Evidence, Finding, Quantity, Where
from ...runs import Context, Piece, Result, generator
from ..check import Needs, Outcome, Subject
from .refitting import (
    LEAD,
    SURELY_ODD,
    Repair,
    Shown,
    Undone,
    demonstrated,
    repaired,
    smallest_factor,
    undone,
    without,
)  # fmt: skip
from .rows import MOST_PAIRED, OUTRUN, Half, Head, Oddity, oddities, partners, row_figures

#: The check promises to notice a row scaled by this factor.
TARGET_EFFECT = 3.0
#: A head's rows are compared on at most so many examples, search and test half together.
MOST_EXAMPLES = 2000


class HeadEdit:
    """See the module."""

    name = "head-edit"
    about = "A row of the last layer was tampered with."
    needs = Needs(tasks=("classification", "language"), share=0.2)

    def run(self, subject: Subject) -> Outcome:
        """Compare rows; where data allow, fit those that stand apart anew and see what changes."""
        began = time.monotonic()
        try:
            weight, bias = subject.network.head_weights
        except BadInput as error:
            record = CheckRecord(name=self.name, status="skipped", why=str(error), seconds=time.monotonic() - began)
            return Outcome(record=record)
        # The rows of a large vocabulary fill the memory in float64; their figures are summed in it all the same.
        wide = torch.float64 if len(weight) <= MOST_PAIRED else torch.float32
        head = Head(*(None if t is None else t.to("cpu", wide).numpy() for t in (weight, bias)))  # type: ignore[arg-type]
        search, test = self._seen(subject, head)
        figures = row_figures(head, search)
        back = undone(head, search, test)
        weights = {one.row for one in back if one.odd >= SURELY_ODD}
        # A row that outruns another class's own shows what the network does, not that its head was edited: labels that
        # were changed in training do the same. It counts where the row's weights are odd as well.
        odd = [o for o in oddities(figures, partners(head)) if o.figure != OUTRUN or o.row in weights]
        repairs: list[Repair] = []
        shown: dict[int, Shown] = {}
        if odd and search is not None and test is not None and len(search.known().labels) >= FEWEST_SOURCES:
            repairs = repaired(head, odd, search)
            shown = demonstrated(head, repairs, odd, search.known(), test.known(), subject.seed)
        adjusted = dict(zip(shown, holm([item.p for item in shown.values()]), strict=True))
        proven = [repair for repair in repairs if adjusted.get(repair.row, 1.0) <= 0.05]
        n = len(shown)
        findings = [self._finding(subject, r.row, odd, shown[r.row], adjusted[r.row], n) for r in proven]
        # What stands apart only because of a row that was proven to be wrong (the one it was copied from) is explained.
        sound = without(head, proven)
        left = oddities(row_figures(sound, search), partners(sound)) if proven else odd
        told = {repair.row for repair in proven}
        leads: list[Finding] = []
        for o in left:
            pair = {o.row} if o.other is None else {o.row, o.other}
            if not pair & told and o.row in {first.row for first in odd} and (o.figure != OUTRUN or o.row in weights):
                both = shown.get(o.row), adjusted.get(o.row)
                leads.append(self._finding(subject, o.row, left, *both, n, proven=False))
                told |= pair
        best = back[0] if back else None
        if best is not None and best.score >= LEAD and best.row not in told:
            leads.insert(0, self._undone(subject, best))
        effect = smallest_factor(head, len(figures), subject.seed, [o.row for o in odd])
        conclusive = effect is not None and effect.value <= TARGET_EFFECT
        why = f"{len(head)} rows compared in {len(figures)} figures ({', '.join(figures)}); "
        why += f"{len(leads) + len(findings)} stand apart, {len(findings)} with a behaviour shown."
        if not conclusive:
            why += f" Its rows are too few or too unlike each other for one scaled by {TARGET_EFFECT:g} to be noticed."
        record = CheckRecord(
            name=self.name, status="ran", why=why, seconds=time.monotonic() - began, target_effect=TARGET_EFFECT,
            basis="weights" if search is None else "data",
            examined=len(head) * len(figures), calibration=Calibration(kind="within-network", n=len(head)),
            smallest_effect=effect and effect.smallest, caught=effect and effect.caught, conclusive=conclusive,
            scores={self.name: best.score if best is not None else 0.0},
        )  # fmt: skip
        return Outcome(record=record, findings=tuple(findings), leads=tuple(leads))

    def _seen(self, subject: Subject, head: Head) -> tuple[Half | None, Half | None]:
        """What the head reads on either half; None where it cannot be read, or does not explain the answers."""
        if subject.network.task != "classification":
            return None, None
        rng = generator(subject.seed, "head-edit examples")  # data sorted by class must not be cut to some classes
        halves = [rng.permutation(h)[: MOST_EXAMPLES // 2] for h in (subject.split.search, subject.split.test)]
        wanted = sum(len(half) for half in halves)
        price = subject.seconds_an_example
        n = subject.budget.buy("head-edit/examples", wanted, price, share=self.needs.share, least=min(wanted, 64))
        halves = [np.sort(half[: -(-n * len(half) // max(wanted, 1))]) for half in halves]
        order = [int(i) for half in halves for i in half]
        if not order:
            return None, None
        parts = [{"indices": order[k : k + 256], "batch": subject.batch} for k in range(0, len(order), 256)]
        pieces = [Piece("mulligan.checks.head_edit.check:head_inputs", one, cost=len(one["indices"])) for one in parts]
        ran = subject.engine.run("head-edit: features", pieces, subject.context, subject.run, subject.emit)
        features = np.concatenate([result.arrays["features"] for _, result in ran]).astype(np.float64)
        if features.shape[1] != head.weight.shape[1]:
            return None, None
        if subject.answers is not None:
            explained = head.logits(features).argmax(1) == subject.answers[order].argmax(1)
            if explained.mean() < 0.99:  # something follows the head, and its rows are not the answers
                return None, None
        source = sources(subject.dataset.ids)
        values = np.split(features, [len(halves[0])])
        search, test = (Half(x, subject.labels[half], source[half]) for half, x in zip(halves, values, strict=True))
        return search, test

    def _undone(self, subject: Subject, one: Undone) -> Finding:
        """A lead that rests on what a refit gives back."""
        name = _row_name(subject, one.row)
        sentence = f"The head's row for '{name}' is odd, and fitted anew from data it answers more images rightly."
        where = Where(site=subject.network.head, rows=(one.row,))
        claim = Claim(kind="head-edit", sentence=sentence, target=name, where=where)
        effect = Quantity(value=one.gain, unit="of a class's images, right after the refit minus right before")
        action = f"Compare the row for '{name}' in {subject.network.head} with the checkpoint that you trained."
        return Finding.of(claim, Evidence(effect=effect), severity="low", confidence=0.6, action=action)

    def _finding(
        self, subject: Subject, row: int, odd: Sequence[Oddity], shown: Shown | None, p_adjusted: float | None,
        claims: int, *, proven: bool = True,
    ) -> Finding:  # fmt: skip
        mine = [o for o in odd if row in (o.row, o.other)]
        name = _row_name(subject, row)
        twins = list(dict.fromkeys(x for o in mine if o.other is not None for x in (o.row, o.other) if x != row))
        traits = "; ".join(f"{o.figure} {o.value:.3g}, typically {o.typical:.3g}" for o in mine)
        if twins:
            traits += ". It is like the row for " + " and ".join(f"'{_row_name(subject, twin)}'" for twin in twins)
        sentence = f"The head's row for '{name}' stands apart from the others: {traits}."
        place = f"the row for '{name}' in {subject.network.head}"
        action = f"Look at {place}: no behaviour was shown, so this may be natural."
        if proven:
            sentence = f"The head's row for '{name}' makes images be answered wrongly, and stands apart: {traits}."
            action = f"Compare {place} with the checkpoint that you trained; if it changed unawares, do not ship this."
        where = Where(site=subject.network.head, rows=(row,) if proven else (row, *twins))
        claim = Claim(kind="head-edit", sentence=sentence, target=name, where=where)
        evidence = Evidence(p=min(o.p for o in mine)) if shown is None else _evidence(shown, p_adjusted, claims)
        severity = "low" if not proven or shown is None else "high" if shown.gain.mean() >= 0.3 else "medium"
        return Finding.of(claim, evidence, severity=severity, confidence=0.9 if proven else 0.3, action=action)


CHECK = HeadEdit()


def _row_name(subject: Subject, row: int) -> str:
    if row < len(subject.classes):
        return subject.classes[row]
    return subject.network.input.tokens([row])[0] if isinstance(subject.network.input, TokenInput) else f"row {row}"


def _evidence(shown: Shown, p_adjusted: float | None, claims: int) -> Evidence:
    unit = "of the images concerned, right after the repair minus right before"
    part, whole = "fraction of the images concerned answered right", "fraction of all test images answered right"
    before, after, n = shown.everywhere
    other = None
    if shown.control is not None:
        other = fraction(shown.control, shown.n, f"{part}, a row that does not stand apart fitted anew instead")
    causal = Causal(
        edit="fit the row anew on the search half, all others held; undone, the errors are back",
        before=fraction(shown.was, shown.n, part), after=fraction(shown.now, shown.n, part), control=other,
        clean_before=fraction(before, n, whole), clean_after=fraction(after, n, whole),
    )  # fmt: skip
    placebo = None
    if len(shown.placebo):
        placebo = bounded_mean(shown.placebo, f"{unit}, for the best of the rows that do not stand apart", -1, 1)
    return Evidence(
        effect=bounded_mean(shown.gain, unit, -1, 1), placebo=placebo, p=shown.p, p_adjusted=p_adjusted,
        corrected_for=None if p_adjusted is None else claims, causal=causal,
        baseline=fraction(n - before, n, "fraction of all test images answered wrongly: what accuracy alone shows"),
    )  # fmt: skip


def head_inputs(context: Context, *, indices: list[int], batch: int) -> Result:
    """A piece of work: what the head reads, [n, features]; of a convolution, the mean over space."""
    network: Network = context["network"]
    dataset: Dataset = context["dataset"]
    if network.input is None:
        raise BadInput("this network does not say what it takes", where=network.name, fix="pass --input")
    site = network.site(f"{network.head}.in")
    kept: list[np.ndarray] = []
    with (
        torch.no_grad(),
        network.watching(site, reduce=lambda t, s: t.flatten(2).mean(2) if t.dim() > 3 else t.flatten(1)) as watched,
    ):
        for group in batches(dataset, network.input, indices, batch):
            network.logits(group.x, group.mask)
            kept.append(watched[site].float().cpu().numpy().copy())
    return Result({"features": np.concatenate(kept)})
