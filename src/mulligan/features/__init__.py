"""What a direction means: statistics of units, factors, dictionaries, groups of classes."""

from .dictionaries import Dictionary, find_latent, load_dictionary
from .factors import Elbow, Explained, Factors, explained_shares, find_elbow, fit_factors
from .groups import ClassGroup, called, class_groups
from .units import Selectivity, dead_units, duplicates, saturated_units, selectivity, token_selectivity

__all__ = [
    "ClassGroup",
    "Dictionary",
    "Elbow",
    "Explained",
    "Factors",
    "Selectivity",
    "called",
    "class_groups",
    "dead_units",
    "duplicates",
    "explained_shares",
    "find_elbow",
    "find_latent",
    "fit_factors",
    "load_dictionary",
    "saturated_units",
    "selectivity",
    "token_selectivity",
]
