"""gnubg's files against a slow computation, and the shipped networks against gnubg's own engine."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from networks_small import assert_close, check_every_port

from mulligan.networks import Ablate, ArrayInput, load
from mulligan.networks.adapters.gnubg import TableSigmoid, read_evaluators
from mulligan.networks.adapters.packages import shipped_file
from mulligan.records import BadInput

SIZES = {"race": (4, 3), "prune race": (3, 2), "contact contact250": (6, 5)}


def numbers(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weights [inputs, hidden] and [outputs, hidden], and biases, as the file rounds them."""
    inputs, hidden = SIZES[name]
    random = np.random.default_rng(len(name))
    shapes = (inputs, hidden), (5, hidden), (hidden,), (5,)
    first, second, third, fourth = (np.round(random.normal(size=shape) * 3, 7) for shape in shapes)
    return first, second, third, fourth


def text() -> str:
    lines = ["GNU Backgammon 1.01"]
    for name, (inputs, hidden) in SIZES.items():
        lines += [name, f"{inputs} {hidden} 5 0 0.1000000 1.5000000"]
        lines += [f"{value:.7f}" for array in numbers(name) for value in array.reshape(-1)]
    return "\n".join(lines) + "\n"


def slow_sigmoid(x: float) -> float:
    size = abs(x)
    if size >= 10:
        low = 1 / 19931.370438230298
    else:
        step = int(size * 10)
        low = 1 / (1 + math.exp(step / 10) * (1 + size - step / 10))
    return low if x < 0 else 1 - low


def slow(name: str, x: np.ndarray) -> list[float]:
    into, out, hidden_bias, output_bias = numbers(name)
    hidden = []
    for j in range(len(hidden_bias)):
        hidden.append(slow_sigmoid(0.1 * (hidden_bias[j] + sum(x[i] * into[i, j] for i in range(len(x))))))
    return [
        slow_sigmoid(1.5 * (output_bias[k] + sum(hidden[j] * out[k, j] for j in range(len(hidden))))) for k in range(5)
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gnubg.weights"
    path.write_text(text())
    return path


def test_every_network_of_a_file_against_the_slow_way(file: Path) -> None:
    found = read_evaluators(file)
    assert list(found) == ["race", "prune-race", "contact"]
    for key, name in zip(found, SIZES, strict=True):
        x = np.random.default_rng(0).normal(size=(7, SIZES[name][0])) * 4
        with torch.no_grad():
            ours = found[key](torch.tensor(x, dtype=torch.float32))["probabilities"]
        assert_close(ours, torch.tensor([slow(name, row) for row in x], dtype=torch.float32), 1e-5)


def test_the_sigmoid_is_gnubg_s_and_has_gradients() -> None:
    x = torch.tensor([-20.0, -10.0, -9.95, -3.14, -0.04, 0.0, 0.04, 1.0, 2.77, 9.99, 10.0, 30.0], requires_grad=True)
    y = TableSigmoid()(x)
    assert_close(y, torch.tensor([slow_sigmoid(value) for value in x.tolist()]), 1e-6)
    assert float((y - x.sigmoid()).detach().abs().max()) < 2e-3
    y.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    smooth = x.detach().sigmoid() * (1 - x.detach().sigmoid())
    assert float((x.grad - smooth).abs().max()) < 0.02


def test_a_network_has_named_layers_and_answers(file: Path) -> None:
    network = load("gnubg:contact", weights=file)
    assert network.input == ArrayInput(shape=(6,))
    assert network.classes == ("win", "win gammon", "win backgammon", "lose gammon", "lose backgammon")
    assert (network.task, network.head, network.parameters) == ("other", "output", 6 * 5 + 5 + 5 * 5 + 5)
    assert check_every_port(network, network.example()[0]) == 11
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), network.watching(["output", "probabilities", "[probabilities]"]) as watched:
        assert torch.equal(network.logits(x), watched["output"])
        assert torch.equal(watched["probabilities"], watched["[probabilities]"])
        without = network.module.output.weight.clone()
        hidden = network.module.hidden_act(network.module.hidden(x))
        without[:, 2] = 0
        with network.editing({"hidden_act": Ablate([2])}):
            assert_close(network.logits(x), hidden @ without.T + network.module.output.bias)
    assert "sigmoid" in network.meaning(network.site("hidden"))


def test_a_network_must_be_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"several networks .*: name one of them: gnubg:contact, gnubg:race, gnubg:prune-"
    ):
        load("gnubg", weights=file)
    with pytest.raises(BadInput, match=r"no network of this name .*: name one of gnubg:contact"):
        load("gnubg:bearoff", weights=file)
    with pytest.raises(BadInput, match="there is no such file"):
        load("gnubg:contact", weights=tmp_path / "absent")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("GNU Backgammon", "Something", "not a text file of GNU Backgammon"),
        ("4 3 5 0 0.1", "4 3", "'race' does not say its sizes"),
        ("4 3 5 0 0.1", "4 -3 5 0 0.1", "sizes that cannot be: 4 -3 5"),
        ("4 3 5 0 0.1", "4 99999999999 5 0 0.1", "sizes that cannot be"),
        ("4 3 5 0 0.1000000", "4 3 5 0 nan", "sizes that cannot be"),
        ("4 3 5 0 0.1", "16000 16000 5 0 0.1", "is no number"),
        ("6 5 5 0 0.1", "6 600 5 0 0.1", "of 7205 numbers"),
    ],
)
def test_damaged_files_are_said(old: str, new: str, says: str, file: Path) -> None:
    assert old in text()
    file.write_text(text().replace(old, new, 1))
    with pytest.raises(BadInput, match=says):
        load("gnubg:contact", weights=file)


def test_files_of_other_kinds_and_cut_short_are_said(file: Path) -> None:
    file.write_text(text()[:-12])
    with pytest.raises(BadInput, match=r"the network 'contact' has 64 of 65 numbers|is no number"):
        load("gnubg:race", weights=file)
    file.write_text(text().replace("\n", "\nnan\n", 3))
    with pytest.raises(BadInput, match="does not say its sizes"):
        load("gnubg:race", weights=file)
    file.write_bytes(b"GNU Backgammon 1.01\n\xff\xfe\x00")
    with pytest.raises(BadInput, match="not plain text"):
        load("gnubg:race", weights=file)
    file.write_text("GNU Backgammon 1.01\n")
    with pytest.raises(BadInput, match="holds no network"):
        load("gnubg:race", weights=file)


def test_infinite_weights_are_said(file: Path) -> None:
    lines = text().split("\n")
    file.write_text("\n".join([*lines[:3], "inf", *lines[4:]]))
    with pytest.raises(BadInput, match="holds NaN or infinity"):
        load("gnubg:race", weights=file)


@pytest.mark.real
def test_the_shipped_networks_have_their_sizes() -> None:
    for name, inputs, hidden in (
        ("contact", 250, 128),
        ("crashed", 250, 128),
        ("race", 214, 128),
        ("prune-race", 200, 8),
    ):
        network = load(f"gnubg:{name}")
        assert network.input == ArrayInput(shape=(inputs,))
        assert network.site("hidden").units == hidden


@pytest.mark.real
def test_the_shipped_networks_answer_as_gnubg_s_own_engine(tmp_path: Path) -> None:
    """On the engine's own inputs. It orders its networks' answers (a gammon is a win), and rounds small ones to 0."""
    shipped_file("gnubg_nn", "data/gnubg.weights")
    script = Path(__file__).with_name("gnubg_engine.py")
    done = subprocess.run([sys.executable, script, tmp_path / "engine.npz"], capture_output=True, text=True)
    if "ImportError" in done.stderr:
        pytest.skip("gnubg's engine cannot be imported here")
    assert done.returncode == 0, done.stderr
    engine = np.load(tmp_path / "engine.npz")
    assert set(engine["kinds"].tolist()) == {"contact", "crashed", "race"}
    for x, expected, kind in zip(engine["x"], engine["answers"], engine["kinds"], strict=True):
        network = load(f"gnubg:{kind}")
        assert isinstance(network.input, ArrayInput)
        with torch.no_grad():
            given = network.input.prepare(x[: network.input.shape[0]])[None]
            ours = network(given)["probabilities"][0].numpy()
        assert abs(ours[0] - expected[0]) < 5e-6
        clear = (expected > 0) & (np.arange(5) > 0)
        assert np.abs(ours - expected)[clear].max(initial=0) < 5e-6, (kind, ours, expected)
        assert (ours[expected == 0] < 2e-4).all()
