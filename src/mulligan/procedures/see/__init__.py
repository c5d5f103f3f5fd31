"""Seeing: each command of `mulligan see` writes one run."""
