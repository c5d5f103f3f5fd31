"""Reviewing: people label features, blind to each other, and judge findings; nothing that they wrote is ever lost."""

from .agreement import Agreement, agreements, wilson
from .entries import VERDICTS, Entry, sense
from .export import everything, standing, write_json, write_toml
from .ledger import Ledger, Reading
from .log import Busy, ReviewLog, Writing
from .rules import Place, Refused, Stale, assign, label, resolve, to_take, verdict

__all__ = [
    "VERDICTS", "Agreement", "Busy", "Entry", "Ledger", "Place", "Reading", "Refused", "ReviewLog", "Stale", "Writing",
    "agreements", "assign", "everything", "label", "resolve", "sense", "standing", "to_take", "verdict", "wilson",
    "write_json", "write_toml",
]  # fmt: skip
