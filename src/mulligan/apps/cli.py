"""The command line: a thin shell over the procedures. Exit statuses and files are those of the contract."""

from __future__ import annotations

import shlex
import sys
import time
import tomllib
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..records import BadInput, Findings, Interrupted, MulliganError
from ..runs import (
    Engine,
    Run,
    check_schema,
    engine_for,
    mulligan_version,
    parse_duration,
    remembered_interrupts,
    store_at,
)  # fmt: skip
from .article import app as article
from .game import app as game
from .progress import ProgressBars, duration
from .see import app as see
from .serve import app as serve

app = typer.Typer(
    name="mulligan",
    help="Look inside a trained neural network before you ship it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(article)
app.add_typer(game)
app.add_typer(see)
app.add_typer(serve)
err = Console(stderr=True, emoji=False, soft_wrap=True)

FAIL_ON = ("high", "medium", "low", "never")

Model = Annotated[
    str | None,
    typer.Argument(
        help="efficientnet-lite0, smollm2-135m-instruct, minilm-l6, hf:FOLDER, path/to/file.py:factory",
        show_default=False,
    ),
]
Weights = Annotated[Path | None, typer.Option(help="Weights of that shape: safetensors, or a torch state dict.")]
Data = Annotated[str | None, typer.Option(help="Folder of images, .parquet, .npz, .txt, .jsonl.")]
Classes = Annotated[Path | None, typer.Option(help="Class names: one a line, or a JSON list.")]
Input = Annotated[
    str | None,
    typer.Option(help="How pixels become input: size=28,channels=1,mean=0,std=1 (mean and std on a 0-1 scale)."),
]
Device = Annotated[str, typer.Option(help="Where the network runs: cpu, cuda, cuda:1, mps.")]
Out = Annotated[
    str | None,
    typer.Option(help="The run's folder, or a URL such as s3://BUCKET/RUN (default: runs/TIME-COMMAND-ID)."),
]


@app.callback()
def settings(context: typer.Context) -> None:
    """Defaults come from mulligan.toml in the current folder; flags override them."""
    file = Path("mulligan.toml")
    if file.is_file():
        try:
            tables = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInput(
                f"mulligan.toml cannot be read: {error}", where=file.resolve(), fix="mend it or move it away"
            ) from error
        _known_settings(tables, context)
        context.default_map = {
            command: {key.replace("-", "_"): value for key, value in table.items()}
            for command, table in tables.items()
            if isinstance(table, dict)
        }


def _known_settings(tables: dict[str, Any], context: typer.Context) -> None:
    commands = getattr(context.command, "commands", {})
    for command, table in tables.items():
        if command not in commands or not isinstance(table, dict):
            raise BadInput(
                "mulligan.toml has a table for no command", where=command, fix=f"name one of {', '.join(commands)}"
            )
        known = {parameter.name for parameter in commands[command].params}
        for key in table:
            if key.replace("-", "_") not in known:
                raise BadInput(
                    "mulligan.toml sets an option that does not exist",
                    where=f"{command}.{key}",
                    fix=f"see mulligan {command} --help",
                )


@app.command()
def audit(
    model: Model = None,
    weights: Weights = None,
    data: Data = None,
    classes: Classes = None,
    input: Input = None,
    reference: Annotated[
        str | None, typer.Option(help="A network that this one should equal: as MODEL, the one before a change, say.")
    ] = None,
    reference_weights: Annotated[Path | None, typer.Option(help="Its weights.")] = None,
    siblings: Annotated[
        Path | None,
        typer.Option(help="A folder of weights (.safetensors) of clean networks of the same recipe, 19 at least."),
    ] = None,
    out: Out = None,
    budget: Annotated[str, typer.Option(help="Wall time: 90s, 10m, 1h30m.")] = "10m",
    fail_on: Annotated[
        str, typer.Option(help="Exit with 1 for findings of this severity or above: high, medium, low, never.")
    ] = "high",
    checks: Annotated[
        str | None, typer.Option(help="Which checks, separated by commas (default: all that apply).")
    ] = None,
    sites: Annotated[
        str | None, typer.Option(help="Which sites to take an inventory of, globs separated by commas.")
    ] = None,
    seed: Annotated[int, typer.Option(help="All randomness derives from it.")] = 0,
    batch: Annotated[int, typer.Option(help="Examples at a time.", min=1)] = 32,
    device: Device = "cpu",
    engine: Annotated[
        str, typer.Option(help="Who does the work: local, ray (the cluster at RAY_ADDRESS), ray:HOST:PORT.")
    ] = "local",
    json: Annotated[bool, typer.Option("--json", help="Print findings.json on stdout.")] = False,
    replay: Annotated[
        str | None,
        typer.Option(help="Repeat the work that an earlier run's pieces.json lists, whatever the clock says."),
    ] = None,
    resume: Annotated[
        str | None, typer.Option(help="Finish an interrupted run; all other options come from it.")
    ] = None,
) -> None:
    """Audit MODEL on DATA: findings with evidence, an inventory of its units, and a report."""
    options: dict[str, Any] = {
        "model": model,
        "weights": _text(weights),
        "data": data,
        "classes": _text(classes),
        "input": input,
        "reference": reference,
        "reference_weights": _text(reference_weights),
        "siblings": _text(siblings),
        "budget": budget,
        "fail_on": fail_on,
        "checks": checks,
        "sites": sites,
        "seed": seed,
        "batch": batch,
        "device": device,
        "replay": replay,
    }
    if resume is not None:
        run = Run.open(resume)
        if run.manifest.get("procedure") != "audit":
            raise BadInput("this run is no audit", where=resume, fix="give the folder of an interrupted audit")
        if run.manifest.get("status") == "finished":
            raise BadInput("this audit is finished", where=resume, fix="read its report.html, or start a new one")
        options |= run.manifest["config"]
    else:
        run = None
    status = _audit(options, run, out, engine_for(engine, else_local=True), to_stdout=json)
    raise typer.Exit(status)


def _audit(options: dict[str, Any], run: Run | None, out: str | None, engine: Engine, *, to_stdout: bool) -> int:
    if options["model"] is None or options["data"] is None:
        raise BadInput(
            "an audit needs a MODEL and --data", fix="for example: mulligan audit efficientnet-lite0 --data PHOTOGRAPHS"
        )
    if options["fail_on"] not in FAIL_ON:
        raise BadInput("there is no such severity", where=options["fail_on"], fix=f"choose among {', '.join(FAIL_ON)}")
    seconds = parse_duration(options["budget"])
    recorded = _grants(options["replay"]) if options["replay"] else None
    # torch takes seconds to import: only a command that needs it pays.
    from ..procedures.audit import Request, audit, exit_status, prepare, shortened
    from ..reports import write_reports

    began = time.monotonic()
    err.print(f"loading {escape(options['model'])}", highlight=False)
    network, dataset = _load(options)
    network = shortened(network)
    names = _listed(options["checks"])
    request = Request(
        network=network,
        dataset=dataset,
        reference=_reference(options, network),
        siblings=Path(options["siblings"]) if options.get("siblings") else None,
        seconds=max(seconds - (time.monotonic() - began), 1.0),
        names=names,
        sites=_listed(options["sites"]),
        seed=options["seed"],
        batch=options["batch"],
        recorded=recorded,
    )
    if names is not None:
        from ..checks import checks as find_checks

        find_checks(names)
    places = prepare(request)
    if run is None:
        run = Run.create("audit", sys.argv[1:], options, out=out, seed=options["seed"])
    request = replace(request, reproduce=_command(options, run))
    err.print(
        f"{escape(network.name)}: {network.parameters:,} parameters, {network.identity[:19]}; {len(dataset):,} "
        f"examples from {escape(dataset.source)}",
        highlight=False,
    )
    try:
        with ProgressBars(err) as emit:
            document = audit(request, run, places, engine=engine, emit=emit)
    except (Interrupted, KeyboardInterrupt):
        run.update(status="interrupted")
        raise Interrupted(
            f"Interrupted. What was finished is kept; go on with: mulligan audit --resume {shlex.quote(run.location)}"
        ) from None
    status = exit_status(document, options["fail_on"])
    run.update(exit_status=status)
    reports = write_reports(run.location)
    _summary(document, status, reports.html, time.monotonic() - began)
    if to_stdout:
        sys.stdout.buffer.write(run.read_bytes("findings.json") + b"\n")
        sys.stdout.flush()
    return status


def _load(options: dict[str, Any]) -> tuple[Any, Any]:
    from ..datasets import load_dataset
    from ..networks import load

    names = read_classes(Path(options["classes"])) if options.get("classes") else None
    network = load(options["model"], weights=options.get("weights"), input=options.get("input"), classes=names)
    network.to(options.get("device") or "cpu")
    return network, load_dataset(options["data"], classes=network.classes)


def _reference(options: dict[str, Any], network: Any) -> Any:
    """The network to compare with; where it does not say what it takes, it takes what the audited network takes."""
    # A run that an earlier version began knows nothing of these options.
    model, weights = options.get("reference"), options.get("reference_weights")
    if model is None and weights is None:
        return None
    from ..networks import load

    reference = load(model or options["model"], weights=weights, input=options.get("input"), classes=network.classes)
    reference.to(options.get("device") or "cpu")
    return reference if reference.input is not None or network.input is None else reference.with_input(network.input)


def read_classes(file: Path) -> list[str]:
    """Class names, one a line or a JSON list.

    Raises:
        BadInput: if the file is missing, empty, or names a class twice.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            "the list of classes cannot be read",
            where=file,
            fix="give a UTF-8 text file, one class a line, or a JSON list",
        ) from error
    if text.lstrip().startswith("["):
        try:
            names = msgspec.json.decode(text, type=list[str])
        except msgspec.DecodeError as error:
            raise BadInput(
                f"the list of classes is not a JSON list of names: {error}", where=file, fix='write ["cat", "dog"]'
            ) from error
    else:
        names = [line.strip() for line in text.splitlines() if line.strip()]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if not names or twice:
        raise BadInput(
            f"the class {twice[0]!r} stands twice" if twice else "the list of classes is empty",
            where=file,
            fix="give each class one name",
        )
    return names


def _grants(file: str) -> dict[str, int]:
    try:
        folder, _, name = file.rpartition("/")
        data = store_at(folder).read(name) if "://" in folder else Path(file).read_bytes()
        document = msgspec.json.decode(data)
    except (OSError, msgspec.DecodeError) as error:
        raise BadInput(
            "the list of pieces cannot be read", where=file, fix="give RUN/pieces.json of a finished audit"
        ) from error
    check_schema(document, "mulligan/pieces/1", file)
    return msgspec.convert(document["granted"], dict[str, int])


def _command(options: dict[str, Any], run: Run) -> str:
    """The command that repeats this audit."""
    words = ["mulligan", "audit", str(options["model"])]
    for name in (
        "weights", "data", "classes", "input", "reference", "reference_weights", "siblings", "checks", "sites",
        "fail_on", "budget",
    ):  # fmt: skip
        if options.get(name) is not None:
            words += [f"--{name.replace('_', '-')}", str(options[name])]
    words += [
        "--seed",
        str(options["seed"]),
        "--batch",
        str(options["batch"]),
        "--replay",
        f"{run.location}/pieces.json",
    ]
    return shlex.join(words)


def _summary(document: Findings, status: int, report: Path | str, seconds: float) -> None:
    for finding in document.findings:
        err.print(f"[bold red]{finding.id} {finding.severity}[/bold red] {escape(finding.claim)}", highlight=False)
    for finding in document.leads[:5]:
        err.print(f"[yellow]{finding.id} lead[/yellow] {escape(finding.claim)}", highlight=False)
    for check in document.checks:
        state = check.status if check.status != "ran" else "ran" if check.conclusive else "inconclusive"
        err.print(f"{check.name}: {state}. {escape(check.why)}", highlight=False)
    below = f" (findings below --fail-on: {len(document.findings)})" if document.findings else ""
    ran = any(check.status == "ran" for check in document.checks)
    words = {
        0: f"[green]passed[/green]{below}" if ran else "no check applied: nothing was judged",
        1: "[bold red]failed: a finding at or above --fail-on[/bold red]",
        3: "[yellow]inconclusive: this is no pass[/yellow]",
    }
    err.print(f"{words[status]} in {duration(seconds)}. Report: {escape(str(report))}", highlight=False)


@app.command()
def sites(
    model: Annotated[str, typer.Argument(help="As for audit.")],
    pattern: Annotated[str, typer.Argument(help="A glob: 'blocks.*', '*.in', '*#pattern'.")] = "*",
    weights: Weights = None,
    input: Input = None,
) -> None:
    """List the sites of MODEL: where tensors pass, with shape, axes and meaning."""
    from ..networks import load

    network = load(model, weights=weights, input=input)
    table = Table("site", "shape", "axes", "what it is", box=None)
    for site in network.sites(pattern):
        table.add_row(
            escape(site.alias) or "(the network)",
            " x ".join(map(str, site.shape)) or "?",
            " ".join(site.axes),
            escape(network.meaning(site)),
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@app.command()
def record(
    model: Annotated[str, typer.Argument(help="As for audit.")],
    data: Annotated[str, typer.Option(help="As for audit.")],
    sites: Annotated[str, typer.Option(help="Globs separated by commas.")],
    pools: Annotated[
        str, typer.Option(help="mean, max, argmax, full, position:K, sample:K, separated by commas.")
    ] = "mean,max",
    weights: Weights = None,
    classes: Classes = None,
    input: Input = None,
    out: Out = None,
    batch: Annotated[
        int | None, typer.Option(help="Examples at a time (default: planned from one measured batch).", min=1)
    ] = None,
    answers: Annotated[
        bool, typer.Option(help="Keep the network's answers, too; without, each pass ends at its last site.")
    ] = True,
    fast: Annotated[str, typer.Option(help="Compile the pass: auto (where it pays), always, never.")] = "auto",
    precision: Annotated[str, typer.Option(help="Of the pass: float32, bfloat16.")] = "float32",
    device: Device = "cpu",
    seed: int = 0,
    engine: Annotated[
        str, typer.Option(help="Who does the work: local, ray (the cluster at RAY_ADDRESS), ray:HOST:PORT.")
    ] = "local",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in --out, where an earlier recording was interrupted.")
    ] = False,
) -> None:
    """Record activations of MODEL on DATA into a run."""
    from ..activations import Plan, Pool
    from ..activations import record as do_record

    options = {
        "model": model,
        "data": data,
        "weights": _text(weights),
        "classes": _text(classes),
        "input": input,
        "device": device,
    }
    chosen = engine_for(engine)
    network, dataset = _load(options)
    network.sites(_listed(sites) or ())  # refused before a folder is made
    how: Any = {"answers": answers, "batch": batch, "seed": seed, "fast": fast, "precision": precision}
    plan = Plan(_listed(sites) or (), _listed(pools) or (), **how)
    for text in plan.pools:
        Pool(text)
    if resume:
        if out is None:
            raise BadInput("--resume needs to know where", fix="pass --out RUN")
        run = Run.open(out)
    else:
        run = Run.create(
            "record",
            sys.argv[1:],
            {**options, "sites": sites, "pools": pools, **how},
            out=out,
            seed=seed,
        )
    try:
        with ProgressBars(err) as emit:
            recording = do_record(network, dataset, plan, run, engine=chosen, emit=emit)
    except BadInput:
        if not resume:
            run.withdraw()
        raise
    except (Interrupted, KeyboardInterrupt):
        run.update(status="interrupted")
        raise Interrupted(
            "Interrupted. What was finished is kept; go on with the same command and --out "
            f"{shlex.quote(run.location)} --resume"
        ) from None
    run.update(status="finished")
    count = len({name.partition("|")[0] for name in recording.names if "|" in name})
    err.print(f"{len(recording):,} examples, sites: {count}; {escape(run.location)}", highlight=False)


@app.command()
def report(
    runs: Annotated[list[str], typer.Argument(help="Folders or URLs of finished runs.")],
    out: Annotated[Path | None, typer.Option(help="One page about all of them, here.")] = None,
    title: Annotated[str, typer.Option(help="Of that page (default: the networks' names).")] = "",
) -> None:
    """Write the page of each run again, and an audit's SARIF and JUnit files; with --out, one page about them all."""
    from ..reports import render_page, write_html, write_reports
    from ..reports.writing import write_atomically

    if out is not None:
        err.print(escape(str(write_atomically(out, render_page(runs, title=title)))), highlight=False)
        return
    for run in runs:
        if Run.open(run).has("findings.json"):
            written = write_reports(run)
            pages: tuple[Path | str, ...] = (written.html, written.sarif, written.junit)
        else:
            pages = (write_html(run),)
        for path in pages:
            err.print(escape(str(path)), highlight=False)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(mulligan_version())


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None


def _listed(text: str | None) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else None


def _unexpected(error: Exception) -> int:
    if callable(getattr(error, "show", None)) and isinstance(getattr(error, "exit_code", None), int):
        error.show()  # type: ignore[attr-defined]  # a wrong option, in the words of the option parser
        return error.exit_code  # type: ignore[attr-defined]
    traceback.print_exc()
    err.print(
        "[red]mulligan:[/red] this is our fault. Please report it with the lines above; what was finished is kept.",
        soft_wrap=True,
    )
    return 4


def main() -> None:
    """Run the command line; exceptions become one sentence and an exit status."""
    try:
        with remembered_interrupts():
            status = app(standalone_mode=False)
    except MulliganError as error:
        err.print(f"[red]mulligan:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        status = error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        err.print("[red]mulligan:[/red] interrupted.")
        status = 130
    except BrokenPipeError:
        status = 0
    except Exception as error:
        status = _unexpected(error)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
