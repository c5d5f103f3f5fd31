"""Mulligan: look inside a trained neural network before you ship it, and say with evidence what it learned.

import mulligan

network = mulligan.load("efficientnet-lite0")
network.sites("_blocks.*")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .datasets import load_dataset
    from .networks import Network, load
    from .runs import Run
    from .visualization.climbing import visualize

__all__ = ["Network", "Run", "load", "load_dataset", "visualize"]


def __getattr__(name: str) -> Any:
    """Import on first use: a report is rendered, and a version printed, without torch."""
    if name in ("Network", "load"):
        from . import networks

        return getattr(networks, name)
    if name == "Run":
        from .runs import Run

        return Run
    if name == "load_dataset":
        from .datasets import load_dataset

        return load_dataset
    if name == "visualize":
        from .visualization.climbing import visualize

        return visualize
    raise AttributeError(f"module 'mulligan' has no attribute {name!r}")
