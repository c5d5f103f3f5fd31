"""Pieces of work for the tests, and a run to do them in."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

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
