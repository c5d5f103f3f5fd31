"""Runs as packed pages: made when first asked for, kept while memory allows, made anew when a run's files change."""

from __future__ import annotations

import asyncio
import gc
import gzip
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread
import msgspec

from .contents import Contents
from .heads import address_of, stamp_of
from .shelf import Place

#: Bytes of packed pages that are kept; the page in use is kept whatever its size.
MEMORY = 768 * 2**20
#: For so many seconds a run's files are not looked at again.
FRESH = 1.0


@dataclass(frozen=True, slots=True)
class Bound:
    """A page as it is served.

    Attributes:
        version: changes whenever the page does. html, index: gzip. chunks: gzip of JSON each.
    """

    version: str
    html: bytes
    index: bytes
    chunks: tuple[bytes, ...]
    contents: Contents

    @property
    def size(self) -> int:
        """Bytes that it holds in memory, about: names are kept beside their packed form."""
        return len(self.html) + 8 * len(self.index) + sum(map(len, self.chunks))


@contextmanager
def _no_collection() -> Iterator[None]:
    """No cyclic collection while a page is made: each would walk over all of it, and hold up everybody else."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


#: Makes the page of some runs: their folders and the address under which its data lie, to (html, index, chunks).
Binder = Callable[[Sequence[Path], str], tuple[str, bytes, Sequence[bytes]]]


class BeingMade(Exception):
    """The page is not there yet; it is being made, and who asks again will have it."""


@dataclass(slots=True)
class _Kept:
    bound: Bound | None = None
    stamp: object = None
    checked: float = -1e9
    work: asyncio.Task[None] | None = None


class Books:
    """All pages that were asked for.

    Args:
        bind: makes a page. writable: whether the pages offer reviewing. memory: see `MEMORY`.
    """

    def __init__(self, bind: Binder, *, writable: bool, memory: int = MEMORY) -> None:
        self._bind, self._writable, self._memory = bind, writable, memory
        self._kept: OrderedDict[tuple[str, ...], _Kept] = OrderedDict()
        # One page is packed at a time: it takes a core, and memory for pictures.
        self._packing = threading.Lock()

    async def get(self, places: Sequence[Place], *, patience: float | None = None) -> Bound:
        """The page of these runs as they are now. Several readers who ask at once wait for one and the same work.

        Raises:
            BeingMade: if it takes longer than `patience`, in seconds; the work goes on.
        """
        key = tuple(place.id for place in places)
        kept = self._kept.setdefault(key, _Kept())
        self._kept.move_to_end(key)
        if kept.bound is None or asyncio.get_running_loop().time() - kept.checked >= FRESH:
            if kept.work is None or kept.work.done():
                kept.work = asyncio.create_task(self._renew(key, kept, places))
            work = kept.work
            await asyncio.wait((work,), timeout=patience)
            if not work.done():
                raise BeingMade
            work.result()
        assert kept.bound is not None
        return kept.bound

    async def _renew(self, key: tuple[str, ...], kept: _Kept, places: Sequence[Place]) -> None:
        """Look whether the runs have changed; if so, or for the first time, make their page."""
        # A thread that is given up at the server's end goes on until the process does, and holds nothing.
        run = partial(anyio.to_thread.run_sync, abandon_on_cancel=True)
        stamp = await run(lambda: [(str(place.folder), stamp_of(place.folder)) for place in places])
        if kept.bound is None or stamp != kept.stamp:
            kept.bound = await run(self._make, places, stamp)
            kept.stamp = stamp
        kept.checked = asyncio.get_running_loop().time()
        self._forget(key)

    def at_hand(self, ids: Sequence[str]) -> Bound | None:
        """The page of these runs as it was last made, if it is kept."""
        kept = self._kept.get(tuple(ids))
        return None if kept is None else kept.bound

    def version(self, ids: Sequence[str], version: str) -> Bound | None:
        """The page of these runs if it is at hand in this version."""
        bound = self.at_hand(ids)
        if bound is None or bound.version != version:
            return None
        self._kept.move_to_end(tuple(ids))
        return bound

    def _forget(self, key: tuple[str, ...]) -> None:
        """Drop what was not asked for the longest, until the rest fits."""
        held = sum(kept.bound.size for kept in self._kept.values() if kept.bound)
        for old in list(self._kept):
            if held <= self._memory:
                break
            kept = self._kept[old]
            if old != key and (kept.work is None or kept.work.done()):
                held -= kept.bound.size if kept.bound else 0
                del self._kept[old]

    def _make(self, places: Sequence[Place], stamp: object) -> Bound:
        book = ",".join(place.id for place in places)
        version = hashlib.sha256(repr(stamp).encode()).hexdigest()[:16]
        with self._packing, _no_collection():
            html, index, chunks = self._bind([place.folder for place in places], f"/runs/{book}/{version}")
            document = msgspec.json.decode(index)
            document["review"] = {"base": f"/api/{book}", "writable": self._writable}
            addresses = [(place.folder.name, address_of(place.folder)) for place in places]
            return Bound(
                version=version, html=gzip.compress(html.encode(), 6, mtime=0),
                index=gzip.compress(msgspec.json.encode(document), 6, mtime=0),
                chunks=tuple(chunks), contents=Contents.of(document, addresses),
            )  # fmt: skip
