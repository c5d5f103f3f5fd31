"""The engines that run pieces of work.

Procedures hand pieces to an engine and know nothing else: `LocalEngine` runs them in this process, `RayEngine` (in
`ray_engine.py`) on the machines of a Ray cluster. Both keep each result in the run, and find there what was done.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import psutil

from ..records import Advanced, BadInput, Emit, Finished, Interrupted, MulliganError, Started, silent
from .pieces import Context, Piece, Result, do_piece, finished_pieces, load_piece, result_of
from .run import Run


class Engine(Protocol):
    """Runs pieces, in any order and anywhere, and yields each with its result in the order given."""

    def run(
        self, job: str, pieces: Sequence[Piece], context: Context, run: Run, emit: Emit = silent
    ) -> Iterator[tuple[Piece, Result]]:
        """Run what is not in the run's folder yet; yield all."""
        ...


def engine_for(text: str, *, else_local: bool = False) -> Engine:
    """The engine that a user names: "local", "ray" (the cluster at RAY_ADDRESS, or of this machine) or "ray:ADDRESS".

    Args:
        else_local: whether pieces that only this process can do are done here; else they are refused.

    Raises:
        BadInput: if there is no such engine, or no such cluster.
    """
    kind, colon, address = text.partition(":")
    if text == "local":
        return LocalEngine()
    if kind == "ray" and bool(colon) == bool(address):
        from .ray_engine import RayEngine

        return RayEngine(address or None, else_local=else_local)
    raise BadInput("there is no such engine", where=text, fix="choose local, ray or ray:ADDRESS")


class LocalEngine:
    """Runs pieces one after another in this process; torch's threads use the cores.

    A piece that says it needs more memory than is free is refused before it starts. SIGINT is noticed between pieces:
    the piece in hand is finished and kept, and `Interrupted` is raised.
    """

    def run(
        self, job: str, pieces: Sequence[Piece], context: Context, run: Run, emit: Emit = silent
    ) -> Iterator[tuple[Piece, Result]]:
        """See `Engine.run`.

        Raises:
            Interrupted: after SIGINT. DiskFull: if a result cannot be stored.
            BadInput: if a piece needs more memory than is free.
        """
        addresses = [piece.address(context) for piece in pieces]
        there = finished_pieces(run, addresses)
        missing = [address not in there for address in addresses]
        todo = sum(piece.cost for piece, absent in zip(pieces, missing, strict=True) if absent)
        finished = missing.count(False)
        emit(Started(job=job, total=len(pieces), done=finished))
        began, spent, bought = time.monotonic(), 0.0, 0.0
        for piece, address, absent in zip(pieces, addresses, missing, strict=True):
            # One that was not there when the job began may be by now: several machines may share the run.
            if _pressed.is_set():
                raise interrupted(job, finished, len(pieces), run)
            result = load_piece(run, address) if absent else result_of(run, address)
            if result is None:
                self._require_memory(job, piece)
                start = time.monotonic()
                with deferred_interrupt() as interrupt:
                    do_piece(piece, address, context, run)
                spent += time.monotonic() - start
                bought += piece.cost
                # One that was there and damaged is counted already.
                finished += absent
                todo += 0.0 if absent else piece.cost
                emit(Advanced(job=job, done=finished, total=len(pieces), seconds_left=_left(todo, bought, spent)))
                if interrupt.is_set():
                    raise interrupted(job, finished, len(pieces), run)
                # What a resumed job reads is what this one goes on with, to the last bit and type.
                result = result_of(run, address)
                if result is None:
                    raise lost(job, run)
            elif absent:
                finished += 1
                todo -= piece.cost
                emit(Advanced(job=job, done=finished, total=len(pieces), seconds_left=_left(todo, bought, spent)))
            yield piece, result
        emit(Finished(job=job, seconds=time.monotonic() - began))

    def _require_memory(self, job: str, piece: Piece) -> None:
        free = psutil.virtual_memory().available
        if piece.memory > free:
            raise BadInput(
                f"a piece of work needs about {piece.memory / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free",
                where=job,
                fix="close other programs or lower the batch size, then run the same command with --resume",
            )  # fmt: skip


def _left(todo: float, bought: float, spent: float) -> float | None:
    """Seconds left, at what the pieces done so far cost."""
    return (todo - bought) * spent / bought if bought > 0 else None


def interrupted(job: str, finished: int, total: int, run: Run) -> Interrupted:
    """What is said after Ctrl-C."""
    return Interrupted(
        f"interrupted; {finished} of {total} pieces of '{job}' are kept in {run.location}: "
        "run the same command with --resume to go on."
    )


def lost(job: str, run: Run) -> MulliganError:
    """What is said of a piece that was written and is not there."""
    return MulliganError(
        f"a piece of '{job}' was lost once it was written ({run.location}): run it again with --resume."
    )


#: Ctrl-C was pressed within `remembered_interrupts`.
_pressed = threading.Event()


@contextmanager
def remembered_interrupts() -> Iterator[None]:
    """Within the block Ctrl-C raises KeyboardInterrupt as ever, and is also remembered: the next piece is not begun.

    An exception that comes while a library runs a bare `except:` is lost without a trace (seen once in 60 audits).
    """
    _pressed.clear()

    def pressed(number: int, frame: Any) -> None:
        _pressed.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, pressed)
    try:
        yield
    finally:
        _pressed.clear()
        signal.signal(signal.SIGINT, previous if previous is not None else signal.SIG_DFL)


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Within the block, the first Ctrl-C only sets the event given; a second one raises KeyboardInterrupt at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def remember(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    previous = signal.signal(signal.SIGINT, remember)
    try:
        yield event
    finally:
        # None: a handler that was not laid from Python cannot be laid again.
        signal.signal(signal.SIGINT, previous if previous is not None else signal.SIG_DFL)
