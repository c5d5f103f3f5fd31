"""The frozen part of a network as a graph: the same numbers, and the module itself where that does not pay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mulligan.plants import quick as quickly
from mulligan.plants.quick import quick


@pytest.fixture
def trunk():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6()).eval()


def test_little_work_is_done_by_the_module_itself(trunk):
    assert quick(trunk, torch.rand(2, 3, 8, 8), 10) is trunk


def test_much_work_is_done_by_a_graph_that_agrees(trunk, monkeypatch, tmp_path):
    pytest.importorskip("openvino")
    monkeypatch.setenv("MULLIGAN_CACHE", str(tmp_path))
    monkeypatch.setattr(quickly, "WORTH", 0.0)
    run = quick(trunk, torch.rand(2, 3, 8, 8), 10)
    assert run is not trunk
    x = torch.rand(5, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(run(x), trunk(x), rtol=1e-4, atol=1e-5)


def test_a_graph_that_differs_is_not_taken(trunk, monkeypatch):
    monkeypatch.setattr(quickly, "WORTH", 0.0)
    monkeypatch.setattr(quickly, "engines", lambda network: (["openvino"], ""))
    monkeypatch.setattr(quickly, "compile_pass", lambda *given, **more: lambda x: {"value": trunk(x) + 1})
    assert quick(trunk, torch.rand(2, 3, 8, 8), 10) is trunk
