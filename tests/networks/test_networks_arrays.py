"""Networks that take plain arrays: a table's rows, several heads, how their input is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks_small import assert_close, check_every_port
from torch import Tensor, nn

from mulligan.activations import Plan, record
from mulligan.datasets import load_dataset
from mulligan.networks import ArrayInput, ImageInput, Network, load, parse_input, trunk
from mulligan.records import BadInput
from mulligan.runs import Run

TABLE = """
import torch
from torch import nn

INPUT = "shape=16"
CLASSES = ["no", "maybe", "yes"]

def factory():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 3))
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    file = tmp_path / "model.py"
    file.write_text(TABLE)
    return f"{file}:factory"


# How the input is written


@given(st.lists(st.integers(1, 20), min_size=1, max_size=4))
def test_a_shape_reads_back(sizes: list[int]) -> None:
    spec = ArrayInput(shape=tuple(sizes))
    assert parse_input(spec.spec()) == spec
    assert parse_input(f" {spec.spec()} ", ImageInput(size=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)) == spec


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("shape=", "not KEY=VALUE"),
        ("shape=0", "an example of 0 numbers cannot be"),
        ("shape=4x", "not a whole number .*: write shape=16 or shape=20x8"),
        ("shape=4x-1", "not a whole number"),
        ("shape=4,shape=4", "given twice"),
        ("shape=4,size=4", "the input is no picture"),
        ("shape=4,mean=0", "the input is no picture"),
        ("shape=9999x9999", "an example of 9999 x 9999 numbers cannot be"),
        ("shapes=4", "or shape alone for arrays"),
        ("mean=0", "or shape=... alone for arrays"),
    ],
)
def test_bad_shapes(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        parse_input(text)


@pytest.mark.parametrize("shape", [(), (0,), (3, -1), (1 << 14, 1 << 14)])
def test_shapes_that_cannot_be(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match="cannot be"):
        ArrayInput(shape=shape)


def test_a_file_and_a_flag_say_the_shape(model: str, tmp_path: Path) -> None:
    network = load(model)
    assert network.input == ArrayInput(shape=(16,))
    assert (network.task, network.head, network.classes) == ("classification", "4", ("no", "maybe", "yes"))
    assert [(site.alias, site.axes) for site in trunk(network)] == [
        ("0", ("batch", "feature")),
        ("2", ("batch", "feature")),
    ]
    bare = tmp_path / "bare.py"
    bare.write_text(TABLE.replace("INPUT", "HINT"))
    with pytest.raises(BadInput, match="does not say what it takes"):
        load(f"{bare}:factory").sites()
    again = load(f"{bare}:factory", input="shape=16")
    assert again.input == network.input
    assert load(**again.recipe).input == network.input
    with pytest.raises(BadInput, match="--input describes pictures, and this network takes arrays"):
        load(model, input="size=16")
    with pytest.raises(BadInput, match="refuses an input of shape"):
        load(model, input="shape=15").sites()
    bare.write_text(TABLE.replace("shape=16", "size=16"))
    with pytest.raises(BadInput, match="--input describes arrays, and this network takes pictures"):
        load(f"{bare}:factory", input="shape=16")


# Recording


def test_a_table_is_recorded_as_it_is(model: str, tmp_path: Path) -> None:
    network = load(model)
    x = np.random.default_rng(0).normal(size=(37, 16))
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(37) % 3)
    data = load_dataset(tmp_path / "data.npz", classes=network.classes)
    run = Run.create("test", [], {}, out=tmp_path / "run")
    kept = record(network, data, Plan(("0", "1", "2.in"), ("mean", "max", "position:0"), batch=5, shard=10), run)
    given = torch.tensor(x, dtype=torch.float32)
    with torch.no_grad():
        layers = [network.module[0](given), network.module[:2](given), network.module[:2](given)]
        for alias, expected in zip(("0", "1", "2.in"), layers, strict=True):
            for pool in ("mean", "max", "position:0"):  # a table has no places: each is the unit itself
                assert_close(torch.tensor(np.asarray(kept.array(f"{alias}|{pool}"))), expected)
        assert_close(torch.tensor(np.asarray(kept.array("answers"))), network.module(given))


@pytest.mark.parametrize("shape", [(6, 5), (3, 8, 8), (4, 6, 6)])
def test_arrays_that_look_like_pictures_are_given_as_stored(shape: tuple[int, ...], tmp_path: Path) -> None:
    x = np.random.default_rng(0).random(size=(9, *shape)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 2))
    network = Network(flat, input=ArrayInput(shape=shape))
    run = Run.create("test", [], {}, out=tmp_path / "run")
    kept = record(network, load_dataset(tmp_path / "data.npz"), Plan(("0.in",), ("full",), batch=4), run)
    assert np.array_equal(np.asarray(kept.array("0.in|full")), x)


def test_rows_of_another_length_are_said(model: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 15)))
    run = Run.create("test", [], {}, out=tmp_path / "run")
    with pytest.raises(BadInput, match=r"shape \(15,\) does not fit a network that takes \(16,\)"):
        record(load(model), load_dataset(tmp_path / "data.npz"), Plan(("0",)), run)


# Several heads


class Actor(nn.Module):
    """A policy and a value on one body, as reinforcement learning has them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.act = nn.Linear(4, 6), nn.Tanh()
        self.policy, self.value = nn.Linear(6, 3), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        z = self.act(self.body(x))
        return {"policy": self.policy(z), "value": self.value(z)}


def test_each_of_several_heads_can_be_the_answer() -> None:
    module = Actor()
    by_head = {
        name: Network(module, input=ArrayInput(shape=(4,)), answer=lambda out, name=name: out[name])
        for name in ("policy", "value")
    }
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        z = torch.tanh(x @ module.body.weight.T + module.body.bias)
        for name, network in by_head.items():
            layer = module.get_submodule(name)
            assert_close(network.logits(x), z @ layer.weight.T + layer.bias)
            assert network.head == name
            assert check_every_port(network, x) == 11
    policy = by_head["policy"]
    assert [site.alias for site in policy.sites("[*]")] == ["[value]"]
    assert [site.alias for site in trunk(policy)] == ["body", "value"]
    with torch.no_grad(), policy.watching(["[value]"]) as watched:
        policy(x)
        assert torch.equal(watched["[value]"], by_head["value"].logits(x))
