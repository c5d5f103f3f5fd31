"""`mulligan see atlas`: the space of a site's activations, laid out and drawn."""

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
from .options import Classes, Data, Device, Input, Model, Out, Resume, Seed, Weights, load_both


@app.command()
def atlas(
    model: Model,
    site: Annotated[str, typer.Argument(help="Where activations are taken: blocks.5. `mulligan sites` lists them.")],
    data: Data = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Only activations that push the network to this class.")
    ] = None,
    share: Annotated[float, typer.Option(help="With --class: this share of all activations, strongest first.")] = 0.1,
    against: Annotated[str | None, typer.Option(help="A second network, on the layout of the first.")] = None,
    against_weights: Annotated[Path | None, typer.Option(help="Its weights.")] = None,
    against_site: Annotated[str | None, typer.Option(help="Its site, if called otherwise.")] = None,
    activations: Annotated[int, typer.Option(help="How many, about.", min=1)] = 100_000,
    zooms: Annotated[str, typer.Option(help="Cells along a side, one a zoom.")] = "8,16,32,64",
    fewest: Annotated[
        int | None, typer.Option(help="Activations that a cell must hold (default: by their number).", min=1)
    ] = None,
    draw: Annotated[int, typer.Option(help="Cells to draw, at most: coarse zooms and full cells first.", min=0)] = 400,
    steps: Annotated[int, typer.Option(help="Of a cell's optimization.", min=1)] = 128,
    weights: Weights = None,
    classes: Classes = None,
    input: Input = None,
    device: Device = "cpu",
    out: Out = None,
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Lay out activations of MODEL at SITE over --data, and draw what each neighbourhood has in common."""
    if data is None:
        raise BadInput("an atlas is made of real activations", where="see atlas", fix="give pictures with --data")
    if resume and out is None:
        raise BadInput("--resume needs to know where", fix="pass --out RUN")
    if against is None and (against_weights is not None or against_site is not None):
        raise BadInput("no second network is named", where="--against", fix="give it, the same as MODEL if it is that")
    # torch takes seconds to import: only a command that needs it pays.
    from ...procedures.see.atlas import make_atlas, prepare_atlas
    from ...procedures.see.atlas_work import Request
    from ...reports import write_html
    from ..cli import err

    err.print(f"loading {escape(model)}", highlight=False)
    network, dataset = load_both(model, weights, data, classes, input, device)
    second: Any = None
    if against is not None:
        from ...networks import load

        second = load(against, weights=against_weights, input=input, classes=network.classes).to(device)
        if second.input is None and network.input is not None:
            second = second.with_input(network.input)
    request = Request(
        network=network, dataset=dataset, site=site, wanted=activations, target=class_name, share=share,
        against=second, against_site=against_site, zooms=_numbers(zooms), fewest=fewest, draw=draw, steps=steps,
        seed=seed,
    )  # fmt: skip
    prepare_atlas(request)
    if resume:
        run = Run.open(str(out))
    else:
        options = {"model": model, "site": site, "data": data, "class": class_name, "device": device}
        run = Run.create("see", sys.argv[1:], options, out=out, seed=seed)
    try:
        with ProgressBars(err) as emit:
            made = make_atlas(request, run, emit=emit, saved=lambda: write_html(run.location))
    except BadInput:
        if not resume:
            run.withdraw()
        raise
    except (Interrupted, KeyboardInterrupt):
        run.update(status="interrupted")
        raise Interrupted(
            "Interrupted. What was finished is kept, and drawn so far is in the page; go on with the same command and "
            f"--out {shlex.quote(run.location)} --resume"
        ) from None
    run.update(status="finished")
    drawn, kept = sum(level.drawn for level in made.levels), sum(level.kept for level in made.levels)
    page = write_html(run.location)
    err.print(
        f"{made.activations:,} activations in {kept:,} cells, {drawn:,} of them drawn. Page: {escape(str(page))}",
        highlight=False,
    )


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BadInput("these are no numbers of cells", where=text, fix="give 8,16,32,64") from None
