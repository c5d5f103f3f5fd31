"""Adapters merged at load, held against the slow way: the base, with each low-rank branch added by a hook."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks_families import GROUPED, raw, tokenizer, transformers
from networks_small import assert_close
from safetensors.torch import save_file
from torch import Tensor, nn

from mulligan.networks import Network, load
from mulligan.records import BadInput

Parts = dict[str, Tensor]
RANK, ALPHA = 4, 7


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * 0.3


def branch(inward: int, outward: int, seed: int = 0, rank: int = RANK) -> Parts:
    return {"lora_A.weight": draw(rank, inward, seed=seed), "lora_B.weight": draw(outward, rank, seed=seed + 1)}


def write(folder: Path, base: str, layers: dict[str, Parts], whole: Parts | None = None, **said: Any) -> str:
    """An adapter's folder in the layout of PEFT."""
    folder.mkdir(exist_ok=True)
    settings = {
        "peft_type": "LORA", "base_model_name_or_path": base, "r": RANK, "lora_alpha": ALPHA, "bias": "none",
        "target_modules": ["any"], "lora_dropout": 0.1, "task_type": "CAUSAL_LM", "use_rslora": False,
        "peft_version": "0.21.2", "inference_mode": True, "init_lora_weights": True, "loftq_config": {},
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps({**settings, **said}))
    tensors = {f"{path}.{part}": tensor for path, parts in layers.items() for part, tensor in parts.items()}
    tensors |= whole or {}
    save_file(
        {f"base_model.model.{name}": value for name, value in tensors.items()}, folder / "adapter_model.safetensors"
    )
    return f"hf:{folder}"


def with_branches(network: Network, layers: dict[str, Parts], scale: Callable[[str], float]) -> Tensor:
    """The base's logits, with what each branch gives added to what its layer gives."""
    handles = []
    for path, parts in layers.items():

        def add(
            module: nn.Module, args: tuple[Tensor, ...], out: Tensor, path: str = path, parts: Parts = parts
        ) -> Tensor:
            down, up = parts["lora_A.weight"], parts["lora_B.weight"]
            if isinstance(module, nn.Conv2d):
                inner = nn.functional.conv2d(args[0], down, stride=module.stride, padding=module.padding)
                return out + scale(path) * nn.functional.conv2d(inner, up)
            return out + scale(path) * (args[0] @ down.T @ up.T + parts.get("lora_B.bias", 0))

        handles.append(network.module.get_submodule(path).register_forward_hook(add))
    try:
        with torch.no_grad():
            return network.logits(*network.example(3))
    finally:
        for handle in handles:
            handle.remove()


def logits(network: Network) -> Tensor:
    with torch.no_grad():
        return network.logits(*network.example(3))


ATTENTION = "model.layers.{}.self_attn.{}"


def llama_layers(rank: int = RANK) -> dict[str, Parts]:
    return {
        ATTENTION.format(0, "q_proj"): branch(32, 32, 1, rank),
        ATTENTION.format(1, "v_proj"): branch(32, 16, 2, rank),
        "model.layers.1.mlp.down_proj": branch(48, 32, 3, rank),
    }


@pytest.mark.parametrize("root", [True, False])
def test_branches_are_merged_with_their_scale(
    root: bool, tmp_path: Path, folders: Callable[[str], Path], loaded: Callable[[str], Network]
) -> None:
    layers, base = llama_layers(), loaded("llama")
    network = load(write(tmp_path / "a", str(folders("llama")), layers, use_rslora=root))
    scale = ALPHA / (math.sqrt(RANK) if root else RANK)
    assert_close(logits(network), with_branches(base, layers, lambda path: scale))
    assert not torch.allclose(logits(network), logits(base), rtol=0.01)
    assert network.identity != base.identity
    assert load(**network.recipe).identity == network.identity
    assert (network.name, network.task, network.head) == ("a", "language", "lm_head")
    assert {site.alias for site in network.sites()} == {site.alias for site in base.sites()}


def test_layers_have_ranks_and_scales_of_their_own(
    tmp_path: Path, folders: Callable[[str], Path], loaded: Callable[[str], Network]
) -> None:
    layers = {
        ATTENTION.format(0, "q_proj"): branch(32, 32, 1, 2),
        ATTENTION.format(1, "q_proj"): branch(32, 32, 2, 6),
        ATTENTION.format(0, "v_proj"): branch(32, 16, 3),
        "model.layers.0.mlp.up_proj": branch(32, 48, 4),
    }
    said = {
        "rank_pattern": {"layers.0.self_attn.q_proj": 2, "q_proj": 6},  # the first that fits
        "alpha_pattern": {"v_proj": 3, "^model.layers.0.mlp.up_proj": 5, "proj_": 100},
    }
    scales = dict(zip(layers, (ALPHA / 2, ALPHA / 6, 3 / RANK, 5 / RANK), strict=True))
    network = load(write(tmp_path / "a", str(folders("llama")), layers, **said))
    assert_close(logits(network), with_branches(loaded("llama"), layers, scales.__getitem__))


def test_gpt2_keeps_its_weights_the_other_way_round(
    tmp_path: Path, folders: Callable[[str], Path], loaded: Callable[[str], Network]
) -> None:
    layers = {
        "transformer.h.0.attn.c_attn": branch(32, 96, 1),
        "transformer.h.1.attn.c_proj": branch(32, 32, 2),  # square: only the kind of layer tells
        "transformer.h.1.mlp.c_proj": branch(128, 32, 3),
    }
    network = load(write(tmp_path / "a", str(folders("gpt2")), layers, fan_in_fan_out=True))
    assert_close(logits(network), with_branches(loaded("gpt2"), layers, lambda path: ALPHA / RANK))


def test_a_convolution_of_patches(
    tmp_path: Path, folders: Callable[[str], Path], loaded: Callable[[str], Network]
) -> None:
    path = "vit.embeddings.patch_embeddings.projection"
    layers = {path: {"lora_A.weight": draw(RANK, 3, 4, 4), "lora_B.weight": draw(32, RANK, 1, 1)}}
    network = load(write(tmp_path / "a", str(folders("vit")), layers))
    assert network.input == loaded("vit").input  # the base's own preprocessing
    assert_close(logits(network), with_branches(loaded("vit"), layers, lambda path: ALPHA / RANK))


def test_embeddings(tmp_path: Path, folders: Callable[[str], Path], loaded: Callable[[str], Network]) -> None:
    down, up = draw(RANK, 120), draw(32, RANK)
    own = loaded("llama").module.get_submodule("model.embed_tokens").weight.detach()
    layers = {"model.embed_tokens": {"lora_embedding_A": down, "lora_embedding_B": up}}
    whole = {"model.embed_tokens.base_layer.weight": own.clone()}  # as PEFT saves them
    network = load(write(tmp_path / "a", str(folders("llama")), layers, whole))
    table = network.module.get_submodule("model.embed_tokens").weight
    for token in (0, 7, 119):
        assert_close(table[token], own[token] + ALPHA / RANK * (up @ down[:, token]))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_dora_gives_each_output_the_length_that_was_learned(
    family: str, tmp_path: Path, folders: Callable[[str], Path], loaded: Callable[[str], Network]
) -> None:
    path = ATTENTION.format(0, "v_proj") if family == "llama" else "transformer.h.0.mlp.c_fc"
    outward = 16 if family == "llama" else 128
    length = draw(outward).abs() + 0.5
    parts = branch(32, outward)
    network = load(
        write(tmp_path / "a", str(folders(family)), {path: {**parts, "lora_magnitude_vector": length}}, use_dora=True)
    )
    own, new = (one.module.get_submodule(path).weight.detach() for one in (loaded(family), network))
    own, new = (own, new) if family == "llama" else (own.T, new.T)
    for row in (0, outward - 1):
        moved = own[row] + ALPHA / RANK * (parts["lora_B.weight"][row] @ parts["lora_A.weight"])
        assert_close(new[row], moved / moved.norm() * length[row])


def test_biases_and_heads_that_were_trained(
    tmp_path: Path, folders: Callable[[str], Path], loaded: Callable[[str], Network]
) -> None:
    path = "roberta.encoder.layer.1.attention.self.query"
    layers = {path: {**branch(32, 32), "lora_B.bias": draw(32)}}
    whole = {"classifier.out_proj.weight": draw(2, 32), "classifier.modules_to_save.default.out_proj.bias": draw(2)}
    whole["classifier.original_module.out_proj.bias"] = draw(2, seed=9)
    network = load(
        write(tmp_path / "a", str(folders("roberta")), layers, whole, lora_bias=True, modules_to_save=["classifier"])
    )
    assert torch.equal(network.head_weights[0], draw(2, 32))
    assert torch.equal(network.head_weights[1], draw(2))  # type: ignore[arg-type]
    base = load(f"hf:{folders('roberta')}")
    base.module.classifier.out_proj.load_state_dict({"weight": draw(2, 32), "bias": draw(2)})
    assert_close(logits(network), with_branches(base, layers, lambda path: ALPHA / RANK))


def test_a_head_that_shares_its_weights_with_the_embedding_is_changed_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED, tie_word_embeddings=True))
    model.save_pretrained(tmp_path / "base")
    tokenizer().save_pretrained(tmp_path / "base")
    layers = {"lm_head": branch(32, 120)}
    network, base = load(write(tmp_path / "a", "../base", layers)), load(f"hf:{tmp_path / 'base'}")
    assert torch.equal(network.module.model.embed_tokens.weight, base.module.model.embed_tokens.weight)
    assert network.head == "lm_head"
    assert_close(logits(network), with_branches(base, layers, lambda path: ALPHA / RANK))
    with pytest.raises(
        BadInput, match=r"model.embed_tokens.weight replaced, which the base shares with lm_head.weight"
    ):
        load(write(tmp_path / "b", "../base", {}, {"model.embed_tokens.weight": draw(120, 32)}))


def test_what_was_merged_runs_as_a_plain_network(tmp_path: Path, folders: Callable[[str], Path]) -> None:
    network = load(write(tmp_path / "a", str(folders("llama")), llama_layers()))
    x, mask = network.example(2)
    assert_close(logits(network)[:2, :, :], raw(network, *network.example(3)).logits[:2])
    with torch.no_grad(), network.watching("model.layers.0#mid") as watched:
        network(x, mask)
    assert watched["model.layers.0#mid"].shape == (2, 11, 32)


def test_the_base_is_found_beside_the_adapter(tmp_path: Path, copied: Callable[[str], Path]) -> None:
    copied("llama")  # tmp_path / "llama"
    for base in ("../llama", str(tmp_path / "llama")):
        assert load(write(tmp_path / "a", base, llama_layers())).parameters > 0


def test_an_adapter_s_own_tokenizer_is_used(tmp_path: Path, folders: Callable[[str], Path]) -> None:
    spec = write(tmp_path / "a", str(folders("llama")), llama_layers())
    own = tokenizer()
    own.model_max_length = 17
    own.save_pretrained(tmp_path / "a")
    assert load(spec).input.context == 17  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "asks for what is not known here: peft_type PREFIX_TUNING"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights pissa, which changes the base's weights"),
        ({"alora_invocation_tokens": [1, 2]}, r"alora_invocation_tokens \[1, 2\]"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"use_new_trick": True}, "use_new_trick True"),
        ({"use_dora": True}, "use_dora for model.layers.0.self_attn.q_proj"),
        ({"r": 5}, r"have rank 4, and the settings say 5"),
        ({"lora_alpha": "much"}, "much for a rank or a scale"),
        ({"alpha_pattern": {"(": 1}}, r"the pattern \("),
        ({"base_model_name_or_path": None}, "does not say which model it belongs to"),
        ({"base_model_name_or_path": "/no such place"}, "model that this adapter belongs to is not there: /no such"),
        ({"base_model_name_or_path": "org/name"}, r"nor in the local Hugging Face cache, .*`hf download org/name`"),
        ({"base_model_name_or_path": "org/name", "revision": "v2"}, r"`hf download org/name --revision v2`"),
        ({"base_model_name_or_path": "../a2"}, "this adapter belongs to another adapter"),
    ],
)  # fmt: skip
def test_what_cannot_be_merged_is_refused_by_its_name(
    said: dict[str, Any], sentence: str, tmp_path: Path, folders: Callable[[str], Path]
) -> None:
    spec = write(tmp_path / "a", str(folders("llama")), llama_layers(), **said)
    shutil.copytree(tmp_path / "a", tmp_path / "a2")
    with pytest.raises(BadInput, match=sentence) as caught:
        load(spec)
    assert "\n" not in str(caught.value)


def test_tensors_that_do_not_belong_are_refused(tmp_path: Path, folders: Callable[[str], Path]) -> None:
    base = str(folders("llama"))

    def refused(sentence: str, layers: dict[str, Parts], whole: Parts | None = None) -> None:
        with pytest.raises(BadInput, match=sentence):
            load(write(tmp_path / "a", base, layers, whole))

    q = ATTENTION.format(0, "q_proj")
    refused("changes model.layers.7.mlp, which the base does not have", {"model.layers.7.mlp": branch(32, 32)})
    refused(r"for model.layers.0.self_attn.q_proj do not fit its weight of shape \(32, 32\)", {q: branch(32, 31)})
    refused("do not fit", {q: {"lora_A.weight": draw(4, 32), "lora_B.weight": draw(32, 5)}})
    refused("q_proj has no lora_B", {q: {"lora_A.weight": draw(4, 32)}})
    refused("a layer of kind LlamaRMSNorm", {"model.norm": branch(32, 32)})
    refused("lora_bias for .*q_proj, which has no bias", {q: {**branch(32, 32), "lora_B.bias": draw(32)}})
    refused("replaces score.weight, which the base does not have .*head of its task", {}, {"score.weight": draw(2, 32)})
    refused(r"lm_head.weight by another shape, \(125, 32\) for \(120, 32\)", {}, {"lm_head.weight": draw(125, 32)})
    refused("holds NaN or infinity", {q: {**branch(32, 32), "lora_B.weight": torch.full((32, 4), float("nan"))}})


def test_an_adapter_s_files(tmp_path: Path, folders: Callable[[str], Path]) -> None:
    spec = write(tmp_path / "a", str(folders("llama")), llama_layers())
    file = tmp_path / "a" / "adapter_model.safetensors"
    with pytest.raises(BadInput, match="an adapter's weights cannot be replaced by others"):
        load(spec, weights=file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadInput, match="the weights file is damaged or truncated"):
        load(spec)
    file.unlink()
    with pytest.raises(BadInput, match=r"this folder has no adapter_model.safetensors"):
        load(spec)
    (tmp_path / "a" / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(
        BadInput, match=r"the weights are pickled \(adapter_model.bin\), and Mulligan unpickles nothing"
    ):
        load(spec)
    (tmp_path / "a" / "adapter_config.json").write_text("[]")
    with pytest.raises(BadInput, match=r"this adapter_config.json is no table of settings"):
        load(spec)
