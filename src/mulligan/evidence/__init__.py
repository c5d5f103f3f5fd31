"""Controls, null distributions, multiplicity and causal tests: a Claim goes in, Evidence comes out."""

from .generators import Generator, Slot, load_generator, save_generator
from .intervals import bootstrap, bounded_mean, fraction, mean
from .splits import FEWEST_SOURCES, Split, sources, split_sources
from .testing import EXCESS, betting_p, excess_p, holm, mcnemar_p
from .twins import random_twin

__all__ = [
    "EXCESS", "FEWEST_SOURCES", "Generator", "Slot", "Split", "betting_p", "bootstrap", "bounded_mean", "excess_p",
    "fraction", "holm", "load_generator", "mcnemar_p", "mean", "random_twin", "save_generator", "sources",
    "split_sources",
]  # fmt: skip
