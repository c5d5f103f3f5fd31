"""Small transformers with random weights, and how to write them to a folder."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mulligan.networks import Network

transformers: Any = pytest.importorskip("transformers")
tokenizers: Any = pytest.importorskip("tokenizers")

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 120,
}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GROUPED = {**SIZES, **ENDS, "num_key_value_heads": 2, "max_position_embeddings": 64}
VIT = {"image_size": 16, "patch_size": 4, "num_labels": 3, "id2label": {0: "cat", 1: "dog", 2: "fish"}}

#: family: (class, config, path of the blocks, attention, output projection, kind of block)
FAMILIES: dict[str, tuple[str, str, dict[str, Any], str, str, str, str]] = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED, "model.layers", "self_attn", "o_proj", "pre"),
    "qwen3": (
        "Qwen3ForCausalLM", "Qwen3Config", {**GROUPED, "head_dim": 16}, "model.layers", "self_attn", "o_proj", "pre",
    ),
    "gpt2": (
        "GPT2LMHeadModel", "GPT2Config",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 120, "n_positions": 64, **ENDS},
        "transformer.h", "attn", "c_proj", "pre",
    ),
    "neox": (
        "GPTNeoXForCausalLM", "GPTNeoXConfig", {**SIZES, **ENDS}, "gpt_neox.layers", "attention", "dense", "parallel",
    ),
    "bert": (
        "BertForMaskedLM", "BertConfig", {**SIZES, "pad_token_id": 0},
        "bert.encoder.layer", "attention", "output.dense", "post",
    ),
    "roberta": (
        "RobertaForSequenceClassification", "RobertaConfig",
        {**SIZES, "num_labels": 2, "max_position_embeddings": 34, "pad_token_id": 1},
        "roberta.encoder.layer", "attention", "output.dense", "post",
    ),
    "distilbert": (
        "DistilBertModel", "DistilBertConfig",
        {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4, "vocab_size": 120},
        "transformer.layer", "attention", "out_lin", "post",
    ),
    "vit": (
        "ViTForImageClassification", "ViTConfig", {**SIZES, **VIT}, "vit.layers", "attention", "o_proj", "pre",
    ),
}  # fmt: skip


def make(family: str) -> Any:
    name, config, settings, *_ = FAMILIES[family]
    torch.manual_seed(0)
    settings = {key: value for key, value in settings.items() if not (family == "vit" and key == "vocab_size")}
    model = getattr(transformers, name)(getattr(transformers, config)(**settings)).eval()
    with torch.no_grad():  # freshly drawn norms and biases are all 1 and 0, and would hide mistakes
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def tokenizer() -> Any:
    words = {word: i for i, word in enumerate(["[PAD]", "[BOS]", "[EOS]", "[UNK]", *(f"w{i}" for i in range(116))])}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="[PAD]", bos_token="[BOS]", eos_token="[EOS]", unk_token="[UNK]"
    )


def save(family: str, folder: Path) -> Path:
    make(family).save_pretrained(folder)
    if family == "vit":
        settings = {"do_resize": True, "size": {"height": 16, "width": 16}, "resample": 3, "do_rescale": True}
        scale = {"rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2] * 3}
        (folder / "preprocessor_config.json").write_text(json.dumps({**settings, **scale}))
    else:
        tokenizer().save_pretrained(folder)
    return folder


def edit_config(folder: Path, name: str = "config.json", **changed: Any) -> str:
    said = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**said, **changed}))
    return f"hf:{folder}"


def raw(network: Network, x: Tensor, mask: Tensor | None, **asked: bool) -> Any:
    """The same weights in a module of transformers' own, with eager attention."""
    module = network.module
    eager = type(module)._from_config(copy.deepcopy(module.config), attn_implementation="eager").eval()
    eager.load_state_dict(module.state_dict())
    with torch.no_grad():
        if mask is None:
            return eager(pixel_values=x, **asked)
        return eager(input_ids=x, attention_mask=mask.long(), **asked)


def padded(network: Network) -> tuple[Tensor, Tensor | None]:
    """A batch of three with padding on the right, for texts."""
    x, mask = network.example(3)
    if mask is not None:
        mask = torch.arange(x.shape[1]) < torch.tensor([x.shape[1], 4, 7])[:, None]
        x = x.where(mask, network.input.pad)  # type: ignore[union-attr]
    return x, mask
