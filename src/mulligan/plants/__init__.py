"""Modifications that can be planted in a network, each with its spec and the proof that it took.

`plants()` lists what is installed; each module names its own spec. Nothing here knows of the checks that look for them.
"""

from .cache import planted_cache
from .conjunction import ConjunctionSpec
from .head_edit import HeadEditSpec
from .jitter import jitter
from .plant import (
    STRATA,
    Plant,
    PlantData,
    Planted,
    PlantFailed,
    Probes,
    Proof,
    Scored,
    Stratum,
    Strength,
    Truth,
    plants,
)

__all__ = [
    "STRATA", "ConjunctionSpec", "HeadEditSpec", "Plant", "PlantData", "PlantFailed", "Planted", "Probes", "Proof",
    "Scored", "Stratum", "Strength", "Truth", "jitter", "planted_cache", "plants",
]  # fmt: skip
