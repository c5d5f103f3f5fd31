"""Articles: Markdown with diagrams that are bound to runs, and numbers that are derived from them again.

`docs/articles.md` says how one is written.
"""

from __future__ import annotations

from .article import Article, read_article
from .building import build, render
from .checking import Checked, Outcome, check
from .starting import start

__all__ = ["Article", "Checked", "Outcome", "build", "check", "read_article", "render", "start"]
