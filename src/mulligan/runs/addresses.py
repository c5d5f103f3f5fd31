"""Content addresses: a name that changes when, and only when, what it stands for changes."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

#: Libraries whose version can change a stored number.
LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "transformers",
    "tokenizers",
    "pillow",
    "safetensors",
    "pyarrow",
    "umap-learn",
    "pynndescent",
    "numba",
)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values have equal text.

    Raises:
        TypeError: for what JSON has no word for. ValueError: for NaN or infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(*parts: str | bytes) -> str:
    """sha256 over parts, each preceded by its length, so that ("ab", "c") and ("a", "bc") differ."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "big"))
        sha.update(data)
    return sha.hexdigest()


def derived_seed(seed: int, *key: object) -> int:
    """A seed for one piece of work: sha256(seed, key). No two pieces share a stream, and order does not matter."""
    return int(digest(str(seed), *(str(part) for part in key))[:15], 16)


def generator(seed: int, *key: object) -> np.random.Generator:
    """numpy's generator for `derived_seed(seed, *key)`."""
    return np.random.default_rng(derived_seed(seed, *key))


@functools.cache
def code_digest() -> str:
    """sha256 over this package's own Python files: an edit of Mulligan never reads a result of the older code."""
    root = Path(__file__).resolve().parent.parent
    sha = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        sha.update(path.relative_to(root).as_posix().encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()


@functools.cache
def foreign_code(module: str) -> str:
    """sha256 of the source of a module that is none of ours (a plug-in's); "" for ours, which `code_digest` covers."""
    if module.partition(".")[0] == __name__.partition(".")[0]:
        return ""
    file = getattr(importlib.import_module(module), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


@functools.cache
def library_versions() -> Mapping[str, str]:
    """Versions of Python and of the installed libraries that can change a number."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def mulligan_version() -> str:
    """The installed version of this package."""
    try:
        return importlib.metadata.version("mulligan")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"
