"""Mulligan: look inside a trained neural network before you ship it, and say with evidence what it learned."""
