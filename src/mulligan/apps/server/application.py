"""The whole server as one ASGI application: pages, data, reviewing, behind the guard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from ...reports.page import Book, html, open_runs, pack, served
from ...reports.page.pictures import PictureStore
from .api import Api
from .books import MEMORY, Binder, Books
from .guard import Guard, Hosts
from .reviews import ReviewLog
from .shelf import Shelf
from .site import Site, problem_page

#: Bytes of pictures on a served page: eight times what fits into one that is opened from disk.
PICTURES = 128_000_000


def application(
    shelf: Shelf, log: ReviewLog | None, *, hosts: Hosts, token: str, bind: Binder | None = None, memory: int = MEMORY
) -> ASGIApp:
    """What uvicorn runs.

    Args:
        log: where reviews are kept; None: pages are read only. bind: makes a page of runs; the report's own by default.
    """
    books = Books(bind or bind_report, writable=log is not None, memory=memory)
    site = Site(shelf, books)
    api = Api(log, site.at_hand)
    app = Starlette(
        routes=[*site.routes(), *api.routes()],
        exception_handlers={HTTPException: _tell, 500: _fault},  # type: ignore[dict-item]
    )
    app.router.redirect_slashes = False
    return Guard(app, hosts=hosts, token=token)


def bind_report(folders: Sequence[Path], base: str) -> tuple[str, bytes, Sequence[bytes]]:
    """The report's page of these runs, its index and chunks, its data under `base`."""
    book, parts = open_runs(folders, book=Book(pictures=PictureStore(budget=PICTURES)))
    packed = pack(book)
    return html(book, parts, data=served(), base=base), packed.index, packed.chunks


async def _tell(request: Request, error: Exception) -> Response:
    """A sentence, for a program or a person."""
    assert isinstance(error, HTTPException)
    sentence = str(error.detail)
    if request.url.path.startswith("/api/") or request.url.path.rpartition("/")[2] == "index.json":
        return JSONResponse({"error": sentence}, error.status_code, error.headers)
    return problem_page(error.status_code, sentence)


async def _fault(request: Request, error: Exception) -> Response:
    return await _tell(request, HTTPException(500, "This is our fault; what Mulligan says of it stands where it runs."))
