"""Pictures are told apart by their classes, or by groups of these where each class has few pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from atlas_networks import CLASSES, painted, paintings
from torch import nn

from mulligan.datasets import load_dataset
from mulligan.networks import ImageInput, Network
from mulligan.visualization.atlas.told import FEW, told_apart


def many_classed(tmp_path: Path, pictures: int) -> tuple[Network, object]:
    """60 classes whose rows in the head point in 20 directions, three classes in each."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 30), nn.ReLU(), nn.Linear(30, 60))
    rows = torch.eye(30)[:20].repeat_interleave(3, 0) + 0.01 * torch.randn(60, 30)
    module[3].weight.data.copy_(rows)
    names = [f"class {k}" for k in range(60)]
    taken = ImageInput(size=(4, 4), channels=1, mean=(0.5,), std=(1.0,))
    file = tmp_path / f"{pictures}.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (60 * pictures, 4, 4), dtype=np.uint8)
    np.savez(file, x=pixels, y=np.arange(60 * pictures) % 60)
    return Network(module, input=taken, classes=names), load_dataset(file, classes=names)


def test_few_classes_and_classes_of_many_pictures_stay_what_they_are(tmp_path: Path) -> None:
    told = told_apart(painted(), paintings(tmp_path, 8))
    assert told.names == CLASSES
    assert told.groups is None
    effects = np.ones((2, 4))
    assert told.effects(effects) is effects
    assert told_apart(*many_classed(tmp_path, FEW)).groups is None
    assert told_apart(painted(), paintings(tmp_path, 8, labelled=False)).labels is None


def test_classes_of_few_pictures_are_put_into_groups_that_the_head_holds_alike(tmp_path: Path) -> None:
    network, dataset = many_classed(tmp_path, 2)
    told = told_apart(network, dataset)
    assert told.groups is not None
    assert {frozenset(group) for group in told.groups} == {frozenset({3 * k, 3 * k + 1, 3 * k + 2}) for k in range(20)}
    assert told.labels is not None
    for picture, label in enumerate(told.labels.tolist()):
        assert picture % 60 in told.groups[label]
    # What pushes three classes of a group pushes the group, and what pushes all pushes none.
    effects = np.zeros((2, 60))
    effects[0, list(told.groups[4])] = 1
    effects[1] = 5
    found = told.effects(effects)
    assert found[0].argmax() == 4
    np.testing.assert_allclose(found[1], 0, atol=1e-12)
