"""Listening: a socket that is ours before anything is said, a token, an address to open, an end that loses nothing."""

from __future__ import annotations

import errno
import gc
import ipaddress
import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from ...records import BadInput
from .application import application
from .guard import Hosts
from .protocol import BoundedProtocol
from .reviews import ReviewLog
from .shelf import Shelf

PORT = 8765
REVIEWS = "reviews.sqlite"
#: Seconds that requests under way have when the server ends.
_GRACE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A server that listens. `address`: to be opened, with the token. `reviews`: the file, or why there is none."""

    address: str
    token: str
    runs: int
    reviews: Path | str


def serve(
    folders: Sequence[Path], *, host: str = "127.0.0.1", port: int = PORT, allowed: Sequence[str] = (),
    reviews: Path | None = None, told: Callable[[Ready], None],
) -> None:  # fmt: skip
    """Serve runs until SIGINT or SIGTERM.

    Args:
        folders: of runs, or that runs lie in. host: where to listen. port: 0 for any that is free.
        allowed: names under which the server may be spoken to, besides this machine's own.
        reviews: the file of reviews; by default `reviews.sqlite` beside the first run.
        told: called once, when the server listens.

    Raises:
        BadInput: if a folder does not exist, the port is taken, the host is not this machine alone and no name is
            allowed, or the file of reviews that was named cannot be used.
    """
    if not is_loopback(host) and not allowed:
        raise BadInput(
            "other machines could reach this server", where=f"--host {host}",
            fix="say under which name they may, with --allow-host NAME, or leave out --host",
        )  # fmt: skip
    shelf = Shelf(folders)
    log, kept = _reviews(shelf, reviews)
    try:
        with listening(host, port) as listener:
            number = listener.getsockname()[1]
            token = secrets.token_urlsafe(24)
            app = application(shelf, log, hosts=Hosts(number, allowed), token=token)
            shown = allowed[0] if allowed and not is_loopback(host) else "127.0.0.1"
            shown = shown if ":" in shown or shown in ("localhost",) else f"{shown}:{number}"
            told(
                Ready(address=f"http://{shown}/?token={token}", token=token, runs=len(shelf.look().runs), reviews=kept)
            )
            config = uvicorn.Config(
                app, http=BoundedProtocol, ws="none", loop="asyncio", lifespan="off", log_config=None, access_log=False,
                server_header=False, proxy_headers=False, timeout_graceful_shutdown=_GRACE, backlog=1024,
            )  # fmt: skip
            # What was imported until now stays: a collection need not walk over it while readers wait.
            gc.collect()
            gc.freeze()
            # A page that is packed in a thread lets the loop answer others every millisecond.
            sys.setswitchinterval(0.001)
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        if log is not None:
            log.close()


def _reviews(shelf: Shelf, named: Path | None) -> tuple[ReviewLog | None, Path | str]:
    """The file of reviews. One that was named must be usable; without one, pages are still served."""
    path = named or shelf.home / REVIEWS
    try:
        return ReviewLog(path), path
    except BadInput as error:
        if named is not None:
            raise
        return None, str(error)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        BadInput: if the port is taken or not allowed, or the host is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, so that asyncio sends small parts at once: else the end of each answer waits 40 ms for the beginning's
    # acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A port whose last server has just ended is free; one that is listened on is not.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _not_listening(host, port, error) from error
    return listener


def _not_listening(host: str, port: int, error: Exception) -> BadInput:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        other = port + 1 if port < 65535 else port - 1
        return BadInput(
            f"port {port} is in use, perhaps by another mulligan serve",
            fix=f"choose another with --port {other}, or --port 0 for any that is free",
        )
    if number == errno.EACCES:
        return BadInput(f"port {port} may not be used", fix="choose one from 1024 to 65535 with --port")
    if isinstance(error, OverflowError):
        return BadInput(f"there is no port {port}", fix="choose one from 1024 to 65535 with --port")
    return BadInput(f"{host} is no address of this machine ({error})", fix="leave out --host, or name one with --host")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
