"""Pictures of a run as data: URIs, each stored once in a page however often it is shown."""

from __future__ import annotations

import base64
import hashlib
import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from PIL import Image

# A picture above either bound is shrunk before it goes into the page; the run's folder keeps the original.
LARGEST_BYTES = 200_000
LARGEST_SIDE = 512
# A page stays something that a browser opens at once.
PAGE_BYTES = 24_000_000
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError)
_MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture in the page: `key` is its id in the page, `uri` its data: URI, width and height are in pixels."""

    key: str
    uri: str
    width: int
    height: int

    @property
    def small(self) -> bool:
        """Whether single pixels should be drawn sharp when the picture is enlarged."""
        return max(self.width, self.height) <= 64


class Folder(Protocol):
    """A run's folder."""

    def inside(self, relative: str) -> Path:
        """The path of a file that the run refers to. Raises BadInput if it would leave the run's folder."""
        ...


@dataclass(slots=True)
class Pictures:
    """The pictures that a page has shown so far.

    Attributes:
        stored: where the pictures come from.
        shared: the pictures that the page defines once and uses by key, in the order of first use.
        left_out: how many pictures were not shown because the page was full.
        pre: begins each key, where one page shows the pictures of several runs.
    """

    stored: Folder
    shared: dict[str, Picture] = field(default_factory=dict)
    left_out: int = 0
    pre: str = ""
    _by_path: dict[str, Picture | str] = field(default_factory=dict)
    _bytes: int = 0

    def get(self, path: str, *, share: bool = True) -> Picture | str:
        """The picture at `path` (relative to the run's folder), or a sentence that says why it is not shown.

        Raises:
            BadInput: if the path leads out of the run's folder.
        """
        found = self._by_path.get(path)
        if found is None:
            found = self._by_path[path] = self._load(path)
        if isinstance(found, Picture) and share:
            self.shared.setdefault(found.key, found)
        return found

    def _load(self, path: str) -> Picture | str:
        file = self.stored.inside(path)
        if self._bytes > PAGE_BYTES:
            self.left_out += 1
            return "not shown: the page is full"
        try:
            data = file.read_bytes()
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                media, data, (width, height) = _fit(data)
        except FileNotFoundError:
            return "the picture is missing from the run's folder"
        except _UNREADABLE:
            return "the picture cannot be read"
        self._bytes += len(data)
        key = f"{self.pre}p" + hashlib.sha256(data).hexdigest()[:16]
        uri = f"data:{media};base64,{base64.b64encode(data).decode('ascii')}"
        return Picture(key=key, uri=uri, width=width, height=height)


def _fit(data: bytes) -> tuple[str, bytes, tuple[int, int]]:
    """The media type, bytes and size of a picture, shrunk if it is too large for a page."""
    with Image.open(io.BytesIO(data), formats=tuple(_MEDIA)) as image:
        if len(data) <= LARGEST_BYTES and max(image.size) <= 4 * LARGEST_SIDE:
            return _MEDIA[str(image.format)], data, image.size
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        out = io.BytesIO()
        image.convert("RGBA" if image.has_transparency_data else "RGB").save(out, "PNG")
        return "image/png", out.getvalue(), image.size
