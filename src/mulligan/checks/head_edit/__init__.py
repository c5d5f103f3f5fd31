"""The head-edit check; see `check`."""

from .check import CHECK, TARGET_EFFECT, HeadEdit
from .refitting import FACTORS, LEAD, PLACEBO_ROWS, Repair, Undone, told_by_head, undone
from .rows import ALPHA, FEWEST_ROWS, MANY_ROWS, MOST_PAIRED, MOST_ROWS, Half, Head

__all__ = [
    "ALPHA", "CHECK", "FACTORS", "FEWEST_ROWS", "LEAD", "MANY_ROWS", "MOST_PAIRED", "MOST_ROWS", "PLACEBO_ROWS",
    "TARGET_EFFECT", "Half", "Head", "HeadEdit", "Repair", "Undone", "told_by_head", "undone",
]  # fmt: skip
