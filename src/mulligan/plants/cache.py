"""Planted networks kept on disk, so that tests, calibration and the game do not plant the same thing twice.

An entry is three files named after a hash of all that the result depends on: the network's weights and code, the data,
the spec, the seed, the code of the plants, torch's version. `KEY.safetensors` holds the planted weights,
`KEY.tensors.safetensors` what the label cannot hold, and `KEY.json` the label and the proof; the JSON is written last,
so that an entry without it does not exist.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import platformdirs
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from .plant import Plant, PlantData, Planted, Proof, Truth, update

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    plant: str
    seed: int
    proof: Proof
    truth: Truth | None = None
    prepare: str = ""


def planted_cache(
    plant: Plant[Any], module: nn.Module, data: PlantData, spec: Any, *, seed: int, folder: Path | None = None
) -> Planted:
    """`plant.plant(module, data, spec, seed=seed)`, from the cache where it was planted before.

    An entry that cannot be read counts as absent and is written anew. A failed plant is not cached.

    Args:
        folder: where entries lie; None is `plants/` under MULLIGAN_CACHE, or under the platform's cache folder.

    Raises:
        BadInput, PlantFailed: as the plant does.
    """
    place = folder or cache_folder()
    name = key(plant, module, data, spec, seed)
    weights, label, extra = (place / f"{name}{end}" for end in (".safetensors", ".json", ".tensors.safetensors"))
    if label.exists():
        try:
            kept = msgspec.json.decode(label.read_bytes(), type=_Label)
            planted = copy.deepcopy(module).eval()
            planted.load_state_dict(safetensors.torch.load_file(weights))
            return Planted(
                module=planted, plant=kept.plant, spec=spec, seed=kept.seed, proof=kept.proof, truth=kept.truth,
                tensors=safetensors.torch.load_file(extra), prepare=kept.prepare,
            )  # fmt: skip
        except (OSError, msgspec.MsgspecError, SafetensorError, RuntimeError) as error:
            _log.warning("the cached plant %s cannot be read and is planted anew: %s", label, error)
    result = plant.plant(module, data, spec, seed=seed)
    place.mkdir(parents=True, exist_ok=True)
    _write(weights, _packed(result.module.state_dict()))
    _write(extra, _packed(result.tensors))
    _write(label, result.describe())
    return result


def _packed(tensors: Mapping[str, torch.Tensor]) -> bytes:
    # Cloned, since safetensors refuses tensors that share memory, as tied weights do.
    return safetensors.torch.save({name: one.detach().cpu().contiguous().clone() for name, one in tensors.items()})


def cache_folder() -> Path:
    """Where planted networks are cached: outside any repository."""
    root = os.environ.get("MULLIGAN_CACHE") or platformdirs.user_cache_dir("mulligan")
    return Path(root) / "plants"


def key(plant: Plant[Any], module: nn.Module, data: PlantData, spec: Any, seed: int) -> str:
    """A hash of everything that the planted weights depend on, as far as can be told."""
    sha = hashlib.sha256()
    for part in (plant.name, repr(seed), torch.__version__, _code(), _source(type(plant)), _source(type(module))):
        sha.update(f"{len(part)}:{part}".encode())
    sha.update(repr(module).encode())
    for name, tensor in module.state_dict().items():
        sha.update(name.encode())
        update(sha, tensor)
    sha.update(msgspec.json.encode(spec))
    sha.update(data.digest().encode())
    return sha.hexdigest()[:32]


@cache
def _code() -> str:
    """The text of all modules of this package, in order of their names."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py")))


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # defined in a notebook or built on the fly
        return kind.__qualname__


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
