"""What a model folder in the layout of the transformers library says, read without running anything of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from safetensors import SafetensorError, safe_open

from ...records import BadInput
from ..inputs import ImageInput, Interpolation

_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_FILTERS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # as Pillow numbers them

FolderTask = Literal["language", "text classification", "image classification", "embedding"]


@dataclass(frozen=True)
class Folder:
    """A folder that has a config.json, and weights that are whole if they are wanted."""

    path: Path
    config: dict[str, Any]

    def json(self, name: str) -> Any:
        """What a JSON file of the folder says; {} if it is not there.

        Raises:
            BadInput: if it is no JSON.
        """
        file = self.path / name
        if not file.is_file():
            return {}
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise BadInput(f"this file is no JSON: {error}", where=file, fix="copy or download it again") from error


@dataclass(frozen=True)
class Architecture:
    """A class of transformers and what it is for."""

    model: Any
    task: FolderTask


def open_folder(path: Path, with_weights: bool) -> Folder:
    """Look whether a folder can be loaded, before anything is.

    Args:
        path: the folder. with_weights: whether its own weights will be read.

    Raises:
        BadInput: if config.json is missing or broken, weights are missing, pickled or truncated, are a mere adapter of
            another model, or are packed in a way that only a GPU unpacks.
    """
    if not (path / "config.json").is_file():
        raise BadInput("this folder has no config.json", where=path, fix="give a folder that save_pretrained wrote")
    config = Folder(path, {}).json("config.json")
    if not isinstance(config, dict):
        raise BadInput("this config.json is no table of settings", where=path, fix="copy or download it again")
    if config.get("quantization_config"):
        raise BadInput("these weights are quantized", where=path, fix="give the model in float16 or float32")
    if (path / "adapter_config.json").is_file():
        raise BadInput("this folder holds a PEFT adapter", where=path, fix="merge it into its model and save that")
    if with_weights:
        _whole_weights(path)
    return Folder(path, config)


def _whole_weights(path: Path) -> None:
    names = ["model.safetensors"]
    index = Folder(path, {}).json("model.safetensors.index.json")
    if index and not (path / names[0]).is_file():
        names = sorted(set(index.get("weight_map", {}).values()))
        strange = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
        if strange:
            raise BadInput(f"the index of the weights names {strange[0]!r}", where=path, fix="do not trust this folder")
    absent = [name for name in names if not (path / name).is_file()]
    if absent:
        pickled = sorted(file.name for pattern in _PICKLED for file in path.glob(pattern))
        if pickled:
            raise BadInput(
                f"the weights are pickled ({pickled[0]}), and Mulligan unpickles nothing",
                where=path,
                fix="where you trust them, load the model with transformers and save it with "
                "model.save_pretrained(FOLDER), which writes safetensors",
            )
        raise BadInput(f"this folder has no {absent[0]}", where=path, fix="copy it there, or give --weights")
    for name in names:
        try:
            with safe_open(path / name, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise BadInput(
                f"the weights file is damaged or truncated: {error}",
                where=path / name,
                fix="copy or download it again",
            ) from error


def architecture(folder: Folder) -> Architecture:
    """The class of transformers that config.json names.

    Raises:
        BadInput: if none is named, it is not part of transformers, or is of a kind that Mulligan does not know.
    """
    import transformers

    named = folder.config.get("architectures")
    name = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else None
    if name is None:
        raise BadInput("config.json names no architecture", where=folder.path, fix='add "architectures": ["CLASS"]')
    model = getattr(transformers, name, None)
    if not (isinstance(model, type) and issubclass(model, transformers.PreTrainedModel)):
        if folder.config.get("auto_map"):
            raise BadInput(
                f"{name} is code that this folder brings, which Mulligan never runs",
                where=folder.path,
                fix="read it, and if you trust it load it by a factory of your own: file.py:factory",
            )
        raise BadInput(
            f"the installed transformers has no {name}", where=folder.path, fix="run `pip install -U transformers`"
        )
    images = model.main_input_name == "pixel_values"
    if name.endswith("ForImageClassification") and images:
        return Architecture(model, "image classification")
    if not images and not folder.config.get("is_encoder_decoder") and model.main_input_name == "input_ids":
        if name.endswith(("ForCausalLM", "LMHeadModel", "ForMaskedLM")):
            return Architecture(model, "language")
        if name.endswith("ForSequenceClassification"):
            return Architecture(model, "text classification")
        if name.endswith("Model"):
            return Architecture(model, "embedding")
    raise BadInput(
        f"{name} is of a kind that is not known here",
        where=folder.path,
        fix="give a causal or masked language model, a text encoder, or a classifier of texts or images; or a factory",
    )


def has_tokenizer(folder: Folder) -> bool:
    """Whether the files of a tokenizer are there."""
    return any((folder.path / name).is_file() for name in _TOKENIZERS)


def pooling(folder: Folder) -> tuple[str, bool]:
    """How an encoder's token vectors become one: "mean", "cls", "max" or "lasttoken", and whether to length 1.

    A sentence-transformers folder says so in modules.json; other folders get mean, to length 1.

    Raises:
        BadInput: if it has modules that are not known here.
    """
    modules = folder.json("modules.json")
    if not modules:
        return "mean", True
    how, unit_length = "mean", False
    for module in modules:
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            said = folder.json(f"{module.get('path')}/config.json")
            modes = [key for key, value in said.items() if key.startswith("pooling_mode_") and value is True]
            names = [
                mode.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for mode in modes
            ]
            how = names[0] if names else str(said.get("pooling_mode", "mean"))
            if len(names) > 1 or how not in ("mean", "cls", "max", "lasttoken"):
                raise BadInput(f"the pooling {names or how} is not known here", where=folder.path, fix="use a factory")
        elif kind == "Normalize":
            unit_length = True
        elif kind != "Transformer":
            raise BadInput(f"the module {kind} is not known here", where=folder.path, fix="use a factory")
    return how, unit_length


def image_input(folder: Folder) -> ImageInput | None:
    """How pixels become input, from preprocessor_config.json; None if the folder has none.

    Raises:
        BadInput: if it says something that is not known here.
    """
    said = folder.json("preprocessor_config.json")
    if not said:
        return None
    size = _sides(said.get("size", 224))
    crop = _sides(said["crop_size"]) if said.get("do_center_crop") and "crop_size" in said else None
    shortest = size if isinstance(size, int) else None
    resize: int | None = None
    if shortest is not None and said.get("crop_pct") is not None and crop is None and shortest < 384:
        # As ConvNeXt counts: a margin is cut off small pictures.
        resize, crop = int(shortest / said["crop_pct"]), (shortest, shortest)
    elif crop is not None:
        resize = shortest
    target = crop if crop is not None else size
    height_width = (target, target) if isinstance(target, int) else target
    filter_number = said.get("resample", 2)
    normed = said.get("do_normalize", True)
    mean, std = (said.get("image_mean"), said.get("image_std")) if normed else (None, None)
    odd = [
        key
        for key, odd in (
            ("rescale_factor", abs(said.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-3),
            ("do_rescale", said.get("do_rescale") is False),
            ("do_resize", said.get("do_resize") is False),
            ("resample", filter_number not in _FILTERS),
            ("image_mean", normed and not (mean and std)),
            ("crop_size", crop is not None and shortest is None),
        )
        if odd
    ]
    if odd:
        raise BadInput(
            f"preprocessor_config.json asks for what is not known here: {odd[0]}",
            where=folder.path,
            fix="take that file away, and say with --input how pixels become input",
        )
    return ImageInput(
        size=height_width,
        mean=tuple(mean or (0.0, 0.0, 0.0)),
        std=tuple(std or (1.0, 1.0, 1.0)),
        channels=cast("Literal[1, 3]", len(mean) if mean else 3),
        resize=resize,
        interpolation=_FILTERS[filter_number],
    )


def _sides(size: Any) -> int | tuple[int, int]:
    """One number for the shortest edge, or height and width."""
    if isinstance(size, dict):
        return size["shortest_edge"] if "shortest_edge" in size else (size["height"], size["width"])
    return (size, size) if isinstance(size, int) else tuple(size)
