"""What a run says, in sentences: the verdict and what decided it, a check's state, how hard an empty search looked."""

from __future__ import annotations

from dataclasses import dataclass

from ..records import CheckRecord, Finding, Findings, Group, Quantity, Source, Verdict
from ..records.findings import Basis
from .text import number, plural, quantity_text

_RANK = {"low": 0, "medium": 1, "high": 2}
#: Fewer trials than this, of which not surely half were caught, are said to be few.
FEW_TRIALS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict as shown.

    Attributes:
        verdict: what findings.json says, unless a check contradicts a pass: then "inconclusive".
        word: the verdict in one word. headline: what it means, in one sentence.
        reasons: what decided it, one sentence each.
        narrow: whether a pass rests on weights alone, so that what the network answers was not tested.
    """

    verdict: Verdict
    word: str
    headline: str
    reasons: tuple[str, ...]
    narrow: bool = False


def is_open(check: CheckRecord) -> bool:
    """Whether a check that applies did not settle its question. Such a check never counts as a pass."""
    return check.status == "failed" or (check.status == "ran" and not check.conclusive)


def decide(findings: Findings, fail_on: str | None = None) -> Decision:
    """Put the verdict and its grounds into words; `fail_on` is the severity from which findings fail the audit."""
    unsettled = tuple(check for check in findings.checks if is_open(check))
    open_reasons = tuple(f"{check.name}: {open_reason(check)}" for check in unsettled)
    if findings.verdict == "fail":
        least = _RANK.get(fail_on or "low", 0)
        deciding = [f for f in findings.findings if _RANK[f.severity] >= least] or list(findings.findings)
        headline = f"{plural(len(deciding), 'finding')} {'fails' if len(deciding) == 1 else 'fail'} this audit."
        reasons = tuple(f"{f.id} ({f.severity}): {f.claim}" for f in deciding[:5])
        if len(deciding) > 5:
            reasons += (f"and {plural(len(deciding) - 5, 'more finding')} below.",)
        if unsettled:
            reasons += (f"Besides, {plural(len(unsettled), 'check')} settled nothing: {_names(unsettled)}.",)
        return Decision(verdict="fail", word="Fail", headline=headline, reasons=reasons)
    ran = [check for check in findings.checks if check.status == "ran"]
    skipped = [check for check in findings.checks if check.status == "skipped"]
    if findings.verdict == "inconclusive" or unsettled:
        reasons = open_reasons or ("No check says why; see the table of checks.",)
        if findings.verdict == "pass":
            reasons += ("findings.json says pass, which these checks do not bear out; it is not shown as one.",)
        if findings.findings:
            reasons += (f"What was found, {plural(len(findings.findings), 'finding')} in all, is below.",)
        headline = "The audit could not settle whether this network is sound. This is not a pass."
        return Decision(verdict="inconclusive", word="Inconclusive", headline=headline, reasons=reasons)
    reasons, word, narrow = (), "Pass", False
    if findings.findings:
        above = f" ({fail_on})" if fail_on else ""
        headline = f"{plural(len(findings.findings), 'finding')}, none as severe as what fails this audit{above}."
    elif not ran:
        headline = "No check applied to this network and data, so nothing was tested: this pass carries no evidence."
    else:
        narrow = not any(basis_of(check) == "data" for check in ran)
        if narrow:
            word = "Pass, of weights only"
        headline = _passed(findings, ran, narrow)
        reasons += (how_hard(findings),)
    if skipped and ran:
        reasons += (f"Not looked for, because it does not apply here: {_names(tuple(skipped))}.",)
    return Decision(verdict="pass", word=word, headline=headline, reasons=reasons, narrow=narrow)


def _passed(findings: Findings, ran: list[CheckRecord], narrow: bool) -> str:
    """The headline of a pass in which something ran: how much of what there is to test was tested."""
    promise = "it promises" if len(ran) == 1 else "they promise"
    measured = all(check.smallest_effect is not None and check.target_effect is not None for check in ran)
    power = f" to the power that {promise}" if measured else ""
    few = narrow or 2 * len(ran) < len(findings.checks)
    count = plural(len(ran), "check")
    headline = f"Only {number(len(ran))} of {plural(len(findings.checks), 'check')}" if few else count
    if not narrow:
        return f"{headline} ran{power} and found nothing."
    kind = (findings.network.input or {}).get("kind")
    says = "this language model says" if kind == "texts" else "this network answers"
    many = "" if len(ran) == 1 else "both " if len(ran) == 2 else "all "
    return f"{headline} ran, {many}of weights{power}, and found nothing: nothing was tested about what {says}."


def basis_of(check: CheckRecord) -> Basis:
    """By what a check went: "data" or "weights"; empty where it looked at nothing.

    Runs of before this was recorded: two checks read weights, one of them the features of data as well, where it could.
    """
    if check.basis or not check.examined:
        return check.basis
    if check.name == "head-edit":
        return "data" if "where features never go" in check.why else "weights"
    return "weights" if check.name == "pruned" else "data"


def open_reason(check: CheckRecord) -> str:
    """Why a check did not settle its question."""
    smallest, target = check.smallest_effect, check.target_effect
    if check.status == "failed":
        what = "could not finish"
    elif not check.examined:
        what = "did not run"
    elif smallest is None:
        what = "ran, and what it would have caught is not known"
    elif target is None or smallest.value <= target:
        what = "ran, and did not settle its question"
    else:
        what = "ran, and did not reach the power that it promises"
    return f"{what}. {check.why}".strip()


def state(check: CheckRecord) -> str:
    """A check's state in a word or two."""
    if check.status == "ran" and not check.examined and not check.conclusive:
        return "did not run"
    if check.status == "ran":
        return "ran" if check.conclusive else "inconclusive"
    return "failed to finish" if check.status == "failed" else "does not apply"


def sensitivity(check: CheckRecord) -> str:
    """The smallest effect against the target, as one clause."""
    if check.status == "ran" and not check.examined and not check.conclusive:
        return "nothing was looked at"
    if check.target_effect is None:
        return "it promises no least effect"
    target = number(check.target_effect)
    if check.smallest_effect is None:
        return f"target {target}: whether it was reached was not measured"
    reached = check.smallest_effect.value <= check.target_effect
    return f"target {target}: {'reached' if reached else 'not reached'}{_trials(check)}"


def _trials(check: CheckRecord) -> str:
    """In how many trials the smallest effect was caught, and what so many allow; empty where it was not tried."""
    smallest, caught = check.smallest_effect, check.caught
    if caught is None or caught.n is None or caught.low is None or caught.high is None:
        if smallest is None or not is_graded(smallest):
            return ""
        return f", caught in at least 80 % of {plural(smallest.n or 0, 'trial')}"
    hits = number(round(caught.value * caught.n))
    share = f"the true share may be from {number(caught.low, 2)} to {number(caught.high, 2)}"
    few = ": so few trials allow little to be said" if caught.n < FEW_TRIALS and caught.low <= 0.5 else ""
    return f", caught in {hits} of {plural(caught.n, 'trial')} ({share}, exact 95 % interval){few}"


def is_graded(smallest: Quantity) -> bool:
    """Whether a smallest effect is a grade that was tried, its `low` the next weaker one, and no interval."""
    return smallest.level != 0.95 and smallest.high == smallest.value


def smallest_text(smallest: Quantity | None) -> str:
    """A check's smallest effect as plain text: a grade is not written as an estimate with an interval."""
    if smallest is None or not is_graded(smallest):
        return quantity_text(smallest)
    return f"{number(smallest.value)} {smallest.unit}{weaker(smallest)}"


def weaker(smallest: Quantity) -> str:
    """What is said of the next weaker grade."""
    if smallest.low is None or smallest.low in (0.0, 1.0):
        return ", the weakest that was tried"
    return f"; the next weaker one, {number(smallest.low)}, was not caught often enough"


def borrowed(check: CheckRecord) -> str:
    """Where the network stands in the shipped bank of clean networks, in a sentence; empty where nothing is known.

    These are other networks than the user's, so it is said that the rank is borrowed, and no part of the verdict.
    """
    if not check.ranks or not check.examined:
        return ""
    n = max(rank.n or 0 for rank in check.ranks.values())
    counts = ", ".join(f"{kind} {number(_as_high(rank))}" for kind, rank in sorted(check.ranks.items()))
    return (
        f"Borrowed, and no part of the verdict: of {plural(n, 'clean network')} of a shipped bank, so many score as "
        f"high: {counts}."
    )


def _as_high(rank: Quantity) -> int:
    """How many networks of the bank score as high. A rank without an interval is of an older run, and interpolated."""
    n = rank.n or 0
    if rank.low is None and rank.value < 1 / (n + 1):
        return 0
    return round(rank.value * n)


def how_hard(findings: Findings) -> str:
    """How much was looked at, by what, and which checks cannot say how weak a defect they would still have caught."""
    looked, idle = _looked(findings)
    if not looked:
        return "No check looked at anything, so that nothing was found says nothing."
    sentence = ""
    for basis, where in (("data", f"on {plural(findings.data.n, 'example')}"), ("weights", "of weights alone")):
        mine = [check for check in looked if basis_of(check) == basis]
        if mine:
            examined = plural(sum(check.examined for check in mine), "hypothesis", "hypotheses")
            what = f"{number(len(mine))} more" if sentence else plural(len(mine), "check")
            sentence += f"{', and ' if sentence else ''}{what} looked at {examined} {where}"
    sentence += "."
    if idle:
        sentence += f" {plural(len(idle), 'check')} that would apply looked at nothing: {_names(idle)}."
    blind = tuple(check for check in looked if check.smallest_effect is None)
    return f"{sentence} What {_names(blind)} would have caught was not measured." if blind else sentence


def who_can_tell(findings: Findings) -> str:
    """Of which checks the table says how weak a defect they would still have caught; empty if of none."""
    looked, idle = _looked(findings)
    measured = [check for check in looked if check.smallest_effect is not None]
    if not measured:
        return ""
    return "each of them" if len(measured) == len(looked) and not idle else "each of the others"


def _looked(findings: Findings) -> tuple[list[CheckRecord], tuple[CheckRecord, ...]]:
    """The checks that looked at something, and those that apply and looked at nothing."""
    ran = [check for check in findings.checks if check.status == "ran"]
    return [check for check in ran if check.examined], tuple(check for check in ran if not check.examined)


def _names(checks: tuple[CheckRecord, ...]) -> str:
    return ", ".join(check.name for check in checks)


def source_name(source: Source) -> str:
    """A class, or a group with how many classes it holds."""
    if isinstance(source, Group):
        return f"{source.name} ({plural(len(source.classes), 'class', 'classes')})"
    return source


def p_text(finding: Finding) -> str:
    """A finding's p before and after correction, and over which claims it was corrected."""
    if finding.p is None:
        return "No p-value applies."
    if finding.p_adjusted is None:
        return f"p = {number(finding.p)}, corrected for no other claim."
    family = "the claims that this check froze"
    if finding.corrected_for is not None:
        family = f"this check's {plural(finding.corrected_for, 'claim')}" if finding.corrected_for > 1 else ""
    if not family:
        return f"p = {number(finding.p)}; Holm's correction was over this one claim, and leaves it as it is."
    return f"p = {number(finding.p)}; after Holm's correction over {family}, p = {number(finding.p_adjusted)}."


def finding_text(finding: Finding) -> str:
    """A finding's measures and what to do, as lines of plain text."""
    lines = [finding.claim]
    lines.append(f"Effect: {quantity_text(finding.effect)}")
    lines.append(f"Placebo: {quantity_text(finding.placebo)}")
    lines.append(f"Black-box baseline: {quantity_text(finding.baseline)}")
    lines.append(p_text(finding))
    if finding.causal is not None:
        causal = finding.causal
        lines.append(f"Causal test: {causal.edit}")
        lines.append(f"  before {quantity_text(causal.before)}; after {quantity_text(causal.after)}")
    if finding.action:
        lines.append(f"Action: {finding.action}")
    if finding.reproduce:
        lines.append(f"Reproduce: {finding.reproduce}")
    return "\n".join(lines)
