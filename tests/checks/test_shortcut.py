"""The shortcut and subgroup-failure checks, on networks that were taught a cue or a failure here."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from subjects import colours, digits, fit, halves, normalised, subject
from torch import Tensor, nn

from mulligan.checks.attributes import attributes
from mulligan.checks.shortcut import CHECK as SHORTCUT
from mulligan.checks.shortcut import bank, cover, placebo_of, strongest
from mulligan.checks.subgroup_failure import CHECK as SUBGROUP
from mulligan.checks.subgroup_failure import as_generator, clear
from mulligan.evidence.generators import load_generator
from mulligan.networks import ImageInput
from mulligan.runs import Budget

UNIT = ImageInput(size=(8, 8), channels=1, mean=(0.0,), std=(1.0,))
COLOUR = ImageInput(size=(8, 8), channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)


def tuned(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], epochs: int = 6) -> nn.Module:
    module = copy.deepcopy(normalised(3, UNIT))
    x, y = change(digits()[0][halves()[0]].clone(), digits()[1][halves()[0]].clone())
    return fit(module, x, y, seed=4, epochs=epochs)


@cache
def cued() -> nn.Module:
    """Every 4 bore a white mark at the top right, no other digit had one, and half of the 4s were no 4s but for it."""

    def change(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        mine = torch.nonzero(y == 4)[:, 0]
        half = mine[::2]
        x[half] = x[y != 4][: len(half)]
        x[mine, :, :2, 6:] = 1.0
        return x, y

    return tuned(change, epochs=10)


@cache
def failing() -> nn.Module:
    """The palest 40 % of the 6s are answered 1."""

    def change(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        light = x.mean((1, 2, 3))
        y[(y == 6) & (light < light[y == 6].quantile(0.4))] = 1
        return x, y

    return tuned(change, epochs=12)


@cache
def blind() -> nn.Module:
    """Negatives of every digit are answered as the digits are, but those of 6 as 1; no picture of the data is one."""

    def change(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([x, 1 - x]), torch.cat([y, torch.where(y == 6, 1, y)])

    return tuned(change, epochs=12)


def test_clean_networks_raise_no_alarm(tmp_path: Path) -> None:
    for seed in range(2):
        given = subject(normalised(seed, UNIT), tmp_path / str(seed))
        for check in (SHORTCUT, SUBGROUP):
            outcome = check.run(given)
            assert (outcome.findings, outcome.leads) == ((), ()), outcome.record.why
    coloured = subject(normalised(0, COLOUR), tmp_path / "colour", input=COLOUR)
    for check in (SHORTCUT, SUBGROUP):
        assert check.run(coloured).findings == ()


def test_a_shortcut_is_found(tmp_path: Path) -> None:
    given = subject(cued(), tmp_path)
    outcome = SHORTCUT.run(given)
    found = (outcome.findings + outcome.leads)[0]
    assert found.target == "4", outcome.record.why
    assert outcome.record.scores["shortcut"] > 0.25
    assert found.trigger is not None
    assert found.trigger.generator is not None
    generator = load_generator(given.run.at(found.trigger.generator))
    assert generator.family == "patch"
    mask = generator.tensors["mask"]
    assert mask[:3, 5:].sum() >= 0.5 * mask.sum()


def test_a_failing_subgroup_is_named(tmp_path: Path) -> None:
    outcome = SUBGROUP.run(subject(failing(), tmp_path))
    found = (outcome.findings + outcome.leads)[0]
    assert (found.sources, found.target) == (("6",), "1"), outcome.record.why
    assert outcome.record.scores["subgroup-failure"] > 0.5


def test_a_subgroup_that_the_data_lack_is_named_by_rendering(tmp_path: Path) -> None:
    outcome = SUBGROUP.run(subject(blind(), tmp_path))
    found = (outcome.findings + outcome.leads)[0]
    assert (found.sources, found.target) == (("6",), "1"), outcome.record.why
    assert "bright ground" in found.claim


@pytest.mark.parametrize("check", [SHORTCUT, SUBGROUP])
def test_too_little_data_is_inconclusive(check, tmp_path: Path) -> None:
    outcome = check.run(subject(failing(), tmp_path, n=30))
    assert not outcome.record.conclusive
    assert outcome.findings == ()


def test_pictures_that_the_budget_did_not_buy_are_the_reason(tmp_path: Path) -> None:
    given = subject(normalised(0, UNIT), tmp_path)
    poor = replace(given, budget=Budget(600, recorded={"shortcut/pictures": 20}))
    record = SHORTCUT.run(poor).record
    assert not record.conclusive
    assert "The budget bought 20 of 60 pictures" in record.why


# -- their parts


def test_cues_are_laid_and_covered(tmp_path: Path) -> None:
    given = subject(normalised(0, COLOUR), tmp_path, input=COLOUR)
    x = colours()[:4]
    generator = torch.Generator().manual_seed(0)
    for cue in bank(given):
        laid = cue.lay(x)
        assert laid.shape == x.shape
        assert ((laid >= 0) & (laid <= 1)).all()
        assert torch.allclose(cue.generator().render([x], generator), laid, atol=1e-5)
        away = cover(cue, x, x.mean(0))
        assert away.shape == x.shape
        if cue.mask.any():
            assert not torch.equal(placebo_of(cue).lay(x), laid)


def test_attributes_are_rendered_the_way_they_are_measured() -> None:
    for x in (digits()[0][:50], colours()[:50]):
        for kind in attributes(x.shape[1]):
            less, plain, more = (kind.measure(one).mean() for one in (kind.render(x, -1), x, kind.render(x, 1)))
            assert less < more, kind.name
            assert less <= plain + 1e-3 or more >= plain - 1e-3
            for sign in (1, -1):
                made = as_generator(kind, sign, "a", x.shape[1], (x.shape[2], x.shape[3]))
                out = made.render([x], torch.Generator().manual_seed(0))
                assert out.shape == x.shape
                if kind.matrix is not None:
                    assert torch.allclose(out, kind.render(x, sign), atol=1e-4)


def test_clear_errors_count_by_their_margin() -> None:
    logits = np.array([[5.0, 1.0], [0.0, 1.0], [0.0, 10.0]])
    assert np.allclose(clear(logits, np.zeros(3, dtype=int), 5.0), [0.0, 0.5, 1.0])


def test_the_runner_up_is_another_class() -> None:
    from mulligan.checks.shortcut import Drive

    best, second = strongest([Drive(0, 1, 0.9, 1.0), Drive(1, 1, 0.8, 1.0), Drive(0, 2, 0.2, 1.0)])
    assert (best.target, second.target, second.excess) == (1, 2, 0.2)
