"""Pieces of work for the tests, and a run to do them in."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mulligan.records import BadInput, DiskFull
from mulligan.runs import Context, Piece, Result, Run, generator

HERE = "runs_work"
calls: list[int] = []


def draw(context: Context, *, number: int, size: int = 1000, seconds: float = 0.0) -> Result:
    """Random numbers that hang on the piece's own number only."""
    calls.append(number)
    time.sleep(seconds)
    return Result({"drawn": generator(0, "draw", number).normal(size=size)}, {"number": number, "pair": (1, 2)})


def scalar(context: Context) -> Result:
    """Arrays of unusual shapes, orders and types."""
    square = np.arange(6, dtype=np.int16).reshape(2, 3)
    return Result({"one": np.float64(3.5), "turned": square.T, "none": np.zeros((0, 4), np.float32), "is": square > 2})


def fail(context: Context, *, number: int) -> Result:
    raise ValueError(f"piece {number} fails")


def pieces(n: int, **arguments: Any) -> list[Piece]:
    return [Piece(f"{HERE}:draw", {"number": number, **arguments}) for number in range(n)]


def context(identity: str = "nothing") -> Context:
    return Context(identity, {})


def a_run(folder: Path) -> Run:
    return Run.create("test", ["test"], {}, out=folder)


def parts(folder: Path) -> list[Path]:
    """Temporary files that are left anywhere in a folder."""
    return [path for path in folder.rglob("*") if path.name.endswith(".part")]


# On a cluster
def rebuild(recipe: Mapping[str, Any]) -> Context:
    """The context that `recipe` stands for, built again on a worker."""
    return Context(recipe["stands for"], {}, recipe)


def rebuilt(identity: str = "nothing", *, stands_for: str | None = None) -> Context:
    """A context that a worker can build; if `stands_for` is another, the worker finds that it is."""
    return Context(identity, {}, {"build": f"{HERE}:rebuild", "stands for": stands_for or identity})


def tell(context: Context, *, number: int, folder: str, seconds: float) -> Result:
    """Say who works on which piece, and work for a while; each attempt leaves a line of its own."""
    with open(Path(folder) / f"{number}", "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return Result({"drawn": generator(0, "draw", number).normal(size=1000)})


def refuse(context: Context, *, full: bool = False) -> Result:
    kind = DiskFull if full else BadInput
    raise kind("this cannot be", where=Path("over/there"), fix="do otherwise")


def die(context: Context) -> Result:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed")
