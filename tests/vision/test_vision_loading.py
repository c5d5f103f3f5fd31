"""Weights of torchvision and timm: from files, from what was downloaded before, from folders; and what cannot be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from networks_small import assert_close
from safetensors.torch import save_file
from torch import nn
from vision_models import untrained

from mulligan.networks import ImageInput, load
from mulligan.records import BadInput


def made(library: str, name: str, classes: int = 1000, **more: Any) -> nn.Module:
    """A network with numbers of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        build = timm.create_model if library == "timm" else torchvision.models.get_model
        return build(name, num_classes=classes, **more).eval()


def saved(module: nn.Module, file: Path) -> Path:
    if file.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in module.state_dict().items()}, file)
    else:
        torch.save(module.state_dict(), file)
    return file


@pytest.mark.parametrize(
    ("library", "name", "head", "file"),
    [
        ("torchvision", "mobilenet_v3_small", "classifier.3", "w.safetensors"),
        ("torchvision", "resnet18", "fc", "w.pth"),
        ("timm", "test_resnet", "fc", "w.safetensors"),
        ("timm", "test_convnext", "head.fc", "w.pth"),
    ],
)
@pytest.mark.parametrize("classes", [1000, 7])
def test_weights_of_a_file_and_a_head_as_large_as_theirs(
    library: str, name: str, head: str, file: str, classes: int, tmp_path: Path
) -> None:
    module = made(library, name, classes)
    network = load(f"{library}:{name}", weights=saved(module, tmp_path / file))
    x, _ = network.example()
    with torch.no_grad():
        assert_close(network.logits(x), module(x))
    assert network.head == head
    assert network.input == untrained(f"{library}:{name}").input
    assert network.task == "classification"
    assert (network.classes is None) == (classes == 7)
    assert load(f"{library}:{name}", weights=tmp_path / file).identity == network.identity
    assert untrained(f"{library}:{name}").identity != network.identity
    if classes == 7:
        named = load(f"{library}:{name}", weights=tmp_path / file, classes=list("abcdefg"))
        assert named.classes == tuple("abcdefg")
        with pytest.raises(BadInput, match="the network has 7 answers and 3 class names are given"):
            load(f"{library}:{name}", weights=tmp_path / file, classes=list("abc"))


def test_inception_gives_up_the_classifier_that_only_training_has(tmp_path: Path) -> None:
    module = made("torchvision", "inception_v3", 5, aux_logits=True, init_weights=False, transform_input=True)
    network = load("torchvision:inception_v3", weights=saved(module, tmp_path / "w.pth"))
    x, _ = network.example(1)
    with torch.no_grad():
        assert_close(network.logits(x), module(x))
    assert network.parameters < sum(p.numel() for p in module.parameters())


def test_weights_that_were_downloaded_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    entries: Any = torchvision.models.get_model_weights("mobilenet_v2")
    first, default = entries["IMAGENET1K_V1"], entries.DEFAULT
    assert default != first
    module = made("torchvision", "mobilenet_v2")
    saved(module, tmp_path / "hub" / "checkpoints" / first.url.rpartition("/")[2])
    with pytest.raises(BadInput) as error:
        load("torchvision:mobilenet_v2")
    file = tmp_path / "hub" / "checkpoints" / default.url.rpartition("/")[2]
    assert str(error.value) == (
        "the weights MobileNet_V2_Weights.IMAGENET1K_V2 are not on this machine, and Mulligan downloads nothing "
        f"({file}): run `python -c \"import torchvision; torchvision.models.get_model('mobilenet_v2', "
        "weights='IMAGENET1K_V2')\"` once, or give --weights FILE, or write torchvision:mobilenet_v2@random for an "
        "untrained network."
    )
    network = load("torchvision:mobilenet_v2@IMAGENET1K_V1")
    x, _ = network.example(1)
    with torch.no_grad():
        assert_close(network.logits(x), module(x))
    assert isinstance(network.input, ImageInput)
    assert network.input.resize == first.transforms().resize_size[0] == 256


def test_timms_weights_that_were_downloaded_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(BadInput) as error:
        load("timm:test_resnet")
    assert str(error.value) == (
        "timm's weights of test_resnet are not on this machine, and Mulligan downloads nothing (timm:test_resnet): run "
        "`python -c \"import timm; timm.create_model('test_resnet', pretrained=True)\"` once, or give --weights FILE, "
        "or write timm:test_resnet@random for an untrained network."
    )
    stored = tmp_path / "hub" / f"models--{timm.get_pretrained_cfg('test_resnet').hf_hub_id.replace('/', '--')}"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("0123abcd")
    (stored / "snapshots" / "0123abcd").mkdir(parents=True)
    module = made("timm", "test_resnet")
    saved(module, stored / "snapshots" / "0123abcd" / "model.safetensors")
    network = load("timm:test_resnet")
    x, _ = network.example(1)
    with torch.no_grad():
        assert_close(network.logits(x), module(x))


def folder(path: Path, **more: Any) -> tuple[Path, nn.Module]:
    """As timm saves a model for a hub."""
    module = made("timm", "test_resnet", 3)
    path.mkdir()
    timm.models.save_for_hf(module, path, safe_serialization=True, **more)
    return path, module


def test_a_folder_as_timm_saves_it(tmp_path: Path) -> None:
    path, module = folder(tmp_path / "mine", model_config={"label_names": ["cat", "dog", "newt"]})
    network = load(f"timm:{path}")
    assert network.name == "mine"
    x, _ = network.example()
    with torch.no_grad():
        assert_close(network.logits(x), module(x))
    assert network.input == untrained("timm:test_resnet").input
    assert network.classes == ("cat", "dog", "newt")
    config = json.loads((path / "config.json").read_text())
    config["pretrained_cfg"] |= {"input_size": [3, 96, 96], "crop_pct": 1.0, "crop_mode": "squash", "mean": [0.1] * 3}
    (path / "config.json").write_text(json.dumps(config))
    changed = load(f"timm:{path}").input
    assert isinstance(changed, ImageInput)
    assert (changed.size, changed.resize, changed.mean) == ((96, 96), None, (0.1, 0.1, 0.1))


def test_a_picture_that_is_made_ready_in_a_way_that_cannot_be_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, _ = folder(tmp_path / "mine")
    config = json.loads((path / "config.json").read_text())
    for crop, mode, why in (
        (0.9, "squash", "squashes it and cuts out its centre"),
        (1.0, "border", "puts a border"),
    ):
        config["pretrained_cfg"] |= {"crop_pct": crop, "crop_mode": mode}
        (path / "config.json").write_text(json.dumps(config))
        assert load(f"timm:{path}").input is None
        assert why in caplog.text
    assert load(f"timm:{path}", input="size=64").input is not None


def test_a_folder_of_a_network_without_a_head(tmp_path: Path) -> None:
    """And with layer scale so small that only a look at other numbers shows what it scales."""
    module = made("timm", "test_vit", 0, init_values=1e-5)
    timm.models.save_for_hf(module, tmp_path / "mine", safe_serialization=True, model_args={"init_values": 1e-5})
    network = load(f"timm:{tmp_path / 'mine'}")
    x, _ = network.example(1)
    with torch.no_grad():
        assert_close(network.logits(x), module(x))
    assert network.task == "embedding"
    assert network.classes is None
    for alias, words in (
        ("blocks.1", "the residual stream after block 1"),
        ("blocks.1.ls1", "what attention adds"),
        ("blocks.1.ls2", "what the feed-forward adds"),
    ):
        meaning = network.meaning(network.site(alias))
        assert meaning.startswith(words)
        assert "norm of its own" not in meaning
    assert network.site("blocks.1#mid").shape == (2, 101, 64)


def test_weights_of_an_architectures_authors_are_renamed_by_timm(tmp_path: Path) -> None:
    module = made("timm", "convnext_atto", 4, conv_mlp=False)
    state = {}
    for key, value in module.state_dict().items():
        for ours, original in (
            (r"^stem\.", "downsample_layers.0."),
            (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
            (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
            ("conv_dw", "dwconv"),
            (r"mlp\.fc", "pwconv"),
            (r"^head\.norm", "norm"),
            (r"^head\.fc", "head"),
        ):
            key = re.sub(ours, original, key)
        state[key] = value
    torch.save({"model": state}, tmp_path / "theirs.pth")
    x = torch.rand(1, 3, 224, 224)
    network = load("timm:convnext_atto", weights=tmp_path / "theirs.pth")
    with torch.no_grad():
        assert_close(network.logits(x), module(x))
    assert network.head_weights[0].shape[0] == 4


WRONG = {
    "torchvision:resnet81": r"torchvision has no image classifier 'resnet81' .*: perhaps resnet18, ",
    "torchvision:fasterrcnn_resnet50_fpn": "fasterrcnn_resnet50_fpn is an object detector, and only image classifiers",
    "torchvision:fcn_resnet50": "fcn_resnet50 is a network for semantic segmentation, and only image classifiers",
    "torchvision:r3d_18": "r3d_18 is a network for video, and",
    "torchvision:raft_small": "raft_small is a network for optical flow, and",
    "torchvision:quantized_resnet18": "quantized_resnet18 is quantized, and",
    "torchvision:resnet18@V7": r"torchvision has no weights 'V7' for resnet18 .* of IMAGENET1K_V1, DEFAULT, random\.",
    "torchvision:vgg16@IMAGENET1K_FEATURES": "the weights IMAGENET1K_FEATURES of vgg16 are of no classifier",
    "timm:resnet81": r"timm has no image classifier 'resnet81' .*: perhaps resnet18",
    "timm:resnet18.nobody": r"timm has no weights 'nobody' for resnet18 .*resnet18\. and one of a1_in1k, ",
    "timm:resnet18@a1": "'a1' is not known after @",
    "timm:timm/resnet18.a1_in1k": "this is no local folder, and Mulligan downloads nothing",
}


@pytest.mark.parametrize("spec", WRONG)
def test_one_sentence_for_each_name_that_cannot_be_loaded(spec: str) -> None:
    with pytest.raises(BadInput, match=WRONG[spec]) as error:
        load(spec)
    assert str(error.value).count("\n") == 0


def test_one_sentence_for_each_file_that_cannot_be_loaded(tmp_path: Path) -> None:
    file = saved(made("timm", "test_resnet", 3), tmp_path / "w.safetensors")
    for spec in ("torchvision:resnet18", "timm:test_vit"):
        with pytest.raises(BadInput, match=r"the weights do not fit this network: .* missing, first "):
            load(spec, weights=file)
    for spec in ("torchvision:resnet18@random", "timm:test_resnet@random"):
        with pytest.raises(BadInput, match=f"{spec} has no weights, and a file is given"):
            load(spec, weights=file)
    with pytest.raises(BadInput, match="there is no such weights file"):
        load("timm:test_resnet", weights=tmp_path / "none.pth")


def test_one_sentence_for_each_folder_that_cannot_be_loaded(tmp_path: Path) -> None:
    path, _ = folder(tmp_path / "mine", model_config={"label_names": ["cat", "dog", "cat"]})
    with pytest.raises(BadInput, match="1 class names are given twice, first cat"):
        load(f"timm:{path}")
    config = json.loads((path / "config.json").read_text())
    for change, message in (
        ({"architecture": 3}, "this config.json names no architecture of timm"),
        ({"architecture": "resnet81"}, "timm has no image classifier 'resnet81'"),
        ({"model_args": {"nonsense": 1}}, "timm cannot build this model: .*nonsense"),
    ):
        (path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(BadInput, match=message):
            load(f"timm:{path}")
    (path / "config.json").write_text("{")
    with pytest.raises(BadInput, match="this file is no JSON"):
        load(f"timm:{path}")
    (path / "config.json").write_text(json.dumps(config))
    (path / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"this folder has no model\.safetensors"):
        load(f"timm:{path}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"this folder has no config\.json"):
        load(f"timm:{tmp_path / 'empty'}")
