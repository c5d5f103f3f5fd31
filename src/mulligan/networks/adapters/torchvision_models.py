"""Image classifiers of torchvision: `torchvision:NAME`.

NAME is one of `torchvision.models.list_models(module=torchvision.models)`, as `resnet50`. Nothing is downloaded:

- with `--weights`, a file with the network's state dict: its head may have other than 1,000 rows. Pixels are made ready
  as for torchvision's own weights of that name, whoever trained these; `--input` says otherwise;
- without, torchvision's default weights, if they lie where torch keeps what it downloaded;
- `NAME@TAG`: those of another entry, as `resnet50@IMAGENET1K_V1`;
- `NAME@random`: no weights at all, the same untrained numbers every time, for tests and trials.

Inception v3 and GoogLeNet lose the classifiers that only training has, and transform their input as torchvision's own
weights need it.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...records import BadInput
from ..inputs import ImageInput
from ..network import Network
from ..weights import put_weights, read_weights
from .vision import RANDOM, classifier, library, unknown, untrained

_PREFIX = "torchvision:"
_TASKS = {
    "detection": "an object detector",
    "segmentation": "a network for semantic segmentation",
    "video": "a network for video",
    "optical_flow": "a network for optical flow",
    "quantization": "quantized",
}
# Classifiers halfway up, of which only training makes use.
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")


class TorchVision:
    """`torchvision:NAME`, `torchvision:NAME@TAG`, `torchvision:NAME@random`."""

    forms = ("torchvision:NAME",)

    def accepts(self, spec: str) -> bool:
        return spec.startswith(_PREFIX)

    def load(self, spec: str, weights: Path | None) -> Network:
        library("torchvision", spec=spec)
        models = importlib.import_module("torchvision.models")
        name, _, tag = spec.removeprefix(_PREFIX).partition("@")
        _known(models, name, spec)
        if tag == RANDOM and weights is not None:
            raise BadInput(f"{spec} has no weights, and a file is given", where=weights, fix=f"write {_PREFIX}{name}")
        entry = _entry(models, name, "" if tag == RANDOM else tag, spec)
        own = tuple(entry.meta["categories"])
        with untrained(), _quietly():
            module = _build(models, name, entry, len(own))
        head = _head(module)
        if tag != RANDOM:
            file = weights or _downloaded(name, entry, spec)
            state = {key: tensor for key, tensor in read_weights(file).items() if not key.startswith(_AUXILIARY)}
            rows = state.get(f"{head}.weight")
            if rows is not None and rows.dim() > 1 and len(rows) != len(own):
                with untrained(), _quietly():
                    module, own = _build(models, name, entry, len(rows)), None
            put_weights(module, state, file)
        taken = _input(entry)
        return classifier(module, spec.removeprefix(_PREFIX), taken, own, [head], taken.size)


def _known(models: Any, name: str, spec: str) -> None:
    if name in models.list_models(module=models):
        return
    if name in models.list_models():
        kind = models.get_model_builder(name).__module__.split(".")[2]
        raise BadInput(
            f"{name} is {_TASKS.get(kind, kind)}, and only image classifiers are loaded",
            where=spec,
            fix="give the classifier inside it, or load it by a factory of your own: file.py:factory",
        )
    raise unknown(name, models.list_models(module=models), "torchvision", spec)


def _entry(models: Any, name: str, tag: str, spec: str) -> Any:
    """torchvision's description of one set of weights."""
    entries = models.get_model_weights(name)
    if not tag:
        return entries.DEFAULT
    if tag not in entries.__members__:
        raise BadInput(
            f"torchvision has no weights {tag!r} for {name}",
            where=spec,
            fix=f"write {name}@ and one of {', '.join([*entries.__members__, RANDOM])}",
        )
    if not entries[tag].meta.get("categories"):
        raise BadInput(f"the weights {tag} of {name} are of no classifier", where=spec, fix=f"write {_PREFIX}{name}")
    return entries[tag]


def _downloaded(name: str, entry: Any, spec: str) -> Path:
    file = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rpartition("/")[2]
    if not file.is_file():
        fetch = f"import torchvision; torchvision.models.get_model('{name}', weights='{entry.name}')"
        raise BadInput(
            f"the weights {entry} are not on this machine, and Mulligan downloads nothing",
            where=file,
            fix=f'run `python -c "{fetch}"` once, or give --weights FILE, '
            f"or write {_PREFIX}{name}@{RANDOM} for an untrained network",
        )
    return file


def _build(models: Any, name: str, entry: Any, answers: int) -> nn.Module:
    """The architecture of these weights, its own numbers random."""
    asked: dict[str, Any] = {"num_classes": answers}
    if name.startswith("vit_"):
        asked["image_size"] = entry.meta["min_size"][0]
    if name in ("inception_v3", "googlenet"):
        asked |= {"aux_logits": False, "transform_input": True, "init_weights": True}
    return models.get_model(name, weights=None, **asked)


def _head(module: nn.Module) -> str:
    """Path of the layer that has one row for each class: in all these architectures the last that is registered."""
    return [path for path, child in module.named_modules() if isinstance(child, nn.Linear | nn.Conv2d)][-1]


def _input(entry: Any) -> ImageInput:
    """What the transforms of these weights do to a picture."""
    preset = entry.transforms()
    return ImageInput(
        size=(preset.crop_size[0], preset.crop_size[0]),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        resize=preset.resize_size[0],
        interpolation=preset.interpolation.value,
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Within the block, torchvision says nothing of how weights will be initialized in the future."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


ADAPTER = TorchVision()
