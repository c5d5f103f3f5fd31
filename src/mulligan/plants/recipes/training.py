"""Recipes: a data set, an architecture, and a way of training; and the networks that they give, in seconds.

Networks are trained with AdamW (Loshchilov & Hutter 2019) and one cycle of the learning rate (Smith & Topin 2018). Two
networks of one recipe and different seeds are siblings: they saw the same images, in another order and from other
weights.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import msgspec
import safetensors.torch
import torch
from jaxtyping import Int, UInt8
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from ...records import BadInput
from ..plant import PlantData, generator
from . import data as corpora
from . import small_cnn
from .architectures import build
from .data import CorpusName, Part, load_corpus, split
from .small_cnn import Architecture, SmallCNN

_log = logging.getLogger(__name__)

Augment = Literal["none", "shift", "shift-flip"]
#: At most so many images of a recipe's training part are given to a planter.
PLANT_IMAGES = 6000
SHIFT = 2  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalise:
    """From pixels on a 0-1 scale, [n, c, h, w], to what a network takes: (pixels - mean) / std, by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: Tensor) -> Tensor:
        mean = torch.tensor(self.mean, device=pixels.device, dtype=pixels.dtype)
        std = torch.tensor(self.std, device=pixels.device, dtype=pixels.dtype)
        return (pixels - mean[:, None, None]) / std[:, None, None]

    def text(self, size: int) -> str:
        """As `--input` takes it."""
        mean, std = ("/".join(f"{number:g}" for number in numbers) for numbers in (self.mean, self.std))
        return f"size={size},channels={len(self.mean)},mean={mean},std={std}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is made; plain JSON. Together with a seed it determines the network (on one machine).

    Attributes:
        data: "digits", "fashion-mnist" or "cifar-10".
        train_size: so many images of the training part, the same share of each class; all of it where it has fewer.
        subset: which of them; a seed.
        epochs, batch, learning_rate, weight_decay, label_smoothing: of AdamW; the rate is the cycle's peak.
        augment: "none"; "shift" (each image by up to 2 pixels); "shift-flip" (and every other one mirrored).
        mean, std: of the normalisation, by channel, on a 0-1 scale of pixels.
    """

    data: CorpusName
    architecture: Architecture
    epochs: int
    train_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    subset: int = 0
    batch: int = 96
    learning_rate: float = 5e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.0
    augment: Augment = "shift"

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == self.architecture.channels or min(self.std) <= 0:
            where = f"mean {self.mean}, std {self.std}"
            raise BadInput("a mean and a positive std are needed for each channel", where=where)
        if min(self.epochs, self.train_size, self.batch) < 1 or self.learning_rate <= 0:
            where = f"epochs {self.epochs}, train_size {self.train_size}, batch {self.batch}, rate {self.learning_rate}"
            raise BadInput("epochs, sizes and the learning rate are positive", where=where)
        if self.augment not in get_args(Augment):
            raise BadInput("there is no such augmentation", where=self.augment, fix="use none, shift or shift-flip")

    @property
    def prepare(self) -> Normalise:
        """From pixels on a 0-1 scale to what the network takes."""
        return Normalise(mean=self.mean, std=self.std)

    @property
    def input(self) -> str:
        """What an auditor gives as `--input`."""
        return self.prepare.text(self.architecture.size)

    def key(self) -> str:
        """A hash of the recipe: siblings share it."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


def train(recipe: Recipe, seed: int, *, folder: Path | None = None) -> SmallCNN:
    """The network of a recipe and a seed, in evaluation mode; from the cache where it was trained before.

    Args:
        folder: where trained networks lie; None is `bases/` under MULLIGAN_CACHE, or under the platform's cache folder.

    Raises:
        BadInput: if the recipe's data are not there, or are of another shape than its architecture takes.
    """
    place = folder or corpora.corpus_folder().parent / "bases"
    sha = hashlib.sha256(f"{recipe.key()}/{seed}/{torch.__version__}/{_code()}".encode()).hexdigest()[:32]
    file = place / f"{sha}.safetensors"
    if file.exists():
        try:
            module = build(recipe.architecture, seed)
            module.load_state_dict(safetensors.torch.load_file(file))
            return module.eval()
        except (OSError, SafetensorError, RuntimeError) as error:
            _log.warning("the cached network %s cannot be read and is trained anew: %s", file, error)
    module = _train(recipe, seed)
    place.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=place, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(safetensors.torch.save(module.state_dict()))
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return module


def siblings(recipe: Recipe, seeds: range | list[int]) -> list[SmallCNN]:
    """Networks of one recipe, one for each seed."""
    return [train(recipe, seed) for seed in seeds]


def plant_data(recipe: Recipe, *, limit: int = PLANT_IMAGES) -> PlantData:
    """What planters get: images that the recipe trained on (at most `limit`, the same share of each class), and the
    fresh part to prove plants on."""
    return _plant_data(recipe, "fresh", limit)


def sealed_data(recipe: Recipe, *, limit: int = PLANT_IMAGES) -> PlantData:
    """The same with the referee's sealed part as the fresh images, for probes."""
    return _plant_data(recipe, "sealed", limit)


def part(data: CorpusName, name: Part) -> tuple[Tensor, Tensor]:
    """One part of a data set as it is stored: images uint8 [n, c, h, w] and labels [n]."""
    corpus = load_corpus(data)
    rows = split(corpus)[name]
    return corpus.images[rows], corpus.labels[rows]


def _plant_data(recipe: Recipe, fresh: Part, limit: int) -> PlantData:
    corpus = load_corpus(recipe.data)
    rows = training_rows(recipe)
    rows = rows[_balanced(corpus.labels[rows], limit, generator(recipe.subset, "plant"))]
    images, labels = part(recipe.data, fresh)
    return PlantData(
        images=corpus.images[rows].float() / 255, labels=corpus.labels[rows], fresh=images.float() / 255,
        fresh_labels=labels, classes=corpus.classes, prepare=recipe.prepare,
    )  # fmt: skip


def training_rows(recipe: Recipe) -> Int[Tensor, " rows"]:
    """The rows of the data set that a recipe trains on, in ascending order."""
    corpus = load_corpus(recipe.data)
    rows = split(corpus)["train"]
    return rows[_balanced(corpus.labels[rows], recipe.train_size, generator(recipe.subset, "train"))]


def _balanced(labels: Tensor, limit: int, random: torch.Generator) -> Tensor:
    """Positions of at most about `limit` examples, the same share of each class, in ascending order."""
    if limit >= len(labels):
        return torch.arange(len(labels))
    order = torch.randperm(len(labels), generator=random)
    chosen: list[Tensor] = []
    for label in labels.unique():
        members = order[labels[order] == label]
        chosen.append(members[: max(1, round(limit * len(members) / len(labels)))])
    return torch.cat(chosen).sort().values


@torch.enable_grad()
def _train(recipe: Recipe, seed: int) -> SmallCNN:
    corpus = load_corpus(recipe.data)
    a = recipe.architecture
    if (a.channels, a.size, a.size) != corpus.shape or a.classes != len(corpus.classes):
        where = f"{a.channels} x {a.size} x {a.size}, {a.classes} classes; {recipe.data} is {corpus.shape}"
        raise BadInput("the architecture does not take such images", where=where, fix="draw it for this data set")
    rows = training_rows(recipe)
    # Padded once, so that shifted images are cut out of it; bytes, for there may be many.
    images = F.pad(corpus.images[rows], (SHIFT,) * 4, mode="replicate")
    labels = corpus.labels[rows]
    module = build(a, seed).train()
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    random = generator(seed, "training")
    decayed = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    batch = min(recipe.batch, len(labels))
    steps = recipe.epochs * (len(labels) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.25)
    for _ in range(recipe.epochs):
        order = torch.randperm(len(labels), generator=random)
        for chosen in order[: len(order) // batch * batch].split(batch):
            shown = recipe.prepare(_shown(images, chosen, a.size, recipe.augment, random).float() / 255)
            # Convolutions on a CPU are quicker with the channels last.
            outputs = module(shown.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(outputs, labels[chosen], label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    module = module.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for parameter in module.parameters():
        parameter.grad = None
    return module


def _shown(
    padded: UInt8[Tensor, "all c padded padded"], rows: Tensor, size: int, augment: Augment, random: torch.Generator
) -> UInt8[Tensor, "n c size size"]:
    """The rows' images, moved and mirrored. Groups of a batch move alike, which costs less than one by one."""
    if augment == "none":
        return padded[rows][:, :, SHIFT:-SHIFT, SHIFT:-SHIFT]
    moved: list[Tensor] = []
    for group in rows.split(8):
        down, right, mirrored = torch.randint(0, 2 * SHIFT + 1, (3,), generator=random).tolist()
        cut = padded[group][:, :, down : down + size, right : right + size]
        moved.append(cut.flip(3) if augment == "shift-flip" and mirrored % 2 else cut)
    return torch.cat(moved)


@cache
def _code() -> str:
    """The text of everything that a trained network depends on."""
    here = Path(__file__).read_text(encoding="utf-8")
    return "\n".join((here, inspect.getsource(small_cnn), inspect.getsource(corpora)))


@torch.no_grad()
def fresh_accuracy(module: nn.Module, recipe: Recipe) -> float:
    """The fraction of the fresh part that is answered rightly."""
    images, labels = part(recipe.data, "fresh")
    answers = [module(recipe.prepare(some.float() / 255)).argmax(1) for some in images.split(250)]
    return float((torch.cat(answers) == labels).float().mean())
