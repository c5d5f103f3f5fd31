"""A data set from what the user wrote: the one place that knows which source reads what."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..records import BadInput
from .arrays import load_arrays
from .dataset import Dataset
from .folders import load_folder
from .parquet import load_parquet
from .texts import load_json_lines, load_lines

_SUPPORTED = "a folder of images, .parquet, .npz, .txt or .jsonl"


def load_dataset(spec: str | Path, *, classes: Sequence[str] | None = None, text_column: str | None = None) -> Dataset:
    """The data at `spec`: a folder of images, or a .parquet, .npz, .txt or .jsonl file.

    Args:
        classes: the network's class names. Labels that are names are matched to them (case and underscores do not count
            where they need not); without them, the names in sorted order are the classes.
        text_column: what holds the texts of a .parquet or .jsonl file, if not "text".

    Raises:
        BadInput: if there is nothing, it cannot be read as any of these, or a label is not one of the classes. A single
            image or row that is broken is found when it is read.
    """
    dataset = _load(os.fspath(spec), classes, text_column)
    dataset._loaded = {
        "spec": os.path.abspath(Path(spec).expanduser()),
        "classes": None if classes is None else list(classes),
        "text_column": text_column,
    }
    return dataset


def _load(source: str, classes: Sequence[str] | None, text_column: str | None) -> Dataset:
    path = Path(source).expanduser()
    if source.startswith("hf:"):
        fix = "download its Parquet file, and give that"
        raise BadInput("data sets of the Hugging Face hub are not fetched", where=source, fix=fix)
    if not path.exists():
        raise BadInput("there is no such file or folder", where=source, fix="check the path")
    suffix = "" if path.is_dir() else path.suffix.lower()
    if text_column is not None and suffix not in (".parquet", ".jsonl"):
        fix = "leave the name of the column out"
        raise BadInput("only .parquet and .jsonl files have columns of text", where=source, fix=fix)
    try:
        if path.is_dir():
            return load_folder(path, source, classes)
        match suffix:
            case ".parquet":
                return load_parquet(path, source, classes, text_column)
            case ".npz":
                return load_arrays(path, source, classes)
            case ".txt":
                return load_lines(path, source)
            case ".jsonl":
                return load_json_lines(path, source, classes, text_column)
    except OSError as error:
        raise BadInput(
            f"these data cannot be read, {error.strerror or error}", where=source, fix="check the file"
        ) from None
    what = f"files that end in {suffix!r}" if suffix else "files without a suffix"
    raise BadInput(f"{what} are not read as data", where=source, fix=f"give {_SUPPORTED}")
