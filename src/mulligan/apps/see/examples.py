"""`mulligan see examples`: what in the data excites a feature, and where."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer
from rich.markup import escape

from ...records import BadInput, Interrupted
from ...runs import Run
from ..progress import ProgressBars
from . import app
from .options import Classes, Data, Device, Input, Model, Out, Resume, Seed, Weights, load_both


@app.command()
def examples(
    model: Model,
    features: Annotated[
        list[str], typer.Argument(help="SITE:UNIT, such as blocks.5:12, or 'class NAME'; one or more.")
    ],
    data: Data = None,
    n: Annotated[int, typer.Option("--n", help="Examples of each kind: strongest, weakest, every level.", min=1)] = 9,
    weights: Weights = None,
    classes: Classes = None,
    input: Input = None,
    batch: Annotated[int | None, typer.Option(help="Examples at a time (default: planned).", min=1)] = None,
    device: Device = "cpu",
    out: Out = None,
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Show which examples of --data excite features of MODEL most, least and in between, and what they see there."""
    if data is None:
        raise BadInput("examples are taken from data", where="see examples", fix="give a data set with --data")
    if resume and out is None:
        raise BadInput("--resume needs to know where", fix="pass --out RUN")
    # torch takes seconds to import: only a command that needs it pays.
    from ...procedures.see.examples import Request, prepare, see_examples
    from ...reports import write_html
    from ..cli import err

    err.print(f"loading {escape(model)}", highlight=False)
    network, dataset = load_both(model, weights, data, classes, input, device)
    request = Request(network=network, dataset=dataset, features=tuple(features), n=n, seed=seed, batch=batch)
    for gone in prepare(request).left_out:
        err.print(f"[yellow]left out:[/yellow] {escape(gone.why)}", highlight=False)
    if resume:
        run = Run.open(str(out))
    else:
        options = {"model": model, "features": features, "data": data, "n": n, "device": device}
        run = Run.create("see", sys.argv[1:], options, out=out, seed=seed)
    try:
        with ProgressBars(err) as emit:
            seen = see_examples(request, run, emit=emit)
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
    err.print(f"{len(seen.cards)} features on {len(dataset):,} examples. Page: {escape(str(page))}", highlight=False)
