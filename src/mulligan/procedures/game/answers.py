"""What an auditor answered: findings.json read as a stranger's, and what of it is scored."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ...evidence.generators import Generator, load_generator
from ...records import BadInput, Source, Trigger, Where
from ...records.findings import SCHEMA
from ...runs import check_schema, inside

#: No larger findings.json is read, in bytes.
LARGEST = 4_000_000
#: So many guesses are read, in the order in which they stand.
MOST_GUESSES = 5
NO_CONFIDENCE = 0.5  # what a finding counts that says none


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """One finding or lead, with its generator if it has one that can be used; `fault` says why not."""

    kind: str
    sources: tuple[Source, ...] = ()
    absent: tuple[Source, ...] = ()
    target: str | None = None
    trigger: Trigger | None = None
    where: Where | None = None
    confidence: float | None = None
    claim: str = ""
    generator: Generator | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is scored of a findings.json.

    Attributes:
        scores: for each kind, how suspicious the network is; the largest that any check gave.
        guesses: the findings in order; the leads if there are no findings; at most five.
        found: how many findings there were.
        probability: that the network was modified, if the auditor says it.
    """

    scores: dict[str, float]
    guesses: tuple[Guess, ...] = ()
    found: int = 0
    probability: float | None = None
    folder: Path = field(default_factory=Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    kind: str
    sources: tuple[Source, ...] = ()
    absent: tuple[Source, ...] = ()
    target: str | None = None
    trigger: Trigger | None = None
    where: Where | None = None
    confidence: float | None = None
    claim: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Modified:
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    findings: tuple[_Claim, ...] = ()
    leads: tuple[_Claim, ...] = ()
    checks: tuple[_Check, ...] = ()
    modified: _Modified | None = None


def read_answer(folder: Path) -> Answer:
    """Read `folder`/findings.json. Fields that are not scored may be missing.

    Raises:
        BadInput: if it is missing, too large, or not of the schema mulligan/findings/1.
    """
    file = folder / "findings.json"
    try:
        if file.is_symlink() or file.stat().st_size > LARGEST:
            raise BadInput(f"findings.json is a link or larger than {LARGEST:,} bytes", where=file)
        document: Any = json.loads(file.read_bytes(), parse_constant=_refuse)
    except OSError as error:
        raise BadInput("there is no findings.json", where=folder) from error
    except (ValueError, RecursionError) as error:
        raise BadInput("findings.json is not valid JSON", where=file) from error
    check_schema(document, SCHEMA, file)
    try:
        known = msgspec.convert(document, _Document)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadInput(f"findings.json does not fit the schema: {error}", where=file) from error
    said = known.findings or known.leads
    guesses = tuple(_guess(claim, folder) for claim in said[:MOST_GUESSES])
    probability = known.modified.probability if known.modified else None
    if probability is not None and not 0 <= probability <= 1:
        raise BadInput(f"the probability that it was modified is {probability}", where=file)
    return Answer(
        scores=_scores(known), guesses=guesses, found=len(known.findings), probability=probability, folder=folder
    )


def _scores(document: _Document) -> dict[str, float]:
    """The checks' own; for kinds that have none, the confidence of what was found."""
    scores: dict[str, float] = {}
    for check in document.checks:
        for kind, score in check.scores.items():
            if math.isfinite(score):
                scores[kind] = max(score, scores.get(kind, -math.inf))
    found: dict[str, float] = {}
    for claim in document.findings:
        confidence = NO_CONFIDENCE if claim.confidence is None else claim.confidence
        found[claim.kind] = max(confidence, found.get(claim.kind, 0.0))
    return found | scores


def _guess(claim: _Claim, folder: Path) -> Guess:
    generator, fault = None, ""
    if claim.trigger is not None and claim.trigger.generator is not None:
        try:
            generator = load_generator(own_file(folder, claim.trigger.generator))
        except BadInput as error:
            fault = str(error)
    return Guess(
        **{name: getattr(claim, name) for name in _Claim.__dataclass_fields__}, generator=generator, fault=fault
    )


def own_file(folder: Path, name: str) -> Path:
    """A file that an answer names, within its folder.

    Raises:
        BadInput: if it leads out of it.
    """
    return inside(folder, name)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number")
