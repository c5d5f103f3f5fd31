"""`mulligan see factors`: the handful of parts that activations of a site fall into."""

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
def factors(
    model: Model,
    site: Annotated[str, typer.Argument(help="A site with space: blocks.5, as `mulligan sites` lists them.")],
    data: Data = None,
    image: Annotated[
        Path | None, typer.Option(help="A picture whose own activations are factored (default: the data's).")
    ] = None,
    n: Annotated[int, typer.Option("--n", help="How many factors.", min=1, max=12)] = 6,
    output: Annotated[
        str | None, typer.Option(help="The class whose logit is explained (default: what is answered).")
    ] = None,
    kind: Annotated[str, typer.Option(help="nmf (parts that are only added) or pca (components).")] = "nmf",
    negatives: Annotated[
        str, typer.Option(help="Activations below zero: clip, two-sided, or auto (clip where little is lost).")
    ] = "auto",
    examples: Annotated[int, typer.Option(help="At most so many examples are looked at.", min=2)] = 1000,
    shown: Annotated[int, typer.Option(help="How many of them are shown under the factors' colours.", min=0)] = 6,
    steps: Annotated[int, typer.Option(help="Of the pictures' optimization; 0: no pictures.", min=0)] = 128,
    weights: Weights = None,
    classes: Classes = None,
    input: Input = None,
    device: Device = "cpu",
    out: Out = None,
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Group the activations of MODEL at SITE into a handful of factors: what each is, where, how strong, and why it
    mattered for the answer."""
    if data is None:
        raise BadInput("factors are held against data", where="see factors", fix="give a data set with --data")
    if resume and out is None:
        raise BadInput("--resume needs to know where", fix="pass --out RUN")
    # torch takes seconds to import: only a command that needs it pays.
    from ...procedures.see.factors import Request, prepare, see_factors
    from ...reports import write_html
    from ..cli import err

    err.print(f"loading {escape(model)}", highlight=False)
    network, dataset = load_both(model, weights, data, classes, input, device)
    request = Request(
        network=network, dataset=dataset, site=site, image=image, count=n, kind=kind, negatives=negatives,
        output=output, examples=examples, steps=steps, shown=shown, seed=seed,
    )  # fmt: skip
    prepare(request)
    if resume:
        run = Run.open(str(out))
    else:
        asked = {"model": model, "site": site, "data": data, "image": str(image) if image else None, "n": n,
                 "output": output, "kind": kind, "negatives": negatives, "examples": examples, "steps": steps,
                 "device": device}  # fmt: skip
        run = Run.create("see", sys.argv[1:], asked, out=out, seed=seed)
    try:
        with ProgressBars(err) as emit:
            found = see_factors(request, run, emit=emit)
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
    explained = found.explained
    err.print(
        f"{len(found.cards)} factors of {found.site} explain {explained}. Page: {escape(str(page))}", highlight=False
    )
