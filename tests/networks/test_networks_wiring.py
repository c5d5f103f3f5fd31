"""What modules give, read off tensors: sentences where sums and branches are planted, silence where they are not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from networks_small import assert_close
from torch import Tensor, nn

from mulligan.networks import load
from mulligan.networks.adapters.open_attention import OpenAttention, open_attentions
from mulligan.networks.adapters.vision import check_names, untrained
from mulligan.networks.adapters.wiring import wiring
from mulligan.records import BadInput

FORMULAS: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], str]] = {
    "sum": (
        lambda m, x: x + m.norm(m.one(x)),
        "the residual sum: block's input plus what block.norm adds; no activation",
    ),
    "sum, ReLU": (
        lambda m, x: m.act(x + m.one(x)),
        "the residual sum: block's input plus what block.one adds; after ReLU",
    ),
    "sum, function": (
        lambda m, x: (x + m.one(x)).relu(),
        "the residual sum: block's input plus what block.one adds; after",
    ),
    "shortcut": (
        lambda m, x: m.one(x) + m.two(x),
        "the residual sum: what block.one gives plus what block.two gives; no",
    ),
    "two": (
        lambda m, x: x + m.one(x) + m.two(x),
        "the residual sum: block's input plus what block.one and block.two add",
    ),
    "branches": (
        lambda m, x: torch.cat([m.two(x), x, m.one(x)], 1),
        "side by side, channels 0-3 of block.two, 4-7 of its",
    ),
    "gate": (lambda m, x: x * m.one(x.mean((2, 3), True)).sigmoid(), ""),
    "gated": (
        lambda m, x: x * m.gate(m.one(x.mean((2, 3), True))),
        "block's input times one gate for each channel, which",
    ),
    "last": (lambda m, x: m.norm(m.one(x)), "what block.norm gives: what block.one gives, after BatchNorm2d"),
    "function": (lambda m, x: m.norm(m.one(x)).relu(), "what block.norm gives, after ReLU"),
    "scaled": (lambda m, x: x + 0.5 * m.one(x), ""),
    "difference": (lambda m, x: x - m.one(x), ""),
    "product": (lambda m, x: x * m.one(x), ""),
    "nothing": (lambda m, x: x, ""),
}


class Block(nn.Module):
    """A block of two convolutions, a norm and activation functions, wired by a formula."""

    def __init__(self, formula: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.norm = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.act, self.gate, self.formula = nn.ReLU(inplace=True), nn.Sigmoid(), formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(self, x)


class Whole(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 4, 3), block

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.stem(x))


@pytest.mark.parametrize("name", FORMULAS)
def test_a_sentence_is_said_where_the_numbers_agree_and_nowhere_else(name: str) -> None:
    formula, sentence = FORMULAS[name]
    module = Whole(Block(formula)).eval()
    said = wiring(module, lambda: module(torch.randn(1, 3, 9, 7)))
    assert said.get("block", "").startswith(sentence)
    assert bool(said.get("block")) == bool(sentence)
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())


def test_norms_and_activation_functions_say_what_they_read() -> None:
    module = Whole(Block(lambda m, x: m.act(m.norm(m.one(x))))).eval()
    said = wiring(module, lambda: module(torch.randn(1, 3, 9, 7)))
    assert said == {
        "block.norm": "what block.one gives, after BatchNorm2d, before ReLU",
        "block.act": "what block.norm gives, after ReLU",
        "block": "what block.act gives: what block.norm gives, after ReLU",
    }


def test_attention_written_out_gives_what_pytorchs_own_gives() -> None:
    torch.manual_seed(0)
    for bias in (True, False):
        module = nn.Sequential(nn.MultiheadAttention(24, 3, bias=bias, batch_first=True)).eval()
        x = torch.randn(2, 5, 24)
        with torch.no_grad():
            expected = module[0](x, x, x, need_weights=False)[0]
            keys = set(module.state_dict())
            open_attentions(module)
            opened = module[0]
            assert isinstance(opened, OpenAttention)
            assert_close(opened(x, x, x, need_weights=False)[0], expected)
        assert set(module.state_dict()) == keys
        with pytest.raises(NotImplementedError):
            opened(x, x.clone(), x)
    for other in (nn.MultiheadAttention(24, 3), nn.MultiheadAttention(24, 3, batch_first=True, kdim=8, vdim=8)):
        kept = nn.Sequential(other)
        open_attentions(kept)
        assert kept[0] is other


def test_untrained_draws_the_same_numbers_and_leaves_the_callers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with untrained():
        first = torch.rand(3)
    assert torch.equal(torch.rand(2), expected)
    with untrained():
        assert torch.equal(torch.rand(3), first)


def test_class_names_must_differ() -> None:
    assert check_names(["a", "b"], "here") == ("a", "b")
    with pytest.raises(BadInput, match="1 class names are given twice, first a "):
        check_names(["a", "b", "a"], "here")


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_which_packages_to_install() -> None:
    with pytest.raises(BadInput) as error:
        load("torchvision:resnet18")
    assert str(error.value) == (
        "this needs packages that are not installed: torchvision (torchvision:resnet18): run `pip install torchvision`."
    )
    with pytest.raises(BadInput) as error:
        load("timm:resnet18")
    assert str(error.value) == (
        "this needs packages that are not installed: torchvision timm (timm:resnet18): "
        "run `pip install torchvision timm`."
    )


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_a_torchvision_of_another_kind_than_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist\\nmore')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput) as error:
        load("torchvision:resnet18")
    assert str(error.value) == (
        "torchvision is installed and cannot be imported: operator torchvision::nms does not exist "
        "(torchvision:resnet18): install torch and torchvision of one release and one kind (both for the CPU, or both "
        "for CUDA)."
    )
    assert "torchvision" not in sys.modules
