"""One module a hypothesis: its search, its null, its causal test. Found by entry point, so that adding one touches nothing else."""

from .check import Check, Needs, Outcome, Subject, checks, why_not

__all__ = ["Check", "Needs", "Outcome", "Subject", "checks", "why_not"]
