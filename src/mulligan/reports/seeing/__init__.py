"""Runs of `mulligan see` as pages, without torch."""
