"""Runs of `mulligan see` as read from their folders, each document checked, without torch."""
