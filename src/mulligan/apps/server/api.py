"""The review queue over HTTP: JSON that `<mg-review>` reads and writes. docs/serve.md has the addresses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar
from weakref import WeakKeyDictionary

import anyio.to_thread
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...records import BadInput
from . import reviews
from .books import Bound
from .contents import Claimed, Contents
from .overview import feature_state, finding_state, overview
from .reviews import Busy, Place, Refused, ReviewLog, Stale
from .tally import Tally

T = TypeVar("T", bound="_Body")
Key = Annotated[str, msgspec.Meta(max_length=2000)]


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    author: str


class Assigning(_Body):
    """Features by their keys or, of a site of a network of the page, the next `count` that the reader should take."""

    reader: str
    features: Annotated[list[Key], msgspec.Meta(max_length=1000)] = []
    release: bool = False
    site: Key | None = None
    network: int = 0
    count: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20
    second: bool = False


class Labelling(_Body):
    """A label; "" is "I cannot tell"."""

    feature: Key
    text: str
    revision: int
    note: str = ""


class Resolving(Labelling):
    """The wording that stands; `same`: the labels say the same."""

    same: bool = False


class Judging(_Body):
    """A verdict on a finding of run number `run` of the page."""

    run: int
    finding: Key
    verdict: str
    reason: str
    revision: int


#: What was written about, whose state is answered; or the answer.
Written = Place | Claimed | dict[str, Any]


class Api:
    """The routes under /api/BOOK.

    Args:
        log: where reviews are kept; None where they cannot be. bound: the page that a request's address names.
    """

    def __init__(self, log: ReviewLog | None, bound: Callable[[Request], Awaitable[Bound]]) -> None:
        self._log, self._bound = log, bound
        # Goes with its page.
        self._tallies: WeakKeyDictionary[Contents, Tally] = WeakKeyDictionary()

    def routes(self) -> list[Route]:
        """What Starlette is given."""
        reads = {"review": self._overview, "feature": self._feature, "finding": self._finding}
        writes: dict[str, tuple[type[Any], Callable[[Contents, Any], Any]]] = {
            "assign": (Assigning, self._assign), "label": (Labelling, self._label),
            "resolve": (Resolving, self._resolve), "verdict": (Judging, self._verdict),
        }  # fmt: skip
        return [
            *(Route(f"/api/{{book}}/{name}", self._read(do)) for name, do in reads.items()),
            *(Route(f"/api/{{book}}/{name}", self._write(kind, do), methods=["POST"])
              for name, (kind, do) in writes.items()),
        ]  # fmt: skip

    def _read(self, answer: Callable[[Bound, Request], bytes]) -> Callable[[Request], Any]:
        """Answered at once, on the loop: it takes less time than handing it to a thread."""

        async def endpoint(request: Request) -> Response:
            bound = await self._bound(request)
            try:
                return _json(answer(bound, request))
            except Busy as error:
                raise _busy() from error

        return endpoint

    def _write(self, kind: type[T], do: Callable[[Contents, T], Written]) -> Callable[[Request], Any]:
        """Written in a thread, since it waits for the disk; what is there then is looked up on the loop."""

        async def endpoint(request: Request) -> Response:
            contents = (await self._bound(request)).contents
            try:
                body = msgspec.json.decode(await request.body(), type=kind)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                raise HTTPException(400, f"This is not what is written here: {error}.") from error
            try:
                written = await anyio.to_thread.run_sync(do, contents, body)
                answer = written if isinstance(written, dict) else self._state(written, body.author)
                return _json(msgspec.json.encode(answer), 201)
            except BadInput as error:
                sentence = str(error)
                raise HTTPException(400, f"{sentence[:1].upper()}{sentence[1:]}") from error
            except Refused as error:
                raise HTTPException(403, str(error)) from error
            except Stale:
                return _json(msgspec.json.encode(self._stale(contents, body)), 409)
            except Busy as error:
                raise _busy() from error

        return endpoint

    # Reading
    def _overview(self, bound: Bound, request: Request) -> bytes:
        with self._opened().reading() as ledger:
            tally = self._tallies.get(bound.contents)
            if tally is None:
                tally = self._tallies[bound.contents] = Tally(bound.contents)
            return msgspec.json.encode(overview(ledger, tally, bound.contents, _reader(request)))

    def _feature(self, bound: Bound, request: Request) -> bytes:
        place = _place(bound.contents, request.query_params.get("key", ""))
        with self._opened().reading() as ledger:
            return msgspec.json.encode(feature_state(ledger, place, _reader(request)))

    def _finding(self, bound: Bound, request: Request) -> bytes:
        query = request.query_params
        run = query.get("run", "")
        claimed = _claimed(bound.contents, int(run) if run.isdecimal() and len(run) < 6 else -1, query.get("id", ""))
        with self._opened().reading() as ledger:
            return msgspec.json.encode(finding_state(ledger, claimed, _reader(request)))

    # Writing
    def _assign(self, contents: Contents, body: Assigning) -> Written:
        with self._opened().writing() as writing:
            places = [_place(contents, key) for key in body.features]
            if body.site is not None:
                layer = contents.layer(body.network, body.site)
                if not layer.keys:
                    raise HTTPException(404, "This page has no features at such a site.")
                inside = [contents.features[key] for key in layer.keys]
                places += reviews.to_take(writing, body.reader, inside, body.count, second=body.second)
            changed = reviews.assign(writing, body.author, body.reader, places, release=body.release)
        return {"changed": changed}

    def _label(self, contents: Contents, body: Labelling) -> Written:
        place = _place(contents, body.feature)
        with self._opened().writing() as writing:
            reviews.label(writing, body.author, place, body.text, body.note, body.revision)
        return place

    def _resolve(self, contents: Contents, body: Resolving) -> Written:
        place = _place(contents, body.feature)
        with self._opened().writing() as writing:
            reviews.resolve(writing, body.author, place, body.text, body.note, body.revision, same=body.same)
        return place

    def _verdict(self, contents: Contents, body: Judging) -> Written:
        claimed = _claimed(contents, body.run, body.finding)
        with self._opened().writing() as writing:
            reviews.verdict(
                writing, body.author, claimed.run, claimed.id, claimed.claim, body.verdict, body.reason, body.revision
            )
        return claimed

    def _stale(self, contents: Contents, body: Any) -> Any:
        """What is there instead of what the author saw, as far as they may see it."""
        sentence = "Somebody, or you in another window, has written here since. Look at it, then write again."
        judged = isinstance(body, Judging)
        about = _claimed(contents, body.run, body.finding) if judged else _place(contents, body.feature)
        return {"error": sentence, "current": self._state(about, body.author)}

    def _state(self, about: Place | Claimed, author: str) -> Any:
        with self._opened().reading() as ledger:
            if isinstance(about, Claimed):
                return finding_state(ledger, about, author)
            return feature_state(ledger, about, author)

    def _opened(self) -> ReviewLog:
        if self._log is None:
            raise HTTPException(503, "Reviews cannot be kept: start the server with --reviews FILE.")
        return self._log


def _busy() -> HTTPException:
    sentence = "Another process keeps the reviews to itself for long; try again."
    return HTTPException(503, sentence, headers={"Retry-After": "5"})


def _json(data: bytes, status: int = 200) -> Response:
    return Response(data, status, media_type="application/json")


def _reader(request: Request) -> str:
    return " ".join(request.query_params.get("reader", "")[:200].split())


def _place(contents: Contents, key: str) -> Place:
    if key not in contents.features:
        raise HTTPException(404, "This page has no such feature.")
    return contents.features[key]


def _claimed(contents: Contents, run: int, finding: str) -> Claimed:
    if (run, finding) not in contents.findings:
        raise HTTPException(404, "This page has no such finding.")
    return contents.findings[run, finding]
