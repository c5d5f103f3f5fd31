"""Pieces of work: what each is, its content address, and where its result lies in a run.

A long job is a list of independent pieces. A piece names a function and its plain arguments; its address is a hash of
those, of what it works on (network, data, seed) and of the code and library versions. A finished piece is one file
named by its address, so a job that was killed finds what it did by looking, and never does it twice.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors import SafetensorError

from ..records import BadInput
from .addresses import canonical, code_digest, digest, foreign_code, library_versions
from .run import Run
from .stores import LocalStore

_FEW = 8  # pieces that are asked for one by one, and not by a listing of all


@dataclass(frozen=True, slots=True)
class Context:
    """What pieces work on: heavy objects by name (a network, a data set), and an identity that stands for them.

    `recipe` is plain data from which another process can build the same: recipe["build"] names a function
    "package.module:name" that takes the recipe and gives a context of the same identity. Empty where there is no way.
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
        return resolve(self.function)


@dataclass(frozen=True, slots=True)
class Result:
    """What a piece gives: named arrays, and plain JSON values."""

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    values: Any = None


def resolve(function: str) -> Any:
    """The function that "package.module:name" names."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


class _Stored(Mapping[str, np.ndarray]):
    """A finished piece's arrays, each read when it is asked for."""

    def __init__(self, run: Run, address: str, names: Sequence[str]) -> None:
        self._run, self._address, self._names = run, address, tuple(names)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        try:
            with self._run.open_arrays(piece_file(self._address)) as file:
                return file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise _damaged(self._run, self._address) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Later(Result):
    """A finished piece of which nothing is read until it is asked for: each look at a remote run is a request."""

    __slots__ = ("_address", "_run")

    def __init__(self, run: Run, address: str) -> None:
        object.__setattr__(self, "_run", run)
        object.__setattr__(self, "_address", address)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Result`."""
        return self._read().arrays

    @property
    def values(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Result`."""
        return self._read().values

    def _read(self) -> Result:
        result = load_piece(self._run, self._address)
        if result is None:
            raise _damaged(self._run, self._address)
        return result


def _damaged(run: Run, address: str) -> BadInput:
    fix = "run the command again with --resume"
    if not isinstance(run.store, LocalStore):
        fix = f"remove it, then {fix}"
    return BadInput("a piece of the run is missing or damaged", where=run.store.where(piece_file(address)), fix=fix)


def piece_file(address: str) -> str:
    """Where a piece's result lies in a run."""
    return f"pieces/{address[:2]}/{address}.safetensors"


def has_piece(run: Run, address: str) -> bool:
    """Whether a piece's file is there (files appear in one step, so a file that is there is whole)."""
    return run.has(piece_file(address))


def finished_pieces(run: Run, addresses: Sequence[str]) -> set[str]:
    """Which of these pieces' files are there: one listing of the run, however many they are."""
    if len(addresses) <= _FEW:
        return {address for address in addresses if has_piece(run, address)}
    there = run.store.names("pieces")
    return {address for address in addresses if piece_file(address) in there}


def load_piece(run: Run, address: str) -> Result | None:
    """A finished piece's result, its arrays read when they are asked for; None if it is not there or not whole."""
    try:
        with run.open_arrays(piece_file(address)) as file:
            notes = file.metadata() or {}
            if notes.get("address") != address:
                return None
            return Result(_Stored(run, address, file.keys()), json.loads(notes["values"]))
    except (SafetensorError, OSError, ValueError, KeyError):
        return None


def result_of(run: Run, address: str) -> Result | None:
    """The result of a piece whose file is there.

    In a folder, its header is looked at, and a damaged one gives None. Elsewhere nothing is read until it is asked for:
    a file that was put in one step is whole.
    """
    return load_piece(run, address) if isinstance(run.store, LocalStore) else _Later(run, address)


def do_piece(piece: Piece, address: str, context: Context, run: Run) -> None:
    """Do a piece of work and keep its result in the run."""
    # In a function of its own, so that the arrays are gone before the next piece is worked on.
    result = piece.resolve()(context, **piece.arguments)
    notes = {"address": address, "values": canonical(result.values), "function": piece.function}
    run.write_arrays(piece_file(address), result.arrays, notes=notes)
