"""A small Llama in GGUF, read by our own hands and by the packages that know the format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks_families import transformers

from mulligan.networks.adapters.gguf_files import llama_config, llama_weights, read_head
from mulligan.networks.identity import identity
from mulligan.records import BadInput

gguf: Any = pytest.importorskip("gguf")

NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
KINDS = {"attn_q": "Q4_1", "attn_k": "Q8_0", "attn_v": "F16", "attn_output": "Q4_0", "token_embd": "Q8_0"}


def write(path: Path, architecture: str = "llama", extra: str = "") -> Any:
    """A model of two blocks with 4 heads of 16, two of them sharing keys; as llama.cpp converts and packs it."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=50, max_position_embeddings=32, rope_theta=5000.0, rms_norm_eps=1e-6, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2, pad_token_id=3, head_dim=16,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    file = gguf.GGUFWriter(path, architecture)
    file.add_block_count(2)
    file.add_context_length(32)
    file.add_embedding_length(64)
    file.add_feed_forward_length(96)
    file.add_head_count(4)
    file.add_head_count_kv(2)
    file.add_rope_freq_base(5000.0)
    file.add_rope_dimension_count(16)
    file.add_layer_norm_rms_eps(1e-6)
    file.add_vocab_size(50)
    file.add_tokenizer_model("gpt2")
    file.add_token_list([f"word {n}" for n in range(50)])
    file.add_token_types([1] * 50)
    file.add_array("some.numbers", [1.5, 2.5])
    for name, number in (("bos", 1), ("eos", 2), ("pad", 3), ("unk", 0)):
        getattr(file, f"add_{name}_token_id")(number)

    def add(name: str, values: np.ndarray) -> None:
        kind = gguf.GGMLQuantizationType[KINDS.get(name.split(".")[-2], "F32")]
        if values.ndim == 1 or kind.name == "F32":
            file.add_tensor(name, values.astype(np.float32))
        elif kind.name == "F16":
            file.add_tensor(name, values.astype(np.float16))
        else:
            file.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", state["model.embed_tokens.weight"])
    add("output_norm.weight", state["model.norm.weight"])
    for block in range(2):
        for ours, theirs in NAMES.items():
            values = state[f"model.layers.{block}.{theirs}.weight"]
            if ours in ("attn_q", "attn_k"):  # llama.cpp turns pairs of a rotation where transformers turns halves
                heads = 4 if ours == "attn_q" else 2
                values = values.reshape(heads, 2, 8, 64).swapaxes(1, 2).reshape(values.shape)
            add(f"blk.{block}.{ours}.weight", values)
    if extra:
        add(extra, np.zeros((4, 4), np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return model


def test_settings_and_weights_are_those_that_transformers_reads(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    write(tmp_path / "small.gguf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="small.gguf", dtype=torch.float32, local_files_only=True
    )
    head = read_head(tmp_path / "small.gguf")
    found = llama_weights(head, 4, 2)
    expected = theirs.state_dict()
    assert set(found) == set(expected) - {"lm_head.weight"}
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
        assert tensor.dtype == torch.float32
    ours = transformers.LlamaForCausalLM(llama_config(head)).eval()
    ours.load_state_dict(found, strict=False)
    assert identity(ours) == identity(theirs)


def test_unpacking_loses_no_more_than_packing_did(tmp_path: Path) -> None:
    model = write(tmp_path / "small.gguf")
    found = llama_weights(read_head(tmp_path / "small.gguf"), 4, 2)
    for name, tensor in found.items():
        own = model.state_dict()[name]
        slack = {"q_proj": 0.1, "o_proj": 0.2, "k_proj": 0.01, "embed_tokens": 0.01, "v_proj": 1e-3}
        share = next((value for part, value in slack.items() if part in name), 0.0)
        assert (tensor - own).abs().max() <= share * own.abs().max(), name


def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    write(path)
    data = path.read_bytes()

    def refused(content: bytes, sentence: str) -> None:
        (tmp_path / "bad.gguf").write_bytes(content)
        with pytest.raises(BadInput, match=sentence) as caught:
            llama_weights(read_head(tmp_path / "bad.gguf"), 4, 2)
        assert "\n" not in str(caught.value)

    refused(b"GGML" + data[4:], "the GGUF file cannot be read: it does not begin as GGUF does")
    refused(b"", "the GGUF file cannot be read")
    for share in (3, 20, 500, 1500):
        refused(data[:share], "the GGUF file cannot be read")
    refused(data[: len(data) // 2], "the GGUF file is truncated")
    refused(data[:-4000], "the GGUF file is truncated")
    write(path, architecture="gemma")
    refused(path.read_bytes(), "a GGUF file of gemma is not known here .*convert it to safetensors")
    write(path, extra="blk.0.attn_rot.weight")
    refused(path.read_bytes(), r"the tensor blk.0.attn_rot.weight is not known here")
    with pytest.raises(BadInput, match="the GGUF file cannot be read"):
        read_head(tmp_path / "none.gguf")
