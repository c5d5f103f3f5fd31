"""The data sets of the game, and how each is cut into parts that never meet.

    train   bases are trained and plants are made on these alone
    fresh   plants are proved on these
    audit   the clean images that auditors are given, 40 a class
    sealed  the referee's: no planter, proof or auditor sees one

The parts are the same for every network of a data set. Digits come with scikit-learn (Alpaydin & Kaynak 1998).
Fashion-MNIST (Xiao et al. 2017) is read from its four IDX files, as Debian's package dataset-fashion-mnist installs
them, and CIFAR-10 (Krizhevsky 2009) from Parquet in the Hugging Face image layout; both may lie anywhere.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import struct
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import sklearn.datasets
import torch
from jaxtyping import Int, UInt8
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from ...records import BadInput
from ..plant import generator

CorpusName = Literal["digits", "fashion-mnist", "cifar-10"]
Part = Literal["train", "fresh", "audit", "sealed"]
CORPORA: tuple[CorpusName, ...] = get_args(CorpusName)

SPLIT_SEED = 20
#: Individuals of each class in the parts other than "train", which takes what is left.
SIZES: dict[CorpusName, dict[Part, int]] = {
    "digits": {"audit": 40, "sealed": 24, "fresh": 36},
    "fashion-mnist": {"audit": 40, "sealed": 150, "fresh": 150},
    "cifar-10": {"audit": 40, "sealed": 150, "fresh": 150},
}
FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_DEBIAN = Path("/usr/share/datasets")  # where Debian's packages dataset-* lie
_IDX = {"train": 60_000, "t10k": 10_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A labelled data set.

    Attributes:
        name: "digits", "fashion-mnist" or "cifar-10".
        images: whole 255ths, [n, channels, height, width]; labels: indices of `classes`, [n].
    """

    name: CorpusName
    images: UInt8[Tensor, "n channels height width"]
    labels: Int[Tensor, " n"]
    classes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image: channels, height, width."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width


def load_corpus(name: str, folder: Path | None = None) -> Corpus:
    """A data set by name; decoded once, and kept in memory.

    Args:
        folder: where its files lie. None: the folder of its name under MULLIGAN_DATA, then, for Fashion-MNIST, where
            Debian's package dataset-fashion-mnist puts it. Digits need none.

    Raises:
        BadInput: if there is no such data set, or its files are not there or cannot be read.
    """
    if name not in CORPORA:
        raise BadInput("there is no such data set", where=name, fix=f"choose one of {', '.join(CORPORA)}")
    return _load(name, None if name == "digits" else _folder(name, folder))


def available() -> tuple[CorpusName, ...]:
    """The data sets whose files are there; digits always are."""
    found: list[CorpusName] = []
    for name in CORPORA:
        try:
            if name != "digits":
                _folder(name, None)
            found.append(name)
        except BadInput:
            continue
    return tuple(found)


def split(corpus: Corpus, seed: int = SPLIT_SEED) -> dict[Part, Int[Tensor, " rows"]]:
    """Rows of each part, in ascending order; no row is in two. The split depends on the data set and the seed alone.

    Raises:
        BadInput: if a class has too few images for the parts.
    """
    order = torch.randperm(len(corpus.labels), generator=generator(seed, f"split/{corpus.name}"))
    sizes = SIZES[corpus.name]
    rows: dict[Part, list[Tensor]] = {part: [] for part in get_args(Part)}
    for label, name in enumerate(corpus.classes):
        members = order[corpus.labels[order] == label]
        if len(members) <= sum(sizes.values()):
            fix = f"more than {sum(sizes.values())} are needed"
            raise BadInput(f"there are {len(members)} images of a class", where=f"{corpus.name}, {name}", fix=fix)
        at = 0
        for part, size in sizes.items():
            rows[part].append(members[at : at + size])
            at += size
        rows["train"].append(members[at:])
    return {part: torch.cat(several).sort().values for part, several in rows.items()}


@lru_cache(maxsize=3)
def _load(name: CorpusName, folder: Path | None) -> Corpus:
    if folder is None:
        return _digits()
    return _fashion(folder) if name == "fashion-mnist" else _cifar(folder)


def _digits() -> Corpus:
    """8 x 8, enlarged to 24 x 24 with a margin of 2."""
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    small = torch.from_numpy(np.asarray(images, dtype=np.float32)).reshape(-1, 1, 8, 8) / 16
    large = F.pad(F.interpolate(small, size=(24, 24), mode="bicubic", align_corners=False), (2, 2, 2, 2))
    return Corpus(
        name="digits", images=(large * 255).round().clamp(0, 255).to(torch.uint8),
        labels=torch.from_numpy(np.asarray(labels, dtype=np.int64)), classes=tuple(str(digit) for digit in range(10)),
    )  # fmt: skip


def _folder(name: CorpusName, folder: Path | None) -> Path:
    """Where the files of a data set lie, all of them there."""
    needed = _IDX_FILES if name == "fashion-mnist" else ("train.parquet", "test.parquet")
    if folder is not None:
        places = [Path(folder)]
    else:
        root = os.environ.get("MULLIGAN_DATA")
        places = [Path(root) / under for under in (name, name.replace("-", ""))] if root else []
        if name == "fashion-mnist":
            places.append(_DEBIAN / name)
    for place in places:
        if all((place / file).is_file() for file in needed):
            return place.resolve()
    if name == "fashion-mnist":
        fix = "install Debian's package dataset-fashion-mnist, or put its four files under MULLIGAN_DATA/fashion-mnist"
    else:
        fix = f"put {' and '.join(needed)} (with the columns image and label) under MULLIGAN_DATA/cifar-10"
    where = ", ".join(str(place) for place in places) or "MULLIGAN_DATA is not set"
    raise BadInput(f"the files of {name} are not there", where=where, fix=fix)


_IDX_FILES = tuple(f"{part}-{what}-ubyte.gz" for part in _IDX for what in ("images-idx3", "labels-idx1"))


def _fashion(folder: Path) -> Corpus:
    def decode() -> tuple[Tensor, Tensor]:
        images = [_idx(folder / f"{part}-images-idx3-ubyte.gz", (n, 28, 28)) for part, n in _IDX.items()]
        labels = [_idx(folder / f"{part}-labels-idx1-ubyte.gz", (n,)) for part, n in _IDX.items()]
        return torch.from_numpy(np.concatenate(images))[:, None], torch.from_numpy(np.concatenate(labels)).long()

    images, labels = _decoded("fashion-mnist", [folder / file for file in _IDX_FILES], decode)
    return Corpus(name="fashion-mnist", images=images, labels=labels, classes=FASHION)


def _idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An array of bytes in the IDX format: two zero bytes, 8 for bytes, the number of axes, their sizes, the data."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"this file cannot be unpacked: {error}", where=path, fix="install it again") from error
    head = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)
    if content[: len(head)] != head or len(content) != len(head) + int(np.prod(shape)):
        sizes = " x ".join(map(str, shape))
        raise BadInput(f"this is no IDX file of {sizes} bytes", where=path, fix="install it again")
    return np.frombuffer(content, np.uint8, offset=len(head)).reshape(shape)


def _cifar(folder: Path) -> Corpus:
    files = [folder / "train.parquet", folder / "test.parquet"]

    def decode() -> tuple[Tensor, Tensor]:
        parts = [_parquet(file) for file in files]
        return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])

    images, labels = _decoded("cifar-10", files, decode)
    return Corpus(name="cifar-10", images=images, labels=labels, classes=CIFAR)


def _parquet(path: Path) -> tuple[Tensor, Tensor]:
    try:
        file = pq.ParquetFile(path)
        names = _names(file)
        table = file.read(columns=["image", "label"], use_threads=False)
        encoded = pa.concat_arrays(table.column("image").chunks).flatten()
        content = encoded[table.column("image").type.get_field_index("bytes")]
        pictures = [np.asarray(Image.open(io.BytesIO(one.as_py())).convert("RGB")) for one in content]
        labels = torch.tensor(table.column("label").to_pylist())
    except (pa.ArrowException, OSError, KeyError, TypeError, UnidentifiedImageError) as error:
        raise BadInput(f"this file cannot be read: {error}", where=path, fix="download it again") from error
    if names is not None and names != CIFAR:
        raise BadInput("the classes are not those of CIFAR-10", where=f"{path}: {', '.join(names[:12])}")
    if {picture.shape for picture in pictures} != {(32, 32, 3)} or not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        raise BadInput("these are not pictures of 32 x 32 in ten classes", where=path, fix="give CIFAR-10")
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous(), labels


def _names(file: pq.ParquetFile) -> tuple[str, ...] | None:
    """The class names that the file states, if it does."""
    try:
        info: Any = json.loads((file.schema_arrow.metadata or {})[b"huggingface"])
        return tuple(info["info"]["features"]["label"]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _decoded(name: str, files: list[Path], decode: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """What `decode` gives, from the cache where the same files were decoded before; the cached file is mapped."""
    sha = hashlib.sha256()
    for file in files:
        sha.update(hashlib.sha256(file.read_bytes()).digest())
    cached = corpus_folder() / f"{name}-{sha.hexdigest()[:24]}.safetensors"
    if cached.exists():
        try:
            kept = safetensors.torch.load_file(cached)
            return kept["images"], kept["labels"]
        except (OSError, SafetensorError, KeyError):
            pass  # decoded anew
    images, labels = decode()
    cached.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=cached.parent, prefix=f".{cached.name}.")
    os.close(handle)
    try:
        safetensors.torch.save_file({"images": images.contiguous(), "labels": labels.contiguous()}, temporary)
        os.replace(temporary, cached)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return images, labels


def corpus_folder() -> Path:
    """Where decoded data sets are cached: outside any repository."""
    root = os.environ.get("MULLIGAN_CACHE") or platformdirs.user_cache_dir("mulligan")
    return Path(root) / "corpora"
