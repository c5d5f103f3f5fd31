"""Pictures that lie in an article's folder: `![what is to be seen](cat.jpg "whose it is, and its licence")`."""

from __future__ import annotations

from pathlib import Path

from ...records import BadInput

#: What browsers draw of what an article's folder may hold; not SVG, which can hold scripts and styles.
PICTURES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
LARGEST = 2_000_000  # bytes of a picture


def picture(folder: Path, address: str) -> tuple[Path, str]:
    """A picture of the article's folder, and its type.

    Raises:
        BadInput: if it is not there, lies elsewhere, is no picture or too large.
    """
    path = folder / address
    if "://" in address or not path.resolve().is_relative_to(folder.resolve()):
        raise BadInput(f"the picture {address!r} is not in the article's folder", fix="put it there")
    kind = PICTURES.get(path.suffix.lower())
    if kind is None:
        raise BadInput(f"the picture {address!r} is of a kind that is not shown", fix=f"use {', '.join(PICTURES)}")
    if not path.is_file():
        raise BadInput(f"the picture {address!r} is missing", fix="put it into the article's folder")
    if path.stat().st_size > LARGEST:
        raise BadInput(f"the picture {address!r} is larger than {LARGEST / 1e6:.0f} MB", fix="make it smaller")
    return path, kind
