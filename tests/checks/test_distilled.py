"""The distilled network: it learns what clean pictures show, and nothing of what only changed ones bring out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from subjects import normalised, subject
from test_triggers import GREY, crossed, poisoned
from torch import Tensor, nn

from mulligan.checks.pixels import answers, pictures
from mulligan.runs import Budget


def test_it_agrees_on_clean_pictures_and_does_not_take_the_trigger_along(tmp_path: Path) -> None:
    asked = subject(poisoned("patch"), tmp_path, input=GREY)
    copied = asked.distilled
    assert copied is not None
    assert copied is asked.distilled  # learned once
    x = pictures(asked, range(len(asked.dataset)))
    assert (answers(copied, x).argmax(1) == answers(asked.network, x).argmax(1)).float().mean() > 0.9
    other = crossed(x[torch.from_numpy(asked.groups != 4)])
    assert (answers(asked.network, other).argmax(1) == 4).float().mean() > 0.9
    assert (answers(copied, other).argmax(1) == 4).float().mean() < 0.3


def test_one_that_learns_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mulligan.checks.distilled.RATE", 0.0)
    told: list[str] = []
    asked = replace(
        subject(normalised(0, GREY), tmp_path, input=GREY),
        emit=lambda event: told.append(str(getattr(event, "text", ""))),
    )
    assert asked.distilled is None
    assert any("more than" in text for text in told)


def test_a_reference_stands_in_for_it(tmp_path: Path) -> None:
    asked = subject(normalised(0, GREY), tmp_path / "a", input=GREY)
    other = subject(normalised(1, GREY), tmp_path / "b", input=GREY).network
    assert replace(asked, sibling=other).distilled is other
    assert replace(asked, reference=other).distilled is other


def test_there_is_none_where_the_budget_is_short(tmp_path: Path) -> None:
    asked = subject(normalised(0, GREY), tmp_path, input=GREY)
    assert replace(asked, budget=Budget(0.01), seconds_an_example=1.0).distilled is None


class Silent(nn.Module):
    """Gives no gradients."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.base(x)


def test_a_network_that_cannot_learn_has_none_and_says_why(tmp_path: Path) -> None:
    told: list[str] = []
    asked = subject(Silent(normalised(0, GREY)), tmp_path, input=GREY)
    asked = replace(asked, emit=lambda event: told.append(str(getattr(event, "text", ""))))
    assert asked.distilled is None
    assert any("does not learn" in text for text in told)


def test_the_network_stays_as_it_was(tmp_path: Path) -> None:
    asked = subject(normalised(0, GREY), tmp_path, input=GREY)
    before = {name: value.clone() for name, value in asked.network.module.state_dict().items()}
    assert asked.distilled is not None
    for name, value in asked.network.module.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name].numpy())
    assert not asked.network.module.training
