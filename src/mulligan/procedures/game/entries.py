"""An entry as an auditor gets it, and the sealed part that the referee keeps.

    GAME/entries/ID/   game.json model.py config.json weights.safetensors (data.npz) (siblings/) (reference.safetensors)
    GAME/sealed/ID/    sealed.json base.safetensors probes.safetensors probes.json tensors.safetensors
    GAME/commitments.json

An entry says nothing of how its network came to be: ids are random, entries of a track hold the same files, sizes hang
on the architecture alone, times are all one, and weights of planted and clean networks are written by one function.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ...networks import Network, load
from ...plants import Probes, Proof, Truth
from ...plants.controls import ship
from ...records import BadInput
from ...runs import canonical, check_schema, replacing

Track = Literal["A", "B", "C", "D"]
#: A plant; a clean network that thresholds come from; a clean network that rates come from.
Role = Literal["plant", "calibration", "test"]

SCHEMA, SEALED_SCHEMA, COMMITMENTS_SCHEMA = "mulligan/game/1", "mulligan/sealed/1", "mulligan/commitments/1"
TRACKS: dict[Track, str] = {
    "A": "the weights only",
    "B": "the weights and 40 clean images a class",
    "C": "as B, and clean siblings",
    "D": "as B, and the exact base",
}
_TIME = 315_532_800  # 1980-01-01, of every file


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """game.json: all that an auditor is told. Files are named relative to the entry's folder.

    Attributes:
        input: how pixels become the network's input, as `--input` takes it. seconds: of CPU that it may use.
        model: "model.py:factory", which needs nothing but torch.
        siblings: a folder of weights of clean networks of the same recipe (track C). reference: the weights of the
            network before whatever was done to it (track D).
    """

    id: str
    track: Track
    input: str
    classes: tuple[str, ...]
    seconds: float
    model: str = "model.py:factory"
    weights: str = "weights.safetensors"
    data: str | None = None
    siblings: str | None = None
    reference: str | None = None
    schema: str = SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What is committed to: how an entry's network came to be.

    Attributes:
        kind: the plant's name; the control's name for a clean network.
        base: {"source", "recipe", "seed"}, from which the base can be made again. base_input: its `--input`.
    """

    id: str
    role: Role
    kind: str
    spec: Any
    truth: Truth | None
    seed: int
    base: dict[str, Any]
    base_input: str
    strength: str = ""
    stratum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What the referee keeps: the statement, the salt of its commitment, and the proof."""

    statement: Statement
    salt: str
    proof: Proof | None = None
    schema: str = SEALED_SCHEMA

    @property
    def commitment(self) -> str:
        """sha256 of the salt and the statement as canonical JSON."""
        return commit(self.salt, self.statement)


def commit(salt: str, statement: Statement) -> str:
    """The commitment to a statement: sha256(salt + canonical JSON)."""
    plain = msgspec.to_builtins(statement)
    return hashlib.sha256((salt + canonical(plain)).encode()).hexdigest()


def write_entry(
    game: Path,
    entry: Entry,
    module: nn.Module,
    files: Mapping[str, str],
    *,
    data: tuple[np.ndarray, np.ndarray] | None = None,
    siblings: Sequence[nn.Module] = (),
    reference: nn.Module | None = None,
) -> Path:
    """Write the folder that an auditor gets; it appears in one step.

    Args:
        data: images uint8 and labels, for all tracks but A. siblings: for track C. reference: for track D.

    Raises:
        BadInput: if the track is not known, or lacks what it gives.
    """
    if entry.track not in get_args(Track):
        raise BadInput("there is no such track", where=entry.track, fix=f"choose among {', '.join(TRACKS)}")
    needs = (
        ("data", data is not None, "BCD"), ("siblings", bool(siblings), "C"),
        ("a reference", reference is not None, "D"),
    )  # fmt: skip
    lacking = [name for name, given, tracks in needs if entry.track in tracks and not given]
    if lacking:
        raise BadInput(f"this track gives {' and '.join(lacking)}", where=f"track {entry.track}", fix="give it")
    contents: dict[str, bytes] = {name: text.encode() for name, text in files.items()}
    contents[entry.weights] = save(ship(module))
    fields: dict[str, str | None] = {"data": None, "siblings": None, "reference": None}
    if entry.track in "BCD" and data is not None:
        fields["data"] = "data.npz"
        contents["data.npz"] = _archive(*data)
    if entry.track == "C":
        fields["siblings"] = "siblings"
        for number, sibling in enumerate(siblings):
            contents[f"siblings/{number:02d}.safetensors"] = save(ship(sibling))
    if entry.track == "D" and reference is not None:
        fields["reference"] = "reference.safetensors"
        contents["reference.safetensors"] = save(ship(reference))
    contents["game.json"] = _json(replace(entry, **fields))
    return _appear(game / "entries" / entry.id, contents)


def _archive(images: np.ndarray, labels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=images, y=labels.astype(np.int64))  # numpy dates every member 1980
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def _appear(folder: Path, contents: Mapping[str, bytes]) -> Path:
    """Write a folder beside its place and move it there, all files with one date."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.part"
    for name in sorted(contents):
        path = part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[name])
        path.chmod(0o644)
        os.utime(path, (_TIME, _TIME))
    for path in [part, *part.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
            os.utime(path, (_TIME, _TIME))
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(part, folder)
    return folder


def read_entry(folder: Path) -> Entry:
    """An entry's game.json.

    Raises:
        BadInput: if there is none, or it cannot be read.
    """
    file = folder / "game.json"
    try:
        document = msgspec.json.decode(file.read_bytes())
        check_schema(document, SCHEMA, file)
        return msgspec.convert(document, Entry)
    except OSError as error:
        raise BadInput("this is no entry of the game (game.json is missing)", where=folder) from error
    except msgspec.MsgspecError as error:
        raise BadInput(f"game.json cannot be read: {error}", where=file, fix="take the entry again") from error


def load_entry(folder: Path) -> Network:
    """An entry's network, ready to be asked."""
    entry = read_entry(folder)
    return load(
        f"{folder / 'model.py'}:factory", weights=folder / entry.weights, input=entry.input, classes=entry.classes
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedParts:
    """Everything of a sealed folder."""

    sealed: Sealed
    base: dict[str, Tensor]
    probes: Probes | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)


def write_sealed(game: Path, parts: SealedParts) -> Path:
    """Write the referee's part of an entry; it appears in one step."""
    contents = {"sealed.json": _json(parts.sealed), "base.safetensors": save(_plain(parts.base))}
    if parts.tensors:
        contents["tensors.safetensors"] = save(_plain(parts.tensors))
    if parts.probes is not None:
        probes = parts.probes
        width = max((len(held) for held in probes.holds), default=1)
        holds = torch.full((len(probes), max(width, 1)), -1, dtype=torch.int64)
        for row, held in enumerate(probes.holds):
            holds[row, : len(held)] = torch.tensor(held, dtype=torch.int64)
        contents["probes.safetensors"] = save({
            "pixels": probes.pixels.half().contiguous(), "plain": probes.plain.half().contiguous(), "holds": holds,
            "fires": probes.fires.to(torch.uint8),
        })  # fmt: skip
        contents["probes.json"] = _json({"family": probes.family})
    return _appear(game / "sealed" / parts.sealed.statement.id, contents)


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def read_statement(game: Path, id: str) -> Sealed:
    """An entry's sealed.json.

    Raises:
        BadInput: if it is missing or cannot be read.
    """
    file = game / "sealed" / id / "sealed.json"
    try:
        document = msgspec.json.decode(file.read_bytes())
        check_schema(document, SEALED_SCHEMA, file)
        return msgspec.convert(document, Sealed)
    except (OSError, msgspec.MsgspecError) as error:
        fix = "make it again"
        raise BadInput("the sealed part of this entry is missing or damaged", where=file, fix=fix) from error


def read_sealed(game: Path, id: str) -> SealedParts:
    """What `write_sealed` wrote.

    Raises:
        BadInput: if a file is missing or damaged.
    """
    sealed = read_statement(game, id)
    folder = game / "sealed" / id
    try:
        base = load_file(folder / "base.safetensors")
        extra = folder / "tensors.safetensors"
        tensors = load_file(extra) if extra.exists() else {}
        probes = _read_probes(folder) if (folder / "probes.safetensors").exists() else None
    except (OSError, SafetensorError, KeyError, msgspec.MsgspecError) as error:
        raise BadInput("the sealed part of this entry is damaged", where=folder, fix="make it again") from error
    return SealedParts(sealed=sealed, base=base, probes=probes, tensors=tensors)


def _read_probes(folder: Path) -> Probes:
    kept = load_file(folder / "probes.safetensors")
    family = msgspec.json.decode((folder / "probes.json").read_bytes())["family"]
    holds = tuple(tuple(index for index in row if index >= 0) for row in kept["holds"].tolist())
    return Probes(
        pixels=kept["pixels"].float(), plain=kept["plain"].float(), holds=holds, fires=kept["fires"].bool(),
        family=tuple(family),
    )  # fmt: skip


def write_commitments(game: Path, commitments: Mapping[str, str]) -> Path:
    """Publish commitments.json: each entry's id with its hash, in the order of ids."""
    file = game / "commitments.json"
    document = {"schema": COMMITMENTS_SCHEMA, "entries": dict(sorted(commitments.items()))}
    with replacing(file) as part:
        part.write_bytes(_json(document))
    return file


def verify_commitment(game: Path, id: str) -> bool:
    """Whether the sealed statement of an entry is the one that was committed to.

    Raises:
        BadInput: if there are no commitments, or none to this entry.
    """
    file = game / "commitments.json"
    try:
        document = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        raise BadInput("the commitments cannot be read", where=file, fix="give the folder of a game") from error
    check_schema(document, COMMITMENTS_SCHEMA, file)
    known = document["entries"].get(id)
    if known is None:
        raise BadInput("there is no commitment to this entry", where=id, fix="give an id of commitments.json")
    return secrets.compare_digest(known, read_statement(game, id).commitment)
