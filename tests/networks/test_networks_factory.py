from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import torch
from networks_small import Conv
from safetensors.torch import save_file

from mulligan.networks import ImageInput, load
from mulligan.networks import loading as loading_module
from mulligan.records import BadInput

GOOD = """
import torch
from torch import nn

INPUT = "size=9,channels=3,mean=0.5,std=0.5"
CLASSES = ["a", "b", "c", "d"]

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.pool(self.act(self.norm(self.conv(x)))).flatten(1))

def make():
    return Net()
"""


def write(folder: Path, text: str, name: str = "net.py") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_a_factory_s_network_has_its_file_s_input_and_classes(tmp_path: Path) -> None:
    network = load(f"{write(tmp_path, GOOD)}:make")
    assert network.name == "net:make"
    assert network.classes == ("a", "b", "c", "d")
    assert network.task == "classification"
    assert isinstance(network.input, ImageInput)
    assert network.input.size == (9, 9)
    assert network.head == "head"
    assert network.logits(network.example()[0]).shape == (2, 4)
    assert load(f"{tmp_path / 'net.py'}:Net").classes == ("a", "b", "c", "d")


def test_flags_override_the_file_and_are_in_the_recipe(tmp_path: Path) -> None:
    spec = f"{write(tmp_path, GOOD)}:make"
    weights = tmp_path / "w.safetensors"
    save_file(Conv(7).state_dict(), weights)
    network = load(spec, weights=weights, input="size=12", classes=list("wxyz"))
    assert network.classes == tuple("wxyz")
    assert torch.equal(network.module.conv.weight, Conv(7).conv.weight)
    assert isinstance(network.input, ImageInput)
    assert network.input.size == (12, 12)
    assert network.input.mean == (0.5,) * 3
    assert network.recipe == {"spec": spec, "weights": str(weights), "input": "size=12", "classes": list("wxyz")}
    again = load(**network.recipe)
    assert again.identity == network.identity
    assert again.input == network.input


def test_a_factory_may_return_a_network(tmp_path: Path) -> None:
    text = "from mulligan.networks import ArrayInput, Network\nfrom torch import nn\n"
    text += "def make():\n    return Network(nn.Linear(3, 2), name='mine', input=ArrayInput(shape=(3,)))\n"
    network = load(f"{write(tmp_path, text)}:make")
    assert (network.name, network.head) == ("mine", "")
    with pytest.raises(BadInput, match="--input describes pictures"):
        load(f"{tmp_path / 'net.py'}:make", input="size=9")


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        (GOOD, "other", "this file has no function 'other'"),
        (GOOD, "INPUT", "this file has no function 'INPUT'"),
        (
            "def make():\n    return 3",
            "make",
            r"the factory returned int .*return a torch.nn.Module or a mulligan.Network",
        ),
        (
            "def make():\n    raise KeyError('x')",
            "make",
            r"the factory raised KeyError: 'x' .*make it run without arguments",
        ),
        ("def make(n):\n    pass", "make", "the factory raised TypeError"),
        ("import nothing_of_this_name", "make", "importing this file raised ModuleNotFoundError"),
        ("def make(:", "make", "importing this file raised SyntaxError"),
        ("raise SystemExit(0)", "make", "importing this file raised SystemExit"),
        (GOOD.replace('"size=9,channels=3,mean=0.5,std=0.5"', "9"), "make", "INPUT is not a text"),
        (GOOD.replace("size=9,", ""), "make", "the size is missing"),
        (GOOD.replace('["a", "b", "c", "d"]', "4"), "make", "CLASSES is not a list of names"),
        (GOOD.replace('["a", "b", "c", "d"]', "[1, 2, 3, 4]"), "make", "CLASSES is not a list of names"),
        (GOOD.replace(', "d"]', "]"), "make", "the network has 4 answers and 3 class names are given"),
        (GOOD.replace("channels=3", "channels=1"), "make", r"refuses an input of shape \(2, 1, 9, 9\)"),
    ],
)
def test_what_is_wrong_with_a_factory_is_one_sentence(tmp_path: Path, text: str, name: str, sentence: str) -> None:
    before = set(sys.modules)
    with pytest.raises(BadInput, match=sentence) as caught:
        load(f"{write(tmp_path, text)}:{name}").sites()
    assert caught.value.exit_status == 2
    assert str(tmp_path) not in sys.path
    assert not [m for m in set(sys.modules) - before if m.startswith("mulligan_user")] or "importing" not in sentence


def test_a_missing_file_or_function_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="this file does not exist"):
        load(f"{tmp_path}/nothing.py:make")
    with pytest.raises(BadInput, match=r"the function is missing .*net\.py:FUNCTION"):
        load(f"{write(tmp_path, GOOD)}")


def test_wrong_class_counts_and_weights_are_said_at_once(tmp_path: Path) -> None:
    spec = f"{write(tmp_path, GOOD)}:make"
    with pytest.raises(BadInput, match="the network has 4 answers and 2 class names are given"):
        load(spec, classes=["a", "b"])
    with pytest.raises(BadInput, match="there is no such weights file"):
        load(spec, weights=tmp_path / "nothing.pt")
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match="the weights do not fit this network"):
        load(spec, weights=tmp_path / "w.safetensors")


def test_files_beside_the_factory_can_be_imported_and_two_folders_do_not_mix(tmp_path: Path) -> None:
    for number in (3, 4):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder, f"from torch import nn\nWIDTH = {number}\n", "beside.py")
        write(folder, "from torch import nn\nfrom beside import WIDTH\ndef make():\n    return nn.Linear(WIDTH, 2)\n")
    for number in (3, 4, 3):
        assert load(f"{tmp_path / str(number) / 'net.py'}:make").module.in_features == number
    assert "beside" not in sys.modules
    assert not any(str(tmp_path) in entry for entry in sys.path)


def test_an_unknown_model_is_told_the_known_forms() -> None:
    with pytest.raises(
        BadInput, match=r"no model of this name is known.*efficientnet-lite0.*factory.*smollm2.*hf:FOLDER"
    ):
        load("resnet-5000")


def test_a_broken_plug_in_takes_no_other_along(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    class Broken:
        name = "broken"

        def load(self) -> None:
            raise ImportError("its library is gone")

    real = loading_module.entry_points
    monkeypatch.setattr(loading_module, "entry_points", lambda group: [Broken(), *real(group=group)])
    with caplog.at_level(logging.WARNING):
        assert load(f"{write(tmp_path, GOOD)}:make")
    assert "the adapter broken cannot be imported: ImportError: its library is gone" in caplog.text
