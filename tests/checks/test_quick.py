"""Answers that are asked for often are compiled, and stay what they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mulligan.checks import quick
from mulligan.networks import ImageInput, Network


@pytest.fixture
def network():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    taken = ImageInput(size=(8, 8), channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    return Network(module, input=taken, classes=tuple("abcde"))


def test_a_network_is_asked_eagerly_till_compiling_has_paid(network, monkeypatch):
    compiled = []

    def graph(x, mask, ids):
        return {"answers": network.logits(x)}

    monkeypatch.setattr(quick, "engines", lambda network: (["openvino"], ""))
    monkeypatch.setattr(quick, "expected_seconds", lambda network, what, engine: (1e9, False))
    monkeypatch.setattr(quick, "checked_pass", lambda *given: compiled.append(given) or graph)
    x = torch.rand(4, 3, 8, 8)
    expected = network.logits(x)
    torch.testing.assert_close(quick.quick_logits(network, x), expected)
    assert not compiled
    quick._TALLIES[network].price = 0.0
    for _ in range(3):
        torch.testing.assert_close(quick.quick_logits(network, x), expected)
    assert len(compiled) == 1
    assert np.array_equal(compiled[0][2].indices, np.arange(4))


def test_what_cannot_be_compiled_is_tried_once(network, monkeypatch):
    tried = []

    def refuse(*given):
        tried.append(given)
        raise quick.NotCompiled("it has a loop")

    monkeypatch.setattr(quick, "engines", lambda network: (["openvino"], ""))
    monkeypatch.setattr(quick, "expected_seconds", lambda network, what, engine: (0.0, False))
    monkeypatch.setattr(quick, "checked_pass", refuse)
    x = torch.rand(2, 3, 8, 8)
    for _ in range(3):
        torch.testing.assert_close(quick.quick_logits(network, x), network.logits(x))
    assert len(tried) == 1
