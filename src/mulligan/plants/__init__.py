"""Modifications that can be planted in a network, each with its spec and the proof that it took.

`plants()` lists what is installed; each module names its own spec. Nothing here knows of the checks that look for them.
"""

from .cache import planted_cache
from .conjunction import ConjunctionSpec
from .head_edit import HeadEditSpec
from .jitter import jitter
from .plant import Plant, PlantData, Planted, PlantFailed, Proof, plants

__all__ = [
    "ConjunctionSpec", "HeadEditSpec", "Plant", "PlantData", "PlantFailed", "Planted", "Proof", "jitter",
    "planted_cache", "plants",
]  # fmt: skip
