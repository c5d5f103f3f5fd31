"""Pieces of work and the engines that run them.

A long job is a list of independent pieces. A piece names a function and its plain arguments; its address is a hash of
those, of what it works on (network, data, seed) and of the code and library versions. A finished piece is one file
named by its address, so a job that was killed finds what it did by looking, and never does it twice. Procedures hand
pieces to an engine and know nothing else: `LocalEngine` runs them in this process, another may send them to a cluster.
"""

from __future__ import annotations

import importlib
import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
from safetensors import SafetensorError, safe_open

from ..records import Advanced, BadInput, Emit, Finished, Interrupted, MulliganError, Started, silent
from .addresses import canonical, code_digest, digest, foreign_code, library_versions
from .run import Run


@dataclass(frozen=True, slots=True)
class Context:
    """What pieces work on: heavy objects by name (a network, a data set), and an identity that stands for them.

    `recipe` is plain data from which another process could build the same objects.
    """

    identity: str
    objects: Mapping[str, Any]
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.objects[name]


@dataclass(frozen=True, slots=True)
class Piece:
    """One independent piece of work.

    Attributes:
        function: "package.module:name" of a function `f(context, **arguments) -> Result`.
        arguments: plain JSON data.
        cost: relative to the other pieces of the job, for the estimate of the time left.
        memory: bytes that it may need at its peak; 0 if little.
    """

    function: str
    arguments: Mapping[str, Any]
    cost: float = 1.0
    memory: int = 0

    def address(self, context: Context) -> str:
        """The content address: sha256 over function, arguments, context, code and library versions."""
        code = code_digest() + foreign_code(self.function.partition(":")[0])
        return digest(
            self.function, canonical(dict(self.arguments)), context.identity, code, canonical(dict(library_versions()))
        )

    def resolve(self) -> Any:
        """The function itself."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)


@dataclass(frozen=True, slots=True)
class Result:
    """What a piece gives: named arrays, and plain JSON values."""

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    values: Any = None


class _Stored(Mapping[str, np.ndarray]):
    """A finished piece's arrays, each read when it is asked for."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path, self._names = path, tuple(names)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        try:
            with safe_open(self._path, framework="np") as file:
                return file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise BadInput(
                "a piece of the run is missing or damaged", where=self._path, fix="run the command again with --resume"
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Engine(Protocol):
    """Runs pieces, in any order and anywhere, and yields each with its result in the order given."""

    def run(
        self, job: str, pieces: Sequence[Piece], context: Context, run: Run, emit: Emit = silent
    ) -> Iterator[tuple[Piece, Result]]:
        """Run what is not in the run's folder yet; yield all."""
        ...


def piece_file(address: str) -> str:
    """Where a piece's result lies in a run."""
    return f"pieces/{address[:2]}/{address}.safetensors"


def load_piece(run: Run, address: str) -> Result | None:
    """A finished piece's result, its arrays read when they are asked for; None if it is not there or not whole."""
    path = run.at(piece_file(address))
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            notes = file.metadata() or {}
            if notes.get("address") != address:
                return None
            return Result(_Stored(path, file.keys()), json.loads(notes["values"]))
    except (SafetensorError, OSError, ValueError, KeyError):
        return None


def has_piece(run: Run, address: str) -> bool:
    """Whether a piece's file is there (files appear in one step, so a file that is there is whole)."""
    return run.at(piece_file(address)).is_file()


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
        missing = [not has_piece(run, address) for address in addresses]
        todo = sum(piece.cost for piece, absent in zip(pieces, missing, strict=True) if absent)
        finished = missing.count(False)
        emit(Started(job=job, total=len(pieces), done=finished))
        began, spent, bought = time.monotonic(), 0.0, 0.0
        for piece, address, absent in zip(pieces, addresses, missing, strict=True):
            result = load_piece(run, address)
            if result is None:
                self._require_memory(job, piece)
                start = time.monotonic()
                with deferred_interrupt() as interrupt:
                    self._store(piece, address, context, run)
                spent += time.monotonic() - start
                bought += piece.cost
                # One that was there and damaged is counted already.
                finished += absent
                todo += 0.0 if absent else piece.cost
                left = (todo - bought) * spent / bought if bought > 0 else None
                emit(Advanced(job=job, done=finished, total=len(pieces), seconds_left=left))
                if interrupt.is_set():
                    raise Interrupted(
                        f"interrupted; {finished} of {len(pieces)} pieces of '{job}' are kept in {run.path}: "
                        "run the same command with --resume to go on."
                    )
                # What a resumed job reads is what this one goes on with, to the last bit and type.
                result = load_piece(run, address)
                if result is None:
                    raise MulliganError(
                        f"a piece of '{job}' was lost once it was written ({run.path}): run it again with --resume."
                    )
            yield piece, result
        emit(Finished(job=job, seconds=time.monotonic() - began))

    def _store(self, piece: Piece, address: str, context: Context, run: Run) -> None:
        # In a method of its own, so that the arrays are gone before the next piece is worked on.
        result = piece.resolve()(context, **piece.arguments)
        notes = {"address": address, "values": canonical(result.values), "function": piece.function}
        run.write_arrays(piece_file(address), result.arrays, notes=notes)

    def _require_memory(self, job: str, piece: Piece) -> None:
        free = psutil.virtual_memory().available
        if piece.memory > free:
            raise BadInput(
                f"a piece of work needs about {piece.memory / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free",
                where=job,
                fix="close other programs or lower the batch size, then run the same command with --resume",
            )  # fmt: skip


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
