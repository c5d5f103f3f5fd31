from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from networks_small import Conv, Mlp
from torch import nn

from mulligan.networks import ArrayInput, Network
from mulligan.networks.identity import identity


def test_identity_is_the_same_for_the_same_network() -> None:
    assert identity(Conv()) == identity(Conv()) == identity(copy.deepcopy(Conv()))
    assert identity(Conv()).startswith("sha256:")
    assert len(identity(Conv())) == len("sha256:") + 64
    network = Network(Conv(), input=ArrayInput(shape=(3, 9, 9)))
    before = network.identity
    network(network.example()[0])
    assert identity(network.module) == before


def test_identity_is_the_same_in_another_process() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from networks_small import Conv\nfrom mulligan.networks.identity import identity\nprint(identity(Conv()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == identity(Conv())


@pytest.mark.parametrize("name", [name for name, _ in Conv().state_dict().items()])
def test_one_changed_number_changes_the_identity_unless_it_is_bookkeeping(name: str) -> None:
    module = Conv()
    before = identity(module)
    with torch.no_grad():
        module.state_dict()[name].view(-1)[-1] += 1
    assert (identity(module) == before) == name.endswith("num_batches_tracked")


def test_architecture_is_part_of_the_identity() -> None:
    one = Conv()
    seen = {identity(one)}
    one.act = nn.ReLU6()
    seen.add(identity(one))
    one.conv.stride = (2, 2)
    seen.add(identity(one))
    one.pool = nn.AdaptiveMaxPool2d(1)
    seen.add(identity(one))
    seen.add(identity(one.double()))
    assert len(seen) == 5


def test_types_and_shapes_are_part_of_the_identity() -> None:
    layers = [nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False)]
    for layer in layers:
        nn.init.zeros_(layer.weight)
    seen = {identity(layer) for layer in layers} | {identity(layer.half()) for layer in layers}
    assert len(seen) == 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.bool, torch.int8, torch.complex64])
def test_every_type_has_bytes(dtype: torch.dtype) -> None:
    module = nn.Module()
    module.register_buffer("values", torch.ones(3, dtype=dtype))
    module.register_buffer("scalar", torch.ones((), dtype=dtype))
    module.register_buffer("empty", torch.ones(0, dtype=dtype))
    before = identity(module)
    module.values[1] = 0  # type: ignore[operator]
    assert identity(module) != before


def test_how_numbers_lie_in_memory_is_no_matter() -> None:
    one, two = nn.Linear(3, 4), nn.Linear(3, 4)
    two.weight.data, two.bias.data = one.weight.data.T.contiguous().T, one.bias.data.clone()
    assert not two.weight.is_contiguous()
    assert identity(one) == identity(two)


def test_training_mode_is_no_matter_and_a_broken_repr_is_no_obstacle() -> None:
    class Broken(Mlp):
        def extra_repr(self) -> str:
            raise AttributeError("not yet")

    assert identity(Broken().train()) == identity(Broken().eval())
    assert identity(Broken()) != identity(Mlp())


def test_settings_of_a_config_are_part_of_the_identity() -> None:
    transformers = pytest.importorskip("transformers")

    def make(**changed: object) -> nn.Module:
        torch.manual_seed(0)
        settings = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.BertConfig(**{**settings, "vocab_size": 20, **changed})
        return transformers.BertModel(config)

    one = identity(make())
    assert identity(make(_name_or_path="elsewhere", transformers_version="4.0")) == one
    assert identity(make(id2label={0: "a", 1: "b"})) == one
    assert identity(make(num_attention_heads=4)) != one
