"""`mulligan article`: papers whose numbers are derived from runs again whenever they are checked."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ..records import BadInput

app = typer.Typer(
    name="article", help="Write an article about runs, whose numbers are checked against them.", no_args_is_help=True
)
err = Console(stderr=True, emoji=False, soft_wrap=True)

Folder = Annotated[Path, typer.Argument(help="The article's folder: article.md, references.bib, reviews.toml.")]


@app.command()
def init(
    folder: Folder,
    run: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER of a run that the article speaks of; may be repeated.")
    ] = None,
    title: Annotated[str, typer.Option(help="Its title.")] = "An article",
) -> None:
    """Begin an article in FOLDER."""
    from ..reports.articles import start

    runs: dict[str, Path] = {}
    for text in run or ():
        name, sign, place = text.partition("=")
        if not sign or not name or not place:
            raise BadInput("a run has no name", where=text, fix="write --run NAME=FOLDER")
        runs[name] = Path(place)
    err.print(escape(str(start(folder, runs, title=title))), highlight=False)


@app.command()
def build(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="The page (default: FOLDER/article.html).")] = None,
    draft: Annotated[bool, typer.Option("--draft", help="Also where prose and data disagree, which it shows.")] = False,
) -> None:
    """Write the article as one page, if prose and data agree."""
    from ..reports.articles import build as write
    from ..reports.articles import check, read_article

    article = read_article(folder)
    checked = check(article)
    if checked.problems or (checked.of("disagrees") and not draft):
        _tell(checked)
        err.print("[red]mulligan:[/red] nothing was written.", highlight=False)
        raise typer.Exit(checked.status())
    err.print(escape(str(write(article, checked, out, draft=draft))), highlight=False)


@app.command(name="check")
def check_command(
    folder: Folder,
    strict: Annotated[
        bool, typer.Option("--strict", help="Warnings, and numbers bound to nothing, make it fail too.")
    ] = False,
) -> None:
    """Derive every quoted number from its run again.

    Exit status: 0 prose and data agree, 1 they do not, 2 the article or a run cannot be read.
    """
    from ..reports.articles import check, read_article

    began = time.monotonic()
    checked = check(read_article(folder))
    out = Console(emoji=False, soft_wrap=True, markup=False, highlight=False)
    for outcome in checked.outcomes:
        data = "" if outcome.found is None else str(outcome.found)
        bound = outcome.quote.bound or f"given{': ' + outcome.quote.why if outcome.quote.why else ''}"
        out.print(f"{outcome.quote.line:>5}  {outcome.verdict:<17}  {outcome.quote.says.text}  |  {data}  |  {bound}")
    _tell(checked)
    agree, wrong = len(checked.of("agrees")), len(checked.of("disagrees"))
    err.print(
        f"{agree + wrong} numbers derived from {len(checked.runs)} runs in {time.monotonic() - began:.1f} s: "
        f"{agree} agree, {wrong} disagree; {len(checked.of('not from data'))} not from data; "
        f"{len(checked.unbound)} bound to nothing.",
        highlight=False,
    )
    raise typer.Exit(checked.status(strict=strict))


def _tell(checked: Any) -> None:
    """What is wrong, on stderr, worst first."""
    for problem in checked.problems:
        err.print(f"[red]problem:[/red] {escape(problem)}", highlight=False)
    for outcome in checked.of("disagrees"):
        says = f"line {outcome.quote.line}: the prose says {outcome.quote.says.text!r}, the data {outcome.found}"
        err.print(f"[red]disagrees:[/red] {escape(says)} ({escape(outcome.quote.bound)})", highlight=False)
    for warning in checked.warnings:
        err.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False)
    for number in checked.unbound:
        err.print(
            f"[yellow]bound to nothing:[/yellow] line {number.line}: {escape(number.text)} in "
            f"{escape(repr(number.around))}",
            highlight=False,
        )
    for name, bound in checked.runs.items():
        if not bound.pinned:
            err.print(f"run {escape(name)} is not pinned; its sha256 is {bound.identity}", highlight=False)
