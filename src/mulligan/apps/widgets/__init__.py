"""A run in a notebook: `run` at the end of a cell shows its page; `Explorer(run, ...)` shows one that asks the kernel.

A run displays itself as a sandboxed iframe that holds the whole page, so what was shown survives export to HTML and
works in Jupyter, marimo and VS Code alike. A page too large for that holds fewer pictures, and says so; `Explorer`
(which needs the extra `notebook`) has them all, and decodes what is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .iframe import display, iframe

if TYPE_CHECKING:
    from .explorer import Explorer

__all__ = ["Explorer", "display", "iframe"]


def __getattr__(name: str) -> Any:
    """anywidget is imported only for what needs it."""
    if name == "Explorer":
        from .explorer import Explorer

        return Explorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
