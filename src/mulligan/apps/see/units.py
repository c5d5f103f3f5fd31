"""`mulligan see units`: pictures that units look for, beside real examples and a random twin."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ...records import BadInput, Interrupted
from ...runs import Run
from ..progress import ProgressBars
from . import app
from .options import Classes, Data, Device, Input, Model, Out, Resume, Seed, Weights, load_both


@app.command()
def units(
    model: Model,
    features: Annotated[
        list[str],
        typer.Argument(
            help="SITE:UNIT, SITE (all its units), 'class NAME', SITE:UNIT@ROW,COLUMN, SITE@NAME:LATENT, 'layer SITE', "
            "or a sum such as 'blocks.5:12 + 2 * blocks.5:40'; one or more."
        ),
    ],
    data: Data = None,
    steps: Annotated[int, typer.Option(help="Optimization steps, at most.", min=1)] = 128,
    size: Annotated[int | None, typer.Option(help="Pixels of a side (default: what the network takes).", min=8)] = None,
    parametrization: Annotated[str, typer.Option(help="fourier, maco, pixel, shared, cppn.")] = "fourier",
    negative: Annotated[bool, typer.Option("--negative", help="Also what suppresses each.")] = False,
    facets: Annotated[bool, typer.Option("--facets", help="Also one picture a case, where there are several.")] = False,
    diverse: Annotated[int, typer.Option(help="Pictures of each, made to differ.", min=1)] = 1,
    twin: Annotated[bool, typer.Option(help="Spend the same budget on a random-weight twin.")] = True,
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Let torch compile the step (rarely pays on a CPU).")
    ] = False,
    n: Annotated[int, typer.Option("--n", help="Examples of each kind; 0: none.", min=0)] = 9,
    dictionary: Annotated[list[Path] | None, typer.Option(help="Dictionaries whose latents are named.")] = None,
    weights: Weights = None,
    classes: Classes = None,
    input: Input = None,
    batch: Annotated[int, typer.Option(help="Pictures side by side.", min=1)] = 16,
    device: Device = "cpu",
    out: Out = None,
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Show what units of MODEL look for: optimized pictures, what they reach, and examples from --data."""
    if resume and out is None:
        raise BadInput("--resume needs to know where", fix="pass --out RUN")
    # torch takes seconds to import: only a command that needs it pays.
    from ...features.dictionaries import load_dictionary
    from ...procedures.see.units import Request, prepare, see_units
    from ...reports import write_html
    from ..cli import err

    err.print(f"loading {escape(model)}", highlight=False)
    network, dataset = load_both(model, weights, data, classes, input, device)
    named = {found.name: found for found in map(load_dictionary, dictionary or ())}
    request = Request(
        network=network, dataset=dataset, features=tuple(features), steps=steps, size=size,
        parametrization=parametrization, negative=negative, facets=facets, diverse=diverse, twin=twin, n=n, seed=seed,
        batch=batch, compiled=compiled, dictionaries=named,
    )  # fmt: skip
    for gone in prepare(request).left_out:
        err.print(f"[yellow]left out:[/yellow] {escape(gone.why)}", highlight=False)
    if resume:
        run = Run.open(str(out))
    else:
        options = {"model": model, "features": features, "data": data, "steps": steps, "device": device}
        run = Run.create("see", sys.argv[1:], options, out=out, seed=seed)
    try:
        with ProgressBars(err) as emit:
            seen = see_units(request, run, emit=emit)
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
    err.print(f"{len(seen.cards)} features, {len(seen.left_out)} left out. Page: {escape(str(page))}", highlight=False)
