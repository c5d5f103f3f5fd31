from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from networks_small import Conv, Mlp
from safetensors.torch import save_file
from torch import Tensor, nn

from mulligan.networks.weights import put_weights, read_weights
from mulligan.records import BadInput


class Evil:
    """Would run code if it were unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("evil-ran",)


def save(state: Any, path: Path, how: str) -> Path:
    if how == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=how == "zip")
    return path


@pytest.mark.parametrize("how", ["safetensors", "zip", "legacy"])
def test_weights_come_back_as_they_were_written(tmp_path: Path, how: str) -> None:
    module = Conv(seed=3)
    file = save(module.state_dict(), tmp_path / "w.pt", how)
    other = Conv(seed=4)
    put_weights(other, read_weights(file), file)
    for (name, ours), theirs in zip(other.state_dict().items(), module.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_a_state_dict_may_be_wrapped_by_a_trainer(tmp_path: Path, key: str) -> None:
    file = save({"epoch": 3, key: Mlp().state_dict()}, tmp_path / "w.pt", "zip")
    assert read_weights(file).keys() == Mlp().state_dict().keys()


@pytest.mark.parametrize("how", ["zip", "legacy"])
@pytest.mark.parametrize("what", [Evil(), Mlp(), {"weight": Evil()}], ids=["evil", "whole module", "evil inside"])
def test_what_wants_to_be_code_is_refused_with_how_to_convert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, what: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    file = save(what, tmp_path / "w.pt", how)
    with pytest.raises(BadInput, match=r"unpickled as code, which Mulligan never does .*safetensors\.torch\.save_file"):
        read_weights(file)
    assert not (tmp_path / "evil-ran").exists()


def test_a_torchscript_program_is_refused_with_how_to_convert(tmp_path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Mlp()).save(str(tmp_path / "w.pt"))
    with pytest.raises(BadInput, match=r"TorchScript program.*save_file"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("how", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_file_is_said_to_be_damaged(tmp_path: Path, how: str, share: float) -> None:
    file = save(Conv().state_dict(), tmp_path / "w.pt", how)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadInput, match="damaged") as caught:
        read_weights(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_what_is_no_weights_file_is_said(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    for junk in (b"hello, this is a text", b"\x00" * 100, bytes(range(256)) * 4, b"PK\x03\x04 no zip"):
        file.write_bytes(junk)
        with pytest.raises(BadInput, match="damaged"):
            read_weights(file)
    for nowhere in (tmp_path / "no" / name, tmp_path):
        with pytest.raises(BadInput, match="there is no such weights file"):
            read_weights(nowhere)


@pytest.mark.parametrize("what", [[1, 2], {}, {"epoch": 3}, {"a": torch.zeros(2), "b": 3}, torch.zeros(3)])
def test_what_holds_no_state_dict_is_said(tmp_path: Path, what: Any) -> None:
    with pytest.raises(BadInput, match="holds no state dict"):
        read_weights(save(what, tmp_path / "w.pt", "zip"))


def test_a_mismatch_names_the_first_five_of_each_kind() -> None:
    state = Conv().state_dict()
    wrong = {f"module.{key}": value for key, value in state.items()}
    with pytest.raises(BadInput) as caught:
        put_weights(Conv(), wrong, "file.pt")
    text = str(caught.value)
    assert "8 missing, first conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean;" in text
    assert "9 unexpected, first module.conv.weight" in text
    assert "(file.pt): give the weights of this very architecture." in text
    state["head.weight"] = torch.zeros(5, 6)
    with pytest.raises(BadInput, match=r"1 of another shape, first head.weight is \(5, 6\), not \(4, 6\)"):
        put_weights(Conv(), state, "file.pt")


def test_counters_may_be_missing() -> None:
    state = {key: value for key, value in Conv(3).state_dict().items() if "tracked" not in key}
    module = Conv(4)
    put_weights(module, state, "file.pt")
    assert torch.equal(module.conv.weight, Conv(3).conv.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value: float) -> None:
    state = Conv().state_dict()
    state["norm.running_var"][2] = value
    module = Conv(seed=1)
    before = module.conv.weight.clone()
    with pytest.raises(BadInput, match=r"1 weight tensors hold NaN or infinity, first norm.running_var"):
        put_weights(module, state, "file.pt")
    assert torch.equal(module.conv.weight, before)


class Tied(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed, self.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x))


@pytest.mark.parametrize("keys", [["embed.weight"], ["head.weight"], ["embed.weight", "head.weight"]])
def test_of_tied_weights_one_name_is_enough(keys: list[str]) -> None:
    state = {key: Tied(1).state_dict()[key] for key in keys}
    module = Tied(0)
    put_weights(module, state, "file.pt")
    assert torch.equal(module.embed.weight, Tied(1).embed.weight)
    assert module.head.weight is module.embed.weight


def test_tied_weights_that_differ_are_refused() -> None:
    state = {"embed.weight": torch.zeros(6, 4), "head.weight": torch.ones(6, 4)}
    with pytest.raises(BadInput, match=r"two that differ: embed.weight and head.weight"):
        put_weights(Tied(0), state, "file.pt")
    with pytest.raises(BadInput, match=r"2 missing, first embed.weight, head.weight"):
        put_weights(Tied(0), {}, "file.pt")


def test_tables_that_the_network_makes_by_itself_may_be_there() -> None:
    class Placed(Mlp):
        def __init__(self, seed: int) -> None:
            super().__init__(seed)
            self.register_buffer("positions", torch.arange(5), persistent=False)

    state = {**Placed(1).state_dict(), "positions": torch.arange(5)}
    module = Placed(0)
    put_weights(module, state, "file.pt")
    assert torch.equal(module.first.weight, Placed(1).first.weight)
    with pytest.raises(BadInput, match="1 unexpected, first positions"):
        put_weights(module, {**state, "positions": torch.arange(5) + 1}, "file.pt")


def test_half_precision_is_widened() -> None:
    module = Mlp(0)
    put_weights(module, {key: value.half() for key, value in Mlp(1).state_dict().items()}, "file.pt")
    assert module.first.weight.dtype == torch.float32
    assert torch.allclose(module.first.weight, Mlp(1).first.weight, atol=1e-3)
