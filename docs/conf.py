"""Sphinx: `sphinx-build --fail-on-warning -b html docs build/docs`. Builds without a network."""

from __future__ import annotations

from importlib.metadata import version as installed

project = "Mulligan"
author = "the Mulligan authors"
release = version = installed("mulligan")

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
nitpicky = True

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"Mulligan {release}"
html_copy_source = False
html_show_sourcelink = False
