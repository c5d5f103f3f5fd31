"""`mulligan see maps`: the same examples at one layer after another."""

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
def maps(
    model: Model,
    data: Data = None,
    sites: Annotated[str | None, typer.Option(help="Globs separated by commas (default: six blocks).")] = None,
    examples: Annotated[int, typer.Option(help="Examples that the maps are made of, at most.", min=1)] = 1500,
    shown: Annotated[int, typer.Option(help="How many of these are drawn.", min=1, max=50_000)] = 300,
    weights: Weights = None,
    classes: Classes = None,
    input: Input = None,
    device: Device = "cpu",
    out: Out = None,
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Lay out examples of --data at one layer of MODEL after another, so that an eye can follow one through it."""
    if data is None:
        raise BadInput("maps are made of examples", where="see maps", fix="give a data set with --data")
    if resume and out is None:
        raise BadInput("--resume needs to know where", fix="pass --out RUN")
    # torch takes seconds to import: only a command that needs it pays.
    from ...procedures.see.maps import MapsRequest, make_maps, prepare_maps
    from ...reports import write_html
    from ..cli import err

    err.print(f"loading {escape(model)}", highlight=False)
    network, dataset = load_both(model, weights, data, classes, input, device)
    chosen = tuple(part.strip() for part in sites.split(",") if part.strip()) if sites else None
    request = MapsRequest(
        network=network, dataset=dataset, sites=chosen, examples=examples, shown=shown, seed=seed
    )
    prepare_maps(request)
    if resume:
        run = Run.open(str(out))
    else:
        options = {"model": model, "sites": sites, "data": data, "examples": examples, "device": device}
        run = Run.create("see", sys.argv[1:], options, out=out, seed=seed)
    try:
        with ProgressBars(err) as emit:
            made = make_maps(request, run, emit=emit)
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
    page = write_html(run.location)
    err.print(
        f"{made.laid_out:,} examples in {len(made.maps)} maps. Page: {escape(str(page))}", highlight=False
    )
