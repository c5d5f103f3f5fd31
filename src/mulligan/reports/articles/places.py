"""Where something stands in an article's text, for errors that a person can act on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...records import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = "article.md"


def place(line: int, file: str = TEXT) -> str:
    """`article.md, line 12`."""
    return f"{file}, line {line}"


@contextmanager
def on_line(line: int, file: str = TEXT) -> Iterator[None]:
    """What goes wrong within is said to be on `line`, unless it is in a file of its own."""
    try:
        yield
    except BadInput as error:
        if error.where is not None:
            raise
        raise BadInput(error.what, where=place(line, file), fix=error.fix) from error
