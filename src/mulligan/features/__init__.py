"""What a direction means: statistics of units, groups of classes."""

from .groups import ClassGroup, called, class_groups
from .units import Selectivity, dead_units, duplicates, saturated_units, selectivity, token_selectivity

__all__ = [
    "ClassGroup",
    "Selectivity",
    "called",
    "class_groups",
    "dead_units",
    "duplicates",
    "saturated_units",
    "selectivity",
    "token_selectivity",
]
