"""A person as an auditor: takes a blind entry, says what was done to it, and is scored and ranked like a program."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from ...records import BadInput
from ...records.findings import SCHEMA
from .answers import read_answer
from .auditors.guessing import KINDS
from .bases import source
from .entries import Statement, read_entry, read_statement, verify_commitment
from .judging import Judge, Score
from .ledger import Ledger
from .rounds import LEDGER, answer_folder, read_round
from .tables import PERSON, networks

#: What is said of a network that nothing was done to.
NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a person says. `trigger` is free text; `family` is one of the generators' families, the kind's usual one if
    it is not given; `generator` is the path of a generator's JSON file."""

    kind: str
    sources: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    target: str | None = None
    trigger: str = ""
    family: str | None = None
    generator: Path | None = None
    confidence: float = 0.8


def next_entry(game: Path, person: str) -> str:
    """An entry that a person has not answered yet, calibration networks left aside.

    Raises:
        BadInput: if there is none.
    """
    lines = Ledger(game / LEDGER).lines()
    name = auditor_name(person)
    answered = {line["id"] for line in lines if line.get("step") == "score" and line["auditor"] == name}
    for id in sorted(networks(lines)):
        if id not in answered and networks(lines)[id]["role"] != "calibration":
            return id
    fix = "make some with `mulligan game plant` or `mulligan game league`"
    raise BadInput("there is no entry that this person has not answered", where=game, fix=fix)


def auditor_name(person: str) -> str:
    """A person's name in the ledger.

    Raises:
        BadInput: if it is empty or too long.
    """
    if not person.strip() or len(person) > 60 or not person.isprintable():
        raise BadInput("a person's name has 1 to 60 printable letters", where=person, fix="pass --name")
    return f"{PERSON}{person.strip()}"


def check(diagnosis: Diagnosis, classes: Sequence[str]) -> None:
    """Refuse what cannot be a diagnosis of such a network.

    Raises:
        BadInput: naming what does not exist.
    """
    if diagnosis.kind not in (NOTHING, *KINDS):
        fix = f"choose among {', '.join((NOTHING, *KINDS))}"
        raise BadInput("there is no such kind", where=diagnosis.kind, fix=fix)
    for name in (*diagnosis.sources, *diagnosis.absent, *((diagnosis.target,) if diagnosis.target else ())):
        if name not in classes:
            raise BadInput("the network has no such class", where=name, fix=f"choose among {', '.join(classes)}")
    if not 0 <= diagnosis.confidence <= 1:
        raise BadInput("a confidence is from 0 to 1", where=diagnosis.confidence)


def require_open(game: Path, person: str, id: str) -> None:
    """Refuse an entry that is not there, or that a person has answered.

    Raises:
        BadInput: saying which.
    """
    lines, name = Ledger(game / LEDGER).lines(), auditor_name(person)
    if id not in networks(lines):
        raise BadInput("there is no such entry in this game", where=id, fix="give an id of GAME/entries")
    if any(line.get("step") == "score" and line["id"] == id and line["auditor"] == name for line in lines):
        raise BadInput("this person has answered this entry before", where=id, fix="take another entry")


def write_diagnosis(folder: Path, diagnosis: Diagnosis) -> None:
    """A person's findings.json."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    findings: list[dict[str, Any]] = []
    if diagnosis.kind != NOTHING:
        generator = None
        if diagnosis.generator is not None:
            generator = _copied(diagnosis.generator, folder)
        family = diagnosis.family or KINDS[diagnosis.kind]
        trigger = {"family": family, "description": diagnosis.trigger, "generator": generator}
        findings.append({
            "kind": diagnosis.kind, "sources": diagnosis.sources, "absent": diagnosis.absent,
            "target": diagnosis.target, "trigger": trigger if family else None, "confidence": diagnosis.confidence,
            "claim": diagnosis.trigger,
        })  # fmt: skip
    document = {"schema": SCHEMA, "checks": [], "findings": findings, "leads": []}
    (folder / "findings.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1))


def _copied(file: Path, folder: Path) -> str:
    if not file.is_file():
        raise BadInput("there is no such generator", where=file, fix="give the path of a generator's JSON file")
    for path in (file, *file.parent.glob(f"{file.stem}*.safetensors")):
        shutil.copyfile(path, folder / path.name)
    return file.name


def answer(game: Path, person: str, id: str, diagnosis: Diagnosis) -> tuple[Score, Statement, bool]:
    """Score a person's diagnosis and enter it in the ledger.

    Returns:
        The score, what was done to the network, and whether that is what was committed to.

    Raises:
        BadInput: if there is no such entry, it was answered before, or the diagnosis cannot be.
    """
    ledger, name = Ledger(game / LEDGER), auditor_name(person)
    require_open(game, person, id)
    check(diagnosis, read_entry(game / "entries" / id).classes)
    folder = answer_folder(game, name, id)
    write_diagnosis(folder, diagnosis)
    judge = Judge(game, id, source(read_round(game).source))
    said = read_answer(folder)
    if any(guess.fault for guess in said.guesses):
        raise BadInput(said.guesses[0].fault.rstrip("."), where="--generator")
    score = judge.score(said)
    ledger.add({"step": "score", "id": id, "auditor": name, "ended": "ok", **asdict(score)})
    return score, read_statement(game, id).statement, verify_commitment(game, id)
