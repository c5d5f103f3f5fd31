"""One module a hypothesis: its search, its null, its causal test; found by entry point."""

from .check import Check, Needs, Outcome, Subject, checks, why_not

__all__ = ["Check", "Needs", "Outcome", "Subject", "checks", "why_not"]
