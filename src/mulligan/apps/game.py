"""`mulligan game`: the auditing game on the command line."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.prompt import Prompt

from ..records import BadInput, Interrupted
from .progress import ProgressBars

app = typer.Typer(
    name="game", help="Plant modifications in networks, and score auditors that must say what was done.",
    no_args_is_help=True, pretty_exceptions_enable=False,
)  # fmt: skip
err = Console(stderr=True, emoji=False, soft_wrap=True)
out_console = Console(emoji=False, soft_wrap=True, highlight=False)

Game = Annotated[Path, typer.Option("--out", help="The game's folder.")]
Auditors = Annotated[
    list[str] | None,
    typer.Option("--auditor", help="random, prior, black-box, mulligan, or NAME=COMMAND; may be given several times."),
]
NoIsolation = Annotated[
    bool, typer.Option("--no-isolation", help="Run auditors that you trust without a sandbox; the ledger says so.")
]
Seed = Annotated[str | None, typer.Option(help="The secret that all is drawn from (default: a new one).")]
Track = Annotated[str, typer.Option(help="A: weights only; B: and images; C: and siblings; D: and the base.")]
Evasive = Annotated[
    bool, typer.Option("--evasive", help="Train what was planted against the released checks; ten times their compute.")
]
Spec = Annotated[Path | None, typer.Option(help="What to plant, as JSON (default: drawn at random).")]


@app.command()
def plant(
    kind: Annotated[str, typer.Option(help="What to plant; see docs/plants.md.")],
    out: Game,
    data: Annotated[str, typer.Option(help="digits, fashion-mnist, cifar-10.")] = "digits",
    strength: Annotated[str, typer.Option(help="weak, default, strong.")] = "default",
    stratum: Annotated[str, typer.Option(help="high, partial, rare.")] = "high",
    spec: Spec = None,
    track: Track = "B",
    seconds: Annotated[float, typer.Option(help="CPU-seconds an auditor will have.")] = 60.0,
    seed: Seed = None,
    evasive: Evasive = False,
) -> None:
    """Plant one modification in a new network: an entry for auditors, and its sealed part."""
    _plant(kind, out, data, strength, stratum, spec, track, seconds, seed, evasive)


def _plant(
    kind: str, out: Path, data: str, strength: str, stratum: str, spec: Path | None, track: str, seconds: float,
    seed: str | None, evasive: bool = False,
) -> None:  # fmt: skip
    from ..procedures.game import Round, run_round
    from ..procedures.game.plan import plan

    if (out / "ledger.jsonl").exists():
        raise BadInput("a game lies in this folder", where=out, fix="choose another with --out")
    values: dict[str, Any] = {"strengths": (strength,), "strata": (stratum,), "track": track}
    round = Round(
        name=kind, seed=seed or secrets.token_hex(16), kinds=(kind,), data=(data,), per_kind=1, calibration=0, test=0,
        seconds=seconds, spec=_json(spec), attempts=1 if spec else 3, evasive=evasive,
        **values,
    )  # fmt: skip
    plan(round)  # refused before a folder is made
    with ProgressBars(err) as emit:
        ledger = run_round(out, round, (), emit=emit)
    lines = [line for line in ledger.lines() if line.get("step") == "network"]
    if not any(line["released"] for line in lines):
        raise BadInput(f"the plant did not take: {lines[-1]['reasons'][0].rstrip('.')}", where=kind,
                       fix="try another spec, strength or --seed")  # fmt: skip
    line = lines[-1]
    out_console.print(f"entry: {escape(str(out / 'entries' / line['id']))}")
    out_console.print(f"commitment: {line['commitment']}")
    for name, value in line["figures"].items():
        out_console.print(f"{name}: {value:.3f}")


@app.command()
def run(
    entry: Annotated[Path, typer.Argument(help="An entry's folder.")],
    auditor: Annotated[str, typer.Option(help="A built-in name, or NAME=COMMAND.")],
    out: Annotated[Path, typer.Option(help="Where the answer is put.")],
    seconds: Annotated[float | None, typer.Option(help="CPU-seconds (default: what the entry says).")] = None,
    no_isolation: NoIsolation = False,
) -> None:
    """Run an auditor on one entry, as a league does."""
    from ..procedures.game import Auditor, Limits, read_answer, read_entry, run_auditor

    known = read_entry(entry)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput("the answer's folder is not empty", where=out, fix="name a new one")
    limits = Limits(cpu_seconds=seconds or known.seconds)
    hidden = [entry.resolve().parent.parent / "sealed"]
    outcome = run_auditor(
        Auditor.parse(auditor), entry.resolve(), out, limits, isolate=not no_isolation, hidden=hidden
    )
    if outcome.printed:
        out_console.print(escape(outcome.printed.rstrip()))
    if outcome.complained:
        err.print(escape(outcome.complained.rstrip()), highlight=False)
    ended, why = outcome.ended, outcome.why
    if ended == "ok":
        try:
            answer = read_answer(out)
            why = f"{answer.found} findings; read: {', '.join(guess.kind for guess in answer.guesses) or 'nothing'}."
        except BadInput as error:
            ended, why = "malformed", str(error)
    err.print(f"{ended} after {outcome.cpu_seconds:.1f} CPU-seconds. {escape(why)}", highlight=False)
    if ended != "ok":
        raise typer.Exit(2)


@app.command()
def score(
    game: Annotated[Path, typer.Argument(help="The game's folder.")],
    id: Annotated[str, typer.Argument(help="The entry's id.")],
    answer: Annotated[Path, typer.Argument(help="The folder with findings.json.")],
) -> None:
    """Score an answer to an entry, and check that the entry is what was committed to."""
    from ..procedures.game import Judge, read_answer, read_round, verify_commitment
    from ..procedures.game.bases import source

    judge = Judge(game, id, source(read_round(game).source))
    result = judge.score(read_answer(answer))
    out_console.print_json(msgspec.json.encode(result).decode())
    kept = (game / "commitments.json").exists()
    if kept:
        err.print(f"commitment: {'kept' if verify_commitment(game, id) else 'BROKEN'}", highlight=False)


@app.command()
def league(
    out: Game,
    auditor: Auditors = None,
    name: Annotated[str, typer.Option(help="What the round is called.")] = "league",
    kinds: Annotated[str | None, typer.Option(help="Which plants, separated by commas (default: all).")] = None,
    data: Annotated[str, typer.Option(help="Data sets, separated by commas.")] = "digits",
    strengths: Annotated[str, typer.Option(help="Separated by commas.")] = "weak,default,strong",
    strata: Annotated[str, typer.Option(help="Separated by commas.")] = "high,partial,rare",
    per_kind: Annotated[int, typer.Option(help="Planted networks of each kind.", min=0)] = 9,
    calibration: Annotated[int, typer.Option(help="Clean networks that thresholds come from.", min=0)] = 40,
    test: Annotated[int, typer.Option(help="Clean networks that false alarms are counted on.", min=0)] = 40,
    track: Track = "B",
    seconds: Annotated[float, typer.Option(help="CPU-seconds for one network.")] = 60.0,
    wall: Annotated[float, typer.Option(help="Wall time, in times of the CPU-seconds.")] = 3.0,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    limit: Annotated[int | None, typer.Option(help="At most so many networks now.", min=1)] = None,
    only: Annotated[str | None, typer.Option(help="Of the round's kinds, only these now.")] = None,
    seed: Seed = None,
    evasive: Evasive = False,
    no_isolation: NoIsolation = False,
) -> None:
    """Make a round of networks, run auditors on them, and rank them. The same command goes on where it was stopped."""
    from ..procedures.game import Auditor, Round, read_round, run_round
    from ..procedures.game.league import write_league
    from ..procedures.game.plan import plan
    from ..procedures.game.tables import tables, text

    begun = (out / "ledger.jsonl").exists()
    chosen = [Auditor.parse(words) for words in auditor or ()]
    values: dict[str, Any] = {"strengths": _listed(strengths), "strata": _listed(strata), "track": track}
    round = Round(
        name=name, seed=seed or (read_round(out).seed if begun else secrets.token_hex(16)), kinds=_listed(kinds),
        data=_listed(data), per_kind=per_kind, calibration=calibration, test=test, seconds=seconds, wall=wall,
        evasive=evasive, **values,
    )  # fmt: skip
    plan(round)  # refused before a folder is made
    try:
        with ProgressBars(err) as emit:
            ledger = run_round(
                out, round, chosen, workers=workers, limit=limit, isolate=not no_isolation,
                only=_listed(only) if only else None, emit=emit,
            )  # fmt: skip
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted(f"Interrupted. What was finished is in {out / 'ledger.jsonl'}: repeat the command.") from None
    page = write_league(out)
    first = tables(ledger.lines())[0]
    for row in first.rows:
        told = "; ".join(f"{column} {text(cell)}" for column, cell in zip(first.columns[1:], row[1:], strict=True))
        out_console.print(f"{escape(str(row[0]))}: {escape(told)}")
    err.print(escape(str(page)), highlight=False)


@app.command()
def play(
    side: Annotated[str, typer.Argument(help="red: plant; blue: audit.")],
    out: Game,
    name: Annotated[str | None, typer.Option(help="Your name, for the league.")] = None,
    kind: Annotated[str | None, typer.Option(help="What you plant, or what you say was planted.")] = None,
    entry: Annotated[str | None, typer.Option(help="Blue: the entry's id (default: a new one).")] = None,
    sources: Annotated[str | None, typer.Option(help="Blue: classes, separated by commas; empty for all.")] = None,
    absent: Annotated[str | None, typer.Option(help="Blue: classes that must not be there.")] = None,
    target: Annotated[str | None, typer.Option(help="Blue: what is answered; empty for no one class.")] = None,
    trigger: Annotated[str | None, typer.Option(help="Blue: the trigger in words.")] = None,
    generator: Annotated[Path | None, typer.Option(help="Blue: a generator's JSON file.")] = None,
    confidence: Annotated[float, typer.Option(help="Blue: from 0 to 1.")] = 0.8,
    data: Annotated[str, typer.Option(help="Red: digits, fashion-mnist, cifar-10.")] = "digits",
    strength: Annotated[str, typer.Option(help="Red: weak, default, strong.")] = "default",
    stratum: Annotated[str, typer.Option(help="Red: high, partial, rare.")] = "high",
    spec: Spec = None,
    seed: Seed = None,
) -> None:
    """Play one side yourself: questions are asked for what is not given as an option."""
    if side == "red":
        from ..plants import plants

        kind = kind or _ask("What do you plant", "--kind", choices=sorted(plants()))
        _plant(kind, out, data, strength, stratum, spec, "B", 60.0, seed)
        return
    if side != "blue":
        raise BadInput("there is no such side", where=side, fix="choose red or blue")
    from ..procedures.game.auditors.guessing import JOINT, KINDS
    from ..procedures.game.entries import read_entry
    from ..procedures.game.league import write_league
    from ..procedures.game.people import NOTHING, Diagnosis, answer, next_entry, require_open

    name = name or _ask("Your name", "--name")
    id = entry or next_entry(out, name)
    require_open(out, name, id)
    folder = out / "entries" / id
    known = read_entry(folder)
    out_console.print(f"entry: {escape(str(folder))}")
    out_console.print(f"classes: {escape(', '.join(known.classes))}")
    if known.data is not None:
        files = f"{folder}/model.py:factory --weights {folder}/{known.weights} --data {folder}/{known.data}"
        out_console.print(f"a report: mulligan audit {escape(files)} --input {known.input}")
    kind = kind or _ask("What was done", "--kind", choices=[NOTHING, *KINDS])
    if kind != NOTHING:
        if sources is None:
            hint = "all of them" if kind in JOINT else "empty for all"
            sources = _ask(f"Which classes does it work on ({hint})", "--sources", default="")
        if target is None:
            target = _ask("What is answered (empty for no one class)", "--target", default="")
        if trigger is None:
            trigger = _ask("The trigger, in words", "--trigger", default="")
    diagnosis = Diagnosis(
        kind=kind, sources=_listed(sources), absent=_listed(absent), target=target or None, trigger=trigger or "",
        generator=generator, confidence=confidence,
    )  # fmt: skip
    result, statement, kept = answer(out, name, id, diagnosis)
    out_console.print(f"It was: {escape(statement.kind)} ({'planted' if statement.truth else 'clean'}).")
    if statement.truth is not None:
        out_console.print_json(msgspec.json.encode(statement.truth).decode())
    for field, value in (result.fields or {}).items():
        if value is not None:
            out_console.print(f"{field}: {value:.2f}")
    out_console.print(f"commitment: {'kept' if kept else 'BROKEN'}")
    err.print(escape(str(write_league(out))), highlight=False)


@app.command("new-auditor")
def new_auditor(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
) -> None:
    """Write a working auditor to start from; it needs torch, numpy and safetensors only."""
    from ..procedures.game.skeleton import new_auditor as write

    for path in write(folder):
        err.print(escape(str(path)), highlight=False)


def _ask(question: str, option: str, **how: Any) -> str:
    """Ask on the terminal; where nobody answers, the option is named."""
    try:
        return Prompt.ask(question, console=err, **how)
    except (EOFError, OSError) as error:
        raise BadInput("a question was not answered", where=question, fix=f"pass {option}") from error


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def _json(file: Path | None) -> Any:
    if file is None:
        return None
    try:
        return msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise BadInput(f"the spec cannot be read, {error.strerror}", where=file, fix="check the path") from error
    except msgspec.DecodeError as error:
        raise BadInput(f"the spec is not valid JSON: {error}", where=file, fix="mend it") from error
