"""What a model folder in the layout of the transformers library says, read without running anything of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from ...records import BadInput

_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "source.spm",
    "sentencepiece.bpe.model",
)
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")

FolderTask = Literal[
    "language", "text to text", "text classification", "text embedding", "image classification", "image embedding"
]


@dataclass(frozen=True)
class Folder:
    """A folder that has a config.json, and weights that are whole if they are wanted.

    Attributes:
        name: what messages and reports call it. asked: the class of transformers that was asked for, if one was.
    """

    path: Path
    config: dict[str, Any]
    name: str = ""
    asked: str | None = None

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


def open_folder(path: Path, with_weights: bool, name: str | None = None, asked: str | None = None) -> Folder:
    """Look whether a folder can be loaded, before anything is.

    Args:
        path: the folder. with_weights: whether its own weights will be read. name, asked: as in `Folder`.

    Raises:
        BadInput: if config.json is missing or broken, weights are missing, pickled or truncated, or are packed in a way
            that only a GPU unpacks.
    """
    if not (path / "config.json").is_file():
        raise BadInput("this folder has no config.json", where=path, fix="give a folder that save_pretrained wrote")
    config = Folder(path, {}).json("config.json")
    if not isinstance(config, dict):
        raise BadInput("this config.json is no table of settings", where=path, fix="copy or download it again")
    if config.get("quantization_config"):
        raise BadInput("these weights are quantized", where=path, fix="give the model in float16 or float32")
    if with_weights:
        whole_weights(path)
    return Folder(path, config, name or path.resolve().name, asked)


def whole_weights(path: Path) -> None:
    """
    Raises:
        BadInput: if weights are missing, pickled, damaged or truncated.
    """
    names = ["model.safetensors"]
    index = Folder(path, {}).json("model.safetensors.index.json")
    if index and not (path / names[0]).is_file():
        named = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
            fix = "copy or download it again"
            raise BadInput("the index of the weights names no files", where=path, fix=fix)
        names = sorted(set(named.values()))
        strange = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
        if strange:
            raise BadInput(f"the index of the weights names {strange[0]!r}", where=path, fix="do not trust this folder")
    absent = [name for name in names if not (path / name).is_file()]
    if absent:
        refuse_pickles(path)
        raise BadInput(f"this folder has no {absent[0]}", where=path, fix="copy it there, or give --weights")
    for name in names:
        whole_file(path / name)


def refuse_pickles(path: Path) -> None:
    """
    Raises:
        BadInput: if there are pickled weights, where others are missing.
    """
    pickled = sorted(file.name for pattern in _PICKLED for file in path.glob(pattern))
    if pickled:
        raise BadInput(
            f"the weights are pickled ({pickled[0]}), and Mulligan unpickles nothing",
            where=path,
            fix="where you trust them, load the model with transformers and save it with "
            "model.save_pretrained(FOLDER), which writes safetensors",
        )


def whole_file(file: Path) -> None:
    """
    Raises:
        BadInput: if a file of weights is damaged or truncated.
    """
    try:
        with safe_open(file, "pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise BadInput(
            f"the weights file is damaged or truncated: {error}", where=file, fix="copy or download it again"
        ) from error


def architecture(folder: Folder) -> Architecture:
    """The class of transformers that config.json names, or that was asked for.

    Raises:
        BadInput: if none or several are named, it is not part of transformers, or is of a kind that Mulligan does not
            know.
    """
    import transformers

    name = folder.asked or _named(folder)
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
    towers = getattr(model.config_class, "sub_configs", {})
    if {"text_config", "vision_config"} <= set(towers) and name.endswith("Model"):
        stem = name.removesuffix("Model")
        seeing = (f"{stem}VisionModelWithProjection", f"{stem}VisionModel")
        one = next((kind for kind in seeing if hasattr(transformers, kind)), "CLASS")
        raise BadInput(
            f"{name} is two networks, one of pictures and one of texts",
            where=folder.path,
            fix=f"choose one, for example hf:FOLDER#{one}",
        )
    task = _task(name, model, folder.config)
    if task is None:
        raise BadInput(
            f"{name} is of a kind that is not known here",
            where=folder.path,
            fix="give a causal, masked or text-to-text language model, an encoder of texts or images, or a classifier "
            "of texts or images; or a factory",
        )
    return Architecture(model, task)


def _named(folder: Folder) -> str:
    said = folder.config.get("architectures")
    names = list(dict.fromkeys(said)) if isinstance(said, list) and all(isinstance(name, str) for name in said) else []
    if not names:
        raise BadInput(
            "config.json names no architecture, so it is open which head belongs to these weights",
            where=folder.path,
            fix='choose a class of transformers: write hf:FOLDER#CLASS, or add "architectures": ["CLASS"]',
        )
    if len(names) > 1:
        raise BadInput(
            f"config.json names several architectures ({', '.join(names)}), so it is open which head is meant",
            where=folder.path,
            fix=f"choose one: hf:FOLDER#{names[0]}",
        )
    return names[0]


def _task(name: str, model: Any, config: dict[str, Any]) -> FolderTask | None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

    vector = name.endswith(("Model", "ModelWithProjection"))
    if model.main_input_name == "pixel_values":
        if name.endswith(("ForImageClassification", "ForImageClassificationWithTeacher")):
            return "image classification"
        return "image embedding" if vector else None
    if model.main_input_name != "input_ids":
        return None
    if name in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.values():
        return "text to text"
    if config.get("is_encoder_decoder") and not name.endswith("EncoderModel"):
        return None
    if name.endswith(("ForCausalLM", "LMHeadModel", "ForMaskedLM")):
        return "language"
    if name.endswith("ForSequenceClassification"):
        return "text classification"
    return "text embedding" if vector else None


def has_tokenizer(folder: Folder) -> bool:
    """Whether the files of a tokenizer are there."""
    return any((folder.path / name).is_file() for name in _TOKENIZERS)
