"""A page that asks the kernel for what is looked at: all of a large run, without writing it into the notebook."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import traitlets

from ...records import BadInput
from ...reports.page import body, open_runs, pack
from ...reports.pages import stylesheet
from ...reports.shell import bundle
from ...runs import Run
from .iframe import PICTURES, iframe

try:
    import anywidget
except ImportError as error:  # pragma: no cover - the extra is there where this is tested
    raise BadInput(
        "an Explorer needs anywidget, which is not installed", fix="pip install 'mulligan[notebook]'"
    ) from error


def _style() -> str:
    """The page's style for a shadow root: what it says of the document and the window holds for the root's host.

    A notebook's theme need not be the system's: explorer.js marks a host that stands on a dark one.
    """
    text = re.sub(r"(^|[\s,}])(?::root|html|body)(?=[\s,{:])", r"\1:host", str(stylesheet()))
    text = re.sub(r"@media (\((?:min|max)-width)", r"@container \1", text)
    text = re.sub(
        r"@media \(prefers-color-scheme: dark\) \{\s*:host \{(.*?)\}\s*\}", r":host([data-dark]) {\1}", text, flags=re.S
    )
    return text + (files("mulligan.apps.widgets").joinpath("explorer.css").read_text(encoding="utf-8"))


def _kept(chunks: Sequence[bytes], most: int) -> list[str]:
    """As many chunks as `most` bytes hold, in base64; "" for what must be asked for."""
    kept = []
    for chunk in chunks:
        fits = len(chunk) <= most
        most -= len(chunk) if fits else 0
        kept.append(base64.b64encode(chunk).decode("ascii") if fits else "")
    return kept


class Explorer(anywidget.AnyWidget):
    """Runs as one page that is alive in a notebook.

    Args:
        runs: their folders, or `Run`s. keep: bytes of the page that the notebook itself is given, so that they are
            there where it is exported without its kernel; the rest is asked for when it is looked at.

    Raises:
        BadInput: if there is no run, or anywidget is not installed.
    """

    _esm = files("mulligan.apps.widgets").joinpath("explorer.js").read_text(encoding="utf-8")
    code = traitlets.Unicode().tag(sync=True)
    sheet = traitlets.Unicode().tag(sync=True)  # "style" is a model of styles to every ipywidget
    prose = traitlets.Unicode().tag(sync=True)
    index = traitlets.Unicode().tag(sync=True)
    kept = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, *runs: Run | Path | str, title: str = "", keep: int = PICTURES) -> None:
        self._folders: Sequence[str] = [run.location if isinstance(run, Run) else str(run) for run in runs]
        book, parts = open_runs(self._folders, title=title)
        self._packed = pack(book)
        super().__init__(
            code=bundle(), sheet=_style(), prose=body(book, parts), index=self._packed.index.decode("utf-8"),
            kept=_kept(self._packed.chunks, keep),
        )  # fmt: skip
        self.on_msg(self._asked)

    def _asked(self, _widget: Any, content: Any, _buffers: Any) -> None:
        number = content.get("chunk") if isinstance(content, dict) else None
        if isinstance(number, int) and 0 <= number < len(self._packed.chunks):
            self.send({"chunk": number}, buffers=[self._packed.chunk(number)])
        else:
            self.send({"chunk": number, "missing": True})

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The live page, and one that needs no kernel for where the notebook is exported to."""
        live = super()._repr_mimebundle_(**options)
        if live is None:
            return None
        data, metadata = live
        return {**data, "text/html": str(iframe(self._folders))}, metadata
