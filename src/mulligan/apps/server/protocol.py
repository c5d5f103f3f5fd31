"""HTTP as uvicorn speaks it with httptools, which takes half the time of h11; what comes before a body is bounded."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of an address and headers together.
LARGEST_HEAD = 64 * 1024


class HeadTooLarge(Exception):
    """Answered as every request that is none: 400, and the connection is closed."""


class BoundedProtocol(HttpToolsProtocol):
    """httptools bounds neither the address nor the headers."""

    _head = 0

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._count(name + value)
        super().on_header(name, value)

    def _count(self, part: bytes) -> None:
        self._head += len(part)
        if self._head > LARGEST_HEAD:
            raise HeadTooLarge
