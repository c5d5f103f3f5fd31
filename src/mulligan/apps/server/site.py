"""The pages: the list of runs, one page for one or several of them, its data, its code."""

from __future__ import annotations

import base64
import gzip
import hashlib
import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from urllib.parse import quote

import anyio.to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ...records import BadInput
from ...reports.pages import finalize
from ...reports.shell import policy
from .books import BeingMade, Books, Bound
from .heads import Head, Heads
from .shelf import Place, Shelf

_log = logging.getLogger(__name__)
#: Runs on one page at most.
SIDE_BY_SIDE = 8
#: Seconds after which a page that is still being made says so.
PATIENCE = 3.0
#: A page whose address names its version never changes.
_FOREVER = "private, max-age=31536000, immutable"

@dataclass(frozen=True, slots=True)
class Listed:
    """A run in the list: where its page is, and what is known of it."""

    id: str
    link: str
    head: Head


class Site:
    """The routes that show runs."""

    def __init__(self, shelf: Shelf, books: Books) -> None:
        self._shelf, self._books, self._heads = shelf, books, Heads()
        self._known: dict[str, Place] = {}

    def routes(self) -> list[Route]:
        """What Starlette is given."""
        return [
            Route("/", self.home),
            Route("/home.js", self.home_code),
            Route("/compare", self.compare),
            Route("/runs/{book}", self.lead),
            Route("/runs/{book}/", self.page),
            Route("/runs/{book}/chunks/{number:int}", self.chunk),
            Route("/runs/{book}/index.json", self.index),
            Route("/runs/{book}/{version}/chunks/{number:int}", self.chunk),
            Route("/runs/{book}/{version}/index.json", self.index),
        ]

    async def home(self, request: Request) -> Response:
        """The list of runs, as they are now."""
        return _html(await anyio.to_thread.run_sync(self._render_home))

    def _render_home(self) -> bytes:
        found = self._shelf.look()
        listed = [Listed(place.id, f"/runs/{quote(place.id)}/", self._heads.of(place.folder)) for place in found.runs]
        listed.sort(key=lambda one: one.head.created, reverse=True)
        folders = [str(folder) for folder in self._shelf.folders]
        return _render("home.html.j2", runs=listed, refused=found.refused, folders=folders, most=SIDE_BY_SIDE)

    async def compare(self, request: Request) -> Response:
        """Several runs on one page: /compare?run=A&run=B leads to their common address."""
        ids = list(dict.fromkeys(request.query_params.getlist("run")))
        if not ids:
            raise HTTPException(400, "Choose the runs to compare: /compare?run=A&run=B")
        await self.places(",".join(ids))
        return RedirectResponse(f"/runs/{','.join(ids)}/", 303)

    async def lead(self, request: Request) -> Response:
        """To a page's address as it should be."""
        book = request.path_params["book"]
        await self.places(book)
        return RedirectResponse(f"/runs/{book}/", 308)

    async def page(self, request: Request) -> Response:
        """One page for one run, or for several whose ids are joined by commas."""
        try:
            bound = await self.bound(request, patience=PATIENCE)
        except BeingMade:
            return _html(_render("making.html.j2", book=request.path_params["book"]), 202, {"Refresh": "2"})
        return _zipped(request, bound.html, "text/html; charset=utf-8", {"Content-Security-Policy": _page_policy()})

    async def index(self, request: Request) -> Response:
        """What the page holds, as JSON."""
        bound = await self.bound(request)
        return _data(request, bound.index, f'"{bound.version}-index"')

    async def chunk(self, request: Request) -> Response:
        """A part of the page's data, as JSON."""
        bound, number = await self.bound(request), request.path_params["number"]
        if number >= len(bound.chunks):
            raise HTTPException(404, "This page has no such part.")
        return _data(request, bound.chunks[number], f'"{bound.version}-{number}"')

    async def home_code(self, request: Request) -> Response:
        """What the list of runs needs of script."""
        data, tag = _asset("mulligan.apps.server", "templates/home.js")
        return _data(request, data, tag, "text/javascript; charset=utf-8")

    # Finding
    async def bound(self, request: Request, *, patience: float | None = None) -> Bound:
        """The page that an address names, in the version that it names if it does."""
        book, version = request.path_params["book"], request.path_params.get("version")
        if version is not None:
            found = self._books.version(book.split(","), version)
            if found is not None:
                return found
        bound = await self.open(await self.places(book), patience)
        if version is not None and bound.version != version:
            raise HTTPException(404, "The run has changed since this page was opened: load the page again.")
        return bound

    async def at_hand(self, request: Request) -> Bound:
        """The page that an address names, as it was last made: enough for what is written of it."""
        return self._books.at_hand(request.path_params["book"].split(",")) or await self.bound(request)

    async def open(self, places: Sequence[Place], patience: float | None = None) -> Bound:
        """Their page. What is wrong with a run is told by its page; if there can be none, a sentence says why."""
        try:
            return await self._books.get(places, patience=patience)
        except BeingMade:
            raise
        except BadInput as error:
            raise HTTPException(422, str(error)) from error
        except Exception as error:
            _log.error("a page could not be made:\n%s", traceback.format_exc())
            raise HTTPException(
                500, f"This page could not be made, which is our fault ({type(error).__name__}). What Mulligan says of "
                "it stands where the server was started. Other runs can still be opened.",
            ) from error  # fmt: skip

    async def places(self, book: str) -> list[Place]:
        """The runs that an address names."""
        ids = book.split(",")
        if len(ids) > SIDE_BY_SIDE or len(set(ids)) != len(ids):
            raise HTTPException(400, f"A page shows from one to {SIDE_BY_SIDE} different runs.")
        if not all(id in self._known for id in ids) or not all(self._known[id].folder.is_dir() for id in ids):
            found = await anyio.to_thread.run_sync(self._shelf.look)
            self._known = {place.id: place for place in found.runs}
        missing = [id for id in ids if id not in self._known]
        if missing:
            raise HTTPException(404, "There is no such run here; it may have been moved since.")
        return [self._known[id] for id in ids]


def problem_page(status: int, sentence: str) -> Response:
    """A page that says what went wrong."""
    return _html(_render("problem.html.j2", status=status, sentence=sentence), status)


@cache
def _environment() -> Environment:
    style = files("mulligan.apps.server").joinpath("templates/home.css").read_text(encoding="utf-8")
    env = Environment(
        loader=PackageLoader("mulligan.apps.server"), autoescape=True, undefined=StrictUndefined, finalize=finalize,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    env.globals["style"] = Markup(style)
    return env


def _render(name: str, **values: object) -> bytes:
    return _environment().get_template(name).render(values).encode()


@cache
def _page_policy() -> str:
    """The report's own, said in the header too, where a page cannot be framed either."""
    return f"{policy(served=True)}; frame-ancestors 'none'"


@cache
def _home_policy() -> str:
    style = base64.b64encode(hashlib.sha256(str(_environment().globals["style"]).encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    )


def _html(page: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    policy = {"Content-Security-Policy": _home_policy()}
    return Response(page, status, policy | (headers or {}), "text/html; charset=utf-8")


@cache
def _asset(package: str, name: str) -> tuple[bytes, str]:
    data = files(package).joinpath(name).read_bytes()
    return gzip.compress(data, 9, mtime=0), f'"{hashlib.sha256(data).hexdigest()[:24]}"'


def _data(request: Request, zipped: bytes, tag: str, kind: str = "application/json") -> Response:
    """Something with a tag: not sent again to who has it; kept for good where the address names the version."""
    keep = _FOREVER if "version" in request.path_params else "private, no-cache"
    headers = {"ETag": tag, "Cache-Control": keep, "Vary": "Accept-Encoding"}
    given = request.headers.get("if-none-match", "")
    if tag in (part.strip().removeprefix("W/") for part in given.split(",")):
        return Response(status_code=304, headers=headers)
    return _zipped(request, zipped, kind, headers)


def _zipped(request: Request, zipped: bytes, kind: str, headers: dict[str, str]) -> Response:
    if _takes_gzip(request.headers.get("accept-encoding", "")):
        return Response(zipped, headers={**headers, "Content-Encoding": "gzip"}, media_type=kind)
    return Response(gzip.decompress(zipped), headers=headers, media_type=kind)


def _takes_gzip(accepted: str) -> bool:
    for part in accepted.split(","):
        coding, _, quality = part.partition(";")
        if coding.strip().lower() in ("gzip", "*"):
            return quality.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
