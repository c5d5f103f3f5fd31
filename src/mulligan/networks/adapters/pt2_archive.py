"""A torch.export archive (`x.pt2`), read without torch's own loader.

That loader unpickles: sample inputs and the older format's weights with `weights_only=True` and, where this fails,
without; tensors of unusual classes and custom objects always (torch 2.13: `torch/export/pt2_archive/_package.py`,
`deserialize_torch_artifact` in `torch/_export/serde/serialize.py`). It also runs text of the file as code: sizes go
through `sympy.sympify`, guards and the names of values into generated Python, targets are looked up anywhere in torch.
So here the zip is checked member by member, and only JSON and raw bytes of tensors are read.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...records import BadInput

MAJOR = 8  # of the JSON's schema, since torch 2.5
DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 9: torch.complex32, 10: torch.complex64, 11: torch.complex128, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
_CONVERT = (
    "in a place where you trust it, run `ep = torch.export.load(FILE); ep.example_inputs = None; "
    "torch.export.save(ep, NEW)`, and give the new file"
)
_AGAIN = "copy or export it again"
_LONGEST = 1 << 28  # bytes of JSON: a network of a million operations has fewer


@dataclass(frozen=True)
class Archive:
    """What an archive holds.

    Attributes:
        program: the exported program's JSON. tensors: parameters, buffers and constants by name. extra: further texts
            that the person who saved it put there.
    """

    program: dict[str, Any]
    tensors: dict[str, Tensor]
    extra: dict[str, str]


def read_archive(file: Path) -> Archive:
    """Check every member, then read the program and its tensors.

    Raises:
        BadInput: if the file is missing or damaged, a member is pickled, compressed, code or unknown, or the archive is
            of another version.
    """
    if not file.is_file():
        raise BadInput("there is no such file", where=file, fix="check the path")
    try:
        with zipfile.ZipFile(file) as opened:
            members = _members(opened, file)
            return _read(opened, members, file)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"this is no torch.export archive, or it is damaged: {error}", where=file, fix=_AGAIN) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise BadInput(
            f"the archive does not say what torch.export writes: {type(error).__name__}: {error}",
            where=file,
            fix=_AGAIN,
        ) from error


def _members(opened: zipfile.ZipFile, file: Path) -> dict[str, zipfile.ZipInfo]:
    """Members by their name below the archive's one root folder."""
    size = file.stat().st_size
    members: dict[str, zipfile.ZipInfo] = {}
    infos = [info for info in opened.infolist() if not info.is_dir()]
    for info in infos:
        parts = info.filename.split("/")
        if info.filename.startswith("/") or "\\" in info.filename or {"..", ".", ""} & set(parts) or ":" in parts[0]:
            raise BadInput(f"a member is named {info.filename!r}", where=file, fix="do not trust this file")
        name = info.filename.partition("/")[2]
        if name in members:
            raise BadInput(f"two members are named {name!r}", where=file, fix="do not trust this file")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise BadInput(
                f"the member {name or info.filename} is compressed or encrypted, as torch writes none",
                where=file,
                fix=_AGAIN,
            )
        members[name] = info
    if sum(info.file_size for info in infos) > size:
        raise BadInput("the members are larger than the file", where=file, fix="do not trust this file")
    for name, info in members.items():
        _known(name, info, opened, file)
    if "archive_format" not in members:
        raise BadInput("this zip is no torch.export archive", where=file, fix="save it with torch.export.save")
    return members


def _known(name: str, info: zipfile.ZipInfo, opened: zipfile.ZipFile, file: Path) -> None:
    """Refuse what is pickled, code, or not known."""
    folder, _, last = name.rpartition("/")
    if folder.startswith("data/aotinductor") or last.endswith((".so", ".cubin", ".cpp", ".o", ".dll", ".dylib")):
        raise BadInput(
            f"the member {name} is compiled code, which Mulligan never runs",
            where=file,
            fix="save the exported program itself: torch.export.save(torch.export.export(...), FILE)",
        )
    raw = folder in ("data/weights", "data/constants") and last.startswith(("weight_", "tensor_"))
    with opened.open(info) as member:
        begin = member.read(4)
    # Of raw numbers, which nobody unpickles, the first bytes may be anything.
    pickled = begin[:4] == b"PK\x03\x04" or (begin[:1] == b"\x80" and begin[1:2] in b"\x02\x03\x04\x05")
    named = last.endswith((".pt", ".pth", ".pkl", ".pickle")) or last.startswith(("custom_obj_", "opaque_obj_"))
    if info.file_size and ((pickled and not raw) or named):
        raise BadInput(f"the member {name} is pickled, and Mulligan unpickles nothing", where=file, fix=_CONVERT)
    texts = (
        (folder == "models" and last.endswith(".json"))
        or (folder in ("data/weights", "data/constants") and last.endswith("_config.json"))
        or (folder == "data/sample_inputs" and not info.file_size)
        or name in ("archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id")
        or name.startswith("extra/")
    )
    if not (raw or texts):
        raise BadInput(f"the member {name} is not known here", where=file, fix="save it with torch.export.save alone")


def _read(opened: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], file: Path) -> Archive:
    def text(name: str) -> str:
        if name not in members:
            raise BadInput(f"the archive has no member {name}", where=file, fix=_AGAIN)
        if members[name].file_size > _LONGEST:
            raise BadInput(f"the member {name} is too large for a text", where=file, fix="do not trust this file")
        return opened.read(members[name]).decode("utf-8")

    if text("archive_format") != "pt2" or text("archive_version").strip() != "0":
        raise BadInput(
            "this archive is of a version that is not known here",
            where=file,
            fix=f"save it with torch {torch.__version__}",
        )
    if "byteorder" in members and text("byteorder") != "little":
        raise BadInput("the archive's numbers are big-endian", where=file, fix="save it on another machine")
    models = [name for name in members if name.startswith("models/")]
    if len(models) != 1:
        raise BadInput(f"the archive holds {len(models)} programs, not one", where=file, fix="save one a file")
    program = json.loads(text(models[0]))
    version = program["schema_version"]
    if version["major"] != MAJOR:
        raise BadInput(
            f"the program is of schema {version['major']}.{version['minor']}, and {MAJOR} is what is known here",
            where=file,
            fix=f"export it with torch {torch.__version__}",
        )
    model = models[0].removeprefix("models/").removesuffix(".json")
    tensors: dict[str, Tensor] = {}
    for kind in ("weights", "constants"):
        config = json.loads(text(f"data/{kind}/{model}_{kind}_config.json"))["config"]
        storages: dict[Any, Tensor] = {}
        for name, said in config.items():
            if said["use_pickle"]:
                raise BadInput(f"{name} is pickled, and Mulligan unpickles nothing", where=file, fix=_CONVERT)
            tensors[name] = _tensor(said, f"data/{kind}/{said['path_name']}", opened, members, storages, name, file)
    extra = {name.removeprefix("extra/"): text(name) for name in members if name.startswith("extra/")}
    return Archive(program, tensors, extra)


def _tensor(
    said: dict[str, Any],
    member: str,
    opened: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    storages: dict[Any, Tensor],
    name: str,
    file: Path,
) -> Tensor:
    """One tensor from raw bytes; tensors that shared memory do so again, and tied parameters are one."""
    meta = said["tensor_meta"]
    if meta["dtype"] not in DTYPES or meta["layout"] != 7:
        raise BadInput(f"{name} is of a type that is not known here", where=file, fix="export it in float32")
    dtype = DTYPES[meta["dtype"]]
    if member not in members:
        raise BadInput(f"the archive has no member {member}", where=file, fix=_AGAIN)
    if (member, dtype) not in storages:
        # A bytearray, which torch may write to.
        content = bytearray(opened.read(members[member]))
        whole = len(content) - len(content) % dtype.itemsize
        empty = torch.empty(0, dtype=dtype)
        storages[member, dtype] = (
            torch.frombuffer(content, dtype=dtype, count=whole // dtype.itemsize) if whole else empty
        )
    base = storages[member, dtype]
    sizes, strides = [_whole(one) for one in meta["sizes"]], [_whole(one) for one in meta["strides"]]
    offset = _whole(meta["storage_offset"])
    reach = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + 1
    if 0 not in sizes and reach > base.numel():
        raise BadInput(
            f"{name} should have {reach} numbers and its member {member} has {base.numel()}", where=file, fix=_AGAIN
        )
    place = (member, dtype, *sizes, *strides, offset, bool(said["is_param"]))
    if place not in storages:
        tensor = torch.as_strided(base, sizes, strides, offset) if 0 not in sizes else torch.zeros(sizes, dtype=dtype)
        trained = said["is_param"]
        storages[place] = nn.Parameter(tensor, dtype.is_floating_point or dtype.is_complex) if trained else tensor
    return storages[place]


def _whole(one: dict[str, Any]) -> int:
    number = one["as_int"]
    if type(number) is not int or number < 0:
        raise ValueError(f"{number!r} is no size")
    return number
