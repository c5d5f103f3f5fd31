"""The pictures of a page, each held once however often it is shown, within a budget of bytes."""

from __future__ import annotations

import base64
import hashlib
import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..pictures import Folder

#: Of all pictures of a page together, as they are stored (before base64, which adds a third).
BUDGET = 16_000_000
#: Above this many pixels along a side a picture is shrunk; the run's folder keeps the original.
LARGEST_SIDE = 384
#: Up to this side pixels matter one by one: such a picture is kept as it is.
SMALL_SIDE = 64
_QUALITY = 85
_FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError)


@dataclass(slots=True)
class PictureStore:
    """Pictures by number.

    Attributes:
        items: of each picture its width, height and data: URI.
        left_out: how many did not fit. missing: how many could not be read.
    """

    budget: int = field(default_factory=lambda: BUDGET)
    items: list[dict[str, Any]] = field(default_factory=list)
    left_out: int = 0
    missing: int = 0
    _bytes: int = 0
    _by_path: dict[tuple[int, str, int | None], int | None] = field(default_factory=dict)
    # Kept, so that the id of one is never that of another.
    _folders: dict[int, Folder] = field(default_factory=dict)
    _by_content: dict[bytes, int] = field(default_factory=dict)

    def number(self, folder: Folder, path: str, *, side: int | None = None) -> int | None:
        """The number of the picture at `path` of a run; None if it cannot be shown.

        Args:
            side: up to so many pixels along a side the file is kept as it is: a tile of an atlas is many pictures in
                one. Without it, LARGEST_SIDE and made small.

        Raises:
            BadInput: if the path leads out of the run's folder.
        """
        self._folders[id(folder)] = folder
        at = (id(folder), path, side)
        if at not in self._by_path:
            self._by_path[at] = self._load(folder.inside(path), side)
        return self._by_path[at]

    def _load(self, file: Path, side: int | None) -> int | None:
        if self._bytes > self.budget:
            self.left_out += 1
            return None
        try:
            if not file.is_file():  # a pipe would never end
                raise FileNotFoundError(file)
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                media, data, (width, height) = fitted(file.read_bytes(), side)
        except _UNREADABLE:
            self.missing += 1
            return None
        content = hashlib.sha256(data).digest()
        if content in self._by_content:
            return self._by_content[content]
        self._bytes += len(data)
        uri = f"data:{media};base64,{base64.b64encode(data).decode('ascii')}"
        self.items.append({"w": width, "h": height, "src": uri})
        return self._by_content.setdefault(content, len(self.items) - 1)


def fitted(data: bytes, side: int | None = None) -> tuple[str, bytes, tuple[int, int]]:
    """Media type, bytes and size of a picture as a page holds it: as WebP where that is smaller, unless it is tiny or,
    given a `side`, fits into that."""
    with Image.open(io.BytesIO(data), formats=tuple(_FORMATS)) as image:
        media, size = _FORMATS[str(image.format)], image.size
        if max(size) <= (side or SMALL_SIDE):
            image.load()
            return media, data, size
        image.thumbnail((side or LARGEST_SIDE, side or LARGEST_SIDE))
        out = io.BytesIO()
        image.convert("RGBA" if image.has_transparency_data else "RGB").save(out, "WEBP", quality=_QUALITY, method=2)
        if image.size == size and len(data) <= out.tell():
            return media, data, size
        return "image/webp", out.getvalue(), image.size
