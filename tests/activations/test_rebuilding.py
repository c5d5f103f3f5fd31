from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from activations_small import Made, conv
from safetensors.torch import save_file
from torch import nn

from mulligan.activations.rebuilding import network_and_data, rebuild
from mulligan.datasets import load_dataset
from mulligan.networks import load
from mulligan.records import BadInput
from mulligan.runs import Context

NETWORK = """
from torch import nn
INPUT = "size=8,channels=1"
def factory():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
"""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    torch.manual_seed(0)
    layer = nn.Linear(64, 3)
    save_file({"1.weight": layer.weight.data, "1.bias": layer.bias.data}, tmp_path / "w.safetensors")
    (tmp_path / "net.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.integers(0, 256, (9, 8, 8), dtype=np.uint8), y=np.arange(9) % 3)
    network = load(f"{tmp_path / 'net.py'}:factory", weights=tmp_path / "w.safetensors", classes=["a", "b", "c"])
    return network_and_data(network, load_dataset(tmp_path / "data.npz", classes=network.classes))


def test_a_recipe_is_plain_data_and_builds_the_same(context: Context) -> None:
    built = rebuild(json.loads(json.dumps(context.recipe)))
    assert built.identity == context.identity
    assert built["dataset"].ids == context["dataset"].ids
    assert built["network"].classes == ("a", "b", "c")


def test_a_part_of_the_data_is_the_same_part(context: Context) -> None:
    part = context["dataset"].subset([7, 2, 5]).subset([2, 0])
    some = network_and_data(context["network"], part)
    assert some.identity != context.identity
    assert rebuild(json.loads(json.dumps(some.recipe)))["dataset"].ids == [context["dataset"].ids[i] for i in (5, 7)]


def test_other_weights_and_other_data_are_named(context: Context, tmp_path: Path) -> None:
    save_file({"1.weight": torch.zeros(3, 64), "1.bias": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match=r"a worker finds the network changed .*net\.py:factory"):
        rebuild(context.recipe)
    save_file(
        {f"1.{name}": p.data for name, p in context["network"].module[1].named_parameters()}, tmp_path / "w.safetensors"
    )
    np.savez(tmp_path / "data.npz", x=np.zeros((9, 8, 8), np.uint8), y=np.arange(9) % 3)
    with pytest.raises(BadInput, match=r"a worker finds the data changed .*data\.npz"):
        rebuild(context.recipe)


def test_what_was_not_loaded_by_name_has_no_recipe(context: Context) -> None:
    assert network_and_data(conv(), Made(3)).recipe == {}
    assert network_and_data(context["network"], Made(3).subset([1])).recipe == {}
    changed = context["network"].with_module(context["network"].module)
    assert network_and_data(changed, context["dataset"]).recipe == {}
