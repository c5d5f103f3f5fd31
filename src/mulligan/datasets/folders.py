"""A folder of images: one subfolder a class, or flat.

Links are followed only to files inside the folder, and hidden files are passed over.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..records import BadInput
from .dataset import Dataset, Raw, checked
from .labels import WORDNET, Classes, Named, from_names
from .pictures import SUFFIXES, read_picture

# Lists of the ImageNet classes differ in a few names, so that a few of a thousand may seem to be in another place.
_SLACK = 0.02


class Folder(Dataset):
    """Images as files. `paths`: their places in the folder, sorted, with "/" between names."""

    def __init__(
        self, source: str, root: Path, paths: Sequence[str], named: Named | None, notes: tuple[str, ...]
    ) -> None:
        labels, names, more = named if named is not None else (None, None, ())
        super().__init__(source, "images", len(paths), labels=labels, label_names=names, notes=(*more, *notes))
        self.root = root
        self.paths = paths

    def gather(self, indices: Sequence[int] | np.ndarray) -> list[str]:
        return [self.paths[int(index)] for index in checked(indices, len(self))]

    def decode(self, gathered: str) -> Raw:
        path = self.root / gathered
        return read_picture(path, path)

    def _digests(self) -> Iterator[str]:
        for name in self.paths:
            path = self.root / name
            try:
                with path.open("rb") as file:
                    yield hashlib.file_digest(file, "sha256").hexdigest()[:16]
            except OSError as error:
                what = error.strerror or "unknown error"
                raise BadInput(
                    f"this image cannot be read, {what}", where=path, fix="remove it, or make it readable"
                ) from None


@dataclass
class _Found:
    """What a walk through a folder met."""

    paths: list[str] = field(default_factory=list)
    links: int = 0
    others: list[str] = field(default_factory=list)


def load_folder(root: Path, source: str, classes: Sequence[str] | None) -> Dataset:
    """The images below `root`; the name of the first subfolder on the way is an image's class.

    Raises:
        BadInput: if there is none, or a subfolder is not one of the classes.
    """
    found = _walk(root.resolve())
    if not found.paths:
        raise _empty(found, source)
    notes = ()
    if found.links:
        notes += (f"Links that lead out of the folder, or to a folder, were not followed: {found.links}.",)
    if found.others:
        notes += (f"Files that are not images were passed over: {len(found.others)}.",)
    if any("/" in path for path in found.paths):
        return Folder(source, root, found.paths, _by_subfolder(found.paths, classes, source), notes)
    named, why = _by_file_name(found.paths, classes)
    return Folder(source, root, found.paths, named, (*why, *notes))


def _walk(root: Path) -> _Found:
    found = _Found()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            entries = list(os.scandir(root / prefix))
        except OSError as error:
            fix = "make it readable"
            raise BadInput(f"this folder cannot be read, {error.strerror}", where=root / prefix, fix=fix) from None
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{prefix}{entry.name}/")
            elif entry.is_symlink() and not _inside(Path(entry.path), root):
                found.links += 1
            elif not entry.is_file():
                continue
            elif entry.name.lower().endswith(SUFFIXES):
                found.paths.append(prefix + entry.name)
            else:
                found.others.append(prefix + entry.name)
    found.paths.sort()
    return found


def _inside(link: Path, root: Path) -> bool:
    """Whether a link leads to a file inside the folder."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # dangling, or in a circle
        return False
    return target.is_file() and target.is_relative_to(root)


def _empty(found: _Found, source: str) -> BadInput:
    if any(name.endswith(".parquet") for name in found.others):
        return BadInput("this folder holds Parquet files, no images", where=source, fix="give one of the Parquet files")
    if found.links:
        fix = "copy the images into the folder"
        return BadInput("this folder holds only links that lead out of it", where=source, fix=fix)
    what = "no images, only other files" if found.others else "no files"
    return BadInput(f"this folder holds {what}", where=source, fix=f"give a folder of images ({', '.join(SUFFIXES)})")


def _by_subfolder(paths: Sequence[str], classes: Sequence[str] | None, source: str) -> Named:
    """Labels from the first subfolder; images beside the subfolders have none."""
    owners = [path.partition("/")[0] if "/" in path else None for path in paths]
    folders = sorted({owner for owner in owners if owner is not None})
    place = {folder: number for number, folder in enumerate(folders)}
    used = np.array([-1 if owner is None else place[owner] for owner in owners], dtype=np.int64)
    notes = ("Images beside the class folders were taken without a label.",) if -1 in used else ()
    wordnet = [match[1] for folder in folders if (match := WORDNET.match(folder))]
    if classes is not None and len(set(wordnet)) == len(folders) == len(classes):
        names = Classes(classes)
        if len(_contradicted([_stem(folder) for folder in folders], names)) <= _SLACK * len(folders):
            note = f"Labels were taken from the order of the {len(folders)} WordNet ids that name the class folders."
            return used, names.names, (note, *notes)
    labels, label_names, more = from_names(_sound(folders), used, classes, source)
    return labels, label_names, (*more, *notes)


def _by_file_name(paths: Sequence[str], classes: Sequence[str] | None) -> tuple[Named | None, tuple[str, ...]]:
    """Labels of a flat folder, where the names of its files say them beyond doubt, and what to note."""
    if classes is None:
        return None, ()
    stems = [Path(path).stem for path in paths]
    said = [_stem(stem) for stem in stems]
    names = Classes(classes)
    found = [names.find(name) for name in said]
    if None not in found:
        note = "Labels were taken from the names of the files, each of which names one class."
        return (np.array(found, dtype=np.int64), names.names, (note,)), ()
    wordnet = {match[1] for stem in stems if (match := WORDNET.match(stem))}
    if not len(wordnet) == len(stems) == len(classes):
        return None, ()
    against = _contradicted(said, names)
    if len(against) > _SLACK * len(said):
        note = (
            f"Labels are unknown: in the order of their WordNet ids, {len(against)} files would be of other classes "
            f"than their names say, {against[0]!r} for one."
        )
        return None, (note,)
    agree = sum(place in names.find_any(name) for place, name in enumerate(said))
    note = (
        f"Labels were taken from the order of the files by WordNet id, one a class: {agree} of the {len(said)} names "
        f"agree with the class of that number, and {len(against)} name another."
    )
    return (np.arange(len(stems), dtype=np.int64), names.names, (note,)), ()


def _stem(name: str) -> str:
    """What a file or folder name says, after its WordNet id."""
    match = WORDNET.match(name)
    return name if match is None else match["name"] or ""


def _contradicted(said: Sequence[str], names: Classes) -> list[str]:
    """The names that fit classes, but not the one at their own place."""
    fits = [names.find_any(name) if name else set() for name in said]
    return [name for place, (name, those) in enumerate(zip(said, fits, strict=True)) if those and place not in those]


def _sound(names: Sequence[str]) -> list[str]:
    """Names that can be written as text, whatever bytes the file system holds."""
    return [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names]
