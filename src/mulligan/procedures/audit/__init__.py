"""The audit: findings with evidence, behaviour, an inventory of units, cards for outputs, coverage."""

from .audit import Request, audit, exit_status, prepare, shortened

__all__ = ["Request", "audit", "exit_status", "prepare", "shortened"]
