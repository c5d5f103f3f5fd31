"""About 240 photographs that anyone may use, to try an audit on: `python examples/photographs.py FOLDER`.

They are overlapping square pieces, at several scales, of eleven photographs that scikit-image ships and that are CC0 or
in the public domain (`pip install mulligan[demo]`). Nothing is downloaded, and the same versions write the same files.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SIDE = 256  # pixels of a picture
LICENCES = "LICENCES.md"
CC0 = "CC0 1.0"
PUBLIC = "public domain"
# Side of the pieces as a share of the photograph's shorter side, and of their distance at most as a share of their own.
SCALES = (("whole", 1.0, 0.5), ("threequarters", 0.75, 0.5), ("half", 0.5, 0.5), ("quarter", 0.25, 1.0))
SMALLEST = 192  # pixels of a photograph that a piece of a quarter must have, not to be a blur


@dataclass(frozen=True)
class Photograph:
    """A file of scikit-image's, with what its documentation (`skimage.data`) says of author and licence."""

    file: str
    title: str
    author: str
    licence: str
    origin: str

    @property
    def name(self) -> str:
        return self.file.partition(".")[0].replace("_", "-")


PHOTOGRAPHS = (
    Photograph("astronaut.png", "Eileen Collins, astronaut", "NASA", PUBLIC, "https://flic.kr/p/r9qvLn"),
    Photograph("brick.png", "Brick wall", "CC0Textures", CC0, "https://cc0textures.com/view.php?tex=Bricks25"),
    Photograph("camera.png", "Camera", "Lav Varshney", CC0, "https://github.com/scikit-image/scikit-image/issues/3927"),
    Photograph("chelsea.png", "Chelsea the cat", "Stefan van der Walt", CC0, "scikit-image"),
    Photograph("clock_motion.png", "Motion blurred clock", "Stefan van der Walt", PUBLIC, "scikit-image"),
    Photograph("coffee.png", "Coffee cup, courtesy of Pikolo Espresso Bar", "Rachel Michetti", CC0, "scikit-image"),
    Photograph("grass.png", "Grass", "linolafett", CC0, "https://www.deviantart.com/linolafett/art/Grass-01-434853879"),
    Photograph("gravel.png", "Gravel", "CC0Textures", CC0, "https://cc0textures.com/view.php?tex=Gravel04"),
    Photograph(
        "hubble_deep_field.jpg",
        "Hubble eXtreme Deep Field",
        "NASA",
        PUBLIC,
        "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
    ),
    Photograph(
        "retina.jpg",
        "Retina of a left eye",
        "Mikael Häggström",
        CC0,
        "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg",
    ),
    Photograph(
        "rocket.jpg",
        "Launch of DSCOVR on Falcon 9",
        "SpaceX",
        PUBLIC,
        "https://www.flickr.com/photos/spacexphotos/16511594820/in/photostream/",
    ),
)


def write(folder: str | Path) -> int:
    """Write the pictures (JPEG, 256 x 256 pixels) into `folder`, flat, and their licences beside them.

    Returns:
        how many pictures there are.

    Raises:
        SystemExit: if scikit-image is not installed.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    source = _shipped()
    count = 0
    for photograph in PHOTOGRAPHS:
        with Image.open(source / photograph.file) as opened:
            image = opened.convert("L" if opened.mode == "L" else "RGB")
        for name, box in _pieces(*image.size):
            piece = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
            piece.save(target / f"{photograph.name}-{name}.jpg", quality=92, subsampling=0)
            count += 1
    (target / LICENCES).write_text(_licences(), encoding="utf-8")
    return count


def _shipped() -> Path:
    """Where scikit-image's own files lie. It is not imported, since it would look for files to download."""
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("scikit-image is not installed: pip install mulligan[demo]")
    return Path(found.submodule_search_locations[0]) / "data"


def _pieces(width: int, height: int) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Name and box (left, top, right, bottom) of each piece of a photograph."""
    for name, share, step in SCALES:
        side = round(min(width, height) * share)
        if share == 0.25 and side < SMALLEST:
            continue
        for row, top in enumerate(_starts(height, side, step)):
            for column, left in enumerate(_starts(width, side, step)):
                yield f"{name}-{row}-{column}", (left, top, left + side, top + side)


def _starts(length: int, side: int, step: float) -> list[int]:
    """Where pieces begin, evenly from edge to edge, at most `step` sides apart."""
    spare = length - side
    count = math.ceil(spare / (side * step))
    return [0] if not count else [round(spare * number / count) for number in range(count + 1)]


def _licences() -> str:
    lines = [
        "# Where these pictures are from",
        "",
        "Each is a piece of a photograph that scikit-image ships. Authors and licences are as its documentation",
        "(`skimage.data`) gives them.",
        "",
        "| files | photograph | author | licence | from |",
        "|---|---|---|---|---|",
    ]
    for one in PHOTOGRAPHS:
        lines.append(f"| `{one.name}-*.jpg` | {one.title} | {one.author} | {one.licence} | {one.origin} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python examples/photographs.py FOLDER")
    print(f"{write(sys.argv[1])} pictures in {sys.argv[1]}, their licences in {LICENCES}")
