"""What every request passes first, and what every answer bears.

A page of another site must not reach this server through a visitor's browser. Reading is stopped by the Host header
(a name that was made to point here is not ours: DNS rebinding) and by the browser, since no answer allows other
origins; writing also needs our own Origin and the token that was printed where the server was started.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Bytes of a body: a thousand assigned features fit.
LARGEST_BODY = 128 * 1024
_READS, _WRITES = ("GET", "HEAD"), ("POST",)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class Hosts:
    """The names under which this server may be spoken to.

    Args:
        port: where it listens. allowed: further names, as --allow-host gives them; with a port, that one only.
    """

    def __init__(self, port: int, allowed: Iterable[str] = ()) -> None:
        self._exact = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        self._names = {name.lower() for name in allowed}

    def has(self, host: str) -> bool:
        """Whether a Host header names this server."""
        host = host.lower()
        return host in self._exact or host in self._names or _without_port(host) in self._names

    def is_own(self, origin: str) -> bool:
        """Whether an Origin header names a page of this server."""
        scheme, mark, host = origin.partition("://")
        # A name that was allowed may stand for a proxy that adds the encryption.
        return bool(mark) and self.has(host) and (scheme == "http" or (scheme == "https" and host not in self._exact))


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


class Guard:
    """Refuses what must not come in, and bounds what may."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts, token: str) -> None:
        self._app, self._hosts, self._token = app, hosts, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a web socket: closed unanswered

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", POLICY)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            status, sentence = refusal
            await JSONResponse({"error": sentence}, status)(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._hosts.has(hosts[0]):
            return 403, "This server is not known by that name; see --allow-host."
        method = scope["method"]
        if method in _READS:
            return None
        if method not in _WRITES:
            return 405, "This server knows GET, HEAD and POST."
        origins = headers.getlist("origin")
        if len(origins) != 1 or not self._hosts.is_own(origins[0]):
            return 403, "Only pages of this server may write; a program sends its address as Origin."
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            return 401, "Writing needs the token that was printed where the server was started."
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return 415, "Write JSON."
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal() and len(length) < 20) or "transfer-encoding" in headers:
            return 411, "Say how long the body is."
        if int(length) > LARGEST_BODY:
            return 413, f"A body has at most {LARGEST_BODY:,} bytes."
        return None
