"""Mulligan at its defaults: `visualize`, all units in one call.

`how` "whole" takes every step of every picture at the whole size: by default the first steps are taken on a smaller
canvas, and a picture that no longer rises stops.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from subjects import EFFICIENTNET, fingerprint
from worker import serve

import mulligan
from mulligan.visualization.climbing import visualize
from mulligan.visualization.objectives import channel

_made: dict[str, Any] = {}


def load(asked: dict[str, Any]) -> list[float]:
    name = asked["network"]
    spec = name if name == EFFICIENTNET else f"{Path(__file__).resolve().parents[1]}/networks/small_vit.py:factory"
    _made["network"] = mulligan.load(spec, weights=asked["weights"])
    return fingerprint(_made["network"].module, name)


def climb(asked: dict[str, Any]) -> Any:
    wanted = [channel(asked["site"], unit) for unit in asked["units"]]
    whole = asked["how"] == "whole"
    found = visualize(
        _made["network"], wanted, size=asked["size"], steps=asked["steps"], seed=asked["seed"], progressive=not whole,
        patient=whole,
    )  # fmt: skip
    if found.failed:
        raise RuntimeError(f"units failed: {found.failed}")
    return np.asarray(found.pixels), found.steps.tolist()


if __name__ == "__main__":
    serve("mulligan", load, climb)
