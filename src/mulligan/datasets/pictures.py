"""Reading one picture, from a file or from bytes, that a stranger may have made."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

from PIL import Image

from ..records import BadInput

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
# Only formats that are pixels: Pillow would hand others, such as EPS, to an interpreter.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def read_picture(source: Path | bytes, where: object) -> Image.Image:
    """The picture (the first of several), decoded; its file is closed.

    Raises:
        BadInput: if it is missing, broken, cut short, of an unknown format, or so large that it must be an attack.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats()) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise BadInput("this image is no longer there", where=where, fix="put it back, or start again") from None
    except PermissionError:
        raise BadInput("this image may not be read", where=where, fix="change its permissions") from None
    except Exception as error:  # a decoder that meets broken bytes raises nearly anything
        what = (
            str(error).rstrip(".")
            if isinstance(error, OSError) and "truncated" in str(error)
            else "it cannot be decoded"
        )
        raise BadInput(f"this image cannot be read, {what}", where=where, fix="remove it, or save it again") from None
