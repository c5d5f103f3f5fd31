"""A round from its plan to its scores, step by step through the ledger.

    for every network: make it -> run every auditor on it -> score every answer

Each step of each network is one line of the ledger; what is there is not done again, so that a round which was killed
goes on where it was. Networks are independent, and several processes may work on them.
"""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from ...records import Advanced, BadInput, Emit, Finished, Interrupted, Noted, Started, silent
from ...runs import mulligan_version
from ...runs.work import deferred_interrupt
from .answers import read_answer
from .auditor import Auditor
from .bases import source
from .entries import Role, write_commitments
from .judging import Judge, Score
from .ledger import SCHEMA, Ledger, Line
from .making import make
from .plan import Item, Round, plan
from .sandbox import Limits, Outcome, require_isolation, run_auditor

LEDGER = "ledger.jsonl"
SCORED = "ok"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a worker needs to know of a round; plain and picklable."""

    game: Path
    round: Round
    auditors: tuple[Auditor, ...] = ()
    isolate: bool = True
    keep: bool = True


def open_round(game: Path, round: Round) -> Ledger:
    """The ledger of a round in the folder `game`, begun if it is not there.

    Raises:
        BadInput: if another round lies there.
    """
    ledger = Ledger(game / LEDGER)
    lines = ledger.lines()
    if not lines:
        public = {name: value for name, value in msgspec.to_builtins(round).items() if name != "seed"}
        (game / "sealed").mkdir(parents=True, exist_ok=True)
        _write_round(game, round)
        ledger.add({"schema": SCHEMA, "round": public, "mulligan": mulligan_version()})
        return ledger
    if _told(lines[0], round.seed) != msgspec.json.decode(msgspec.json.encode(round), type=Round):
        fix = "repeat the command that began it, or choose another folder"
        raise BadInput("another round lies in this folder", where=game, fix=fix)
    return ledger


def _told(line: Line, seed: str) -> Round | None:
    """The round that a ledger's first line tells; what it says nothing of is as by default."""
    try:
        return msgspec.convert({**line["round"], "seed": seed}, Round)
    except (KeyError, TypeError, msgspec.ValidationError):
        return None


def _write_round(game: Path, round: Round) -> None:
    (game / "sealed" / "round.json").write_bytes(msgspec.json.format(msgspec.json.encode(round), indent=1))


def read_round(game: Path) -> Round:
    """The round that lies in a folder, its secret seed included.

    Raises:
        BadInput: if there is none.
    """
    file = game / "sealed" / "round.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=Round)
    except (OSError, msgspec.MsgspecError) as error:
        fix = "begin one with `mulligan game league`"
        raise BadInput("there is no round in this folder, or it is damaged", where=game, fix=fix) from error


def run_round(
    game: Path,
    round: Round,
    auditors: Sequence[Auditor],
    *,
    workers: int = 1,
    limit: int | None = None,
    isolate: bool = True,
    only: Iterable[str] | None = None,
    roles: Iterable[Role] | None = None,
    emit: Emit = silent,
) -> Ledger:
    """Make, audit and score the networks of a round; what the ledger has is not done again.

    Args:
        limit: at most so many networks (the first of the plan's random order). only: kinds of plants; clean networks
            are always taken. roles: of the networks that are taken; none named: all.

    Raises:
        BadInput: if the system cannot isolate auditors, the folder holds another round, or data are missing.
        Interrupted: after Ctrl-C; the same call goes on.
    """
    if auditors and isolate:
        require_isolation()
    names = [auditor.name for auditor in auditors]
    if len(set(names)) < len(names):
        raise BadInput("two auditors have one name", where=", ".join(names), fix="name them differently")
    ledger = open_round(game, round)
    items = plan(round)
    wanted = set(only) if only is not None else None
    items = [item for item in items if wanted is None or item.role != "plant" or item.kind in wanted]
    taken = set(roles) if roles is not None else None
    items = [item for item in items if taken is None or item.role in taken][:limit]
    work = Work(game=game, round=round, auditors=tuple(auditors), isolate=isolate)
    began = time.monotonic()
    done = finished(ledger.lines(), names)
    todo = [item for item in items if item.id not in done]
    emit(Started(job="networks", total=len(items), done=len(items) - len(todo)))
    try:
        with deferred_interrupt() as interrupt:
            for number, reasons in enumerate(_work(work, todo, workers), 1):
                for reason in reasons:
                    emit(Noted(text=reason))
                left = (time.monotonic() - began) / number * (len(todo) - number)
                count = len(items) - len(todo) + number
                emit(Advanced(job="networks", done=count, total=len(items), seconds_left=left))
                if interrupt.is_set():
                    raise Interrupted(
                        f"interrupted; {count} of {len(items)} networks are in {ledger.path}: "
                        "run the same command to go on."
                    )
    finally:
        write_commitments(game, commitments(ledger.lines()))
    emit(Finished(job="networks", seconds=time.monotonic() - began))
    return ledger


def _work(work: Work, items: Sequence[Item], workers: int) -> Iterator[list[str]]:
    if workers <= 1 or len(items) <= 1:
        for item in items:
            yield do_item(work, item)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context, initializer=_begin) as pool:
        waiting = {pool.submit(do_item, work, item) for item in items}
        try:
            while waiting:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield future.result()
        finally:
            for future in waiting:
                future.cancel()


def _begin() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides


def do_item(work: Work, item: Item) -> list[str]:
    """Every step of one network that the ledger lacks; gives notes for the user."""
    ledger = Ledger(work.game / LEDGER)
    lines = [line for line in ledger.lines() if line.get("id") == item.id]
    notes: list[str] = []
    released = _made(work, item, ledger, lines, notes)
    if not released:
        return notes
    judge: Judge | None = None
    for auditor in work.auditors:
        if any(line["step"] == "score" and line["auditor"] == auditor.name for line in lines):
            continue
        outcome = _audited(work, item, auditor, ledger, lines)
        judge = judge or Judge(work.game, item.id, source(work.round.source))
        _scored(work, item, auditor, outcome, judge, ledger)
    return notes


def _made(work: Work, item: Item, ledger: Ledger, lines: Sequence[Line], notes: list[str]) -> bool:
    """Whether the network is there, made now if it was not."""
    known = [line for line in lines if line["step"] == "network"]
    whole = (work.game / "entries" / item.id / "game.json").exists()
    if any(line["released"] for line in known) and whole:
        return True
    if len(known) >= item.attempts and not any(line["released"] for line in known):
        return False
    made = None
    for made in make(work.game, work.round, item, source(work.round.source)):
        if any(line["attempt"] == made.attempt for line in known):
            continue  # told by the run that was interrupted
        about = {"id": item.id, "key": item.key, "role": item.role, "kind": item.kind or made.control}
        cell = {"strength": item.strength, "stratum": item.stratum} if item.role == "plant" else {}
        ledger.add({"step": "network", **about, "data": item.data, **cell, **asdict(made)})
        if not made.released:
            notes.append(f"{item.key}: not released ({'; '.join(made.reasons)})")
    return bool(made and made.released)


def answer_folder(game: Path, auditor: str, id: str) -> Path:
    """Where an auditor's answer to an entry is kept."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in auditor).lstrip(".") or "_"
    return game / "answers" / safe / id


def _audited(work: Work, item: Item, auditor: Auditor, ledger: Ledger, lines: Sequence[Line]) -> str:
    """How the auditor ended on this network; it is run if it was not."""
    for line in lines:
        if line["step"] == "audit" and line["auditor"] == auditor.name:
            return str(line["ended"])
    folder = answer_folder(work.game, auditor.name, item.id)
    shutil.rmtree(folder, ignore_errors=True)
    limits = Limits(cpu_seconds=work.round.seconds, wall=work.round.wall)
    outcome = audit_entry(work.game, item.id, auditor, folder, limits, isolate=work.isolate)
    ledger.add({"step": "audit", "id": item.id, "auditor": auditor.name, **told(outcome)})
    return outcome.ended


def audit_entry(
    game: Path, id: str, auditor: Auditor, folder: Path, limits: Limits, *, isolate: bool = True
) -> Outcome:
    """Run an auditor on an entry of a game; the answer is read, so that one which cannot be is "malformed"."""
    entries = game / "entries"
    others = sorted(path for path in entries.iterdir() if path.is_dir() and path.name != id) if entries.exists() else []
    baits = [*(path for path in others if not path.name.startswith(".")), game / "sealed" / id, game / "sealed"]
    hidden = [game, *secret_data()]
    outcome = run_auditor(auditor, entries / id, folder, limits, isolate=isolate, hidden=hidden, baits=baits)
    if outcome.ended != "ok":
        return outcome
    try:
        read_answer(folder)
    except BadInput as error:
        return replace(outcome, ended="malformed", why=str(error))
    return outcome


def secret_data() -> list[Path]:
    """Where data sets of recipes lie, which hold the sealed pictures too: no auditor sees them."""
    places = [Path("/usr/share/datasets")]
    if os.environ.get("MULLIGAN_DATA"):
        places.append(Path(os.environ["MULLIGAN_DATA"]).resolve())
    found = importlib.util.find_spec("sklearn")
    if found is not None and found.origin:
        places.append(Path(found.origin).parent / "datasets" / "data")
    return places


def told(outcome: Outcome) -> dict[str, Any]:
    """An outcome as the ledger has it; of a clean run, what was printed is left out."""
    line = {name: getattr(outcome, name) for name in ("ended", "why", "isolated")}
    line |= {"cpu_seconds": round(outcome.cpu_seconds, 2), "wall_seconds": round(outcome.wall_seconds, 2)}
    return line if outcome.ended == "ok" else line | {"complained": outcome.complained[-1000:]}


def _scored(work: Work, item: Item, auditor: Auditor, ended: str, judge: Judge, ledger: Ledger) -> None:
    """An auditor that did not end well gets nothing, and the round goes on."""
    fault = ""
    score = Score(fields=asdict(judge.nothing()) if judge.planted else None)
    if ended == SCORED:
        try:
            score = judge.score(read_answer(answer_folder(work.game, auditor.name, item.id)))
        except BadInput as error:
            ended, fault = "malformed", str(error)
        except Exception as error:  # an answer of a stranger must not end the round, whatever is in it
            _log.exception("the answer of %s to %s cannot be scored", auditor.name, item.id)
            ended, fault = "malformed", f"It cannot be scored: {type(error).__name__}: {error}"
    line = {"step": "score", "id": item.id, "auditor": auditor.name, "ended": ended, **asdict(score)}
    ledger.add(line | ({"fault": fault} if fault else {}))


def finished(lines: Sequence[Line], auditors: Sequence[str]) -> set[str]:
    """The ids of networks of which nothing is left to do for these auditors."""
    attempts: dict[str, int] = {}
    released: dict[str, bool] = {}
    scored: dict[str, set[str]] = {}
    for line in lines[1:]:
        if line["step"] == "network":
            attempts[line["id"]] = max(attempts.get(line["id"], 0), line["attempt"] + 1)
            released[line["id"]] = released.get(line["id"], False) or line["released"]
        elif line["step"] == "score":
            scored.setdefault(line["id"], set()).add(line["auditor"])
    most = int(lines[0]["round"]["attempts"]) if lines else 1
    done: set[str] = set()
    for id, there in released.items():
        if (there and set(auditors) <= scored.get(id, set())) or (not there and attempts[id] >= most):
            done.add(id)
    return done


def commitments(lines: Sequence[Line]) -> dict[str, str]:
    """The commitment of every released network."""
    return {line["id"]: line["commitment"] for line in lines if line.get("step") == "network" and line["released"]}
