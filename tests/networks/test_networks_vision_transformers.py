"""Networks of pictures in the layout of transformers: how pixels become input, and what the vector of an encoder is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks_families import TOWER, edit_config, transformers
from networks_small import assert_close
from PIL import Image

from mulligan.networks import ImageInput, Network, load, parse_input
from mulligan.networks.adapters.folders import Folder
from mulligan.networks.adapters.pictures import image_input
from mulligan.records import BadInput

#: Sizes that leave odd and even margins, wide and high.
PICTURES = [(31, 25), (25, 31), (33, 33), (64, 47), (37, 90), (240, 320), (301, 223)]

#: processor: what a folder of it may say
SAID: dict[str, list[dict[str, Any]]] = {
    "ViT": [{}, {"size": 20, "resample": 3}, {"size": {"height": 24, "width": 18}, "do_normalize": False}],
    "DeiT": [{}, {"size": 24, "crop_size": 17}, {"do_center_crop": False, "size": 18}],
    "Beit": [{}, {"size": 24, "do_center_crop": True, "crop_size": {"height": 15, "width": 20}}],
    "ConvNext": [
        {}, {"size": {"shortest_edge": 22}}, {"size": {"shortest_edge": 30}, "crop_pct": 0.95, "resample": 2},
        {"size": {"shortest_edge": 400}},
    ],
    "CLIP": [{}, {"size": {"shortest_edge": 25}, "crop_size": 18}, {"size": 25, "crop_size": 18, "resample": 1}],
    "Bit": [{}, {"size": {"shortest_edge": 29}, "crop_size": {"height": 21, "width": 16}, "resample": 0}],
    "Siglip": [{}, {"size": {"height": 22, "width": 22}, "resample": 2}],
    "Levit": [{}, {"size": {"shortest_edge": 21}, "crop_size": 20}],
    "MobileNetV1": [{}, {"size": {"shortest_edge": 21}, "crop_size": 20}],
    "MobileNetV2": [{}, {"size": {"shortest_edge": 21}, "crop_size": 20}],
    "MobileViT": [{"crop_size": 200}, {"size": {"shortest_edge": 30}, "crop_size": 21}],
    "EfficientNet": [{}, {"size": {"height": 22, "width": 22}, "include_top": False}],
    "Pvt": [{}],
    "Segformer": [{}, {"size": {"height": 40, "width": 30}}],
}  # fmt: skip
#: What any of them may say.
ALSO: list[dict[str, Any]] = [
    {"do_rescale": False}, {"rescale_factor": 1 / 127.5}, {"image_mean": [0.1, 0.2, 0.3], "image_std": [1.0, 2.0, 3.0]},
]  # fmt: skip


def _picture(size: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", list(SAID))
def test_pictures_are_made_ready_as_transformers_own_processor_does(kind: str, tmp_path: Path) -> None:
    """By its processor that needs Pillow alone: on the same numbers, up to the rounding of single precision."""
    theirs = getattr(transformers, f"{kind}ImageProcessorPil")
    for said in [*SAID[kind], *({**SAID[kind][-1], **more} for more in ALSO)]:
        if kind == "MobileViT":
            said = {key: value for key, value in said.items() if not key.startswith("image_")}
        (tmp_path / "preprocessor_config.json").write_text(
            json.dumps({"image_processor_type": f"{kind}ImageProcessor", **said})
        )
        taken = image_input(Folder(tmp_path, {}))
        assert isinstance(taken, ImageInput)
        for seed, size in enumerate(PICTURES):
            picture = _picture(size, seed)
            expected = theirs(**said)(Image.fromarray(picture), return_tensors="np")["pixel_values"][0]
            ours = taken.prepare(picture)
            assert ours.shape == expected.shape
            assert_close(ours, torch.from_numpy(np.array(expected, dtype=np.float32)), 1e-4)


def test_what_a_folder_s_own_processor_writes_is_read_back(tmp_path: Path) -> None:
    for kind in SAID:
        theirs = getattr(transformers, f"{kind}ImageProcessorPil")(**SAID[kind][-1])
        theirs.save_pretrained(tmp_path)
        taken = image_input(Folder(tmp_path, {}))
        assert isinstance(taken, ImageInput)
        expected = theirs(Image.fromarray(_picture((50, 41), 1)), return_tensors="np")["pixel_values"][0]
        assert_close(taken.prepare(_picture((50, 41), 1)), torch.from_numpy(np.array(expected, dtype=np.float32)), 1e-4)


def test_the_model_says_which_processor_where_the_file_does_not(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 40, "resample": 2}))
    squashed = image_input(Folder(tmp_path, {"model_type": "swin"}))
    assert squashed is not None
    assert (squashed.size, squashed.resize) == ((40, 40), None)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"shortest_edge": 40}}))
    margins = image_input(Folder(tmp_path, {"model_type": "resnet"}))
    assert margins is not None
    assert (margins.size, margins.resize) == ((40, 40), 45)


def test_steps_and_another_size_keep_to_the_processor(tmp_path: Path) -> None:
    said = {"image_processor_type": "DeiTImageProcessor", "size": 20, "crop_size": 16}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    taken = image_input(Folder(tmp_path, {}))
    assert taken is not None
    assert taken.steps()[:2] == ("resized to 20 x 20 pixels (bicubic)", "centre 16 x 16 pixels")
    other = parse_input("mean=0,std=1", taken)
    assert isinstance(other, ImageInput)
    assert other.steps()[:2] == taken.steps()[:2]
    with pytest.raises(BadInput, match=r"\(32, 32\) pixels cannot be cut out of \(20, 20\)"):
        parse_input("size=32", taken)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"do_resize": False}, "do_resize"),
        ({"resample": 5}, "resample (5)"),
        ({"image_mean": None}, "image_mean"),
        ({"image_mean": [0.5, 0.5]}, "image_mean"),
        ({"rescale_factor": 0}, "rescale_factor (0)"),
        ({"do_pad": True}, "do_pad"),
        ({"size_divisor": 32}, "size_divisor"),
        ({"do_thumbnail": True}, "do_thumbnail"),
        ({"rescale_offset": True}, "rescale_offset"),
        ({"image_processor_type": "PoolFormerImageProcessor"}, "image_processor_type (PoolFormerImageProcessor)"),
        ({"auto_map": {"AutoImageProcessor": "code.Processor"}}, "auto_map"),
        ({"size": {"longest_edge": 16}}, "size ({'longest_edge': 16})"),
        ({"size": {"shortest_edge": 16}}, "size (a shortest edge with nothing cut out)"),
        ({"do_center_crop": True, "crop_size": {"shortest_edge": 3}}, "crop_size ({'shortest_edge': 3})"),
        ({"image_processor_type": "CLIPImageProcessor", "size": 16, "crop_size": 20}, "crop_size ((20, 20) pixels of"),
    ],
)  # fmt: skip
def test_preprocessing_that_is_not_known_is_refused_by_its_name(
    said: dict[str, Any], named: str, copied: Callable[[str], Path]
) -> None:
    spec = edit_config(copied("vit"), "preprocessor_config.json", **said)
    with pytest.raises(BadInput, match=r"preprocessor_config.json asks for what is not known here: ") as caught:
        load(spec)
    assert named in str(caught.value)
    assert "--input" in str(caught.value)


def _encoder(model: str, settings: dict[str, Any], folder: Path) -> Network:
    torch.manual_seed(1)
    kind = getattr(transformers, model)
    kind(kind.config_class(**settings)).save_pretrained(folder)
    return load(f"hf:{folder}", input="size=16,mean=0.5,std=0.5")


@pytest.mark.parametrize(
    ("model", "settings", "vector"),
    [
        ("ViTModel", TOWER, "pooler_output"),
        ("Dinov2Model", {**TOWER, "mlp_ratio": 2}, "pooler_output"),
        ("CLIPVisionModel", TOWER, "pooler_output"),
        ("CLIPVisionModelWithProjection", {**TOWER, "projection_dim": 12}, "image_embeds"),
        ("SiglipVisionModel", TOWER, "pooler_output"),
        ("BeitModel", TOWER, "pooler_output"),
        ("ResNetModel", {"embedding_size": 8, "hidden_sizes": [16, 24], "depths": [1, 1]}, "pooler_output"),
        ("ConvNextModel", {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2}, "pooler_output"),
    ],
)
def test_the_vector_of_a_picture_is_the_one_its_network_pools(
    model: str, settings: dict[str, Any], vector: str, tmp_path: Path
) -> None:
    network = _encoder(model, settings, tmp_path)
    assert network.task == "embedding"
    x = network.example(3)[0]
    with torch.no_grad():
        ours = network.logits(x)
        theirs = network.module(pixel_values=x)
    assert ours.ndim == 2
    assert_close(ours, theirs[vector].reshape(ours.shape))
    assert network.record().input["kind"] == "images"  # type: ignore[index]


def test_an_encoder_that_was_saved_without_a_pooler_gives_its_first_token(tmp_path: Path) -> None:
    torch.manual_seed(1)
    transformers.ViTModel(transformers.ViTConfig(**TOWER), add_pooling_layer=False).save_pretrained(tmp_path)
    network = load(f"hf:{tmp_path}", input="size=16,mean=0.5,std=0.5")
    x = network.example(3)[0]
    with torch.no_grad():
        assert_close(network.logits(x), network.module(pixel_values=x).last_hidden_state[:, 0])


def test_two_towers_are_two_networks_and_one_is_chosen(tmp_path: Path) -> None:
    torch.manual_seed(0)
    words = {"vocab_size": 120, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
             "num_attention_heads": 4, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
    sees = {**TOWER, "projection_dim": 12}
    whole = transformers.CLIPModel(transformers.CLIPConfig(text_config=words, vision_config=sees, projection_dim=12))
    whole.save_pretrained(tmp_path)
    said = r"CLIPModel is two networks, one of pictures and one of texts .*hf:FOLDER#CLIPVisionModelWithProjection"
    with pytest.raises(BadInput, match=said):
        load(f"hf:{tmp_path}")
    network = load(f"hf:{tmp_path}#CLIPVisionModelWithProjection", input="size=16,mean=0.5,std=0.5")
    x = network.example(2)[0]
    with torch.no_grad():
        theirs = whole.eval().get_image_features(pixel_values=x)
        theirs = theirs if isinstance(theirs, torch.Tensor) else theirs.pooler_output
        assert_close(network.logits(x), theirs)
    assert load(**network.recipe).identity == network.identity


def test_a_network_that_draws_at_random_is_refused(tmp_path: Path) -> None:
    transformers.ViTMAEModel(transformers.ViTMAEConfig(**TOWER)).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="ViTMAEModel answers one input in two ways: something in it is drawn at random"):
        load(f"hf:{tmp_path}", input="size=16,mean=0.5,std=0.5")


def test_heads_in_windows_are_offered_where_one_window_is_the_picture(loaded: Callable[[str], Network]) -> None:
    network = loaded("swin")
    assert "its windows put together again" in network.meaning(network.site("swin.encoder.layers.0.blocks.1.drop_path"))
    assert network.site("swin.encoder.layers.0.blocks.0.attention").axes[0] == "axis0"
    with pytest.raises(BadInput, match="no part 'heads'"):
        network.site("swin.encoder.layers.0.blocks.0.attention#heads")
    assert network.site("swin.encoder.layers.1.blocks.0.attention#heads").shape == (2, 16, 4, 8)
    meaning = network.meaning(network.site("swin.encoder.layers.0.blocks.0.layernorm_after.in"))
    assert meaning.endswith("to be watched, since an edit here misses the skip past the feed-forward")
