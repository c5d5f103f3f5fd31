"""One module a hypothesis: its search, its null, its causal test; found by entry point."""

from .bank import Bank, ranks, shipped_bank
from .check import Check, Needs, Outcome, Subject, checks, why_not
from .running import SEVERITIES, numbered, run_checks

__all__ = [
    "SEVERITIES", "Bank", "Check", "Needs", "Outcome", "Subject", "checks", "numbered", "ranks", "run_checks",
    "shipped_bank", "why_not",
]  # fmt: skip
