"""Image classifiers of timm: `timm:NAME`, and folders in the layout in which timm saves a model for a hub.

NAME is as timm writes it, `resnet18` or with the tag of its weights, `resnet18.a1_in1k`. Nothing is downloaded:

- with `--weights`, a file with the network's state dict: its head may have another number of rows than timm's. Pixels
  are made ready as for timm's own weights of that name, whoever trained these; `--input` says otherwise;
- without, timm's own weights, if they lie where huggingface_hub or torch keeps what it downloaded;
- `timm:NAME@random`: no weights at all, the same untrained numbers every time, for tests and trials;
- `timm:FOLDER`: a folder with config.json and model.safetensors (or pytorch_model.bin).

A network with 1,000 answers has the names of ImageNet's classes, if its folder names no others; with another number,
its classes are named with `--classes`. One without a head answers a vector: its task is embedding.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ...records import BadInput
from ..inputs import ImageInput, Interpolation
from ..network import Network
from ..weights import put_weights, read_weights
from .efficientnet_lite import imagenet_classes
from .vision import RANDOM, check_names, classifier, library, unknown, untrained

_log = logging.getLogger(__name__)
_PREFIX = "timm:"
_FILES = ("model.safetensors", "pytorch_model.bin")
_HEADS = ("head", "fc", "classifier")  # as authors of architectures call it, whose names timm changes


@dataclass(frozen=True)
class _Said:
    """What is to be built.

    Attributes:
        name: the architecture, with timm's tag if one is asked for. config: of a folder: timm's `pretrained_cfg`.
        arguments: of a folder: what the architecture was built with. labels: of a folder: class names.
    """

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None


class Timm:
    """`timm:NAME`, `timm:NAME@random`, `timm:FOLDER`."""

    forms = ("timm:NAME",)

    def accepts(self, spec: str) -> bool:
        return spec.startswith(_PREFIX)

    def load(self, spec: str, weights: Path | None) -> Network:
        # timm imports torchvision: of the two, that is the one that may be of the wrong kind.
        library("torchvision", "timm", spec=spec)
        timm = library("timm", spec=spec)
        text = spec.removeprefix(_PREFIX)
        folder = Path(text).expanduser()
        name, _, tag = text.partition("@")
        local = folder.is_dir() and ("/" in text or (folder / "config.json").is_file())
        if local:
            said, tag, shown = _folder(folder), "", folder.resolve().name
        else:
            said, shown = _Said(name), text
        if tag not in ("", RANDOM):
            raise BadInput(
                f"{tag!r} is not known after @",
                where=spec,
                fix=f"write {name}@{RANDOM}, or {name}.TAG for timm's weights",
            )
        if tag and weights is not None:
            raise BadInput(f"{spec} has no weights, and a file is given", where=weights, fix=f"write {_PREFIX}{name}")
        _known(timm, said.name, spec)
        file = None if tag else weights or (_file(folder) if local else _downloaded(timm, said.name, spec))
        with untrained():
            module = _build(timm, said, None, folder if local else spec)
        heads = _heads(module)
        head = heads[0] if heads else None
        if file is not None:
            with untrained():
                module = _filled(timm, said, module, head, file)
        config = timm.data.resolve_model_data_config(module)
        size = (config["input_size"][1], config["input_size"][2])
        return classifier(module, shown, _input(config, spec), _classes(module, head, said.labels, spec), heads, size)


def _known(timm: Any, name: str, spec: str) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        if "/" in name:
            raise BadInput(
                "this is no local folder, and Mulligan downloads nothing",
                where=spec,
                fix="give a folder with config.json and model.safetensors, or a name that timm knows",
            )
        raise unknown(architecture, timm.list_models(), "timm", spec)
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise BadInput(
            f"timm has no weights {tag!r} for {architecture}",
            where=spec,
            fix=f"write {architecture}. and one of {', '.join(tags)}" if tags else f"write {architecture}",
        )


def _downloaded(timm: Any, name: str, spec: str) -> Path:
    """Where a download of timm's own weights left them."""
    from huggingface_hub import try_to_load_from_cache

    config = timm.get_pretrained_cfg(name)
    hub = config.hf_hub_id if config is not None else None
    for file in (config.hf_hub_filename,) if config is not None and config.hf_hub_filename else _FILES:
        found = try_to_load_from_cache(hub, file) if hub else None
        if isinstance(found, str):
            return Path(found)
    address = (config.url if config is not None else None) or ""
    kept = Path(torch.hub.get_dir()) / "checkpoints" / address.rpartition("/")[2]
    if address and not address.endswith(".npz") and kept.is_file():
        return kept
    fetch = f"run `python -c \"import timm; timm.create_model('{name}', pretrained=True)\"` once, or " if hub else ""
    raise BadInput(
        f"timm's weights of {name} are not on this machine, and Mulligan downloads nothing"
        if hub or address
        else f"timm has no weights of {name}",
        where=spec,
        fix=f"{fetch}give --weights FILE, or write {_PREFIX}{name}@{RANDOM} for an untrained network",
    )


def _folder(folder: Path) -> _Said:
    """What a folder's config.json says, in the two layouts that timm writes.

    Raises:
        BadInput: if it is missing, no JSON, or of no timm model.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise BadInput("this folder has no config.json", where=folder, fix="give a folder that timm saved")
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BadInput(f"this file is no JSON: {error}", where=file, fix="copy or download it again") from error
    if not isinstance(said, dict) or not isinstance(said.get("architecture"), str):
        raise BadInput("this config.json names no architecture of timm", where=file, fix="write hf:FOLDER for others")
    config = dict(said.get("pretrained_cfg") or {key: said[key] for key in said if key != "architecture"})
    labels = said.get("label_names") or config.get("label_names") or said.get("labels")
    if isinstance(said.get("num_classes"), int):
        config["num_classes"] = said["num_classes"]
    config["architecture"] = said["architecture"]
    names = tuple(str(label) for label in labels) if isinstance(labels, list) and labels else None
    return _Said(said["architecture"], config, said.get("model_args") or {}, names)


def _file(folder: Path) -> Path:
    for name in _FILES:
        if (folder / name).is_file():
            return folder / name
    raise BadInput(f"this folder has no {_FILES[0]}", where=folder, fix="copy it there, or give --weights")


def _build(
    timm: Any, said: _Said, answers: int | None, where: object, state: dict[str, Tensor] | None = None
) -> nn.Module:
    """The architecture; with `state`, filled by timm's own conversion of older checkpoints.

    Raises:
        BadInput: if a folder's settings do not fit the architecture.
    """
    asked = dict(said.arguments)
    known = timm.models.PretrainedCfg.__dataclass_fields__
    # Where weights come from is not the folder's to say.
    sources = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "custom_load")
    config = {key: value for key, value in said.config.items() if key in known and key not in sources}
    if config:
        asked["pretrained_cfg"] = config
    classes = answers if answers is not None else config.get("num_classes")
    if classes is not None:
        asked["num_classes"] = classes
    if state is not None:
        asked["pretrained_cfg_overlay"] = {"state_dict": state, "custom_load": False, "num_classes": classes}
    try:
        return timm.create_model(said.name, pretrained=state is not None, **asked)
    except Exception as error:  # each architecture checks its arguments in its own way
        first = (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
        raise BadInput(f"timm cannot build this model: {first}", where=where, fix="check its config.json") from error


def _filled(timm: Any, said: _Said, module: nn.Module, head: str | None, file: Path) -> nn.Module:
    """The module with the weights of a file, its head as large as theirs."""
    state = read_weights(file)
    answers = _answers(module, head)
    rows = next((state[f"{name}.weight"] for name in (head, *_HEADS) if head and f"{name}.weight" in state), None)
    if rows is not None and rows.dim() > 1 and len(rows) != answers:
        answers = len(rows)
        module = _build(timm, said, answers, file)
    try:
        put_weights(module, state, file)
    except BadInput:
        # Weights of the architecture's authors have other names, which timm knows how to change.
        try:
            converted = _build(timm, said, answers, file, dict(state)).state_dict()
        except BadInput:
            converted = None
        if converted is None:
            raise
        put_weights(module, converted, file)
    return module


def _heads(module: Any) -> list[str]:
    """Paths of the layers that have one row for each class; networks trained by distillation have two."""
    given = module.get_classifier()
    paths = {child: path for path, child in module.named_modules()}
    found: list[str] = []
    for head in given if isinstance(given, tuple | list | nn.ModuleList) else (given,):
        found += [paths[layer] for layer in head.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1:]
    return found


def _answers(module: nn.Module, head: str | None) -> int:
    return cast(Tensor, module.get_submodule(head).weight).shape[0] if head is not None else 0


def _classes(module: nn.Module, head: str | None, labels: tuple[str, ...] | None, spec: str) -> tuple[str, ...] | None:
    if head is None:
        return None
    answers = _answers(module, head)
    if labels is not None and len(labels) == answers:
        return check_names(labels, spec)
    return imagenet_classes() if answers == 1000 and labels is None else None


def _input(config: dict[str, Any], spec: str) -> ImageInput | None:
    """What timm's transforms for evaluation do to a picture; None, and why is logged, if `ImageInput` cannot say it."""
    channels, height, width = config["input_size"]
    scaled = (int(height / config["crop_pct"]), int(width / config["crop_pct"]))
    squashed = config["crop_mode"] == "squash"
    why = ""
    if config["crop_mode"] not in ("center", "squash"):
        why = f"puts a border around it ({config['crop_mode']})"
    elif squashed and scaled != (height, width):
        why = "squashes it and cuts out its centre"
    elif not squashed and height != width:
        why = "cuts out a part that is no square"
    elif channels not in (1, 3):
        why = f"has {channels} channels"
    elif config["interpolation"] not in ("bilinear", "bicubic", "nearest", "lanczos"):
        why = f"resizes it by {config['interpolation']}"
    if why:
        _log.warning("%s: how its picture is made ready cannot be said here, it %s: pass --input", spec, why)
        return None
    return ImageInput(
        size=(height, width),
        channels=cast("Literal[1, 3]", channels),
        mean=tuple(map(float, config["mean"])),
        std=tuple(map(float, config["std"])),
        resize=None if squashed else scaled[0],
        interpolation=cast("Interpolation", config["interpolation"]),
    )


ADAPTER = Timm()
