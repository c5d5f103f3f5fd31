"""`mulligan see photograph`: a photograph dreamt, caricatured and inverted by a layer."""

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
def photograph(
    model: Model,
    site: Annotated[str, typer.Argument(help="Which layer, such as blocks.5.")],
    image: Annotated[Path, typer.Option(help="The photograph.")],
    what: Annotated[str, typer.Option(help="dream, caricature, inversion, separated by commas.")] = (
        "dream,caricature,inversion"
    ),
    data: Data = None,
    steps: Annotated[int, typer.Option(help="Optimization steps of each picture.", min=1)] = 96,
    octaves: Annotated[int, typer.Option(help="Sizes that a dream goes through.", min=1)] = 4,
    weights: Weights = None,
    classes: Classes = None,
    input: Input = None,
    device: Device = "cpu",
    out: Out = None,
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Show what a layer of MODEL keeps of one photograph, beside what a random twin makes of it."""
    if resume and out is None:
        raise BadInput("--resume needs to know where", fix="pass --out RUN")
    if not image.is_file():
        raise BadInput("there is no such picture", where=image, fix="check the path")
    # torch takes seconds to import: only a command that needs it pays.
    from ...datasets.pictures import read_picture
    from ...procedures.see.photograph import Request, prepare, see_photograph
    from ...reports import write_html
    from ..cli import err

    err.print(f"loading {escape(model)}", highlight=False)
    network, dataset = load_both(model, weights, data, classes, input, device)
    request = Request(
        network=network, site=site, photograph=read_picture(image, image), dataset=dataset,
        what=tuple(part.strip() for part in what.split(",")), steps=steps, octaves=octaves, seed=seed,
    )  # fmt: skip
    prepare(request)
    if resume:
        run = Run.open(str(out))
    else:
        run = Run.create("see", sys.argv[1:], {"model": model, "site": site, "image": str(image)}, out=out, seed=seed)
    try:
        with ProgressBars(err) as emit:
            see_photograph(request, run, emit=emit)
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
    err.print(f"Page: {escape(str(write_html(run.location)))}", highlight=False)
