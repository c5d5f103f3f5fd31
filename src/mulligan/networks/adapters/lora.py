"""Low-rank adapters in the layout of PEFT, merged into the weights of their base as they are loaded.

    W <- W + s B A,   s = alpha / r, or alpha / sqrt(r) with rank-stabilised scaling

(Hu et al. 2021, arXiv 2106.09685; Kalajdzievski 2023, arXiv 2312.03732), for linear layers, those of GPT-2 (whose
weights stand the other way round), embeddings and convolutions. With DoRA (Liu et al. 2024, arXiv 2402.09353) each row
of the sum is then given the length that was learned for it. Modules that were trained whole replace the base's.
Anything else that an adapter asks for is refused by its name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ...records import BadInput
from ..weights import read_weights
from .folders import Folder, refuse_pickles

_SETTINGS, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_PARTS = ("lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_embedding_A", "lora_embedding_B")
_PARTS_DORA = ("lora_magnitude_vector", "lora_magnitude_vector.weight")
# Settings that are read here, and those that say how it was trained or what the tensors' names already tell.
_READ = {
    "alpha_pattern", "base_model_name_or_path", "init_lora_weights", "lora_alpha", "peft_type", "r", "rank_pattern",
    "revision", "use_dora", "use_rslora",
}  # fmt: skip
_TOLD = {
    "auto_mapping", "bias", "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "layers_pattern", "layers_to_transform", "lora_bias", "lora_dropout", "megatron_core", "modules_to_save",
    "peft_version", "qalora_group_size", "runtime_config", "target_modules", "task_type", "trainable_token_indices",
}  # fmt: skip
# Others change the base's weights before training starts.
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder.

    Attributes:
        said: its settings. base: where its base is, as the folder says it.
    """

    path: Path
    said: Mapping[str, Any]
    base: str

    def base_folder(self) -> Path | None:
        """The base, if it is a local folder: as a path, or as one relative to the adapter's folder."""
        for place in (self.path / self.base, Path(self.base).expanduser()):
            if place.is_dir() and place.resolve() != self.path.resolve():
                return place
        return None


def is_adapter(path: Path) -> bool:
    """Whether the folder holds an adapter rather than a model."""
    return (path / _SETTINGS).is_file()


def open_adapter(path: Path) -> Adapter:
    """Look whether an adapter can be merged, before its base is loaded.

    Raises:
        BadInput: if its settings are broken, name no base, or ask for what is not known here; if its weights are
            missing or pickled.
    """
    said = Folder(path, {}).json(_SETTINGS)
    if not isinstance(said, dict):
        raise BadInput(f"this {_SETTINGS} is no table of settings", where=path, fix="copy or download it again")
    if said.get("peft_type") != "LORA":
        _refuse(path, f"peft_type {said.get('peft_type')}")
    if said.get("init_lora_weights", True) not in _STARTS:
        _refuse(path, f"init_lora_weights {said['init_lora_weights']}, which changes the base's weights")
    strange = [
        key for key, value in said.items() if key not in _READ | _TOLD and value not in (None, False, "", [], {})
    ]
    if strange:
        _refuse(path, f"{strange[0]} {said[strange[0]]}")
    if said.get("trainable_token_indices"):
        _refuse(path, "trainable_token_indices")
    base = said.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise BadInput(
            "this adapter does not say which model it belongs to",
            where=path / _SETTINGS,
            fix='add "base_model_name_or_path": "FOLDER or ID"',
        )
    if not (path / _WEIGHTS).is_file():
        refuse_pickles(path)
        raise BadInput(f"this folder has no {_WEIGHTS}", where=path, fix="copy it there")
    return Adapter(path, said, base)


def merge(module: nn.Module, adapter: Adapter) -> None:
    """Put the adapter into the weights of `module`, in float32.

    Raises:
        BadInput: if a tensor belongs to no layer of the module, does not fit it, or cannot be merged.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    for key, tensor in read_weights(adapter.path / _WEIGHTS).items():
        if not torch.isfinite(tensor).all():
            raise BadInput(f"{key} holds NaN or infinity", where=adapter.path, fix="take an earlier checkpoint")
        name = key.removeprefix(_PREFIX)
        part = next((part for part in (*_PARTS, *_PARTS_DORA) if name.endswith(f".{part}")), None)
        if part is None:
            if ".original_module." not in name:  # the base's own, beside one that was trained whole
                whole[re.sub(r"\.(base_layer|modules_to_save\.\w+)\.", ".", name)] = tensor
        else:
            path = name.removesuffix(f".{part}").removesuffix(".base_layer")
            layers.setdefault(path, {})[part.removesuffix(".weight")] = tensor.to(torch.float32)
    with torch.no_grad():
        _replace(module, whole, adapter)
        for path, parts in layers.items():
            _add(_layer(module, path, adapter), path, parts, adapter, module)


def _replace(module: nn.Module, whole: Mapping[str, Tensor], adapter: Adapter) -> None:
    """Modules that were trained whole."""
    own = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    for name, tensor in whole.items():
        if name not in own:
            raise BadInput(
                f"the adapter replaces {name}, which the base does not have",
                where=adapter.path,
                fix="give the base that it was trained on, with the head of its task",
            )
        if own[name].shape != tensor.shape:
            raise BadInput(
                f"the adapter replaces {name} by another shape, {tuple(tensor.shape)} for {tuple(own[name].shape)}",
                where=adapter.path,
                fix="merge it with PEFT and save the whole model",
            )
        if torch.equal(own[name], tensor.to(own[name].dtype)):
            continue  # embeddings are saved with what is added to them
        twins = [other for other, value in own.items() if value is own[name] and other != name]
        if any(other not in whole or not torch.equal(whole[other], tensor) for other in twins):
            _refuse(adapter.path, f"{name} replaced, which the base shares with {twins[0]}")
        own[name].copy_(tensor)


def _layer(module: nn.Module, path: str, adapter: Adapter) -> nn.Module:
    try:
        return module.get_submodule(path)
    except AttributeError:
        raise BadInput(
            f"the adapter changes {path}, which the base does not have",
            where=adapter.path,
            fix="give the base that it was trained on",
        ) from None


def _add(layer: Any, path: str, parts: Mapping[str, Tensor], adapter: Adapter, module: nn.Module) -> None:
    """One layer's weight with what was learned."""
    weight = getattr(layer, "weight", None)
    embedding = "lora_embedding_A" in parts
    names = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A", "lora_B")
    if not isinstance(weight, Tensor) or any(name not in parts for name in names):
        missing = next((name for name in names if name not in parts), "a weight")
        raise BadInput(f"{path} has no {missing}", where=adapter.path, fix="copy or download the adapter again")
    down, up = (parts[name] for name in names)
    turned = type(layer).__name__ == "Conv1D"  # of GPT-2: [in, out]
    if isinstance(layer, nn.Conv2d):
        if layer.groups != 1:
            _refuse(adapter.path, f"a convolution in groups ({path})")
        change = torch.einsum("orxy,rihw->oihw", up, down) if up.shape[2:] == (1, 1) else None
    elif embedding == isinstance(layer, nn.Embedding) and weight.ndim == 2 and down.ndim == up.ndim == 2:
        change = up @ down if up.shape[1] == down.shape[0] else None
        if change is not None and (turned or embedding):
            change = change.T
    else:
        _refuse(adapter.path, f"a layer of kind {type(layer).__name__} ({path})")
    if change is None or change.shape != weight.shape:
        raise BadInput(
            f"the adapter's tensors for {path} do not fit its weight of shape {tuple(weight.shape)}",
            where=adapter.path,
            fix="give the base that it was trained on",
        )
    merged = weight + _scale(path, down.shape[0], adapter) * change
    if adapter.said.get("use_dora"):
        length = parts.get("lora_magnitude_vector")
        if length is None or merged.ndim != 2 or embedding:
            _refuse(adapter.path, f"use_dora for {path}")
        axis = 0 if turned else 1
        merged = merged * (length.reshape(-1) / torch.linalg.norm(merged, dim=axis)).unsqueeze(axis)
    if sum(parameter is weight for _, parameter in module.named_parameters(remove_duplicate=False)) > 1:
        layer.weight = nn.Parameter(
            merged, requires_grad=weight.requires_grad
        )  # the other that shares it keeps its own
    else:
        weight.copy_(merged)
    if "lora_B.bias" in parts:
        bias = getattr(layer, "bias", None)
        if bias is None:
            _refuse(adapter.path, f"lora_bias for {path}, which has no bias")
        bias.add_(_scale(path, down.shape[0], adapter) * parts["lora_B.bias"])


def _scale(path: str, rank: int, adapter: Adapter) -> float:
    said = adapter.said
    alpha = _of_layer(said.get("alpha_pattern"), path, said.get("lora_alpha"), adapter)
    meant = _of_layer(said.get("rank_pattern"), path, said.get("r"), adapter)
    if meant != rank:
        raise BadInput(
            f"the tensors of {path} have rank {rank}, and the settings say {meant}",
            where=adapter.path,
            fix="copy or download the adapter again",
        )
    return alpha / (math.sqrt(rank) if said.get("use_rslora") else rank)


def _of_layer(patterns: Any, path: str, otherwise: Any, adapter: Adapter) -> float:
    """The number for a layer: of the first pattern that fits the end of its path."""
    for pattern, value in (patterns or {}).items():
        try:
            fits = re.match(rf"(.*\.)?({pattern})$", path)
        except re.error:
            _refuse(adapter.path, f"the pattern {pattern}")
        if fits:
            otherwise = value
            break
    if isinstance(otherwise, bool) or not isinstance(otherwise, int | float):
        _refuse(adapter.path, f"{otherwise} for a rank or a scale")
    return otherwise


def _refuse(path: Path, what: str) -> NoReturn:
    raise BadInput(
        f"this adapter asks for what is not known here: {what}",
        where=path,
        fix="merge it with PEFT (`merge_and_unload`) and save the whole model",
    )
