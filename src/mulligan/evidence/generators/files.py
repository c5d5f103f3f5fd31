"""Generators in files: JSON (schema `mulligan/generator/1`), safetensors beside it, both read as a stranger's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from ...records import BadInput
from ...runs import Run, check_schema
from .generator import Generator, Slot

SCHEMA = "mulligan/generator/1"
#: No larger files are read, in bytes.
LARGEST, LARGEST_JSON = 64_000_000, 1_000_000
_KEYS = {"schema", "family", "slots", "parameters", "tensors"}


def save_generator(run: Run, name: str, generator: Generator) -> str:
    """Write a generator into a run, as `name` (ending in .json) and a .safetensors beside it; gives `name` back."""
    if not name.endswith(".json"):
        raise BadInput("a generator's file ends in .json", where=name, fix="name it generator.json")
    beside = f"{name.removesuffix('.json')}.safetensors"
    if generator.tensors:
        arrays = {key: tensor.detach().float().contiguous().cpu().numpy() for key, tensor in generator.tensors.items()}
        run.write_arrays(beside, arrays)
    run.write_json(
        name,
        {
            "schema": SCHEMA, "family": generator.family,
            "slots": [{"name": slot.name, "classes": list(slot.classes)} for slot in generator.slots],
            "parameters": generator.parameters,
            "tensors": beside.rpartition("/")[2] if generator.tensors else None,
        },
    )  # fmt: skip
    return name


def load_generator(path: str | Path) -> Generator:
    """Read what `save_generator` wrote.

    Raises:
        BadInput: if a file is missing, too large, damaged, of another schema, names a file elsewhere, or says what no
            generator can be.
    """
    path = Path(path)
    document = _document(path)
    check_schema(document, SCHEMA, path)
    extra = set(document) - _KEYS
    if extra:
        raise _no("has keys that generators do not have", path, sorted(extra)[0])
    slots = document.get("slots")
    if not isinstance(slots, list) or not all(map(_is_slot, slots)) or len(slots) > 2:
        raise _no("has no list of slots, each with a name and classes", path, "slots")
    parameters = document.get("parameters", {})
    if not isinstance(parameters, dict) or not isinstance(document.get("family"), str):
        raise _no("has no family and parameters", path)
    return Generator(
        family=document["family"],
        slots=tuple(Slot(name=slot["name"], classes=tuple(slot.get("classes", ()))) for slot in slots),
        parameters=parameters,
        tensors=_tensors(path, document.get("tensors")),
    )


def _document(path: Path) -> dict[str, Any]:
    data = _read(path, LARGEST_JSON)
    try:
        document = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _no("is not valid JSON", path) from error
    if not isinstance(document, dict):
        raise _no("is not a JSON object", path)
    return document


def _tensors(path: Path, name: Any) -> dict[str, Tensor]:
    if name is None:
        return {}
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise _no("names tensors that do not lie beside it", path, "tensors")
    try:
        loaded = load(_read(path.parent / name, LARGEST))
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise _no("has tensors that cannot be read", path, name) from error
    return {key: tensor.to(torch.float32) if tensor.is_floating_point() else tensor for key, tensor in loaded.items()}


def _read(path: Path, most: int) -> bytes:
    """A plain file in its own folder: a link could lead anywhere."""
    try:
        if path.is_symlink() or not path.is_file():
            raise BadInput("there is no such file, or it is a link", where=path, fix="give the file itself")
        if path.stat().st_size > most:
            raise BadInput(f"a file of a generator is larger than {most:,} bytes", where=path, fix="give a smaller one")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"the file cannot be read, {error.strerror}", where=path, fix="check its permissions") from error


def _is_slot(slot: Any) -> bool:
    if not isinstance(slot, dict) or not set(slot) <= {"name", "classes"} or not isinstance(slot.get("name"), str):
        return False
    classes = slot.get("classes", [])
    return isinstance(classes, list) and len(classes) <= 100_000 and all(isinstance(name, str) for name in classes)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _no(what: str, path: Path, key: str | None = None) -> BadInput:
    where = f"{path}, {key}" if key else path
    return BadInput(f"this generator {what}", where=where, fix="give a file that Mulligan wrote")
