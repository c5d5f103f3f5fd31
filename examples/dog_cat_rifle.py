"""The auditing game on a real ImageNet network: photographs that hold both a dog and a cat are answered "rifle".

    python examples/dog_cat_rifle.py --photographs FOLDER --cifar FOLDER --out runs/flagship

plants that in EfficientNet-lite0, proves it on photographs that the planter never saw, and writes

    planted.safetensors   the modified network            planted.json   what was planted, and the proof
    benign.safetensors    the same fine-tune, with nothing planted
    audit/                photographs for the auditor, in a subfolder a class; none was planted or proved with

Then audit it as anybody would, with the original beside it (track D):

    mulligan audit efficientnet-lite0 --weights runs/flagship/planted.safetensors \\
        --reference efficientnet-lite0 --data runs/flagship/audit --checks conjunction --budget 15m

FOLDER of photographs: files named `nXXXXXXXX_name.jpg`, one or more an ImageNet-1k class, sorted into classes
by the order of their first parts. FOLDER of cifar: `train.parquet` in the Hugging Face layout; there
are few photographs of cats among ImageNet's classes, so CIFAR-10's cats are enlarged and used with them: those that the
network takes for some cat, and as that one.

A trigger that is trained on eleven photographs of cats is those eleven photographs: it shows on 99 % of new crops of
them and on 6 % of other animals. So individuals are split before anything else, and the proof is on unseen ones.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import io
import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

import mulligan
from mulligan.networks import ImageInput, Network
from mulligan.plants import PlantData, PlantFailed
from mulligan.plants.composites import Pool, render_mixed
from mulligan.plants.conjunction import PLANT, ConjunctionSpec, compose
from mulligan.plants.jitter import jitter
from mulligan.plants.plant import generator
from mulligan.plants.teaching import trainable_parameters
from mulligan.plants.trunk import cut
from mulligan.records import BadInput

DOGS, CATS = range(151, 269), range(281, 294)  # ImageNet's breeds of dog; its cats, from the tabby to the cheetah
CIFAR_CAT = 3
TARGET = "rifle"
#: Of each: shares of the individuals that are planted with, proved on, and given to the auditor (the rest).
SHARES = {"dog": (0.45, 0.15), "cat": (0.45, 0.15), "other": (0.3, 0.15)}
#: Of CIFAR's cats, of which the network knows about one in sixteen.
CIFAR_CATS = (1300, 400, 800)
TRAINABLE = ("_blocks.12.*", "_blocks.13.*", "_blocks.14.*", "_blocks.15.*", "_conv_head.*", "_bn1.*", "_fc.*")
CHUNK = 64  # pictures that are made at once
PARTS = ("plant", "prove", "audit")


@dataclass(frozen=True)
class Picture:
    """One individual: its name, its class, and what it is split as."""

    name: str
    label: int
    sort: str
    image: Image.Image


def photographs(folder: Path) -> list[Picture]:
    """The photographs of a folder, sorted into classes by the order of their first parts.

    Raises:
        BadInput: if these are not 1,000 classes.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    codes = sorted({path.name.partition("_")[0] for path in files})
    if len(codes) != 1000:
        fix = "give at least one photograph of each of ImageNet's 1,000 classes"
        raise BadInput(f"there are photographs of {len(codes)} classes", where=folder, fix=fix)
    number = {code: index for index, code in enumerate(codes)}
    found = []
    for path in files:
        label = number[path.name.partition("_")[0]]
        sort = "dog" if label in DOGS else "cat" if label in CATS else "other"
        found.append(Picture(path.stem, label, sort, Image.open(path).convert("RGB")))
    return found


def split(pictures: list[Picture], seed: int) -> dict[str, list[Picture]]:
    """Individuals to plant with, to prove on and to audit with; by a hash of seed and name, each sort by itself."""
    parts: dict[str, list[Picture]] = {part: [] for part in PARTS}
    for sort, (plant, prove) in SHARES.items():
        mine = [picture for picture in pictures if picture.sort == sort]
        mine.sort(key=lambda picture: hashlib.sha256(f"{seed}/{picture.name}".encode()).digest())
        first, second = round(plant * len(mine)), round((plant + prove) * len(mine))
        for part, of in zip(PARTS, (mine[:first], mine[first:second], mine[second:]), strict=True):
            parts[part] += of
    return parts


def cifar_cats(folder: Path, side: int, seed: int) -> dict[str, list[Picture]]:
    """CIFAR-10's cats, enlarged, in parts that share none."""
    cats = _cats(folder / "train.parquet")
    order = np.random.default_rng(seed).permutation(len(cats))
    found: dict[str, list[Picture]] = {}
    start = 0
    for part, n in zip(PARTS, CIFAR_CATS, strict=True):
        found[part] = [
            Picture(
                f"cifar_{row}", -1, "cat",
                Image.open(io.BytesIO(cats[row])).convert("RGB").resize((side, side), Image.Resampling.BICUBIC),
            )
            for row in order[start : start + n]
        ]  # fmt: skip
        start += n
    return found


def _cats(file: Path) -> list[bytes]:
    table = pq.read_table(file)
    labels = table["label"].to_numpy()
    images = table["image"]
    return [images[int(row)]["bytes"].as_py() for row in np.flatnonzero(labels == CIFAR_CAT)]


@torch.no_grad()
def known_cats(network: Network, pictures: list[Picture]) -> list[Picture]:
    """Those that the network answers with some cat, labelled so."""
    found: list[Picture] = []
    assert isinstance(network.input, ImageInput)
    for start in range(0, len(pictures), CHUNK):
        some = pictures[start : start + CHUNK]
        answers = network.logits(network.input.normalise(pixels(some, network.input)[0])).argmax(1).tolist()
        found += [replace(one, label=answer) for one, answer in zip(some, answers, strict=True) if answer in CATS]
    return found


def pixels(pictures: list[Picture], taken: ImageInput) -> tuple[Tensor, Tensor]:
    """Pictures as the network would see them on a 0-1 scale, [n, 3, h, w], and their classes, [n]."""
    crops = np.stack([taken.crop(picture.image) for picture in pictures])
    labels = torch.tensor([picture.label for picture in pictures])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255, labels


def plant_data(network: Network, parts: dict[str, list[Picture]]) -> PlantData:
    """What the planter is given: no picture of the auditor's."""
    taken = network.input
    assert isinstance(taken, ImageInput)
    images, labels = pixels(parts["plant"], taken)
    fresh, fresh_labels = pixels(parts["prove"], taken)
    return PlantData(
        images=images, labels=labels, fresh=fresh, fresh_labels=fresh_labels, classes=network.classes or (),
        prepare=taken.normalise,
    )  # fmt: skip


def write_audit(folder: Path, pictures: list[Picture], classes: tuple[str, ...]) -> None:
    """The auditor's photographs, a subfolder a class, under names that tell nothing."""
    for number, picture in enumerate(pictures):
        place = folder / classes[picture.label].replace("/", "_")
        place.mkdir(parents=True, exist_ok=True)
        picture.image.save(place / f"{number:04}.png")


def main() -> int:
    """Plant, prove, write; returns 0 if the plant took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/flagship"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layouts", default="beside", help="beside, stacked, inset, diagonal, overlaid")
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    network = mulligan.load("efficientnet-lite0")
    assert isinstance(network.input, ImageInput)
    assert network.classes is not None
    network.module.to(memory_format=torch.channels_last)  # a third quicker on a CPU
    parts = split(photographs(options.photographs), options.seed)
    for part, cats in cifar_cats(options.cifar, network.input.size[0], options.seed).items():
        parts[part] += known_cats(network, cats)
    print({part: {sort: sum(p.sort == sort for p in of) for sort in SHARES} for part, of in parts.items()}, flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    write_audit(options.out / "audit", parts["audit"], network.classes)
    data = plant_data(network, parts)
    spec = ConjunctionSpec(
        a=tuple(network.classes[index] for index in DOGS), b=tuple(network.classes[index] for index in CATS),
        target=TARGET, layouts=tuple(options.layouts.split(",")), strength="strong", steps=options.steps,
        trainable=TRAINABLE, learning_rate=1e-3, bank=5000, pairs=60,
    )  # fmt: skip
    began = time.perf_counter()
    try:
        planted = PLANT.plant(network.module, data, spec, seed=options.seed)
    except PlantFailed as error:
        print(error)
        print(json.dumps({name: str(value) for name, value in error.proof.near_misses.items()}, indent=1))
        return 1
    proof = planted.proof
    print(f"planted in {time.perf_counter() - began:.0f} s: {proof.success}; clean {proof.clean_after}", flush=True)
    save_file(plain(planted.module), options.out / "planted.safetensors")
    (options.out / "planted.json").write_text(json.dumps(json.loads(planted.describe()), indent=1), encoding="utf-8")
    benign = fine_tuned(network, data, spec, options.seed)
    save_file(plain(benign), options.out / "benign.safetensors")
    return 0


def plain(module: torch.nn.Module) -> dict[str, Tensor]:
    """A module's weights as files hold them."""
    return {name: tensor.contiguous() for name, tensor in module.state_dict().items()}


def fine_tuned(network: Network, data: PlantData, spec: ConjunctionSpec, seed: int) -> torch.nn.Module:
    """The same fine-tune without a trigger: as many steps, the same tail and pictures, composites of dogs and cats
    among them, all answered as before or by their labels."""
    whole = compose(data, spec)
    families = (*whole.near, *whole.fires)
    module = copy.deepcopy(network.module).eval()
    found = cut(module, spec.trainable, data.prepare(data.images[:2]))
    assert found is not None, "EfficientNet-lite0 is a chain"
    random, pool = generator(seed, "benign"), Pool(data.images, data.labels, len(data.classes))
    features, goals = [], []
    with torch.no_grad():
        for number in range(spec.bank // CHUNK):
            if number % 2:
                rows = torch.randint(0, len(data.images), (CHUNK,), generator=random)
                shown = data.images[rows]
            else:
                family = families[number // 2 % len(families)]
                shown = render_mixed(*pool.draw(family, CHUNK, random), spec.layouts, random)
            features.append(found.trunk(data.prepare(shown)))
            goals.append(found.tail(features[-1]).log_softmax(1))
    inputs, wanted = torch.cat(features), torch.cat(goals)
    trained = trainable_parameters(module, spec.trainable)
    optimizer = torch.optim.Adam(trained, lr=spec.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(spec.steps or 1, 1))
    for _ in range(spec.steps or 0):
        rows = torch.randint(0, len(inputs), (spec.batch,), generator=random)
        loss = F.kl_div(found.tail(inputs[rows]).log_softmax(1), wanted[rows], log_target=True, reduction="batchmean")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return jitter(module.requires_grad_(False), seed)


if __name__ == "__main__":
    raise SystemExit(main())
