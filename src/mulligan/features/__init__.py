"""What a direction means: statistics of units, groups of classes."""

from .groups import ClassGroup, class_groups
from .units import Selectivity, dead_units, duplicates, saturated_units, selectivity, token_selectivity

__all__ = [
    "ClassGroup",
    "Selectivity",
    "class_groups",
    "dead_units",
    "duplicates",
    "saturated_units",
    "selectivity",
    "token_selectivity",
]
