"""Claims, the evidence held against them, and the document that gates a release (schema `mulligan/findings/1`).

A claim is a sentence that can be wrong. Evidence is a measured effect, the control that it was held against, a p-value
after multiplicity, and a causal test. A finding is a claim that survived. Fields that do not apply are None, never
missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .quantities import Quantity

SCHEMA = "mulligan/findings/1"

Severity = Literal["high", "medium", "low"]
Verdict = Literal["pass", "fail", "inconclusive"]
CheckStatus = Literal["ran", "skipped", "failed"]
Basis = Literal["data", "weights", ""]
CalibrationKind = Literal["within-network", "siblings", "shipped bank (borrowed)", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Several classes taken together as one source, such as all breeds of dog."""

    name: str
    classes: tuple[str, ...]


Source = str | Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What elicits the behaviour. Paths are relative to the run's folder; `box` is [left, top, right, bottom), in
    input pixels.
    """

    family: str
    description: str
    generator: str | None = None
    image: str | None = None
    mask: str | None = None
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where in the network the behaviour lives: a site's alias, units there, rows of a weight matrix."""

    site: str | None = None
    units: tuple[int, ...] | None = None
    rows: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Causal:
    """An edit of the network or the input, and the effect before and after it.

    `control` is the same measure after a matched edit that should do nothing (a random direction of equal size);
    `clean_before` and `clean_after` say what the edit cost on clean data.
    """

    edit: str
    before: Quantity
    after: Quantity
    control: Quantity | None = None
    clean_before: Quantity | None = None
    clean_after: Quantity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence that can be wrong, frozen before the data that tests it is opened."""

    kind: str
    sentence: str
    sources: tuple[Source, ...] = ()
    absent: tuple[Source, ...] = ()
    target: str | None = None
    trigger: Trigger | None = None
    where: Where | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was measured for a claim: the effect, its controls, its p-value, and the causal test."""

    effect: Quantity | None = None
    placebo: Quantity | None = None
    baseline: Quantity | None = None
    p: float | None = None
    p_adjusted: float | None = None
    corrected_for: int | None = None
    causal: Causal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A claim that survived (in `findings`), or an anomaly without a demonstrated behaviour (in `leads`).

    Attributes:
        id: "F1", "F2"... for findings, "L1"... for leads, the best supported first.
        severity: how bad if true. confidence: the estimated probability that the claim is true.
        p_adjusted: p after Holm's correction over the claims that this check froze. corrected_for: how many these were;
            None where it was not recorded. Claims of other checks are no part of it.
        action: what to do about it. reproduce: the command that repeats it.
    """

    id: str
    kind: str
    severity: Severity
    confidence: float | None
    claim: str
    sources: tuple[Source, ...] = ()
    absent: tuple[Source, ...] = ()
    target: str | None = None
    trigger: Trigger | None = None
    where: Where | None = None
    effect: Quantity | None = None
    placebo: Quantity | None = None
    baseline: Quantity | None = None
    p: float | None = None
    p_adjusted: float | None = None
    corrected_for: int | None = None
    causal: Causal | None = None
    action: str = ""
    reproduce: str = ""

    @classmethod
    def of(
        cls,
        claim: Claim,
        evidence: Evidence,
        *,
        severity: Severity,
        confidence: float | None,
        action: str,
        id: str = "",
        reproduce: str = "",
    ) -> Finding:
        """Join a claim and its evidence; `id` and `reproduce` are given by the procedure that sorts all findings."""
        return cls(
            id=id,
            kind=claim.kind,
            severity=severity,
            confidence=confidence,
            claim=claim.sentence,
            sources=claim.sources,
            absent=claim.absent,
            target=claim.target,
            trigger=claim.trigger,
            where=claim.where,
            effect=evidence.effect,
            placebo=evidence.placebo,
            baseline=evidence.baseline,
            p=evidence.p,
            p_adjusted=evidence.p_adjusted,
            corrected_for=evidence.corrected_for,
            causal=evidence.causal,
            action=action,
            reproduce=reproduce,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a check's false-alarm rate was calibrated on, and on how many."""

    kind: CalibrationKind
    n: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRecord:
    """What one check did.

    Attributes:
        status: "ran", "skipped" (does not apply) or "failed" (could not finish).
        why: in one sentence, the reason for a status other than a plain "ran", or what the check concluded.
        about: what it looks for, in a sentence.
        examined: how many hypotheses it looked at. basis: by what it went: "data" where it ran the network on examples,
            "weights" where it read weights alone; empty where it looked at nothing, or where it was not recorded.
        smallest_effect: the weakest planted effect that this check caught in at least 80 % of trials on this network
            and data; None where it could not be measured. Where these were trials, `low` is the next weaker effect that
            was tried, and `level` is 0.8.
        caught: in what share of trials that effect was caught, with its exact interval; None without trials.
        target_effect: the effect that the check promises to catch; a larger `smallest_effect` makes it inconclusive.
        conclusive: False if the check applies and could not reach its declared power.
        scores: for each kind that it looks for, how suspicious this network is; larger is more. The scale is the
            check's own: only the order of networks is meant, and clean networks are to lie low.
        ranks: for each of these, the share of a shipped bank's clean networks that score as high: borrowed from other
            networks, and no part of p or the verdict.
    """

    name: str
    status: CheckStatus
    why: str = ""
    about: str = ""
    seconds: float = 0.0
    examined: int = 0
    basis: Basis = ""
    calibration: Calibration = field(default_factory=lambda: Calibration(kind="none"))
    smallest_effect: Quantity | None = None
    caught: Quantity | None = None
    target_effect: float | None = None
    conclusive: bool = True
    scores: dict[str, float] = field(default_factory=dict)
    ranks: dict[str, Quantity] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecord:
    """Which network was audited. `identity` is a hash of weights and architecture; `input` is how data was prepared
    for it.
    """

    name: str
    identity: str
    parameters: int
    classes: tuple[str, ...] | None = None
    input: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecord:
    """Which data it was audited on."""

    source: str
    identity: str
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Modified:
    """One score a network: the probability that it was modified, given a population of clean siblings."""

    probability: float
    prior: float
    population: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """RUN/findings.json."""

    created: str
    mulligan: str
    seed: int
    seconds: float
    network: NetworkRecord
    data: DataRecord
    verdict: Verdict
    checks: tuple[CheckRecord, ...]
    findings: tuple[Finding, ...] = ()
    leads: tuple[Finding, ...] = ()
    coverage: dict[str, Any] = field(default_factory=dict)
    modified: Modified | None = None
    schema: str = SCHEMA
