"""A Llama from one GGUF file: settings and weights, read without parsing the whole vocabulary several times.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (little-endian, versions 2 and 3).
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...records import BadInput

_KINDS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_SETTINGS = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "embedding_length": "hidden_size",
    "rope.dimension_count": "head_dim",
    "rope.freq_base": "rope_theta",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "vocab_size": "vocab_size",
}
_TOKENS = {"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id", "unknown": "unk_token_id"}
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True)
class GgufFile:
    """What stands before the weights.

    Attributes:
        said: settings; arrays (the vocabulary) are left out. tensors: name to shape (slowest axis first), kind of
            packing, and place in the file.
    """

    path: Path
    said: dict[str, Any]
    tensors: dict[str, tuple[tuple[int, ...], int, int]]


class _Reader:
    """Numbers and strings of the file's head, one after another."""

    def __init__(self, data: Any) -> None:
        self.data, self.at = data, 0

    def numbers(self, kinds: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{kinds}", self.data, self.at)
        self.at += struct.calcsize(f"<{kinds}")
        return values

    def text(self) -> str:
        (length,) = self.numbers("Q")
        start, self.at = self.at, self.at + length
        return bytes(self.data[start : self.at]).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.numbers(_KINDS[kind])[0]
        inner, count = self.numbers("IQ")
        if inner in _KINDS:
            self.at += struct.calcsize(f"<{_KINDS[inner]}") * count
        else:
            for _ in range(count):
                self.at += 8 + struct.unpack_from("<Q", self.data, self.at)[0] if inner == _STRING else 0
                if inner != _STRING:
                    raise ValueError("arrays of arrays are not known here")
        return None


def read_head(path: Path) -> GgufFile:
    """The settings of a GGUF file and where its tensors lie.

    Raises:
        BadInput: if it is damaged, or no Llama.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            reader = _Reader(data)
            magic, version = reader.numbers("4sI")
            if magic != b"GGUF" or version not in (2, 3):
                raise ValueError("it does not begin as GGUF does")
            count, settings = reader.numbers("QQ")
            said: dict[str, Any] = {}
            for _ in range(settings):
                key = reader.text()
                said[key] = reader.value(reader.numbers("I")[0])
            places = {}
            for _ in range(count):
                name = reader.text()
                (rank,) = reader.numbers("I")
                shape = tuple(reversed(reader.numbers("Q" * rank)))
                places[name] = (shape, *reader.numbers("IQ"))
            step = said.get("general.alignment", 32)
            start = -(-reader.at // step) * step
            size = len(data)
    except (OSError, ValueError, KeyError, struct.error, IndexError, OverflowError) as error:
        raise BadInput(f"the GGUF file cannot be read: {error}", where=path, fix="install it again") from error
    if said.get("general.architecture") != "llama":
        what = f"a GGUF file of {said.get('general.architecture')} is not known here"
        raise BadInput(what, where=path, fix="convert it to safetensors, and give hf:FOLDER")
    tensors = {name: (shape, kind, start + offset) for name, (shape, kind, offset) in places.items()}
    if any(place >= size for _, _, place in tensors.values()):
        raise BadInput("the GGUF file is truncated", where=path, fix="install it again")
    return GgufFile(path, {key: value for key, value in said.items() if value is not None}, tensors)


def llama_config(head: GgufFile) -> Any:
    """The settings as transformers takes them."""
    from transformers import LlamaConfig

    own = {ours: head.said[f"llama.{theirs}"] for theirs, ours in _SETTINGS.items() if f"llama.{theirs}" in head.said}
    tokens = {
        ours: head.said[f"tokenizer.ggml.{theirs}_token_id"]
        for theirs, ours in _TOKENS.items()
        if f"tokenizer.ggml.{theirs}_token_id" in head.said
    }
    return LlamaConfig(**own, **tokens, tie_word_embeddings="output.weight" not in head.tensors)


def llama_weights(head: GgufFile, heads: int, shared: int) -> dict[str, Tensor]:
    """The weights by the names of transformers, unpacked to float32.

    Args:
        heads: how many heads read; the rows of their queries stand in another order in GGUF. shared: the same of the
            keys.

    Raises:
        BadInput: if a tensor is not known, or cut short.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    data = np.memmap(head.path, mode="c", dtype=np.uint8)  # copied where written: nothing is, but torch warns of others
    found: dict[str, Tensor] = {}
    for name, (shape, number, place) in head.tensors.items():
        *block, last, what = name.split(".")
        if last not in _NAMES or (block and block[0] != "blk"):
            raise BadInput(f"the tensor {name} is not known here", where=head.path, fix="install it again")
        kind = GGMLQuantizationType(number)
        together, size = GGML_QUANT_SIZES[kind]
        row = shape[-1] // together * size
        rows = int(np.prod(shape[:-1], dtype=np.int64))
        packed = data[place : place + rows * row]
        if packed.size != rows * row:
            raise BadInput("the GGUF file is truncated", where=head.path, fix="install it again")
        values = _unpacked(packed.reshape(-1, size), kind.name, shape)
        if last in ("attn_q", "attn_k"):
            # Halves of a head's rotation stand side by side in GGUF, one after the other in transformers.
            n = heads if last == "attn_q" else shared
            values = values.reshape(n, shape[0] // n // 2, 2, *shape[1:]).transpose(1, 2).reshape(shape)
        path = f"model.layers.{block[1]}.{_NAMES[last]}" if block else _NAMES[last]
        found[f"{path}.{what}"] = values.contiguous()
    return found


def _unpacked(blocks: np.ndarray, kind: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers from blocks of bytes; the usual kinds are quicker here than in the package that knows them all."""
    packed = torch.from_numpy(blocks)
    if kind == "Q8_0":  # scale, 32 signed bytes
        scale = packed[:, :2].contiguous().view(torch.float16).float()
        return (packed[:, 2:].contiguous().view(torch.int8) * scale).reshape(shape)
    if kind == "Q4_1":  # scale, least, 16 bytes of which the low halves come first
        scale, least = packed[:, :4].contiguous().view(torch.float16).float().split(1, dim=1)
        halves = torch.cat([packed[:, 4:] & 15, packed[:, 4:] >> 4], dim=1)
        return (halves * scale).add_(least).reshape(shape)
    if kind == "F32":
        return packed.reshape(-1).view(torch.float32).reshape(shape).clone()
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    values = dequantize(blocks, GGMLQuantizationType[kind])
    return torch.from_numpy(values.reshape(shape).astype(np.float32))
