"""The red team: a planted network is trained on until the released checks say nothing of it, if that can be had."""

from .cache import evaded_cache
from .evading import FIGURES, TIMES, Evaded, evade
from .looking import Look, look

__all__ = ["FIGURES", "TIMES", "Evaded", "Look", "evade", "evaded_cache", "look"]
