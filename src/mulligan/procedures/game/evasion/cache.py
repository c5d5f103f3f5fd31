"""What the red team made, kept on disk: it takes ten times an audit, and how far it comes hangs on the machine.

As in `plants.cache`, an entry is named after a hash of all that the result depends on, the checks' code among it, and
its JSON is written last.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import safetensors.torch
import torch
from safetensors import SafetensorError

from .... import checks
from ....plants import Plant, Planted, Proof
from ....plants.cache import cache_folder, key
from ....plants.plant import update
from ....runs import replacing
from ..bases import Base
from .evading import Evaded, evade

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    proof: Proof
    figures: dict[str, float]


def evaded_cache(
    kind: Plant[Any], planted: Planted, base: Base, *, seconds: float, seed: int, least: float = 0.0,
    folder: Path | None = None,
) -> Evaded:  # fmt: skip
    """`evade`, from the cache where it was done before; an entry that cannot be read is made anew.

    Args:
        folder: where entries lie; None is `evaded/` beside the cache of planted networks.

    Raises:
        BadInput: as `evade` does.
    """
    place = folder or cache_folder().parent / "evaded"
    name = _key(kind, planted, base, (seconds, seed, least))
    weights, label = place / f"{name}.safetensors", place / f"{name}.json"
    if label.exists():
        try:
            kept = msgspec.json.decode(label.read_bytes(), type=_Label)
            module = copy.deepcopy(planted.module).eval()
            module.load_state_dict(safetensors.torch.load_file(weights))
            return Evaded(planted=replace(planted, module=module, proof=kept.proof), figures=kept.figures)
        except (OSError, msgspec.MsgspecError, SafetensorError, RuntimeError) as error:
            _log.warning("the cached network %s cannot be read and is trained anew: %s", label, error)
    done = evade(kind, planted, base, seconds=seconds, seed=seed, least=least)
    place.mkdir(parents=True, exist_ok=True)
    state = {name: one.detach().cpu().contiguous().clone() for name, one in done.planted.module.state_dict().items()}
    contents = {
        weights: safetensors.torch.save(state),
        label: msgspec.json.encode(_Label(proof=done.planted.proof, figures=done.figures)),
    }
    for path, content in contents.items():
        with replacing(path) as part:
            part.write_bytes(content)
    return done


def _key(kind: Plant[Any], planted: Planted, base: Base, more: tuple[float, ...]) -> str:
    sha = hashlib.sha256(key(kind, base.module, base.data, planted.spec, planted.seed).encode())
    for tensor in planted.module.state_dict().values():
        update(sha, tensor)
    for part in (repr(more), base.input, torch.__version__, _code()):
        sha.update(f"{len(part)}:{part}".encode())
    return sha.hexdigest()[:32]


@cache
def _code() -> str:
    """The text of the checks and of this package, and what the checks calibrate by."""
    folders = (Path(next(iter(checks.__path__))), Path(__file__).parent)
    files = [path for folder in folders for end in ("*.py", "*.json") for path in sorted(folder.rglob(end))]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)
