"""`mulligan see labels`: names for units, with scores; and people's judgement of a sample of them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from ...records import BadInput, Interrupted
from ...runs import Run
from ..progress import ProgressBars
from . import app
from .options import Classes, Data, Device, Input, Out, Resume, Seed, Weights, load_both


@app.command()
def labels(
    model: Annotated[str, typer.Argument(help="As for audit; or with --sample or --judged, an earlier RUN.")],
    units: Annotated[
        str | None, typer.Argument(help="SITE for all its units, or SITE:UNIT,UNIT...", show_default=False)
    ] = None,
    data: Data = None,
    overseer: Annotated[str, typer.Option(help="Who proposes: vocabulary, llm, person.")] = "vocabulary",
    concepts: Annotated[
        Path | None, typer.Option(help="Names to choose among: a folder of folders of images, or a file of topics.")
    ] = None,
    labels: Annotated[
        list[Path] | None, typer.Option(help="Labels that people gave, labels.toml; may be given several times.")
    ] = None,
    llm_url: Annotated[
        str | None, typer.Option(help="Base of an OpenAI-compatible server, such as http://127.0.0.1:8080/v1.")
    ] = None,
    llm_model: Annotated[str | None, typer.Option(help="The model, as that server calls it.")] = None,
    llm_key: Annotated[str | None, typer.Option(help="The environment variable that holds the key.")] = None,
    llm_calls: Annotated[int, typer.Option(help="Requests that are sent at most.", min=1)] = 1000,
    llm_timeout: Annotated[float, typer.Option(help="Seconds that one answer may take.")] = 60.0,
    pool: Annotated[str | None, typer.Option(help="mean or max over places (default: chosen on other units).")] = None,
    twins: Annotated[
        int | None, typer.Option(help="Random-weight twins to hold labels against (default: 5 to 20).", min=0)
    ] = None,
    rate: Annotated[
        float, typer.Option(help="The share of false labels among those shown, at most, on average.")
    ] = 0.05,
    examples: Annotated[int, typer.Option(help="Examples to use, at most.", min=1)] = 2000,
    sample: Annotated[
        int | None, typer.Option(help="Write a sheet with so many of RUN's labels, for a person to judge.", min=1)
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="Where the sheet goes, .toml or .csv (default: in RUN).")] = None,
    judged: Annotated[
        list[Path] | None, typer.Option(help="Read a sheet that a person filled in; may be given several times.")
    ] = None,
    weights: Weights = None,
    classes: Classes = None,
    input: Input = None,
    batch: Annotated[int | None, typer.Option(help="Examples at a time (default: planned).", min=1)] = None,
    device: Device = "cpu",
    out: Out = None,
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Name the units of MODEL at a site from --data, and score each name on examples held out."""
    if sample is not None or judged:
        _agree(model, sample, sheet, judged or [], labels or [], seed)
        return
    if units is None or data is None:
        raise BadInput("naming needs units and data", where="see labels", fix="give SITE or SITE:UNIT, and --data")
    if resume and out is None:
        raise BadInput("--resume needs to know where", fix="pass --out RUN")
    from ...features.labels import Endpoint, merge, read_labels

    endpoint = None
    if llm_url is not None or llm_model is not None:
        endpoint = Endpoint(url=llm_url or "", model=llm_model or "", key=llm_key, calls=llm_calls, timeout=llm_timeout)
    for file in labels or []:
        if not file.exists():
            raise BadInput("there is no such file of labels", where=file, fix="check the path")
    people = tuple(merge(*(read_labels(file) for file in labels or [])))
    from ...procedures.see.labels import Request, find_units, prepare, see_labels
    from ...reports import write_html
    from ..cli import err

    err.print(f"loading {escape(model)}", highlight=False)
    network, dataset = load_both(model, weights, data, classes, input, device)
    site, chosen, gone = find_units(network, units)
    request = Request(
        network=network, dataset=dataset, site=site, units=chosen, left_out=gone, overseer=overseer,
        concepts=concepts, people=people, endpoint=endpoint, pool=pool, twins=twins, rate=rate, examples=examples,
        seed=seed, batch=batch,
    )  # fmt: skip
    prepare(request)
    for item in gone:
        err.print(f"[yellow]left out:[/yellow] {escape(item.what)}: {escape(item.why)}", highlight=False)
    options: dict[str, Any] = {
        "model": model, "units": units, "data": data, "overseer": overseer, "twins": twins, "rate": rate,
        "concepts": None if concepts is None else str(concepts), "llm_url": llm_url, "llm_model": llm_model,
        "labels": [str(file) for file in labels or []], "examples": examples,
    }  # fmt: skip
    run = Run.open(str(out)) if resume else Run.create("see-labels", sys.argv[1:], options, out=out, seed=seed)
    try:
        with ProgressBars(err) as emit:
            seen = see_labels(request, run, emit=emit)
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
    page = write_html(run.location)
    for name, figure in (seen.figures or {}).items():
        err.print(f"{escape(name)}: {escape(str(figure))}", highlight=False)
    if seen.left_out:
        err.print(f"left out: {len(seen.left_out)}; the page says why", highlight=False)
    err.print(f"Page: {escape(str(page))}", highlight=False)


def _agree(
    location: str, sample: int | None, sheet: Path | None, judged: list[Path], files: list[Path], seed: int
) -> None:
    """Write a sheet for a person, or read what people said of it."""
    from ...procedures.see.labels_judged import ask, hear
    from ...reports import write_html
    from ..cli import err

    run = Run.open(location)
    if sample is not None and judged:
        raise BadInput("a sheet is written or read", where="see labels", fix="give --sample or --judged")
    if sample is not None:
        path, asked = ask(run, sample, sheet, seed)
        err.print(f"{asked} labels to judge: {escape(str(path))}", highlight=False)
        return
    if len(files) > 1:
        raise BadInput("people's better labels go into one file", where="--labels", fix="name one")
    seen = hear(run, judged, files[0] if files else None)
    page = write_html(location)
    for name, figure in (seen.figures or {}).items():
        if name.startswith("agreement"):
            err.print(f"{escape(name)}: {escape(str(figure))}", highlight=False)
    err.print(f"Page: {escape(str(page))}", highlight=False)
