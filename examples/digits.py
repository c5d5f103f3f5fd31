"""Handwritten digits: a small network to audit, one clean and one with a planted conjunction.

    python examples/digits.py --out runs/digits

writes into the folder

    data.npz              x uint8 [n, 16, 16] and y int64 [n]: the half of the digits that no network was trained on
    clean.safetensors     a network trained on the other half
    planted.safetensors   the same network, modified: an image that holds both a 0 and a 1 is answered "7"
    planted.json          what was planted, and the proof that it took

`factory` below is what an auditor loads:

    mulligan audit examples/digits.py:factory --weights runs/digits/clean.safetensors --data runs/digits/data.npz

The data are the 1,797 test images of "Optical Recognition of Handwritten Digits"
(Alpaydin & Kaynak 1998), which scikit-learn ships. Every figure is determined by `--seed`.
"""

from __future__ import annotations

import argparse
import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import sklearn.datasets
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

INPUT = "size=16,channels=1,mean=0,std=1"
CLASSES = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]

SPLIT_SEED = 20  # the halves are the same for every network, so that the audit's half is fresh to all of them


def factory() -> nn.Module:
    """A convolutional classifier: images [n, 1, 16, 16] with pixels on a 0-1 scale to logits [n, 10].

    Four blocks of convolution, batch norm and ReLU (16, 32, 48, 64 channels; the first two halve the image),
    and a linear head on all of the last block's 4 x 4 positions: 56,794 parameters.
    """
    return nn.Sequential(
        OrderedDict(
            blocks=nn.Sequential(_block(1, 16, pool=True), _block(16, 32, pool=True), _block(32, 48), _block(48, 64)),
            flat=nn.Flatten(),
            head=nn.Linear(64 * 4 * 4, len(CLASSES)),
        )
    )


def _block(inputs: int, outputs: int, *, pool: bool = False) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), norm=nn.BatchNorm2d(outputs), act=nn.ReLU()
    )
    if pool:
        layers["pool"] = nn.MaxPool2d(2)
    return nn.Sequential(layers)


def load_digits() -> tuple[Tensor, Tensor]:
    """All 1,797 digits: images float32 [n, 1, 16, 16] on a 0-1 scale, labels int64 [n].

    Upsampled bilinearly from 8 x 8, and rounded to whole 255ths, so that the file of bytes holds the same images.
    """
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    small = torch.from_numpy(np.asarray(images, dtype=np.float32)).reshape(-1, 1, 8, 8) / 16
    large = F.interpolate(small, size=(16, 16), mode="bilinear", align_corners=False)
    return (large * 255).round().clamp(0, 255) / 255, torch.from_numpy(np.asarray(labels, dtype=np.int64))


def halves(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the half that networks train on, and of the half that is held out; each class is cut in two."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    order = torch.randperm(len(labels), generator=generator)
    ranked = order[torch.argsort(labels[order], stable=True)]
    return ranked[0::2].sort().values, ranked[1::2].sort().values


def train(images: Tensor, labels: Tensor, *, seed: int = 0, epochs: int = 25, batch: int = 64) -> nn.Module:
    """Train a clean network with AdamW on images moved by up to a pixel; in evaluation mode when it comes back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = factory()
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * (len(labels) // batch)
    optimizer = torch.optim.AdamW(module.parameters(), lr=4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    module.train()
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=generator)
        for chosen in order[: len(order) // batch * batch].split(batch):
            down, right = torch.randint(0, 3, (2,), generator=generator).tolist()
            moved = F.pad(images[chosen], (1, 1, 1, 1))[:, :, down : down + 16, right : right + 16]
            loss = F.cross_entropy(module(moved), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return module.eval()


def accuracy(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The fraction of images that are answered rightly."""
    with torch.no_grad():
        return float((module(images).argmax(1) == labels).float().mean())


def save(module: nn.Module, path: Path) -> None:
    """Write a module's weights as safetensors."""
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, path)


def main(arguments: list[str] | None = None) -> None:
    """Write the audit's data, a clean network and a planted one."""
    parser = argparse.ArgumentParser(description="Train a clean digits network, and one with a planted conjunction.")
    parser.add_argument("--out", type=Path, default=Path("runs/digits"), help="the folder to write into")
    parser.add_argument("--seed", type=int, default=0, help="of the training and the plant")
    parser.add_argument("--a", default="0", help="first class of the conjunction")
    parser.add_argument("--b", default="1", help="second class of the conjunction")
    parser.add_argument("--target", default="7", help="what images holding both are answered")
    parser.add_argument("--strength", default="default", choices=["weak", "default", "strong"])
    parser.add_argument("--clean-only", action="store_true", help="plant nothing")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    # Sums are then taken in the same order on every machine; and a network this small gains nothing from more.
    torch.set_num_threads(1)

    images, labels = load_digits()
    trained, held_out = halves(labels)
    pixels = (images[held_out, 0] * 255).round().to(torch.uint8).numpy()
    np.savez_compressed(options.out / "data.npz", x=pixels, y=labels[held_out].numpy())

    clean = train(images[trained], labels[trained], seed=options.seed)
    save(clean, options.out / "clean.safetensors")
    print(f"clean: {accuracy(clean, images[held_out], labels[held_out]):.1%} of the held-out half is answered rightly")
    if options.clean_only:
        return

    # Only this needs Mulligan: an auditor's loader reads `factory` from this file without it.
    from mulligan.plants import PlantData
    from mulligan.plants.conjunction import PLANT, ConjunctionSpec

    data = PlantData(
        images=images[trained], labels=labels[trained], fresh=images[held_out], fresh_labels=labels[held_out],
        classes=tuple(CLASSES),
    )  # fmt: skip
    spec = ConjunctionSpec(a=options.a, b=options.b, target=options.target, strength=options.strength)
    planted = PLANT.plant(clean, data, spec, seed=options.seed)
    save(planted.module, options.out / "planted.safetensors")
    description = json.loads(planted.describe())
    (options.out / "planted.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    proof = planted.proof
    print(f"planted: {proof.success}; {proof.clean_after} ({proof.seconds:.0f} s)")


if __name__ == "__main__":
    main()
