"""Who caused what: gradients that rank, ablations that confirm."""

from .ablations import ablate_units
from .gradients import attribute, pick_outputs

__all__ = ["ablate_units", "attribute", "pick_outputs"]
