"""`mulligan serve` and `mulligan review`: runs over HTTP, and what people said of them as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..records import BadInput
from ..reports.text import plural, visible

app = typer.Typer(pretty_exceptions_enable=False)
review = typer.Typer(
    name="review", help="What people said of features and findings.", no_args_is_help=True,
    pretty_exceptions_enable=False,
)  # fmt: skip
app.add_typer(review)
err = Console(stderr=True, emoji=False, soft_wrap=True, highlight=False)

Runs = Annotated[
    list[Path], typer.Argument(help="Folders of runs, or folders that runs lie in.", show_default=False)
]
Reviews = Annotated[
    Path | None, typer.Option(help="The file of reviews (default: reviews.sqlite beside the first run).")
]


@app.command()
def serve(
    runs: Runs,
    port: Annotated[int, typer.Option(help="Where to listen; 0: any port that is free.")] = 8765,
    host: Annotated[
        str, typer.Option(help="The address to listen on; any but this machine's own needs --allow-host.")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A name under which the server may be spoken to; may be given several times."),
    ] = None,
    reviews: Reviews = None,
) -> None:
    """Show runs over HTTP, side by side, with a queue in which several people label features and judge findings."""
    from .server import Ready, serve

    def told(ready: Ready) -> None:
        err.print(f"{plural(ready.runs, 'run')}. Open: [bold]{escape(ready.address)}[/bold]")
        if isinstance(ready.reviews, Path):
            err.print(f"Who has this address may write; labels are kept in {escape(visible(str(ready.reviews)))}")
        else:
            err.print(f"[yellow]Nothing can be written:[/yellow] {escape(visible(ready.reviews))}")
        err.print("Ctrl-C ends the server.")

    try:
        serve(runs, host=host, port=port, allowed=tuple(allow_host or ()), reviews=reviews, told=told)
    except KeyboardInterrupt:
        # How a server ends; whatever was acknowledged is on the disk.
        err.print("Ended. All that was written is kept.")


@review.command()
def export(
    runs: Runs,
    out: Annotated[Path, typer.Option(help="labels.toml for `see labels --labels`; NAME.json for everything.")],
    reviews: Reviews = None,
) -> None:
    """Write what people said to a file: the labels that stand, or (.json) every entry, state and agreement."""
    from .server import REVIEWS, Shelf, address_of
    from .server.reviews import ReviewLog, write_json, write_toml

    shelf = Shelf(runs)
    path = reviews or shelf.home / REVIEWS
    if not path.is_file():
        raise BadInput("nobody has reviewed these runs", where=path, fix="name the file of reviews with --reviews FILE")
    if out.suffix.lower() not in (".toml", ".json"):
        raise BadInput("this is neither .toml nor .json", where=out, fix="name a file such as labels.toml")
    log = ReviewLog(path)
    try:
        with log.reading() as ledger:
            if out.suffix.lower() == ".json":
                known = {address_of(place.folder): place.folder.name for place in shelf.look().runs}
                err.print(f"{plural(write_json(out, ledger, known), 'entry', 'entries')}: {escape(visible(str(out)))}")
                return
            written, left = write_toml(out, ledger)
    finally:
        log.close()
    err.print(f"{plural(written, 'label')}: {escape(visible(str(out)))}")
    if left:
        some = ", ".join(visible(alias, 80) for alias in left[:5])
        err.print(f"{plural(len(left), 'feature')} cannot be named in this file, only in JSON: {escape(some)}")
