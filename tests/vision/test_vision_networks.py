"""Networks of torchvision and timm: answers, preprocessing and sites are the libraries' own."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torchvision
from networks_small import assert_close, check_every_port, no_hooks_left
from torch import Tensor, nn
from vision_models import NETWORKS, draw_head, picture, untrained

from mulligan.networks import Ablate, ImageInput, Steer, load
from mulligan.networks.adapters.efficientnet_lite import imagenet_classes

_AUXILIARY = ("inception_v3", "googlenet")


def theirs(spec: str) -> tuple[nn.Module, Any]:
    """The library's own model, with the numbers that seed 0 draws, and its own transforms."""
    library, name = spec.split(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if library == "timm":
            module = timm.create_model(name).eval()
            draw_head(module, NETWORKS[spec][0])
            config = timm.data.resolve_model_data_config(module)
            return module, timm.data.create_transform(**config, is_training=False)
        more = {"aux_logits": False, "transform_input": True, "init_weights": True} if name in _AUXILIARY else {}
        module = torchvision.models.get_model(name, **more).eval()
        draw_head(module, NETWORKS[spec][0])
        return module, torchvision.models.get_model_weights(name).DEFAULT.transforms()


@pytest.mark.parametrize("spec", NETWORKS)
def test_answers_are_the_librarys_own_on_its_own_preprocessing(spec: str) -> None:
    network, (module, transform) = untrained(spec), theirs(spec)
    assert isinstance(network.input, ImageInput)
    ours, expected = network.input.prepare(picture()), transform(picture())
    assert ours.shape == expected.shape
    step = 1 / 255 / torch.tensor(network.input.std)[:, None, None]
    assert ((ours - expected).abs() <= step * 1.001).all()
    with torch.no_grad():
        assert_close(network.logits(ours[None]), module(ours[None]))
        assert_close(network.logits(expected[None]), module(expected[None]))
    assert network.task == "classification"
    assert network.logits(ours[None]).std() > 0
    assert network.classes is not None
    assert len(set(network.classes)) == 1000


@pytest.mark.parametrize("spec", NETWORKS)
def test_every_port_holds_what_plain_hooks_see(spec: str) -> None:
    network = untrained(spec)
    x, _ = network.example(1)
    assert check_every_port(network, x) > 80


@pytest.mark.parametrize("spec", NETWORKS)
def test_sites_have_a_head_axes_and_precise_meanings(spec: str) -> None:
    network = untrained(spec)
    head, block, sentence = NETWORKS[spec]
    assert network.head == head
    assert network.head_weights[0].shape[0] == 1000
    assert network.meaning(network.site(head)) == "the logits: one for each class"
    assert network.site(head).axes == ("batch", "feature")
    assert network.meaning(network.site(block)).startswith(sentence)
    expected = {"vit": ("batch", "position", "feature"), "swin": ("batch", "height", "width", "channel")}
    family = spec.partition(":")[2][:4].rstrip("_")
    assert network.site(block).axes == expected.get(family, ("batch", "channel", "height", "width"))
    sites = network.sites("*")
    assert len({site.alias for site in sites}) == len(sites)


@pytest.mark.parametrize("spec", ["torchvision:resnet18", "timm:test_vit"])
def test_the_same_name_is_the_same_network_every_time(spec: str) -> None:
    torch.manual_seed(11)
    drawn = torch.rand(1)
    torch.manual_seed(11)
    again = load(f"{spec}@random")
    assert torch.equal(torch.rand(1), drawn)  # loading left the caller's own random numbers alone
    assert again.identity == load(f"{spec}@random").identity
    assert again.identity != untrained("timm:resnet18").identity
    assert again.recipe["spec"] == f"{spec}@random"


VITS = {
    "torchvision:vit_b_32": ("encoder.layers.encoder_layer_{}", "self_attention", "out_proj", "ln_2", 12),
    "timm:vit_tiny_patch16_224": ("blocks.{}", "attn", "proj", "norm2", 3),
}


@pytest.mark.parametrize("spec", VITS)
def test_the_parts_of_a_vision_transformer(spec: str) -> None:
    network = untrained(spec)
    block, attention, projection, norm, count = VITS[spec]
    block = block.format(4)
    path = f"{block}.{attention}"
    x, _ = network.example(1)
    with torch.no_grad():
        wanted = [f"{path}#heads", f"{path}#head1", f"{path}#pattern", f"{path}.{projection}.in", f"{block}#mid"]
        with network.watching([*wanted, f"{block}.in", path, block]) as watched:
            clean = network.logits(x)
        flat = watched[f"{path}.{projection}.in"]
        assert network.site(f"{path}#heads").shape[2:] == (count, 192 // 3 if count == 3 else 64)
        assert torch.equal(watched[f"{path}#head1"], flat[..., 64:128])
        pattern = watched[f"{path}#pattern"]
        assert pattern.shape == (1, count, flat.shape[1], flat.shape[1])
        assert_close(pattern.sum(-1), torch.ones(pattern.shape[:3]))
        module = network.module.get_submodule(block)
        middle = watched[f"{block}.in"] + watched[path]
        assert_close(watched[f"{block}#mid"], middle)
        assert_close(watched[block], middle + module.mlp(module.get_submodule(norm)(middle)))  # type: ignore[operator]

        def zero(m: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (torch.cat([args[0][..., :64] * 0, args[0][..., 64:]], -1),)

        handle = module.get_submodule(f"{attention}.{projection}").register_forward_pre_hook(zero)
        expected = network.logits_unchecked(x)
        handle.remove()
        with network.editing({f"{path}#head0": Ablate()}):
            assert_close(network.logits_unchecked(x), expected)
        with network.editing({f"{path}#pattern": lambda t, s: t * (torch.arange(count) > 0)[:, None, None]}):
            assert_close(network.logits_unchecked(x), expected)
        assert not torch.equal(clean, expected)
    no_hooks_left(network.module)


def test_edits_of_convolutional_networks_do_what_a_hand_would_do() -> None:
    network = untrained("torchvision:resnet18")
    x, _ = network.example(1)
    with torch.no_grad():
        with network.watching("avgpool") as watched:
            clean = network.logits(x)
        direction = torch.linspace(-1, 1, 512)
        with network.editing({"avgpool": Steer(direction)}):
            moved = network.logits(x)
        weight, bias = network.head_weights
        assert_close(moved, (watched["avgpool"].flatten(1) + direction) @ weight.T + bias)
        assert not torch.equal(clean, moved)
        with network.watching(["layer1.0.relu!1", "layer1.0.in", "layer1.0.bn2", "layer1.0"], copy=True) as watched:
            network(x)
        summed = (watched["layer1.0.in"] + watched["layer1.0.bn2"]).relu()
        assert_close(watched["layer1.0.relu!1"], summed)
        assert torch.equal(watched["layer1.0"], watched["layer1.0.relu!1"])


def test_branches_stand_side_by_side_as_the_sentence_says() -> None:
    network = untrained("torchvision:inception_v3")
    x, _ = network.example(1)
    branches = ["Mixed_5b.branch1x1", "Mixed_5b.branch5x5_2", "Mixed_5b.branch3x3dbl_3", "Mixed_5b.branch_pool"]
    with torch.no_grad(), network.watching([*branches, "Mixed_5b"]) as watched:
        network(x)
    assert torch.equal(watched["Mixed_5b"], torch.cat([watched[branch] for branch in branches], 1))
    assert network.meaning(network.site("Mixed_5b")).endswith("224-255 of Mixed_5b.branch_pool")
    assert network.meaning(network.site("Mixed_5b.branch1x1")) == "what Mixed_5b.branch1x1.bn gives, after ReLU"


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_a_picture_is_transformed_as_the_pretrained_weights_need_it(name: str) -> None:
    network = load(f"torchvision:{name}@random")
    module: Any = network.module
    assert module.transform_input
    assert not module.aux_logits
    assert not any(path.startswith(("aux", "AuxLogits")) for path, _ in module.named_modules())
    x, _ = network.example(1)
    with torch.no_grad(), network.watching([next(p for p, c in module.named_children()) + ".in"]) as watched:
        network(x)
    # Inception was trained on pixels from -1 to 1.
    assert isinstance(network.input, ImageInput)
    assert_close(next(iter(watched.values())), network.input.denormalise(x) * 2 - 1, 1e-4)


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("deit_tiny_distilled_patch16_224", ["head", "head_dist"]),
        ("levit_128s", ["head.linear", "head_dist.linear"]),
        ("crossvit_9_240", ["head.0", "head.1"]),
    ],
)
def test_a_network_with_two_classifiers_says_so(name: str, heads: list[str]) -> None:
    network = load(f"timm:{name}@random")
    for head in heads:
        draw_head(network.module, head)
    assert network.head == heads[0]
    assert network.task == "classification"
    assert network.classes is not None
    x, _ = network.example(1)
    with torch.no_grad(), network.watching(heads) as watched:
        assert_close(network.logits(x), (watched[heads[0]] + watched[heads[1]]) / 2)
    assert network.meaning(network.site(heads[1])).startswith("one logit for each class, by one of 2 classifiers")


def test_names_are_torchvisions_or_ours() -> None:
    categories = torchvision.models.get_model_weights("resnet18").DEFAULT.meta["categories"]
    assert untrained("torchvision:resnet18").classes == tuple(categories)
    assert untrained("timm:resnet18").classes == imagenet_classes()
