"""Small transformers with random weights, what is known of each family, and how to write them to a folder."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mulligan.networks import Network, TokenInput

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
WHOLE = {**GROUPED, "num_key_value_heads": 4}
NAMED = {"num_labels": 3, "id2label": {0: "cat", 1: "dog", 2: "fish"}}
TOWER = {key: value for key, value in SIZES.items() if key != "vocab_size"} | {"image_size": 16, "patch_size": 4}
VIT = {**TOWER, **NAMED}
T5 = {
    "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 120,
    "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 120,
    "max_position_embeddings": 64, "decoder_start_token_id": 2, **ENDS,
}  # fmt: skip

PRE, POST, AFTER, PARALLEL = "pre-norm", "post-norm", "norm of what is added", "side by side"
SCALED, WINDOWS, ACTIVATED, PLAIN = "scaled", "windows", "activated", "plain"


@dataclass(frozen=True)
class Stack:
    """A list of blocks, as its authors wrote it.

    Attributes:
        path: of the list. kind: how a block adds and norms. attention, projection: paths in a block; projection within
            attention. Without a projection, no heads can be cut.
        first, second: the norms that read the block's input and the sum after attention; for a post-norm block, those
            that give them. added, fed: what is added, and then. neurons: whose input they are.
        cross: (attention to the encoder, the norm before it, or after it in a post-norm block).
    """

    path: str
    kind: str = PRE
    attention: str = "self_attn"
    projection: str = "o_proj"
    first: str = "input_layernorm"
    second: str = "post_attention_layernorm"
    added: str = ""
    fed: str = "mlp"
    neurons: str | None = "mlp.down_proj"
    cross: tuple[str, str] = ("", "")
    blocks: tuple[int, ...] = (0, 1)

    def adds(self) -> str:
        return self.added or self.attention


@dataclass(frozen=True)
class Family:
    """A family of models and one that is small."""

    shown: str
    model: str
    settings: dict[str, Any]
    stacks: tuple[Stack, ...]
    config: str = ""
    head: str | None = "lm_head"
    task: str = "language"
    picture: dict[str, Any] = field(default_factory=dict)
    note: str = ""


_LLAMA = Stack("model.layers")
_GEMMA = Stack(
    "model.layers", second="pre_feedforward_layernorm", added="post_attention_layernorm",
    fed="post_feedforward_layernorm",
)  # fmt: skip
_OPT = Stack(
    "model.decoder.layers", projection="out_proj", first="self_attn_layer_norm", second="final_layer_norm", fed="fc2",
    neurons="fc2",
)  # fmt: skip
_NEOX = {"first": "input_layernorm", "projection": "dense", "neurons": "mlp.dense_4h_to_h"}
_BERT = Stack(
    "bert.encoder.layer", POST, "attention", "output.dense", "attention.output.LayerNorm", "output.LayerNorm",
    "attention.output.dense", "output.dense", "output.dense",
)  # fmt: skip


_BART = Stack(
    "model.encoder.layers", POST, "self_attn", "out_proj", "self_attn_layer_norm", "final_layer_norm",
    "self_attn.out_proj", "fc2", "fc2",
)  # fmt: skip
_BARTS = (
    _BART,
    replace(_BART, path="model.decoder.layers", cross=("encoder_attn", "encoder_attn_layer_norm")),
)  # fmt: skip
_MBARTS = tuple(
    Stack(
        f"model.{which}.layers", projection="out_proj", first="self_attn_layer_norm", second="final_layer_norm",
        fed="fc2", neurons="fc2",
        cross=("encoder_attn", "encoder_attn_layer_norm") if which == "decoder" else ("", ""),
    )
    for which in ("encoder", "decoder")
)  # fmt: skip


def _t5(gated: bool = False) -> tuple[Stack, ...]:
    return tuple(
        Stack(
            f"{which}.block", attention="layer.0.SelfAttention", projection="o", first="layer.0.layer_norm",
            second=f"layer.{last}.layer_norm", fed=f"layer.{last}.DenseReluDense",
            neurons=f"layer.{last}.DenseReluDense.wo",
            cross=("layer.1.EncDecAttention", "layer.1.layer_norm") if last == 2 else ("", ""),
        )
        for which, last in (("encoder", 1), ("decoder", 2))
    )  # fmt: skip


_VIT = Stack("vit.layers", attention="attention", first="layernorm_before", second="layernorm_after", neurons="mlp.fc2")
_CLIP = Stack("encoder.layers", projection="out_proj", first="layer_norm1", second="layer_norm2", neurons="mlp.fc2")
_DINO = {
    "attention": "attention", "projection": "o_proj", "first": "norm1", "second": "norm2",
    "added": "layer_scale1", "fed": "layer_scale2", "neurons": "mlp.fc2",
}  # fmt: skip
_SQUARE = {"do_center_crop": False, "size": {"height": 16, "width": 16}}
_SWIN = {
    "attention": "attention", "projection": "o_proj", "first": "layernorm_before", "second": "layernorm_after",
    "neurons": "mlp.fc2",
}  # fmt: skip

#: What is loaded in these tests. `FAMILIES`, a part of it, is watched and edited in every way there is.
ZOO: dict[str, Family] = {
    "llama": Family("Llama, SmolLM2", "LlamaForCausalLM", GROUPED, (_LLAMA,)),
    "mistral": Family("Mistral", "MistralForCausalLM", GROUPED, (_LLAMA,)),
    "qwen3": Family("Qwen 3", "Qwen3ForCausalLM", {**GROUPED, "head_dim": 16}, (_LLAMA,)),
    "phi3": Family("Phi 3", "Phi3ForCausalLM", GROUPED, (_LLAMA,)),
    "gemma2": Family("Gemma 2", "Gemma2ForCausalLM", {**GROUPED, "head_dim": 8}, (_GEMMA,)),
    "gemma3": Family(
        "Gemma 3 (text)", "Gemma3ForCausalLM", {**GROUPED, "head_dim": 8}, (_GEMMA,), config="Gemma3TextConfig"
    ),
    "olmo2": Family(
        "OLMo 2", "Olmo2ForCausalLM", GROUPED,
        (Stack("model.layers", AFTER, added="post_attention_layernorm", fed="post_feedforward_layernorm"),),
    ),
    "granite": Family(
        "Granite", "GraniteForCausalLM", {**GROUPED, "residual_multiplier": 0.5}, (Stack("model.layers", SCALED),)
    ),
    "mixtral": Family(
        "Mixtral", "MixtralForCausalLM", {**GROUPED, "num_local_experts": 4}, (Stack("model.layers", neurons=None),),
        note="Experts are no modules: they have no sites, only what they add together has. The router and what the "
        "experts are given stand in one row for each token (`axis0`), not for each example.",
    ),
    "olmoe": Family(
        "OLMoE", "OlmoeForCausalLM", {**WHOLE, "num_experts": 4, "num_experts_per_tok": 2},
        (Stack("model.layers", neurons=None),), note="As Mixtral.",
    ),
    "gpt2": Family(
        "GPT-2", "GPT2LMHeadModel",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 120, "n_positions": 64, **ENDS},
        (Stack("transformer.h", attention="attn", projection="c_proj", first="ln_1", second="ln_2",
               neurons="mlp.c_proj"),),
    ),
    "gptneo": Family(
        "GPT-Neo", "GPTNeoForCausalLM",
        {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]],
         "vocab_size": 120, "max_position_embeddings": 64, **ENDS},
        (Stack("transformer.h", attention="attn", projection="attention.out_proj", first="ln_1", second="ln_2",
               neurons="mlp.c_proj"),),
    ),
    "neox": Family(
        "GPT-NeoX, Pythia", "GPTNeoXForCausalLM", {**SIZES, **ENDS},
        (Stack("gpt_neox.layers", PARALLEL, "attention", **_NEOX),),
    ),
    "gptj": Family(
        "GPT-J", "GPTJForCausalLM",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 120, "rotary_dim": 4, "n_positions": 64, **ENDS},
        (Stack("transformer.h", PARALLEL, "attn", "out_proj", "ln_1", neurons="mlp.fc_out"),),
    ),
    "phi": Family(
        "Phi 1.5, Phi 2", "PhiForCausalLM", WHOLE,
        (Stack("model.layers", PARALLEL, projection="dense", neurons="mlp.fc2"),),
    ),
    "falcon": Family(
        "Falcon", "FalconForCausalLM", {**SIZES, **ENDS},
        (Stack("transformer.h", PARALLEL, "self_attention", **_NEOX),),
    ),
    "opt": Family(
        "OPT", "OPTForCausalLM",
        {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 120,
         "max_position_embeddings": 64, "word_embed_proj_dim": 32, **ENDS},
        (_OPT,),
        note="Within the feed-forward all tokens of a batch stand in a row (`axis0`): its neurons can be watched, but "
        "have no row for each example.",
    ),
    "bloom": Family(
        "BLOOM", "BloomForCausalLM", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 120, **ENDS},
        (Stack("transformer.h", attention="self_attention", projection="dense", added="self_attention.dense",
               fed="mlp.dense_4h_to_h", neurons="mlp.dense_4h_to_h"),),
        note="`self_attention` and `mlp` give the stream itself, with what they add.",
    ),
    "mamba": Family(
        "Mamba", "MambaForCausalLM",
        {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "vocab_size": 120, **ENDS},
        (Stack("backbone.layers", PLAIN, "", "", "norm", "", fed="mixer", neurons=None),),
        note="No attention: a block adds what its mixer gives.",
    ),
    "bert": Family(
        "BERT", "BertForMaskedLM", {**SIZES, "pad_token_id": 0}, (_BERT,), head="cls.predictions.decoder"
    ),
    "roberta": Family(
        "RoBERTa, XLM-R", "RobertaForSequenceClassification",
        {**SIZES, "num_labels": 2, "max_position_embeddings": 34, "pad_token_id": 1},
        (replace(_BERT, path="roberta.encoder.layer"),), head="classifier.out_proj", task="classification",
    ),
    "electra": Family(
        "ELECTRA", "ElectraForSequenceClassification", {**SIZES, "embedding_size": 16, "pad_token_id": 0},
        (replace(_BERT, path="electra.encoder.layer"),), head="classifier.out_proj", task="classification",
    ),
    "deberta": Family(
        "DeBERTa v2, v3", "DebertaV2ForSequenceClassification",
        {**SIZES, "pad_token_id": 0, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8},
        (replace(_BERT, path="deberta.encoder.layer"),), head="classifier", task="classification",
    ),
    "mpnet": Family(
        "MPNet", "MPNetModel", {**SIZES, "pad_token_id": 1},
        (Stack("encoder.layer", POST, "attention", "attn.o", "attention.LayerNorm", "output.LayerNorm",
               "attention.attn.o", "output.dense", "output.dense"),),
        head=None, task="embedding",
    ),
    "distilbert": Family(
        "DistilBERT", "DistilBertModel", {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4, "vocab_size": 120},
        (Stack("transformer.layer", POST, "attention", "out_lin", "sa_layer_norm", "output_layer_norm",
               "attention.out_lin", "ffn", "ffn.lin2"),),
        head=None, task="embedding",
    ),
    "albert": Family(
        "ALBERT", "AlbertForMaskedLM", {**SIZES, "embedding_size": 16, "pad_token_id": 0},
        (Stack("albert.encoder.albert_layer_groups.0.albert_layers", POST, "attention", "dense", "attention.LayerNorm",
               "full_layer_layer_norm", "attention.dense", "ffn_output", "ffn_output", blocks=(0,)),),
        head="predictions.decoder", note="One block runs many times: `PATH!1` is the second time.",
    ),
    "modernbert": Family(
        "ModernBERT", "ModernBertForMaskedLM",
        {**SIZES, **ENDS, "cls_token_id": 1, "sep_token_id": 2, "max_position_embeddings": 64},
        (Stack("model.layers", attention="attn", projection="Wo", first="attn_norm", second="mlp_norm",
               neurons="mlp.Wo", blocks=(1,)),),
        head="decoder", note="The first block has no norm before its attention: the embedding was normed.",
    ),
    "t5": Family("T5", "T5ForConditionalGeneration", T5, _t5()),
    "flan": Family(
        "T5 1.1, Flan-T5", "T5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-gelu"}, _t5()
    ),
    "bart": Family("BART", "BartForConditionalGeneration", BART, _BARTS),
    "marian": Family("Marian", "MarianMTModel", {**BART, "decoder_start_token_id": 0}, _BARTS),
    "mbart": Family("mBART", "MBartForConditionalGeneration", BART, _MBARTS),
    "pegasus": Family("Pegasus", "PegasusForConditionalGeneration", BART, _MBARTS),
    "vit": Family("ViT", "ViTForImageClassification", VIT, (_VIT,), head="classifier", task="classification"),
    "deit": Family(
        "DeiT", "DeiTForImageClassification", VIT,
        (replace(_VIT, path="deit.layers"),),
        head="classifier", task="classification", picture={"size": 20, "crop_size": 16},
    ),
    "beit": Family(
        "BEiT", "BeitForImageClassification", {**VIT, "use_relative_position_bias": True},
        (Stack("beit.layers", SCALED, "attention", "o_proj", "layernorm_before", "layernorm_after",
               neurons="mlp.fc2"),),
        head="classifier", task="classification",
    ),
    "swin": Family(
        "Swin", "SwinForImageClassification",
        {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4,
         **NAMED},
        (Stack("swin.encoder.layers.0.blocks", WINDOWS, added="drop_path", **_SWIN),
         Stack("swin.encoder.layers.1.blocks", **_SWIN)),
        head="classifier", task="classification", picture={"size": {"height": 32, "width": 32}},
        note="Attention within windows is given them as if they were examples: heads and patterns are offered only "
        "where one window holds the whole picture.",
    ),
    "dinov2": Family(
        "DINOv2", "Dinov2Model", {**TOWER, "mlp_ratio": 2}, (Stack("encoder.layer", **_DINO),), head=None,
        task="embedding", picture=_SQUARE,
    ),
    "dinov2 with registers": Family(
        "DINOv2 with registers", "Dinov2WithRegistersForImageClassification",
        {**VIT, "mlp_ratio": 2, "num_register_tokens": 2},
        (Stack("dinov2_with_registers.encoder.layer", **_DINO),), head="classifier", task="classification",
        picture=_SQUARE,
    ),
    "vit encoder": Family(
        "ViT (encoder)", "ViTModel", TOWER,
        (replace(_VIT, path="layers"),), head=None,
        task="embedding",
    ),
    "clip": Family(
        "CLIP (of pictures)", "CLIPVisionModelWithProjection", {**TOWER, "projection_dim": 16},
        (replace(_CLIP, path="vision_model.encoder.layers"),),
        head=None, task="embedding", picture={"size": {"shortest_edge": 20}, "crop_size": 16},
    ),
    "clip of texts": Family(
        "CLIP (of texts)", "CLIPTextModelWithProjection",
        {**SIZES, **ENDS, "max_position_embeddings": 64, "projection_dim": 16},
        (replace(_CLIP, path="text_model.encoder.layers"),),
        head=None, task="embedding",
    ),
    "siglip": Family("SigLIP (of pictures)", "SiglipVisionModel", TOWER, (_CLIP,), head=None, task="embedding"),
    "resnet": Family(
        "ResNet", "ResNetForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [16, 24], "depths": [2, 2], **NAMED},
        tuple(Stack(f"resnet.encoder.stages.{n}.layers", ACTIVATED, "", "", "", "", "shortcut", "layer", None)
              for n in (0, 1)),
        head="classifier.1", task="classification", picture={"size": {"shortest_edge": 28}, "crop_pct": 0.875},
    ),
    "convnext": Family(
        "ConvNeXt", "ConvNextForImageClassification",
        {"hidden_sizes": [8, 12], "depths": [2, 2], "num_stages": 2, "image_size": 28, **NAMED},
        tuple(Stack(f"convnext.encoder.stages.{n}.layers", PLAIN, "", "", "", "", fed="drop_path", neurons=None)
              for n in (0, 1)),
        head="classifier", task="classification", picture={"size": {"shortest_edge": 28}, "crop_pct": 0.875},
    ),
}  # fmt: skip

#: family: (class, config, settings, path of the blocks, attention, output projection, kind of block)
FAMILIES: dict[str, tuple[str, str, dict[str, Any], str, str, str, str]] = {
    name: (
        ZOO[name].model, ZOO[name].config, ZOO[name].settings, ZOO[name].stacks[0].path, ZOO[name].stacks[0].attention,
        ZOO[name].stacks[0].projection, {PRE: "pre", POST: "post", PARALLEL: "parallel"}[ZOO[name].stacks[0].kind],
    )
    for name in ("llama", "qwen3", "gpt2", "neox", "bert", "roberta", "distilbert", "vit")
}  # fmt: skip


def make(family: str) -> Any:
    known = ZOO[family]
    kind = getattr(transformers, known.model)
    torch.manual_seed(0)
    config = getattr(transformers, known.config) if known.config else kind.config_class
    model = kind(config(**known.settings)).eval()
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
    model = make(family)
    model.save_pretrained(folder)
    if model.main_input_name == "pixel_values":
        settings = {"do_resize": True, "size": {"height": 16, "width": 16}, "resample": 3, "do_rescale": True}
        scale = {"rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2] * 3}
        said = {**settings, **scale, **ZOO[family].picture}
        (folder / "preprocessor_config.json").write_text(json.dumps(said))
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
        if not isinstance(network.input, TokenInput):
            return eager(pixel_values=x, **asked)
        seen = (mask if mask is not None else torch.ones_like(x)).long()
        if not module.config.is_encoder_decoder:
            return eager(input_ids=x, attention_mask=seen, **asked)
        given = torch.full_like(x, module.config.decoder_start_token_id)
        for place in range(1, x.shape[1]):
            given[:, place] = x[:, place - 1]
        return eager(input_ids=x, attention_mask=seen, decoder_input_ids=given, decoder_attention_mask=seen, **asked)


def padded(network: Network) -> tuple[Tensor, Tensor | None]:
    """A batch of three with padding on the right, for texts."""
    x, mask = network.example(3)
    if mask is not None:
        mask = torch.arange(x.shape[1]) < torch.tensor([x.shape[1], 4, 7])[:, None]
        x = x.where(mask, network.input.pad)  # type: ignore[union-attr]
    return x, mask
