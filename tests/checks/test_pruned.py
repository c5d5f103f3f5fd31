"""The pruned check on layers whose weights are thinned out here."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from subjects import normalised, subject
from torch import nn

from mulligan.checks.pruned import CHECK, LEAD, Thinning, cliff, thinning, unsmooth
from mulligan.networks import ImageInput

UNIT = ImageInput(size=(8, 8), channels=1, mean=(0.0,), std=(1.0,))


def weight(module: nn.Module, path: str) -> torch.Tensor:
    value = module.get_submodule(path).weight
    assert isinstance(value, torch.Tensor)
    return value


@pytest.mark.parametrize("norm", [True, False])
def test_clean_networks_raise_no_alarm(norm: bool, tmp_path: Path) -> None:
    outcome = CHECK.run(subject(normalised(0, UNIT, norm=norm), tmp_path))
    assert outcome.leads == ()
    assert outcome.record.scores["pruned"] < LEAD / 2
    assert outcome.record.smallest_effect is not None


@pytest.mark.parametrize("how", ["sizes", "channels", "rank", "norm"])
def test_a_thinned_layer_is_a_lead_with_its_site(how: str, tmp_path: Path) -> None:
    module = copy.deepcopy(normalised(0, UNIT))
    w = weight(module, "3")
    with torch.no_grad():
        if how == "sizes":
            w[w.abs() < w.abs().flatten().quantile(0.4)] = 0
        elif how == "channels":
            w[::4] *= 1e-4
        elif how == "rank":
            u, s, v = torch.linalg.svd(w.flatten(1), full_matrices=False)
            w.copy_(((u[:, :8] * s[:8]) @ v[:8]).reshape(w.shape))
        else:
            weight(module, "4")[:6] = 0
    outcome = CHECK.run(subject(module, tmp_path))
    assert outcome.findings == ()  # weights alone show no behaviour
    first = outcome.leads[0]
    assert first.where is not None
    assert first.where.site == ("4" if how == "norm" else "3")
    assert outcome.record.scores["pruned"] > LEAD


def test_smooth_distributions_are_smooth() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.standard_normal(20000), rng.laplace(size=20000), rng.uniform(-1, 1, 20000)):
        spike, kink = unsmooth(np.abs(values))
        assert spike < 0.01
        assert kink < 0.03
        thinned = np.where(np.abs(values) < np.quantile(np.abs(values), 0.3), 0, values)
        assert unsmooth(np.abs(thinned))[0] > 0.25
    assert unsmooth(np.zeros(100)) == (1.0, 1.0)


def test_a_cliff_is_steep() -> None:
    rng = np.random.default_rng(1)
    full = rng.standard_normal((40, 90))
    assert cliff(full, 0) == 0
    low = rng.standard_normal((40, 12)) @ rng.standard_normal((12, 90))
    assert cliff(low, 0) == 1
    assert 0.2 < cliff(low + 0.05 * full, 0) < 0.9
    assert thinning("x", low).score == 1


def test_the_strongest_sign_is_said() -> None:
    assert "zero" in Thinning("x", 0.5, 0.1, 0.0, 0.0).sentence
    assert "rows" in Thinning("x", 0.0, 0.1, 0.4, 0.0).sentence
    assert "cliff" in Thinning("x", 0.0, 0.0, 0.0, 0.4).sentence


def test_it_is_skipped_where_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Linear(1, 10))
    assert CHECK.run(subject(layers, tmp_path)).record.status == "ran"
    bare = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 10))
    assert CHECK.run(subject(bare, tmp_path / "bare")).record.status == "skipped"
