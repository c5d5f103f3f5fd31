"""A page within a notebook's page: an iframe that may run its own script and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup, escape

from ...records import BadInput
from ...reports.page import Book, embedded, html, open_runs, pack
from ...reports.page.pictures import PictureStore
from ...reports.remote import copied, is_remote
from ...runs import Run

#: Bytes of pictures that a notebook is given: it is saved with its outputs.
PICTURES = 3_000_000
HEIGHT = 720


def display(run: Run) -> str:
    """The HTML with which a run shows itself; where it cannot be read yet, one sentence."""
    try:
        if is_remote(run.location):
            with copied(run) as folder:
                return str(iframe([folder]))
        return str(iframe([run.location]))
    except BadInput as error:
        return str(Markup("<p>{}</p>").format(str(error)))


def iframe(runs: Sequence[Path | str], *, title: str = "", pictures: int = PICTURES, height: int = HEIGHT) -> Markup:
    """One page about these runs in an iframe that needs no server, no kernel and no network.

    Args:
        pictures: bytes of pictures that it may hold. height: in pixels.

    Raises:
        BadInput: if there is no run at all.
    """
    book, parts = open_runs(runs, title=title, book=Book(pictures=PictureStore(budget=pictures)))
    page = html(book, parts, data=embedded(pack(book)))
    # Without allow-same-origin the page can reach neither the notebook around it nor its cookies. What stands
    # within the tag is read where a viewer takes frames away, as JupyterLab does until a notebook is trusted.
    return Markup(
        '<iframe sandbox="allow-scripts allow-downloads" referrerpolicy="no-referrer" title="{}" '
        'style="width:100%;height:{}px;border:1px solid #8886;border-radius:6px" srcdoc="{}">'
        "Mulligan's page about {} is not shown by this viewer: trust the notebook, or run the cell again.</iframe>"
    ).format(book.title, height, escape(page.replace("\n\n", "\n")), book.title)
