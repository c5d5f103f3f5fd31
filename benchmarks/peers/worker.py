"""A runner in an environment of its own: one request a line comes in, one answer a line goes out, both JSON.

    {"do": "load", "network": NAME, "weights": FILE or null, "threads": N}
    {"do": "climb", "site": PATH, "units": [...], "steps": N, "size": PIXELS, "seed": N, "how": NAME, "out": FILE}

Pictures go to FILE, if there is one, as 8-bit pixels, [unit, height, width, channel]. Seconds are of climbing alone,
from the call to finished pictures: not of the process's start, of imports, or of loading.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

_BORN = time.perf_counter()


def serve(package: str, load: Callable[[dict[str, Any]], list[float]], climb: Callable[[dict[str, Any]], Any]) -> None:
    """Answer requests until there are no more; what the peer prints goes to stderr.

    Args:
        package: whose version is told. load: makes the network ready, returns its fingerprint.
        climb: optimizes; returns uint8 pictures, and how many steps each one took.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            reply = _load(package, load, asked) if asked["do"] == "load" else _climb(climb, asked)
        except Exception as error:  # the one who asked writes down what happened
            reply = {"error": f"{type(error).__name__}: {error}"}
            if os.environ.get("TRACE"):
                raise
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


def _load(package: str, load: Callable[[dict[str, Any]], list[float]], asked: dict[str, Any]) -> dict[str, Any]:
    import torch

    torch.set_num_threads(asked["threads"])
    found = load(asked)
    versions = {name: importlib.metadata.version(name) for name in (package, "torch")}
    return {"fingerprint": found, "versions": versions, "seconds": time.perf_counter() - _BORN}


def _climb(climb: Callable[[dict[str, Any]], Any], asked: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    wall, processor = time.perf_counter(), time.process_time()
    pictures, steps = climb(asked)
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    if pictures.dtype != np.uint8 or len(pictures) != len(asked["units"]):
        raise TypeError(f"pictures of {pictures.dtype} {pictures.shape} for {len(asked['units'])} units")
    if asked.get("out"):
        np.save(asked["out"], pictures)
    return {"wall": wall, "processor": processor, "steps": steps}


def eight_bits(pixels: Any) -> Any:
    """[batch, channel, height, width] from 0 to 1, to uint8 [batch, height, width, channel], rounded."""
    import torch

    assert isinstance(pixels, torch.Tensor)
    return (pixels.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def chunks(units: Sequence[int], batch: int) -> list[list[int]]:
    """The units, so many at a time."""
    return [list(units[start : start + batch]) for start in range(0, len(units), batch)]
