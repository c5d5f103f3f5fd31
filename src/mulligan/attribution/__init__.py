"""Who caused what: gradients that rank, by one engine; ablations that confirm."""

from .ablations import ablate_units, take_out
from .gradients import attribute
from .passes import Attribution, Method, attributions
from .targets import Target, find_class, logit, margin, own_logits, pick_outputs, unit_mean

__all__ = [
    "Attribution", "Method", "Target", "ablate_units", "attribute", "attributions", "find_class", "logit", "margin",
    "own_logits", "pick_outputs", "take_out", "unit_mean",
]  # fmt: skip
